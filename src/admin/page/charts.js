// Charts of the last ten minutes.

const Charts = (() => {
  const SPAN = 600;
  const LOOKS = ['accent', 'second'];
  const CHARTS = [
    { title: 'Requests', unit: 'per second', format: rough, floor: 1, series: [['requests', '']] },
    { title: 'Bytes', unit: 'per second, to and from clients', format: bytes, floor: 1024, binary: true, series: [['response_bytes', 'to'], ['request_bytes', 'from']] },
    { title: 'Upstream latency', format: latency, floor: 0.001, series: [['upstream_p50', 'p50'], ['upstream_p99', 'p99']] },
    { title: 'Added by kmend', format: latency, floor: 0.0001, series: [['added_p50', 'p50'], ['added_p99', 'p99']] },
    { title: 'Client connections', format: rough, floor: 1, whole: true, series: [['connections', '']] },
  ];
  const made = [];
  let traffic = null;

  /** A colour of the style sheet, as the canvas needs it. */
  function colour(figure, name) {
    return getComputedStyle(figure.querySelector(`.paint-${name}`)).color;
  }

  function faint(rgb) {
    return rgb.replace(/^rgb\((.*)\)$/, 'rgba($1, 0.10)');
  }

  function make(spec) {
    const value = el('div', 'values');
    const figure = el('figure', 'chart', el('figcaption', '', el('span', 'title', spec.title), spec.unit ? el('span', 'unit', spec.unit) : null), value);
    const shown = spec.series.map(([, label], i) => {
      const text = el('b', '', NONE);
      value.append(el('span', 'value', label ? el('i', `swatch ${LOOKS[i]}`) : null, text, label ? el('span', 'label', label) : null));
      return text;
    });
    for (const name of ['accent', 'second', 'axis', 'grid']) figure.append(el('span', `paint paint-${name}`));
    const box = el('div', 'plot');
    box.setAttribute('role', 'img');
    figure.append(box);
    $('charts').append(figure);
    const chart = { spec, figure, box, shown, plot: null };
    new ResizeObserver(() => resize(chart)).observe(box);
    return chart;
  }

  function options(chart) {
    const { spec, figure } = chart;
    const axis = { stroke: () => colour(figure, 'axis'), font: '11px system-ui, sans-serif', ticks: { show: false } };
    const grid = { stroke: () => colour(figure, 'grid'), width: 1 };
    return {
      width: Math.max(80, chart.box.clientWidth),
      height: 120,
      padding: [8, 16, 0, 0],
      legend: { show: false },
      cursor: { sync: { key: 'kmend' }, drag: { x: false, y: false }, y: false, points: { size: 6 } },
      scales: {
        x: { time: true, range: (u, min, max) => [max - SPAN, max] },
        y: { range: (u, min, max) => [0, top(spec, max)] },
      },
      axes: [
        { ...axis, size: 22, gap: 4, space: 56, grid: { show: false }, values: (u, at) => at.map((t) => clock(t).slice(-8, -3)) },
        { ...axis, size: 62, gap: 6, grid, splits: (u, i, min, max) => [0, max / 2, max], values: (u, at) => at.map((v) => (v === 0 ? '0' : spec.format(v).replace(/\.0+(?!\d)/, ''))) },
      ],
      series: [
        {},
        ...spec.series.map(([, label], i) => ({
          label,
          stroke: () => colour(figure, LOOKS[i]),
          fill: i === 0 ? () => faint(colour(figure, 'accent')) : undefined,
          width: 1.5,
          points: { show: false },
        })),
      ],
      hooks: { setCursor: [(u) => showValues(chart, u.cursor.idx)] },
    };
  }

  /** A round number above the largest value: half of it is round, too. */
  function top(spec, max) {
    const wanted = Math.max(max || 0, spec.floor);
    const base = spec.binary ? 1024 ** Math.floor(Math.log(wanted) / Math.log(1024)) : 1;
    const size = wanted / base;
    const power = 10 ** Math.floor(Math.log10(size));
    const step = [1, 2, 4, 6, 8, 10].find((s) => s * power >= size * 1.02) ?? 20;
    return Math.max(spec.whole ? 2 : 0, step * power) * base;
  }

  function showValues(chart, at) {
    const rows = traffic ? traffic.at.length : 0;
    const index = at ?? rows - 1;
    chart.spec.series.forEach(([key], i) => {
      setText(chart.shown[i], chart.spec.format(rows > 0 ? traffic[key][index] : null));
    });
    if (chart === made[0]) {
      setText($('load-sum'), at !== null && at !== undefined && rows > 0 ? `at ${clock(traffic.at[at])}` : '');
    }
  }

  function resize(chart) {
    const width = chart.box.clientWidth;
    if (chart.plot && width > 0 && width !== chart.plot.width) chart.plot.setSize({ width, height: 120 });
  }

  /** The work of an update, one chart each. */
  function updates(status) {
    return made.map((chart) => () => {
      traffic = status.traffic;
      const data = [traffic.at, ...chart.spec.series.map(([key]) => traffic[key])];
      if (!chart.plot) chart.plot = new uPlot(options(chart), data, chart.box);
      else chart.plot.setData(data);
      showValues(chart, chart.plot.cursor.idx);
      describe(chart, data);
    });
  }

  /** What somebody hears who does not see the chart. */
  function describe(chart, data) {
    const parts = chart.spec.series.map(([, label], i) => {
      const known = data[i + 1].filter((v) => v !== null);
      const now = known.length > 0 ? known[known.length - 1] : null;
      const most = known.length > 0 ? known.reduce((a, b) => Math.max(a, b)) : null;
      return `${label} now ${chart.spec.format(now)}, at most ${chart.spec.format(most)}`.trim();
    });
    const text = `${chart.spec.title}: ${parts.join('; ')}`;
    if (chart.said !== text) {
      chart.said = text;
      chart.box.setAttribute('aria-label', text);
    }
  }

  function start() {
    for (const spec of CHARTS) made.push(make(spec));
    Theme.onChange(() => {
      for (const chart of made) if (chart.plot) chart.plot.redraw(false);
    });
  }

  return { start, updates };
})();
