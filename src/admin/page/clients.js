// Clients by software and version, with the known faults of that version.

const Clients = (() => {
  const MOST = 300; // clients of one kind that are listed
  const kinds = new Map(); // software and version -> its rows
  const opened = new Set();

  function update(status) {
    const groups = new Map();
    let connections = 0;
    for (const client of status.clients) {
      const key = JSON.stringify([client.software, client.version]);
      const group = groups.get(key) || { key, software: client.software, version: client.version, clients: [], connections: 0, faults: client.faults };
      group.clients.push(client);
      group.connections += client.connections;
      connections += client.connections;
      groups.set(key, group);
    }
    const modes = new Map(status.menders.map((m) => [m.name, m.mode]));
    const sorted = [...groups.values()].sort(
      (a, b) => b.faults.length - a.faults.length || b.clients.length - a.clients.length || (a.key < b.key ? -1 : 1),
    );
    const table = $('clients-table');
    for (const [key, kind] of kinds) {
      if (!groups.has(key)) {
        kind.body.remove();
        kinds.delete(key);
      }
    }
    let after = table.tHead;
    for (const group of sorted) {
      const kind = kinds.get(group.key) || make(group.key);
      fill(kind, group, modes);
      if (after.nextSibling !== kind.body) after.after(kind.body);
      after = kind.body;
    }
    const omitted = status.clients_omitted || 0;
    setHidden(table, sorted.length === 0);
    setHidden($('clients-empty'), sorted.length > 0);
    let sum = sorted.length === 0 ? '' : `${plural(status.clients.length + omitted, 'client')}, ${plural(connections, 'connection')}`;
    if (omitted > 0) sum += `, ${number(omitted)} not listed`;
    setText($('clients-sum'), sum);
    if (sorted.length === 0) empty(status);
  }

  function make(key) {
    const button = el('button', 'fold', el('span', 'software name'), el('span', 'version'));
    button.type = 'button';
    button.setAttribute('aria-expanded', 'false');
    const row = el('tr', 'kind', el('th', '', button), el('td', 'num'), el('td', 'num'));
    row.firstChild.scope = 'row';
    const body = el('tbody', '', row);
    const kind = { key, button, row, body, faults: '', faultRow: null, list: new Map() };
    button.addEventListener('click', () => {
      if (opened.has(key)) opened.delete(key);
      else opened.add(key);
      showList(kind);
    });
    kinds.set(key, kind);
    return kind;
  }

  function fill(kind, group, modes) {
    kind.group = group;
    setText(kind.button.firstChild, group.software ?? 'unknown software');
    setText(kind.button.lastChild, group.version ?? '');
    setText(kind.row.cells[1], number(group.clients.length));
    setText(kind.row.cells[2], number(group.connections));
    const sentences = group.faults.map((fault) => ({ what: fault.what, cure: cure(fault, modes), mended: modes.get(fault.mender) === 'repair' }));
    const shown = JSON.stringify(sentences);
    if (kind.faults !== shown) {
      kind.faults = shown;
      if (kind.faultRow) kind.faultRow.remove();
      kind.faultRow = null;
      if (sentences.length > 0) {
        const list = el('ul', 'faults');
        for (const { what, cure: text, mended } of sentences) {
          list.append(el('li', mended ? 'mended' : 'open', what, el('span', 'cure', text)));
        }
        const cell = el('td', '', list);
        cell.colSpan = 3;
        kind.faultRow = el('tr', 'faultrow', cell);
        kind.row.after(kind.faultRow);
      }
    }
    showList(kind);
  }

  function cure(fault, modes) {
    const parts = [];
    if (fault.fixed_in) parts.push(`fixed in ${fault.fixed_in}`);
    if (fault.mender) {
      const mode = modes.get(fault.mender);
      if (mode === 'repair') parts.push(`${fault.mender} mends it`);
      else if (mode === 'observe') parts.push(`${fault.mender} only observes it`);
      else parts.push(`${fault.mender} would mend it, and is off`);
    } else {
      parts.push('kmend does not mend it');
    }
    return parts.join('; ');
  }

  /** The clients of one kind, where it is open; rows stay where they are. */
  function showList(kind) {
    const open = opened.has(kind.key);
    kind.button.setAttribute('aria-expanded', String(open));
    const all = kind.group.clients;
    const now = new Map(open ? all.slice(0, MOST).map((c) => [`${c.client_id}\n${c.address}`, c]) : []);
    for (const [key, row] of kind.list) {
      if (!now.has(key)) {
        row.remove();
        kind.list.delete(key);
      }
    }
    for (const [key, client] of now) {
      let row = kind.list.get(key);
      if (!row) {
        row = el('tr', 'client', el('td', '', el('span', 'name'), el('span', 'address')), el('td', ''), el('td', 'num'));
        kind.list.set(key, row);
        kind.body.append(row);
      }
      setText(row.cells[0].firstChild, client.client_id || 'no client id');
      setText(row.cells[0].lastChild, client.address);
      setTitle(row.cells[0], `${client.client_id} ${client.address}`);
      setText(row.cells[2], number(client.connections));
    }
    const more = open && all.length > MOST;
    if (more && !kind.more) {
      kind.more = el('tr', 'client', el('td', 'sum'));
      kind.more.firstChild.colSpan = 3;
    }
    if (more) {
      setText(kind.more.firstChild, `${number(all.length - MOST)} more`);
      if (kind.body.lastChild !== kind.more) kind.body.append(kind.more);
    } else if (kind.more) {
      kind.more.remove();
    }
  }

  function empty(status) {
    const box = $('clients-empty');
    const main = status.listeners.find((l) => l.node === null) || status.listeners[0];
    // Nobody can connect to "all addresses".
    const address = main ? main.address.replace(/^(0\.0\.0\.0|\[::\]):/, 'localhost:') : '';
    if (!box.firstChild) box.append(el('strong', '', 'No client has connected'), el('span', '', 'Point bootstrap.servers at '));
    const more = box.lastChild;
    if (more.childNodes.length < 2) more.append(el('code', ''));
    setText(more.lastChild, address);
    setHidden(more, !address);
  }

  return { update };
})();
