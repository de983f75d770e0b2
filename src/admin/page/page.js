// The header, the state of the page itself, the keys; and the start of it all.

const Header = (() => {
  let started = null; // by this machine's clock: the uptime goes on between two answers

  function update(status) {
    setText($('version'), status.commit ? `${status.version} (${status.commit})` : status.version);
    setText($('cluster'), status.cluster_id ?? 'not known yet');
    setTitle($('cluster'), status.cluster_id ?? '');
    setText($('upstream'), status.upstream.up ? 'up' : 'down');
    setClass($('upstream'), status.upstream.up ? 'up' : 'down');
    setTitle($('upstream'), (status.upstream.bootstrap || []).join('\n'));
    started = Date.now() / 1000 - status.uptime_seconds;
    tick();
    setText($('connections'), `${number(status.connections.clients)} in, ${number(status.connections.upstream)} out`);
    setTitle($('connections'), `${status.connections.clients} from clients, ${status.connections.upstream} to brokers`);
    listeners(status.listeners);
    attention(status);
  }

  function listeners(all) {
    const main = all.filter((l) => l.node === null);
    const nodes = all.filter((l) => l.node !== null);
    const first = main.map((l) => l.address).join(', ') || NONE;
    setText($('listeners'), nodes.length > 0 ? `${first} + ${plural(nodes.length, 'broker')}` : first);
    setTitle($('listeners'), all.map((l) => (l.node === null ? `${l.address} (bootstrap)` : `${l.address} (broker ${l.node})`)).join('\n'));
  }

  function tick() {
    if (started !== null) setText($('uptime'), duration(Date.now() / 1000 - started));
  }

  /** What is wrong now, in one line, each a way to where it is shown. */
  function attention(status) {
    const total = Groups.total() || { unfetched: 0, stalled: 0 };
    const found = [];
    if (!status.upstream.up) {
      const asked = (status.upstream.bootstrap || []).join(', ');
      found.push([asked ? `No broker answers at ${asked}` : 'No broker answers', 'load']);
    }
    if (total.unfetched > 0) found.push([`${plural(total.unfetched, 'partition is', 'partitions are')} assigned and not fetched`, 'groups']);
    if (total.stalled > 0) found.push([`${plural(total.stalled, 'consumer is', 'consumers are')} stalled`, 'groups']);
    if (status.reload && !status.reload.ok) found.push(['The last reload was refused', 'menders']);
    if (status.reload && status.reload.needs_restart.length > 0) found.push([`${plural(status.reload.needs_restart.length, 'change needs', 'changes need')} a restart`, 'menders']);
    const box = $('attention');
    const shown = JSON.stringify(found);
    if (box.said === shown) return;
    box.said = shown;
    box.replaceChildren(...found.map(([text, section]) => {
      const link = el('a', 'name', text);
      link.href = `#${section}`;
      link.addEventListener('click', (event) => {
        event.preventDefault();
        if (section === 'groups') Groups.choose('trouble');
        go(section);
      });
      return link;
    }));
    setHidden(box, found.length === 0);
  }

  return { update, tick };
})();

/** Live, reconnecting, or kmend is gone. */
const Link = (() => {
  const GONE = 6; // seconds without an answer
  let lastAnswer = null; // seconds
  let feed = 'connecting';
  let failing = false;
  let why = '';

  function show() {
    const now = Date.now() / 1000;
    const silent = failing && (lastAnswer === null || now - lastAnswer > GONE);
    let state = 'live';
    if (silent) state = 'gone';
    else if (failing || feed === 'lost' || (lastAnswer !== null && feed === 'connecting')) state = 'reconnecting';
    else if (lastAnswer === null) state = 'connecting';
    const words = { live: 'Live', reconnecting: 'Reconnecting', gone: 'kmend is gone', connecting: 'Connecting' };
    const pill = $('state');
    setText(pill, words[state]);
    setClass(pill, `pill ${state}`);
    const banner = $('banner');
    let text = '';
    if (state === 'gone') {
      text = why || 'kmend does not answer.';
      text += lastAnswer === null ? '' : ` What is shown is from ${clock(lastAnswer)}.`;
    }
    setText(banner, text);
    setHidden(banner, !text);
    const title = state === 'gone' ? 'kmend (gone)' : 'kmend';
    if (document.title !== title) document.title = title;
    return state;
  }

  return {
    show,
    /** Returns whether kmend had been silent. */
    answered() {
      const back = failing;
      failing = false;
      lastAnswer = Date.now() / 1000;
      show();
      return back;
    },
    failed(text) {
      failing = true;
      why = text;
      show();
    },
    feed(state) {
      feed = state;
      show();
    },
  };
})();

function go(section) {
  const calm = matchMedia('(prefers-reduced-motion: reduce)').matches;
  const node = $(section);
  node.focus({ preventScroll: true });
  node.scrollIntoView({ behavior: calm ? 'auto' : 'smooth', block: 'start' });
}

const Keys = (() => {
  const SECTIONS = { r: 'repairs', c: 'clients', g: 'groups', l: 'load', m: 'menders' };

  function filterHere() {
    const inGroups = document.activeElement && document.activeElement.closest('#groups');
    return inGroups ? $('groups-filter') : $('repairs-filter');
  }

  function key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    const field = event.target.closest && event.target.closest('input');
    if (event.key === 'Escape' && field) {
      if (field.value === '') field.closest('.panel').focus();
      field.value = '';
      field.dispatchEvent(new Event('input'));
      return;
    }
    if (field || $('help').open) return;
    const actions = { p: Feed.pause, t: Theme.next, o: Groups.fold, '?': () => $('help').showModal() };
    if (event.key === '/') {
      event.preventDefault();
      filterHere().focus();
      filterHere().select();
    } else if (SECTIONS[event.key]) {
      go(SECTIONS[event.key]);
    } else if (actions[event.key]) {
      event.preventDefault();
      actions[event.key]();
    }
  }

  function start() {
    document.addEventListener('keydown', key);
    $('help-open').addEventListener('click', () => $('help').showModal());
    $('help-close').addEventListener('click', () => $('help').close());
  }
  return { start };
})();

document.addEventListener('DOMContentLoaded', () => {
  Theme.start();
  Feed.start();
  Groups.start();
  Charts.start();
  Keys.start();

  const followAgain = followEvents({
    event: Feed.receive,
    open() {
      Feed.notice('');
      Link.feed('open');
    },
    lost: () => Link.feed('lost'),
    refused(why) {
      Feed.notice(why);
      Link.feed('refused');
    },
  });
  pollStatus(
    (status) => {
      if (Link.answered()) followAgain();
      Feed.status(status);
      // One task each: none of them is long.
      const steps = [
        () => Clients.update(status),
        () => Groups.update(status),
        () => Header.update(status),
        () => Menders.update(status),
        ...Charts.updates(status),
      ];
      const step = () => {
        const next = steps.shift();
        if (!next) return;
        next();
        setTimeout(step, 0);
      };
      step();
    },
    (why) => Link.failed(why),
  );
  setInterval(() => {
    if (Link.show() !== 'gone') Header.tick();
  }, 1000);
});
