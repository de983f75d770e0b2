// The live feed of repairs, newest first.

const Feed = (() => {
  const MOST = 1000; // rows; older ones are in the log
  const AT_ONCE = 20; // rows that are made in one task
  const rows = []; // newest first
  const seen = new Set(); // ids: a reconnect may replay
  const menders = new Map(); // name -> { chip, count }
  let waiting = []; // oldest first: newer than all rows
  let backlog = []; // oldest first: older than all rows
  let scheduled = 0;
  let paused = false;
  let only = null; // a mender's name, or null
  let wanted = [];
  let current = null; // the row that Tab reaches
  let unread = 0; // new ones above what is looked at
  let run = null; // kmend's run that the newest event belongs to
  let dropped = 0;
  let announceTimer = 0;
  const toAnnounce = [];
  let facts = { modes: new Map(), watched: null };

  function receive(event) {
    if (!event || event.id === undefined || seen.has(String(event.id))) return;
    const id = String(event.id);
    seen.add(id);
    if (seen.size > 4 * MOST) seen.delete(seen.values().next().value);
    const of = id.slice(0, Math.max(0, id.lastIndexOf('-')));
    waiting.push({ event, restarted: run !== null && run !== of });
    run = of;
    if (waiting.length > 2 * MOST) waiting.splice(0, waiting.length - MOST);
    if (paused) showPause();
    else schedule();
  }

  function schedule() {
    // Not by animation frame: those stop in a tab that nobody looks at.
    if (!scheduled) scheduled = setTimeout(flush, 0);
  }

  function flush() {
    scheduled = 0;
    if (!paused && rows.length === 0 && waiting.length > AT_ONCE) {
      // The first answer is long: its newest are shown at once, the others are added below.
      backlog = waiting;
      waiting = backlog.splice(-AT_ONCE);
    }
    const fresh = paused ? [] : waiting.splice(0, AT_ONCE);
    if (fresh.length > 0) prepend(fresh);
    else append(backlog.splice(-AT_ONCE));
    while (rows.length > MOST) forget(rows.pop());
    if (!current && rows.length > 0) makeCurrent(rows[0]);
    if (fresh.length > 0) announce(fresh);
    summarise();
    if (backlog.length > 0 || (waiting.length > 0 && !paused)) schedule();
  }

  function prepend(batch) {
    const away = $('repairs-scroll').scrollTop > 4;
    const fragment = document.createDocumentFragment();
    for (const one of batch) {
      const row = make(one.event);
      rows.unshift(row);
      fragment.prepend(row.node, ...restart(row, one));
      if (row.visible && away) unread += 1;
    }
    $('feed').prepend(fragment);
  }

  function append(batch) {
    const fragment = document.createDocumentFragment();
    for (const one of batch.reverse()) {
      const row = make(one.event);
      rows.push(row);
      fragment.append(row.node, ...restart(row, one));
    }
    $('feed').append(fragment);
  }

  /** A line between the repairs of one run of kmend and those of the next. */
  function restart(row, { restarted }) {
    if (!restarted) return [];
    row.break = el('li', 'break', 'kmend was started again');
    return [row.break];
  }

  function forget(row) {
    dropped += 1;
    if (current === row) makeCurrent(rows[0]);
    if (row.break) row.break.remove();
    row.node.remove();
  }

  function make(event) {
    const level = String(event.level || 'INFO').toUpperCase();
    const node = el('li', `event ${level.toLowerCase()}${event.observed ? ' observed' : ''}`);
    node.dataset.id = event.id;
    const button = el('button', 'line');
    button.type = 'button';
    button.tabIndex = -1;
    button.setAttribute('aria-expanded', 'false');
    const text = visible(String(event.text ?? ''));
    const mender = String(event.mender ?? '');
    const sentence = el('span', 'text');
    spaced(sentence, text);
    const tags = el('span', 'tags');
    if (event.observed) {
      const tag = el('span', 'tag hollow', 'observed, not done');
      tag.title = 'Mode observe: kmend changed nothing. This is what it would have mended.';
      tags.append(tag);
    }
    if (level === 'WARN') tags.append(el('span', 'tag warn', 'warning'));
    if (level === 'ERROR') tags.append(el('span', 'tag bad', 'error'));
    const context = contextOf(event.fields, text);
    button.append(
      timeElement(event.at),
      el('span', 'mender name', mender),
      el('span', 'what', sentence, context ? el('span', 'context name', context) : null),
      tags,
    );
    node.append(button);
    const row = { node, button, event, mender, level, visible: true };
    row.haystack = `${mender} ${text} ${level} ${event.observed ? 'observed' : ''} ${values(event.fields)}`.toLowerCase();
    count(mender);
    setVisible(row);
    node.row = row;
    return row;
  }

  function values(fields) {
    return Object.entries(fields || {}).map(([key, value]) => `${key} ${plain(value)}`).join(' ');
  }

  function plain(value) {
    return value !== null && typeof value === 'object' ? JSON.stringify(value) : String(value);
  }

  /** Where it happened, of the fields that the sentence does not name already. */
  function contextOf(fields, text) {
    if (!fields) return '';
    const parts = [];
    if (fields.group) parts.push(fields.group);
    if (fields.topic !== undefined) {
      parts.push(fields.partition === undefined ? fields.topic : `${fields.topic}[${fields.partition}]`);
    } else if (fields.partitions !== undefined) {
      parts.push(plain(fields.partitions));
    }
    if (fields.client_id) parts.push(fields.client_id);
    const names = [...new Set(parts.map((part) => visible(plain(part))))];
    return names.filter((name) => name && !text.includes(name)).join(' · ');
  }

  /** Long numbers in groups of three that are only set apart: what is copied stays a number. */
  function spaced(node, text) {
    const subject = /^[\w.-]+\[\d+\](?=:)/.exec(text);
    if (subject) node.append(el('b', 'subject name', subject[0]));
    let at = subject ? subject[0].length : 0;
    for (const found of text.matchAll(/(?<![\w.\-/:])\d{5,}(?![\w\-/:]|\.\d)/g)) {
      node.append(text.slice(at, found.index));
      const digits = found[0];
      const whole = el('span', 'digits');
      for (let i = 0, size = digits.length % 3 || 3; i < digits.length; i += size, size = 3) {
        whole.append(el('span', '', digits.slice(i, i + size)));
      }
      node.append(whole);
      at = found.index + digits.length;
    }
    node.append(text.slice(at));
  }

  function toggle(row) {
    const open = row.button.getAttribute('aria-expanded') !== 'true';
    row.button.setAttribute('aria-expanded', String(open));
    if (!open) {
      row.details.remove();
      return;
    }
    if (!row.details) {
      const list = el('dl', 'fields');
      const add = (name, value) => list.append(el('div', '', el('dt', '', name), el('dd', 'name', value)));
      for (const [name, value] of Object.entries(row.event.fields || {})) {
        if (plain(value) !== '') add(name, Number.isInteger(value) ? number(value) : plain(value));
      }
      add('at', iso(row.event.at));
      add('event', String(row.event.id));
      row.details = list;
    }
    row.node.append(row.details);
  }

  // --- filters -----------------------------------------------------------------------------------------------------

  function count(mender) {
    let entry = menders.get(mender);
    if (!entry) {
      const chip = el('button', '');
      chip.type = 'button';
      chip.addEventListener('click', () => show(only === mender ? null : mender));
      chip.append(el('span', 'name', mender), el('span', 'count'));
      entry = { chip, count: 0 };
      menders.set(mender, entry);
      $('repairs-menders').append(chip);
      showChips();
    }
    entry.count += 1;
    setText(entry.chip.lastChild, number(entry.count));
  }

  function show(mender) {
    only = mender;
    showChips();
    refilter();
  }

  function showChips() {
    for (const [name, { chip }] of menders) chip.setAttribute('aria-pressed', String(only === name));
  }

  function setVisible(row) {
    row.visible = (only === null || row.mender === only) && matches(row.haystack, wanted);
    setHidden(row.node, !row.visible);
  }

  function refilter() {
    for (const row of rows) setVisible(row);
    if (!current || !current.visible) makeCurrent(rows.find((row) => row.visible));
    unread = 0;
    summarise();
  }

  function summarise() {
    const shown = rows.reduce((n, row) => n + row.visible, 0);
    const filtered = only !== null || wanted.length > 0;
    const warnings = rows.reduce((n, row) => n + (row.level !== 'INFO'), 0);
    let sum = filtered ? `${number(shown)} of ${number(rows.length)}` : number(rows.length);
    if (rows.length === 0) sum = '';
    else if (!filtered && warnings > 0) sum += `, ${plural(warnings, 'warning')}`;
    if (dropped > 0) sum += ', older ones are in the log';
    setText($('repairs-sum'), sum);
    empty(shown, filtered);
    const newer = $('repairs-newer');
    setHidden(newer, unread === 0);
    setText(newer, `${number(unread)} newer`);
  }

  function empty(shown, filtered) {
    const box = $('repairs-empty');
    setHidden(box, shown > 0 || backlog.length > 0);
    setHidden($('feed'), shown === 0);
    if (shown > 0) return;
    let title = 'Nothing has needed mending yet';
    let more = 'A repair appears here in the moment in which kmend makes it.';
    const active = [...facts.modes.values()].filter((mode) => mode !== 'off');
    if (filtered) {
      title = 'No repair matches';
      more = 'Esc clears the filter.';
    } else if (facts.modes.size > 0 && active.length === 0) {
      title = 'All menders are off';
      more = 'kmend only relays. Set menders.offset_reset.mode to observe to see what it would do.';
    } else if (active.length > 0 && active.every((mode) => mode === 'observe')) {
      more = 'All menders observe: what kmend would have done appears here, and no byte is changed.';
    }
    if (!box.firstChild) box.append(el('strong', ''), el('span', ''));
    setText(box.firstChild, title);
    setText(box.lastChild, more);
  }

  // --- pause, announcements, keys ------------------------------------------------------------------------------------

  function pause() {
    paused = !paused;
    showPause();
    if (!paused) schedule();
  }

  function showPause() {
    const button = $('pause');
    button.setAttribute('aria-pressed', String(paused));
    setText(button, paused ? (waiting.length > 0 ? `Go on (${number(waiting.length)})` : 'Go on') : 'Pause');
  }

  /** Not each line of a storm is read out: one sentence a second at most. */
  function announce(batch) {
    toAnnounce.push(...batch);
    if (announceTimer) return;
    announceTimer = setTimeout(() => {
      announceTimer = 0;
      const last = toAnnounce.at(-1).event;
      const more = toAnnounce.length > 1 ? `${toAnnounce.length} repairs, the last: ` : '';
      setText($('repairs-live'), `${more}${last.mender}: ${last.text}${last.observed ? ' (observed, not done)' : ''}`);
      toAnnounce.length = 0;
    }, 1000);
  }

  function makeCurrent(row, focus) {
    if (current) current.button.tabIndex = -1;
    current = row || null;
    if (!current) return;
    current.button.tabIndex = 0;
    if (focus) current.button.focus();
  }

  function step(row, by) {
    let node = row.node;
    do {
      node = by > 0 ? node.nextSibling : node.previousSibling;
    } while (node && !(node.row && node.row.visible));
    if (node) makeCurrent(node.row, true);
  }

  function start() {
    $('feed').addEventListener('click', (event) => {
      const line = event.target.closest('.line');
      if (!line) return;
      makeCurrent(line.parentNode.row);
      toggle(line.parentNode.row);
    });
    $('feed').addEventListener('keydown', (event) => {
      const line = event.target.closest('.line');
      const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (!line || !by) return;
      event.preventDefault();
      step(line.parentNode.row, by);
    });
    $('repairs-filter').addEventListener('input', (event) => {
      wanted = words(event.target.value);
      refilter();
    });
    $('pause').addEventListener('click', pause);
    $('repairs-newer').addEventListener('click', () => {
      $('repairs-scroll').scrollTop = 0;
    });
    $('repairs-scroll').addEventListener('scroll', (event) => {
      if (event.target.scrollTop <= 4 && unread > 0) {
        unread = 0;
        summarise();
      }
    }, { passive: true });
    empty(0, false);
  }

  /** Why there is no feed, or nothing. */
  function notice(text) {
    setText($('repairs-notice'), text);
    setHidden($('repairs-notice'), !text);
  }

  function status(status) {
    facts = { modes: new Map(status.menders.map((m) => [m.name, m.mode])) };
    if (rows.length === 0) summarise();
  }

  return { start, receive, pause, notice, status };
})();
