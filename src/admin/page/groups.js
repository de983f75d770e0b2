// Groups, members, partitions: what the table shows, in which order. Drawing is in table.js.

const Groups = (() => {
  const FEW = 200; // partitions that are open at first
  const SEVERITY = { unfetched: 0, paused: 1, waiting: 2, fetched: 3 };
  let status = null;
  let sort = { by: 'name', down: false };
  let show = 'all';
  let wanted = [];
  const opened = new Map(); // row -> whether, where somebody has decided
  let everything = null; // open all, close all, or as it comes
  let total = null;

  const compare = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
  const byPlace = (a, b) => compare(a.topic, b.topic) || a.partition - b.partition;

  /** What is not known comes last, in both directions. */
  function byNumber(read, fallback) {
    return (a, b) => {
      const [x, y] = [read(a), read(b)];
      if (x === y) return fallback(a, b);
      if (x === null || x === undefined) return 1;
      if (y === null || y === undefined) return -1;
      return sort.down ? y - x : x - y;
    };
  }

  function partitionOrder() {
    if (sort.by === 'name') return sort.down ? (a, b) => byPlace(b, a) : byPlace;
    if (sort.by === 'state') return byNumber((p) => SEVERITY[p.state] ?? 4, byPlace);
    return byNumber((p) => p[sort.by], byPlace);
  }

  /** Members and groups: by their sums where that means something, else by name. */
  function sumOrder(name) {
    const byName = (a, b) => compare(name(a), name(b));
    if (sort.by === 'lag') return byNumber((x) => x.sum.lag, byName);
    if (sort.by === 'state') return byNumber((x) => (x.sum.unfetched > 0 ? 0 : x.sum.stalled > 0 ? 1 : x.sum.paused > 0 ? 2 : 3), byName);
    return sort.by === 'name' && sort.down ? (a, b) => byName(b, a) : byName;
  }

  const nothing = () => ({ members: 0, partitions: 0, assigned: 0, fetched: 0, waiting: 0, paused: 0, unfetched: 0, stalled: 0, lag: null });

  function add(into, sum) {
    for (const key of Object.keys(into)) {
      if (key !== 'lag') into[key] += sum[key];
      else if (sum.lag !== null) into.lag = (into.lag || 0) + sum.lag;
    }
  }

  function sumOf(member) {
    const sum = nothing();
    sum.members = 1;
    sum.partitions = member.partitions.length;
    for (const partition of member.partitions) {
      if (partition.state in sum) sum[partition.state] += 1;
      if (partition.lag !== null) sum.lag = (sum.lag || 0) + partition.lag;
    }
    sum.assigned = member.assigned ?? sum.partitions;
    // Of members whose partitions are not listed only the counts are known.
    sum.unfetched = Math.max(sum.unfetched, member.unfetched);
    sum.paused = Math.max(sum.paused, member.paused);
    if (sum.partitions === 0) sum.fetched = Math.max(0, sum.assigned - sum.unfetched - sum.paused);
    sum.stalled = member.stalled ? 1 : 0;
    return sum;
  }

  function wantedPartition(partition, above) {
    if (show === 'trouble' && partition.state !== 'unfetched' && !above.member.stalled) return false;
    if (show === 'lag' && !(partition.lag > 0)) return false;
    return wanted.length === 0 || matches(`${above.text} ${partition.topic}[${partition.partition}] ${partition.state}`.toLowerCase(), wanted);
  }

  /** The rows in their order, and the sums over all that is there. */
  function rows() {
    total = { groups: 0, ...nothing() };
    const all = [];
    const groups = [];
    for (const group of status.groups) {
      const sum = nothing();
      const members = group.members.map((member) => {
        const of = sumOf(member);
        add(sum, of);
        const text = `${group.group} ${group.protocol} ${member.client_id} ${member.member ?? ''} ${member.instance ?? ''} ${member.address}`;
        return { member, sum: of, text, key: `${group.group}\n${member.member ?? ''}\n${member.client_id}\n${member.address}` };
      });
      total.groups += 1;
      const { groups: _, ...rest } = total;
      add(rest, sum);
      Object.assign(total, rest);
      groups.push({ group, sum, members, key: `${group.group}` });
    }
    const filtered = show !== 'all' || wanted.length > 0;
    const small = total.partitions <= FEW;
    const order = partitionOrder();
    groups.sort(sumOrder((g) => g.group.group));
    for (const entry of groups) {
      const below = [];
      let kept = 0;
      entry.members.sort(sumOrder((m) => `${m.member.client_id}\n${m.member.member ?? ''}`));
      for (const of of entry.members) {
        const partitions = filtered ? of.member.partitions.filter((p) => wantedPartition(p, of)) : of.member.partitions;
        const itself = show === 'all' ? matches(of.text.toLowerCase(), wanted) : show === 'trouble' && (of.sum.stalled > 0 || of.sum.unfetched > 0);
        if (filtered && partitions.length === 0 && !(itself && matches(of.text.toLowerCase(), wanted))) continue;
        kept += 1;
        const key = `m\n${of.key}`;
        const open = isOpen(key, filtered || small || of.sum.unfetched > 0 || of.sum.stalled > 0);
        below.push({ type: 'member', key, open, filtered, shown: partitions.length, ...of });
        if (!open) continue;
        for (const partition of [...partitions].sort(order)) {
          below.push({ type: 'partition', key: `p\n${of.key}\n${partition.topic}\n${partition.partition}`, partition });
        }
      }
      const named = matches(`${entry.group.group} ${entry.group.protocol}`.toLowerCase(), wanted);
      if (filtered && kept === 0 && !(named && show === 'all' && entry.members.length === 0)) continue;
      const key = `g\n${entry.key}`;
      const open = isOpen(key, true);
      all.push({ type: 'group', open, ...entry, key });
      if (open) all.push(...below);
    }
    return all;
  }

  function isOpen(key, otherwise) {
    if (opened.has(key)) return opened.get(key);
    return everything ?? otherwise;
  }

  function redraw() {
    if (!status) return;
    const all = rows();
    Table.show(all);
    const some = status.groups.length > 0;
    setHidden($('groups-table'), all.length === 0);
    setHidden($('groups-empty'), all.length > 0);
    setText($('groups-sum'), some ? sentence(total) : '');
    if (all.length === 0) empty(some);
    const omitted = status.partitions_omitted || 0;
    setHidden($('groups-omitted'), omitted === 0);
    if (omitted > 0) setText($('groups-omitted'), `${plural(omitted, 'partition')} more are not listed.`);
    setText($('groups-fold'), all.some((row) => row.open === false) ? 'Open all' : 'Close all');
  }

  function sentence(sum) {
    const parts = [plural(sum.groups, 'group'), plural(sum.members, 'member'), plural(sum.partitions, 'partition')];
    if (sum.unfetched > 0) parts.push(`${number(sum.unfetched)} unfetched`);
    if (sum.stalled > 0) parts.push(`${number(sum.stalled)} stalled`);
    if (sum.lag !== null) parts.push(`lag ${number(sum.lag)}`);
    return parts.join(', ');
  }

  function empty(some) {
    const box = $('groups-empty');
    if (!box.firstChild) box.append(el('strong', ''), el('span', ''));
    setText(box.firstChild, some ? (show === 'trouble' ? 'No trouble' : 'Nothing matches') : 'No consumer group yet');
    let more = 'A group appears when a consumer behind kmend joins it, fetches or commits.';
    if (some) more = show === 'trouble' ? 'Every assigned partition is fetched, and no consumer is stalled.' : 'Esc clears the filter.';
    setText(box.lastChild, more);
  }

  function toggle(row) {
    opened.set(row.key, !row.open);
    redraw();
  }

  function fold() {
    everything = $('groups-fold').textContent === 'Open all';
    opened.clear();
    redraw();
  }

  function showSort() {
    for (const button of document.querySelectorAll('#groups-table [data-sort]')) {
      const on = button.dataset.sort === sort.by;
      button.parentNode.setAttribute('aria-sort', on ? (sort.down ? 'descending' : 'ascending') : 'none');
    }
  }

  function start() {
    Table.start(toggle);
    for (const button of document.querySelectorAll('#groups-table [data-sort]')) {
      button.addEventListener('click', () => {
        const by = button.dataset.sort;
        // Numbers begin with the largest: that is what one looks for.
        sort = sort.by === by ? { by, down: !sort.down } : { by, down: by !== 'name' && by !== 'state' };
        showSort();
        redraw();
      });
    }
    for (const button of document.querySelectorAll('#groups-show [data-show]')) {
      button.addEventListener('click', () => choose(button.dataset.show));
    }
    $('groups-filter').addEventListener('input', (event) => {
      wanted = words(event.target.value);
      redraw();
    });
    $('groups-fold').addEventListener('click', fold);
    showSort();
  }

  function choose(what) {
    show = what;
    for (const button of document.querySelectorAll('#groups-show [data-show]')) {
      button.setAttribute('aria-pressed', String(button.dataset.show === what));
    }
    $('groups-scroll').scrollTop = 0;
    redraw();
  }

  function update(now) {
    status = now;
    redraw();
  }

  return { start, update, fold, choose, total: () => total };
})();
