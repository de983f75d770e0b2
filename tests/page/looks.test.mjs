// What can be read: contrast in both themes, and narrow windows.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import * as scenarios from './scenarios.mjs';
import { assertClean, inChromium } from './scene.mjs';

const chromium = inChromium();

/** Runs in the page: each pair of text and background in use, with its contrast by WCAG 2. */
function pairs() {
  const parse = (colour) => {
    // color-mix() and light-dark() come out as rgb() or color(srgb ...).
    const numbers = colour.match(/[\d.]+(e-?\d+)?%?/g).map(parseFloat);
    if (colour.startsWith('rgb')) return [numbers[0], numbers[1], numbers[2], numbers[3] ?? 1];
    if (colour.startsWith('color(srgb')) return [numbers[0] * 255, numbers[1] * 255, numbers[2] * 255, numbers[3] ?? 1];
    throw new Error(`cannot read the colour ${colour}`);
  };
  const over = ([r, g, b, a], [r2, g2, b2]) => [r * a + r2 * (1 - a), g * a + g2 * (1 - a), b * a + b2 * (1 - a), 1];
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const contrast = (a, b) => (Math.max(light(a), light(b)) + 0.05) / (Math.min(light(a), light(b)) + 0.05);
  const below = (node) => {
    const layers = [];
    for (let at = node; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      layers.push(colour);
      if (colour[3] === 1) break;
    }
    return layers.reverse().reduce((under, layer) => over(layer, under), [255, 255, 255, 1]);
  };
  const opacity = (node) => {
    let all = 1;
    for (let at = node; at; at = at.parentElement) all *= Number(getComputedStyle(at).opacity);
    return all;
  };
  const found = new Map();
  const add = (what, front, back, wanted, example) => {
    const key = `${what} ${front.map(Math.round)} on ${back.map(Math.round)}`;
    if (!found.has(key)) found.set(key, { key, what, ratio: Math.round(contrast(front, back) * 100) / 100, wanted, example });
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const of = node.parentElement;
    if (!node.data.trim() || !of.checkVisibility({ contentVisibilityAuto: false }) || of.closest('.sr, noscript, script')) continue;
    const style = getComputedStyle(of);
    const back = below(of);
    const [r, g, b, a] = parse(style.color);
    const front = over([r, g, b, a * opacity(of)], back);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    add('text', front, back, large ? 3 : 4.5, `${of.className || of.tagName}: ${node.data.trim().slice(0, 30)}`);
  }
  for (const input of document.querySelectorAll('input')) {
    const back = below(input);
    add('text', over(parse(getComputedStyle(input, '::placeholder').color), back), back, 4.5, `placeholder of ${input.id}`);
    add('edge', parse(getComputedStyle(input).borderTopColor), below(input.parentElement), 3, `edge of ${input.id}`);
  }
  for (const mark of document.querySelectorAll('.swatch, .bar .fetched, .bar .paused, .bar .unfetched')) {
    if (mark.checkVisibility()) add('mark', parse(getComputedStyle(mark).backgroundColor), below(mark.closest('tr, figure')), 3, mark.className);
  }
  for (const name of ['axis']) {
    const node = document.querySelector(`.paint-${name}`);
    if (node) add('text', parse(getComputedStyle(node).color), below(node.closest('figure')), 4.5, 'axis of charts');
  }
  return [...found.values()];
}

for (const dark of [false, true]) {
  test(`contrast, ${dark ? 'dark' : 'light'}`, async (t) => {
    const scenario = scenarios.ordinary();
    const { mock, tab } = await chromium.open(t, scenario, { dark, height: 3000 });
    await tab.until("document.querySelectorAll('#feed .event').length === 13 && document.querySelectorAll('#groups-table .partition').length > 10");
    const all = new Map();
    const look = async () => {
      for (const pair of await tab.evaluate(pairs)) all.set(pair.key, pair);
    };
    await tab.evaluate("document.querySelectorAll('#feed .line, #clients-table .fold').forEach((b) => b.click()); document.querySelector('#repairs-menders button').click()");
    await look();
    await tab.evaluate("document.querySelector('#repairs-menders button').click(); document.querySelector('#groups-scroll').scrollTop = 1e6; document.querySelector('#help').showModal()");
    await look();
    // What is hovered, refused, failed and gone.
    await tab.evaluate("document.querySelector('#help').close()");
    mock.emit({ level: 'ERROR', text: 'an error' });
    mock.refuse('too many pages');
    mock.setStatus({ ...scenario.status(), upstream: { up: false }, reload: { at: 1, ok: false, changed: [], needs_restart: [], error: 'unknown key' }, menders: ['repair', 'observe', 'off'].map((mode) => ({ name: mode, mode, outcomes: { done: 1 } })) });
    await tab.until("document.querySelector('#reload pre') && document.querySelector('#upstream').textContent === 'down' && document.querySelector('#feed .error') !== null");
    const box = await tab.evaluate("(() => { const box = document.querySelector('#feed .observed .line').getBoundingClientRect(); return { x: box.left + 200, y: box.top + 5 }; })()");
    await tab.send('Input.dispatchMouseEvent', { type: 'mouseMoved', ...box });
    await look();
    mock.cut();
    await tab.until("!document.querySelector('#repairs-notice').hidden");
    await look();
    await mock.gone();
    await tab.until("document.querySelector('#state').textContent === 'Reconnecting'");
    await look();
    await tab.until("document.querySelector('#state').textContent === 'kmend is gone'");
    await look();
    mock.setStatus(scenarios.status());
    mock.restart();
    await mock.back();
    await tab.until("!document.querySelector('#groups-empty').hidden && document.querySelector('#state').textContent !== 'kmend is gone'");
    await look();
    const seen = (front, back) => [...all.values()].some(({ key }) => key === `text ${front},1 on ${back},1`);
    const [warning, error, calm] = dark
      ? [['232,177,76', '47,37,18'], ['255,138,128', '55,26,26'], ['63,207,180', '18,48,43']]
      : [['138,83,0', '253,243,221'], ['179,38,30', '253,236,235'], ['13,122,108', '227,244,241']];
    for (const pair of [warning, error, calm]) assert.ok(seen(...pair), `${pair} is somewhere on the page`);
    const bad = [...all.values()].filter(({ ratio, wanted }) => ratio < wanted);
    t.diagnostic(`${all.size} pairs of colours, the lowest for text: ${Math.min(...[...all.values()].filter((p) => p.what === 'text').map((p) => p.ratio))}`);
    assert.deepEqual(bad, []);
    // The check finds what cannot be read.
    await tab.evaluate("document.querySelector('h1').style.color = 'rgb(128 128 128 / 0.5)'");
    assert.ok((await tab.evaluate(pairs)).some(({ ratio, wanted, example }) => ratio < wanted && example.includes('kmend')), 'the control');
  });
}

test('no window is too narrow', async (t) => {
  const opened = "document.querySelectorAll('#feed .line, #clients-table .fold').forEach((b) => b.click())";
  for (const name of ['empty', 'ordinary', 'big', 'hostile']) {
    const { mock, tab } = await chromium.open(t, scenarios[name](), { width: 360, height: 740 });
    await tab.until("document.querySelector('#feed .event') !== null || !document.querySelector('#repairs-empty').hidden");
    await tab.evaluate(opened);
    for (const width of [360, 480, 720, 768, 1000, 1180, 1440, 2200]) {
      await tab.resize(width, 740);
      // A scroll bar takes its part of the width.
      const wide = await tab.evaluate(() => {
        window.scrollTo(500, 0);
        return { wanted: document.documentElement.scrollWidth, have: document.documentElement.clientWidth, moved: window.scrollX };
      });
      assert.ok(wide.wanted <= wide.have && wide.moved === 0, `${name} at ${width}: ${JSON.stringify(wide)}`);
    }
    // Nothing in the table of groups lies beyond its edge either.
    await tab.resize(360, 740);
    const box = await tab.evaluate("(() => { const box = document.querySelector('#groups-scroll'); return [box.scrollWidth, box.clientWidth]; })()");
    assert.ok(box[0] <= box[1], `${name}: rows of groups ${box}`);
    await tab.evaluate("document.body.append(Object.assign(document.createElement('div'), { id: 'control' })); document.querySelector('#control').style.width = '500px'; document.querySelector('#control').style.height = '1px'");
    assert.ok(await tab.evaluate('document.documentElement.scrollWidth > document.documentElement.clientWidth'), 'the control');
    assertClean(tab, mock);
    await tab.close();
  }
});
