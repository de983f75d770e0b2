// What the page shows, and how it goes on when kmend does not.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

import { against } from './against.mjs';
import * as scenarios from './scenarios.mjs';
import { assertClean, feed, inChromium, median, text } from './scene.mjs';

const chromium = inChromium();

test('a repair is on the page within a second', async (t) => {
  const { mock, tab } = await chromium.open(t, scenarios.ordinary());
  const sent = new Map();
  const emit = (text) => sent.set(mock.emit({ text }).id, Date.now() / 1000);
  for (let i = 0; i < 30; i += 1) {
    emit(`orders[${i}]: evicted`);
    await sleep(20 + ((i * 37) % 110));
  }
  for (let i = 0; i < 200; i += 1) emit(`a storm, ${i}`);
  await tab.until((n) => window.seen.repairs.length >= n, sent.size + 13);
  const seen = await tab.evaluate('window.seen.repairs');
  const took = seen.filter(({ id }) => sent.has(id)).map(({ id, appeared_at }) => appeared_at - sent.get(id));
  assert.equal(took.length, sent.size, 'each once');
  t.diagnostic(`median ${Math.round(median(took) * 1000)} ms, slowest ${Math.round(Math.max(...took) * 1000)} ms`);
  assert.ok(Math.max(...took) < 1, `the slowest took ${Math.max(...took)} s`);
  assert.equal((await feed(tab))[0], 'a storm, 199');
  assertClean(tab, mock);
});

test('the feed: newest first, observed and warnings marked, details on demand', async (t) => {
  const { mock, tab } = await chromium.open(t, scenarios.ordinary());
  await tab.until("document.querySelectorAll('#feed .event').length === 13");
  const lines = await feed(tab);
  assert.equal(lines[0], 'orders[3]: 62129856 was evicted, reset to 84603153, 22473297 records skipped');
  assert.equal(lines.at(-1), 'a topic has more partitions');
  assert.equal(await tab.evaluate("document.querySelectorAll('#feed .event.warn .tag.warn').length"), 5);
  assert.deepEqual(await tab.evaluate("[...document.querySelectorAll('#feed .observed')].map((n) => n.querySelector('.tag.hollow').textContent + ': ' + n.querySelector('.text').textContent)"), ['observed, not done: the member would be made to rejoin']);
  // The number can be copied, and is read in groups of three.
  assert.deepEqual(await tab.evaluate("[...document.querySelectorAll('#feed .event:first-child .digits')].map((n) => [...n.children].map((part) => part.textContent).join(' '))"), ['62 129 856', '84 603 153', '22 473 297']);
  const time = await tab.evaluate("(({ title, dateTime, textContent }) => ({ title, dateTime, textContent }))(document.querySelector('#feed time'))");
  assert.match(time.title, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
  assert.equal(time.title, time.dateTime);
  assert.match(time.textContent, /\d\d:\d\d:\d\d$/);

  assert.equal(await text(tab, '#feed .fields'), null);
  await tab.click('#feed .event:first-child .line');
  const fields = await text(tab, '#feed .event:first-child .fields');
  for (const part of ['grouporders', 'policyearliest', 'skipped22\u202f473\u202f297']) assert.ok(fields.includes(part), `${part} in ${fields}`);
  assert.equal(await tab.evaluate("document.querySelector('#feed .line').getAttribute('aria-expanded')"), 'true');
  await tab.click('#feed .event:first-child .line');
  assert.equal(await text(tab, '#feed .fields'), null);

  mock.emit({ text: 'read this out', mender: 'commit_buffer' });
  await tab.until("document.querySelector('#repairs-live').textContent.endsWith('commit_buffer: read this out')");
  assertClean(tab, mock);
});

test('filters of the feed: by mender and by text', async (t) => {
  const { mock, tab } = await chromium.open(t, scenarios.ordinary());
  await tab.until("document.querySelectorAll('#feed .event').length === 13");
  const chip = (name) => tab.evaluate((wanted) => [...document.querySelectorAll('#repairs-menders button')].find((b) => b.textContent.startsWith(wanted)).click(), name);
  await chip('offset_reset');
  assert.equal((await feed(tab)).length, 2);
  assert.equal(await text(tab, '#repairs-sum'), '2 of 13');
  mock.emit({ mender: 'commit_buffer', text: 'hidden by the filter' });
  mock.emit({ mender: 'offset_reset', text: 'shown by the filter' });
  await tab.until("document.querySelector('#feed .event:not([hidden]) .text').textContent === 'shown by the filter'");
  assert.equal((await feed(tab)).length, 3);
  await chip('offset_reset');
  assert.equal((await feed(tab)).length, 15);

  await tab.click('#repairs-filter');
  await tab.type('KEPT orders-processor');
  assert.deepEqual(await feed(tab), ['a kept commit is superseded: records may be read again, none is lost', 'a kept commit has reached the broker', 'a commit that a rebalance refused is kept', 'a commit that a rebalance refused is kept']);
  await tab.type(' nothing like it');
  assert.deepEqual(await feed(tab), []);
  assert.equal(await text(tab, '#repairs-empty strong'), 'No repair matches');
  await tab.press('Escape');
  assert.equal((await feed(tab)).length, 15);
  assertClean(tab, mock);
});

test('pause holds what comes, and loses nothing', async (t) => {
  const { mock, tab } = await chromium.open(t, scenarios.empty());
  mock.emit({ text: 'before' });
  await tab.until("document.querySelectorAll('#feed .event').length === 1");
  await tab.press('p');
  mock.emit({ text: 'held 1' });
  mock.emit({ text: 'held 2' });
  await tab.until("document.querySelector('#pause').textContent === 'Go on (2)'");
  assert.deepEqual(await feed(tab), ['before']);
  await tab.click('#pause');
  await tab.until("document.querySelectorAll('#feed .event').length === 3");
  assert.deepEqual(await feed(tab), ['held 2', 'held 1', 'before']);
  assertClean(tab, mock);
});

test('who reads further down is not moved, and told of newer ones', async (t) => {
  const { mock, tab } = await chromium.open(t, scenarios.big());
  await tab.until("document.querySelectorAll('#feed .event').length === 500");
  await tab.evaluate("document.querySelector('#repairs-scroll').scrollTop = 900");
  await sleep(200);
  const place = "(() => { const box = document.querySelector('#repairs-scroll').getBoundingClientRect(); return document.elementFromPoint(box.left + 300, box.top + 120).closest('.event').dataset.id; })()";
  const before = await tab.evaluate(place);
  mock.emit({ text: 'newer' });
  await tab.until("document.querySelector('#repairs-newer').textContent === '1 newer'");
  assert.equal(await tab.evaluate(place), before);
  await tab.click('#repairs-newer');
  await tab.until("document.querySelector('#repairs-scroll').scrollTop === 0 && document.querySelector('#repairs-newer').hidden");
  assertClean(tab, mock);
});

test('a cut stream goes on where it was, without duplicates', async (t) => {
  const { mock, tab } = await chromium.open(t, scenarios.ordinary());
  await tab.until("document.querySelectorAll('#feed .event').length === 13");
  mock.cut();
  mock.emit({ text: 'missed 1' });
  mock.emit({ text: 'missed 2' });
  await tab.until("document.querySelectorAll('#feed .event').length === 15");
  assert.deepEqual((await feed(tab)).slice(0, 2), ['missed 2', 'missed 1']);
  const asked = mock.requests.filter((request) => request.url === '/api/events');
  assert.equal(asked.at(-1).headers['last-event-id'], 'a1-13');
  // A server that replays all the same: nothing is shown twice.
  await tab.evaluate("Feed.receive({ id: 'a1-13', at: 0, text: 'again' })");
  mock.emit({ text: 'new' });
  await tab.until("document.querySelectorAll('#feed .event').length >= 16");
  const ids = await tab.evaluate("[...document.querySelectorAll('#feed .event')].map((n) => n.dataset.id)");
  assert.equal(new Set(ids).size, ids.length);
  assert.equal(ids.length, 16);
  assertClean(tab, mock, { errors: [/ERR_INCOMPLETE_CHUNKED_ENCODING/] });
});

test('a stream that is dead without having ended is left', async (t) => {
  // 40 s, in a test 1.5.
  const script = 'const later = window.setTimeout; window.setTimeout = (work, ms, ...more) => later(work, ms === 40000 ? 1500 : ms, ...more);';
  const { mock, tab } = await chromium.open(t, scenarios.ordinary(), { script });
  await tab.until("document.querySelectorAll('#feed .event').length === 13");
  const asked = () => mock.requests.filter((request) => request.url === '/api/events');
  const limit = Date.now() + 15000;
  while (asked().length < 2 && Date.now() < limit) await sleep(50);
  assert.equal(asked()[1]?.headers['last-event-id'], 'a1-13');
  assertClean(tab, mock);
});

test('events are read in whatever pieces they come', async (t) => {
  const { tab } = await chromium.open(t, scenarios.empty());
  const read = (pieces) => tab.evaluate((all) => {
    const events = [];
    const retries = [];
    const parse = eventParser((event) => events.push(event), (ms) => retries.push(ms));
    for (const piece of all) parse(piece);
    return { events, retries };
  }, pieces);
  const stream = ': hello\n\nretry: 300\nevent: repair\nid: a-1\ndata: {"a":\ndata: 1}\n\nid: a-2\ndata:x\r\n\r\nevent: nothing\n\ndata: cut';
  const expected = { events: [{ type: 'repair', id: 'a-1', data: '{"a":\n1}' }, { type: 'message', id: 'a-2', data: 'x' }], retries: [300] };
  assert.deepEqual(await read([stream]), expected);
  assert.deepEqual(await read([...stream]), expected, 'letter by letter');
});

test('kmend gone and back, another run', async (t) => {
  const { mock, tab } = await chromium.open(t, scenarios.ordinary());
  await tab.until("document.querySelectorAll('#feed .event').length === 13");
  await mock.gone();
  await tab.until("document.querySelector('#state').textContent === 'Reconnecting'");
  await tab.until("document.querySelector('#state').textContent === 'kmend is gone'");
  assert.match(await text(tab, '#banner'), /^kmend does not answer\. What is shown is from \d\d:\d\d:\d\d\.$/);
  assert.equal(await tab.evaluate('document.title'), 'kmend (gone)');
  assert.equal((await feed(tab)).length, 13, 'what was there stays');
  const uptime = await text(tab, '#uptime');
  await sleep(1500);
  assert.equal(await text(tab, '#uptime'), uptime, 'what is gone does not grow older');
  mock.restart();
  await mock.back();
  mock.emit({ text: 'of the new run' });
  await tab.until("document.querySelector('#state').textContent === 'Live' && document.querySelector('#banner').hidden");
  await tab.until("document.querySelectorAll('#feed .event').length === 14");
  assert.equal((await feed(tab))[0], 'of the new run');
  assert.equal(await text(tab, '#feed .event:first-child + .break'), 'kmend was started again');
  assertClean(tab, mock, { errors: [/ERR_CONNECTION_REFUSED|ERR_INCOMPLETE_CHUNKED_ENCODING|ERR_CONNECTION_RESET|ERR_EMPTY_RESPONSE|ERR_SOCKET_NOT_CONNECTED/] });
});

test('a feed that is refused says why, and comes when it may', async (t) => {
  const { mock, tab } = await chromium.open(t, scenarios.ordinary());
  await tab.until("document.querySelectorAll('#feed .event').length === 13");
  mock.refuse('16 pages are open already: close one');
  mock.cut();
  await tab.until("document.querySelector('#repairs-notice').textContent === '16 pages are open already: close one'");
  assert.equal(await tab.evaluate("document.querySelector('#repairs-notice').hidden"), false);
  assert.equal(await text(tab, '#state'), 'Live', 'the rest of the page goes on');
  mock.refuse(null);
  await tab.until("document.querySelector('#repairs-notice').hidden");
  mock.emit({ text: 'it goes on' });
  await tab.until("document.querySelector('#feed .text').textContent === 'it goes on'");
  assertClean(tab, mock, { errors: [/503/, /ERR_INCOMPLETE_CHUNKED_ENCODING/] });
});

test('a status that cannot be read is said, not hidden', async (t) => {
  const { mock, tab } = await chromium.open(t, scenarios.ordinary());
  // What JSON.stringify leaves out makes an answer without a body.
  mock.setStatus(() => undefined);
  await tab.until("/\\/api\\/status is not JSON/.test(document.querySelector('#banner').textContent)");
  assert.equal(await text(tab, '#state'), 'kmend is gone');
});

test('a page that nobody looks at asks seldom', async (t) => {
  const script = "window.away = false; Object.defineProperty(document, 'hidden', { get: () => window.away });";
  const { mock, tab } = await chromium.open(t, scenarios.ordinary(), { script });
  const asked = () => mock.requests.filter((request) => request.url === '/api/status').length;
  const away = (value) => tab.evaluate((now) => {
    window.away = now;
    document.dispatchEvent(new Event('visibilitychange'));
  }, value);
  const begin = asked();
  await sleep(5000);
  assert.ok(asked() - begin >= 2, 'in sight: every 2 s');
  await away(true);
  await sleep(2500); // the timer that runs already
  const hidden = asked();
  await sleep(6000);
  assert.ok(asked() - hidden <= 1, 'out of sight: every 10 s');
  const back = asked();
  await away(false);
  await sleep(1000);
  assert.ok(asked() > back, 'at once when somebody looks again');
});

test('what is empty says what to do', async (t) => {
  const { mock, tab } = await chromium.open(t, scenarios.empty());
  assert.equal(await text(tab, '#repairs-empty strong'), 'Nothing has needed mending yet');
  assert.equal(await text(tab, '#clients-empty'), 'No client has connectedPoint bootstrap.servers at 127.0.0.1:9092');
  assert.equal(await text(tab, '#groups-empty strong'), 'No consumer group yet');
  mock.setStatus(scenarios.status({ menders: ['offset_reset', 'commit_buffer'].map((name) => ({ name, mode: 'off', outcomes: {} })) }));
  await tab.until("document.querySelector('#repairs-empty strong').textContent === 'All menders are off'");
  mock.setStatus(scenarios.status({ menders: [{ name: 'offset_reset', mode: 'observe', outcomes: {} }] }));
  await tab.until("document.querySelector('#repairs-empty').textContent.includes('All menders observe')");
  assertClean(tab, mock);
});

test('header, clients with faults, menders, reload', async (t) => {
  const { mock, tab } = await chromium.open(t, scenarios.ordinary());
  assert.equal(await text(tab, '#version'), '0.1.0 (9a063df)');
  assert.equal(await text(tab, '#cluster'), 'kT9vE2xWQdGm4yRz1bHfNA');
  assert.equal(await text(tab, '#upstream'), 'up');
  assert.equal(await text(tab, '#listeners'), '127.0.0.1:9092 + 3 brokers');
  assert.match(await text(tab, '#uptime'), /^1\u202fd 2\u202fh$/);
  assert.deepEqual(
    await tab.evaluate("[...document.querySelectorAll('#clients-table .kind')].map((row) => [...row.cells].map((cell) => cell.textContent).join('|'))"),
    ['franz-go1.16.1|2|4', 'librdkafka2.3.0|1|2', 'apache-kafka-java4.4.0|3|6', 'unknown software|1|1'],
  );
  assert.equal(await text(tab, '#clients-table .faults .open'), 'loses partitions on a protocol switchfixed in 1.17.0; assignment_watchdog only observes it');
  assert.equal(await text(tab, '#clients-table .faults .mended'), 'finds new partitions only after 5 minutespartition_discovery mends it');
  await tab.click('#clients-table .kind button');
  assert.deepEqual(await tab.evaluate("[...document.querySelectorAll('#clients-table .client')].map((row) => row.cells[0].textContent)"), ['payments-api10.1.4.17:51822', 'payments-api10.1.4.18:40112']);
  assert.deepEqual(await tab.evaluate("[...document.querySelectorAll('#attention a')].map((link) => link.textContent)"), ['2 partitions are assigned and not fetched', '1 consumer is stalled', '1 change needs a restart']);
  assert.equal(await tab.evaluate("document.querySelector('#menders-table tbody tr:nth-child(3)').textContent"), 'commit_bufferrepair9 buffered8 replayed1 superseded');
  assert.match(await text(tab, '#reload'), /taken 1 key changed.*Changedmenders\.assignment_watchdog\.mode.*Needs a restartlisten\.address/);
  mock.setStatus(scenarios.status({ clients: Array.from({ length: 400 }, (_, i) => scenarios.client(`app-${i}`, `10.0.0.1:${i}`, 'sarama', '1.45.0', 1)) }));
  await tab.until("document.querySelector('#clients-sum').textContent === '400 clients, 400 connections'");
  await tab.click('#clients-table .kind button');
  await tab.until("document.querySelectorAll('#clients-table .client').length === 301");
  assert.equal(await text(tab, '#clients-table .client:last-child'), '100 more');
  mock.setStatus(scenarios.status({ upstream: { up: false, bootstrap: ['kafka-0:9092'] }, reload: { at: Date.now() / 1000, ok: false, changed: [], needs_restart: [], error: 'kmend.yaml:3:7: unknown key' } }));
  await tab.until("document.querySelector('#reload pre')?.textContent === 'kmend.yaml:3:7: unknown key'");
  assert.deepEqual(await tab.evaluate("[...document.querySelectorAll('#attention a')].map((link) => link.textContent)"), ['No broker answers at kafka-0:9092', 'The last reload was refused']);
  assertClean(tab, mock);
});

test('charts show the last ten minutes, and the value under the pointer', async (t) => {
  const { mock, tab } = await chromium.open(t, scenarios.ordinary());
  const shown = () => tab.evaluate("[...document.querySelectorAll('.chart')].map((chart) => [...chart.querySelectorAll('.value')].map((v) => v.textContent).join(' '))");
  const now = await shown();
  assert.equal(now.length, 5);
  assert.match(now[1], /^\d+\u202fKiBto \d+\u202fKiBfrom$/);
  assert.match(now[2], /^\d\.\d\u202fmsp50 \d+\u202fmsp99$/);
  assert.match(now[3], /^\d+\u202fµsp50 \d+\u202fµsp99$/);
  assert.equal(now[4], '13');
  const painted = "(() => { const c = document.querySelector('.chart canvas'); const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; let n = 0; for (let i = 3; i < d.length; i += 4) n += d[i] > 0; return n; })()";
  assert.ok((await tab.evaluate(painted)) > 2000, 'something is drawn');
  const at = await tab.evaluate("(() => { const over = document.querySelector('.chart:last-of-type .u-over'); over.scrollIntoView({ block: 'center' }); const box = over.getBoundingClientRect(); return { x: box.left + box.width * 0.1, y: box.top + 20 }; })()");
  await tab.send('Input.dispatchMouseEvent', { type: 'mouseMoved', ...at });
  await tab.until("document.querySelector('.chart:last-of-type .value').textContent === '11'");
  assert.match(await text(tab, '#load-sum'), /^at \d\d:\d\d:\d\d$/, 'all charts follow');
  assert.match(await tab.evaluate("document.querySelector('.chart:last-of-type [role=img]').getAttribute('aria-label')"), /^Client connections: now 13, at most 14$/);
  assertClean(tab, mock);
});

test('names that apps choose are only text', async (t) => {
  const { mock, tab } = await chromium.open(t, scenarios.hostile());
  await tab.until("document.querySelectorAll('#feed .event').length === 7");
  await tab.evaluate("document.querySelectorAll('#feed .line, #clients-table .fold').forEach((b) => b.click())");
  await tab.until("document.querySelectorAll('#groups-table tbody .partition').length > 0");
  assert.equal(await tab.evaluate('window.owned === undefined && ({}).owned === undefined'), true);
  assert.equal(await tab.evaluate("document.querySelectorAll('img').length + document.querySelectorAll('body script').length"), 0);
  const html = '<img src=x onerror="window.owned=true">';
  for (const place of ['#version', '#listeners', '#menders-table', '#clients-table', '#groups-table', '#feed', '#reload', '#repairs-menders']) {
    assert.ok((await text(tab, place)).includes(html), `${place} shows the name as it is`);
  }
  // What would turn the direction of the line is written out.
  assert.equal(await tab.evaluate("document.body.textContent.includes('\\u202e')"), false);
  assert.ok((await text(tab, '#clients-table')).includes('user\\u202egnp.exe\\u0000\\u0007'));
  assertClean(tab, mock);
});

test('the checks of each test find what they are for', async (t) => {
  const { mock, tab } = await chromium.open(t, scenarios.empty());
  assertClean(tab, mock);
  await tab.evaluate("(() => { const s = document.createElement('script'); s.textContent = 'window.owned = true'; document.body.append(s); })()");
  await sleep(300);
  assert.equal(await tab.evaluate('window.owned === undefined'), true, 'the policy stops a script');
  assert.throws(() => assertClean(tab, mock), /violations/);
  tab.violations.length = 0;
  tab.errors.length = 0;
  await tab.evaluate("console.error('trouble')");
  assert.throws(() => assertClean(tab, mock), /console errors/);
  tab.errors.length = 0;
  await tab.evaluate("fetch('/api/config').then(() => null)");
  assert.throws(() => assertClean(tab, mock), /no business|console errors/);
  tab.requests.push('https://example.org/');
  tab.errors.length = 0;
  assert.throws(() => assertClean(tab, mock), /somebody else/);
});

test('the smoke test of a running kmend', async (t) => {
  const mock = process.env.KMEND_PAGE_URL ? null : await (await import('./mock.mjs')).startMock(scenarios.ordinary());
  if (mock) t.after(() => mock.stop());
  const saw = await against(process.env.KMEND_PAGE_URL ?? mock.url, 4);
  assert.deepEqual(saw.console_errors, []);
  assert.deepEqual(saw.csp_violations, []);
  assert.deepEqual(saw.outside_requests, []);
  assert.equal(saw.state, 'Live');
  assert.equal(saw.document_is_current, true, 'kmend serves the page of this checkout');
  assert.equal(saw.policy_is_current, true, 'with its policy');
  assert.match(saw.header.version, /^\d+\.\d+\.\d+/);
  if (mock) assert.equal(saw.feed.length, 13);
});
