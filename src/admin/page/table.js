// The table of groups: only rows in sight exist, and they are changed in place.

const Table = (() => {
  const SPARE = 8; // rows above and below what is in sight
  const STATES = { fetched: 'fetched', waiting: 'waiting', paused: 'paused', unfetched: 'unfetched' };
  let rows = [];
  let height = 30;
  let live = new Map(); // key -> row on the page
  const free = { group: [], member: [], partition: [] };
  let toggle = null;
  let body = null;
  let above = null;
  let below = null;

  function spacer() {
    const row = el('tr', 'spacer', el('td', ''));
    row.setAttribute('aria-hidden', 'true');
    return row;
  }

  function tr(cls) {
    const row = el('tr', cls);
    row.setAttribute('role', 'row');
    return row;
  }

  function cell(row, cls, ...children) {
    const node = el('td', cls, ...children);
    node.setAttribute('role', 'cell');
    row.append(node);
    return node;
  }

  const make = {
    partition() {
      const row = tr('partition');
      const name = el('th', 'place', el('span', 'name topic'), el('span', 'index'));
      name.scope = 'row';
      name.setAttribute('role', 'rowheader');
      row.append(name);
      const parts = { name, topic: name.firstChild, index: name.lastChild };
      for (const key of ['position', 'committed', 'end', 'lag']) {
        parts[key] = cell(row, `num ${key}`);
      }
      parts.state = cell(row, 'state', el('span', ''));
      return { row, parts };
    },
    member() {
      return make.above('member');
    },
    group() {
      return make.above('group');
    },
    /** Groups and members: a name that opens and closes, how much is fetched, sums. */
    above(type) {
      const row = tr(type);
      const title = el('span', 'name');
      const more = el('span', 'more name');
      const button = el('button', 'fold', title, more);
      button.type = 'button';
      const name = el('th', 'place', button);
      name.scope = 'rowgroup';
      name.setAttribute('role', 'rowheader');
      row.append(name);
      const bar = el('span', 'bar');
      const slices = {};
      for (const state of ['fetched', 'waiting', 'paused', 'unfetched']) {
        slices[state] = el('span', state);
        bar.append(slices[state]);
      }
      bar.setAttribute('aria-hidden', 'true');
      const counts = el('span', 'counts');
      const sums = cell(row, 'sums', bar, counts);
      sums.colSpan = 3;
      const lag = cell(row, 'num lag');
      const state = cell(row, 'state', el('span', ''));
      const made = { row, parts: { bar, name, button, title, more, slices, counts, sums, lag, state } };
      button.addEventListener('click', () => toggle(made.of));
      return made;
    },
  };

  const fill = {
    partition({ row, parts }, { partition }) {
      setText(parts.topic, partition.topic);
      setText(parts.index, `[${partition.partition}]`);
      setTitle(parts.name, `${partition.topic}[${partition.partition}]`);
      for (const key of ['position', 'committed', 'end', 'lag']) setText(parts[key], number(partition[key]));
      setClass(parts.lag, `num lag${partition.lag > 0 ? '' : ' zero'}`);
      setText(parts.state.firstChild, STATES[partition.state] ?? partition.state);
      setClass(row, `partition is-${STATES[partition.state] ? partition.state : 'other'}`);
    },
    group(made, of) {
      const { group, sum } = of;
      fill.above(made, of, sum);
      setText(made.parts.title, group.group);
      const kind = { classic: '', consumer: 'KIP-848', none: 'only commits' }[group.kind] ?? group.kind;
      setText(made.parts.more, [group.protocol, kind].filter(Boolean).join(' · '));
      setTitle(made.parts.name, `${group.group}${group.protocol ? `, ${group.protocol}` : ''}${kind ? `, ${kind}` : ''}`);
      setText(made.parts.counts, `${plural(sum.members, 'member')}, ${fetchedOf(sum)}`);
      trouble(made, sum);
    },
    member(made, of) {
      const { member, sum, filtered, shown } = of;
      fill.above(made, of, sum);
      setText(made.parts.title, member.client_id || 'no client id');
      const generation = member.generation >= 0 ? `gen. ${number(member.generation)}` : '';
      setText(made.parts.more, [member.instance, member.address, generation].filter(Boolean).join(' · '));
      setTitle(made.parts.name, [
        member.client_id, member.member, member.instance && `instance ${member.instance}`, member.address,
        generation && `generation ${member.generation}`, `phase ${member.phase}`,
      ].filter(Boolean).join('\n'));
      let counts = member.assigned === null ? `${number(sum.fetched)} read` : fetchedOf(sum);
      if (filtered) counts += `, ${number(shown)} shown`;
      if (member.stalled) counts = `${duration(member.stalled.for_seconds)}: ${member.stalled.reason}`;
      setHidden(made.parts.bar, member.stalled !== null);
      setText(made.parts.counts, counts);
      setTitle(made.parts.sums, counts);
      trouble(made, sum);
    },
    above({ row, parts }, of, sum) {
      parts.button.setAttribute('aria-expanded', String(of.open));
      for (const [state, slice] of Object.entries(parts.slices)) {
        const grow = String(sum[state]);
        if (slice.style.flexGrow !== grow) slice.style.flexGrow = grow;
      }
      setText(parts.lag, number(sum.lag));
      setClass(parts.lag, `num lag${sum.lag > 0 ? '' : ' zero'}`);
      setClass(row, `${of.type}${sum.unfetched > 0 ? ' is-unfetched' : ''}${sum.stalled > 0 ? ' is-stalled' : ''}`);
    },
  };

  function fetchedOf(sum) {
    return `${number(sum.fetched)} of ${number(sum.assigned)} fetched`;
  }

  function trouble({ parts }, sum) {
    const said = [];
    if (sum.unfetched > 0) said.push(`${number(sum.unfetched)} unfetched`);
    if (sum.stalled > 0) said.push(sum.members === 1 ? 'stalled' : `${number(sum.stalled)} stalled`);
    if (said.length === 0 && sum.paused > 0) said.push(`${number(sum.paused)} paused`);
    setText(parts.state.firstChild, said.join(', '));
  }

  // --- which rows ----------------------------------------------------------------------------------------------------

  function draw() {
    if (!body) return;
    const scroll = $('groups-scroll');
    const first = Math.max(0, Math.floor(scroll.scrollTop / height) - SPARE);
    const last = Math.min(rows.length, Math.ceil((scroll.scrollTop + scroll.clientHeight) / height) + SPARE);
    const next = new Map();
    for (let i = first; i < last; i += 1) next.set(rows[i].key, i);
    for (const [key, made] of live) {
      if (next.has(key)) continue;
      // Who had the keyboard keeps it: the arrow keys go on scrolling.
      if (made.row.contains(document.activeElement)) scroll.focus({ preventScroll: true });
      made.row.remove();
      free[made.type].push(made);
      live.delete(key);
    }
    setHeight(above, first * height);
    setHeight(below, (rows.length - last) * height);
    let at = body.firstChild;
    for (const [key, i] of next) {
      const of = rows[i];
      let made = live.get(key);
      if (!made) {
        made = free[of.type].pop() || make[of.type]();
        made.type = of.type;
        live.set(key, made);
      }
      made.of = of;
      fill[of.type](made, of);
      if (made.index !== i) {
        made.index = i;
        made.row.setAttribute('aria-rowindex', String(i + 2));
      }
      if (made.row === at) at = at.nextSibling;
      else body.insertBefore(made.row, at);
    }
  }

  function setHeight(pad, pixels) {
    const value = `${pixels}px`;
    const td = pad.firstChild.firstChild;
    if (td.style.height !== value) td.style.height = value;
    setHidden(pad, pixels === 0);
  }

  function show(all) {
    rows = all;
    const count = String(all.length + 1);
    const table = $('groups-table');
    if (table.getAttribute('aria-rowcount') !== count) table.setAttribute('aria-rowcount', count);
    setHidden(table, all.length === 0);
    draw();
  }

  function start(onToggle) {
    toggle = onToggle;
    const table = $('groups-table');
    body = el('tbody', '');
    body.setAttribute('role', 'rowgroup');
    above = el('tbody', '', spacer());
    below = el('tbody', '', spacer());
    table.append(above, body, below);
    const narrow = matchMedia('(max-width: 720px)');
    const measure = () => {
      height = narrow.matches ? 48 : 30;
      draw();
    };
    narrow.addEventListener('change', measure);
    $('groups-scroll').addEventListener('scroll', draw, { passive: true });
    new ResizeObserver(draw).observe($('groups-scroll'));
    measure();
  }

  return { start, show };
})();
