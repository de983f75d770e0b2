// What tests of the page share: a browser for a file, a mock and a tab for each test.
import assert from 'node:assert/strict';
import { after, before } from 'node:test';

import { launch } from './browser.mjs';
import { startMock } from './mock.mjs';

export function inChromium() {
  let browser = null;
  before(async () => {
    browser = await launch();
  });
  after(() => browser?.close());

  return {
    get browser() {
      return browser;
    },
    /** Opens the page of a scenario; when the test ends, checks what has to hold for each. */
    async open(t, scenario, options = {}) {
      const mock = await startMock(scenario);
      t.after(() => mock.stop());
      const tab = await browser.tab(options);
      t.after(() => tab.close());
      await tab.open(mock.url);
      await tab.until("document.querySelector('#state').textContent === 'Live'");
      await tab.until("document.querySelectorAll('.chart .u-wrap').length === 5 && document.querySelector('#menders-table tbody tr') !== null");
      return { mock, tab };
    },
  };
}

/** Nothing on the console, nothing that the policy forbids, nothing asked of anybody else. */
export function assertClean(tab, mock, { errors = [] } = {}) {
  const unexpected = tab.errors.filter((error) => !errors.some((allowed) => allowed.test(error)));
  assert.deepEqual(unexpected, [], 'console errors');
  assert.deepEqual(tab.violations, [], 'violations of the content security policy');
  const origin = new URL(mock.url).origin;
  const outside = tab.requests.filter((url) => !url.startsWith(`${origin}/`) && !url.startsWith('data:'));
  assert.deepEqual(outside, [], 'requests to somebody else');
  const paths = new Set(mock.requests.map((request) => request.url));
  assert.deepEqual([...paths].filter((path) => !['/', '/api/status', '/api/events'].includes(path)), [], 'paths of kmend that the page has no business with');
}

/** The sentences of the feed, newest first, as far as they are shown. */
export const feed = (tab) => tab.evaluate("[...document.querySelectorAll('#feed .event:not([hidden]) .text')].map((node) => node.textContent)");

export const text = (tab, selector) => tab.evaluate((css) => document.querySelector(css)?.textContent ?? null, selector);

export function median(values) {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];
}
