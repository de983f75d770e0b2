// Menders, their modes and what they decided; the last reload of the configuration.

const Menders = (() => {
  const MODES = {
    repair: 'Mends what it finds.',
    observe: 'Changes no byte; counts what it would have done.',
    off: 'Does nothing.',
  };
  const rows = new Map();
  let reloaded = '';

  function update(status) {
    const body = $('menders-table').tBodies[0];
    const names = new Set(status.menders.map((m) => m.name));
    for (const [name, row] of rows) {
      if (!names.has(name)) {
        row.remove();
        rows.delete(name);
      }
    }
    for (const mender of status.menders) {
      let row = rows.get(mender.name);
      if (!row) {
        row = el('tr', '', el('th', 'name', mender.name), el('td', '', el('span', '')), el('td', 'outcomes'));
        row.firstChild.scope = 'row';
        rows.set(mender.name, row);
        body.append(row);
      }
      const mode = row.cells[1].firstChild;
      setText(mode, mender.mode);
      setClass(mode, `mode ${MODES[mender.mode] ? mender.mode : ''}`);
      setTitle(mode, MODES[mender.mode] || '');
      outcomes(row.cells[2], mender);
    }
    const count = (mode) => status.menders.filter((m) => m.mode === mode).length;
    const parts = [[count('repair'), 'repair'], [count('observe'), 'observe'], [count('off'), 'off']];
    setText($('menders-sum'), parts.filter(([n]) => n > 0).map(([n, mode]) => `${n} ${mode}`).join(', '));
    reload(status.reload);
  }

  function outcomes(cell, mender) {
    const some = Object.entries(mender.outcomes).filter(([, n]) => n > 0);
    const shown = JSON.stringify(some);
    if (cell.outcomes === shown) return;
    cell.outcomes = shown;
    cell.replaceChildren(
      ...some.map(([name, n]) => el('span', 'outcome', el('b', '', number(n)), ` ${name.replaceAll('_', ' ')}`)),
    );
    if (some.length === 0) cell.append(el('span', 'none', mender.mode === 'off' ? 'off' : 'nothing yet'));
  }

  function reload(last) {
    const shown = JSON.stringify(last);
    if (reloaded === shown) return;
    reloaded = shown;
    const box = $('reload');
    box.replaceChildren(el('h3', '', 'Last reload'));
    box.className = `reload${last && !last.ok ? ' failed' : ''}`;
    if (!last) {
      box.append(el('p', '', 'None since the start. kmend reads its configuration again when a file changes, or on SIGHUP.'));
      return;
    }
    const line = el('p', '', timeElement(last.at), ' ');
    if (!last.ok) line.append(el('span', 'tag bad', 'refused'), ' nothing was changed');
    else if (last.changed.length + last.needs_restart.length === 0) line.append('nothing had changed');
    else line.append(el('span', 'tag good', 'taken'), ` ${plural(last.changed.length, 'key')} changed`);
    box.append(line);
    if (last.error) box.append(el('pre', '', last.error));
    keys(box, 'Changed', last.changed);
    keys(box, 'Needs a restart', last.needs_restart);
  }

  function keys(box, title, list) {
    if (list.length === 0) return;
    const items = el('ul', '');
    for (const key of list) items.append(el('li', '', el('code', '', key)));
    box.append(el('h4', '', title), items);
  }

  return { update };
})();
