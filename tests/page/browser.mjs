// A small driver for Chromium: the DevTools protocol over a pipe (file descriptors 3 and 4), no dependencies.
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const FLAGS = [
  '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync', '--disable-dev-shm-usage', '--disable-extensions', '--mute-audio',
  '--no-default-browser-check', '--remote-debugging-pipe',
];

export function chromium() {
  const named = process.env.KMEND_CHROMIUM;
  const found = [named, '/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find((path) => path && existsSync(path));
  if (!found) throw new Error('no Chromium: install the package chromium, or name one in KMEND_CHROMIUM');
  return found;
}

export async function launch({ flags = [] } = {}) {
  const profile = mkdtempSync(join(tmpdir(), 'kmend-page-'));
  const child = spawn(chromium(), [...FLAGS, ...flags, `--user-data-dir=${profile}`, 'about:blank'], {
    stdio: ['ignore', 'ignore', 'pipe', 'pipe', 'pipe'],
  });
  let said = '';
  child.stderr.on('data', (data) => {
    said = (said + data).slice(-4000);
  });
  const toBrowser = child.stdio[3];
  const fromBrowser = child.stdio[4];
  const waiting = new Map();
  const listeners = new Map(); // session -> function
  let last = 0;
  let rest = Buffer.alloc(0);
  let ended = null;
  const exited = new Promise((done) => child.once('exit', (code, signal) => done(`Chromium ended (${code ?? signal}): ${said}`)));
  exited.then((why) => {
    ended = why;
    for (const { reject } of waiting.values()) reject(new Error(why));
    waiting.clear();
  });
  toBrowser.on('error', () => {}); // it has ended: `exited` says so

  fromBrowser.on('data', (data) => {
    rest = Buffer.concat([rest, data]);
    for (let end = rest.indexOf(0); end >= 0; end = rest.indexOf(0)) {
      const message = JSON.parse(rest.subarray(0, end).toString());
      rest = rest.subarray(end + 1);
      const call = message.id && waiting.get(message.id);
      if (call) {
        waiting.delete(message.id);
        if (message.error) call.reject(new Error(`${call.method}: ${message.error.message}`));
        else call.resolve(message.result);
      } else if (message.method) {
        listeners.get(message.sessionId)?.(message.method, message.params);
      }
    }
  });

  function send(method, params = {}, sessionId = undefined) {
    if (ended) return Promise.reject(new Error(ended));
    last += 1;
    const id = last;
    return new Promise((resolve, reject) => {
      waiting.set(id, { resolve, reject, method });
      toBrowser.write(`${JSON.stringify({ id, method, params, sessionId })}\0`);
    });
  }

  async function close() {
    await Promise.race([send('Browser.close').catch(() => {}), sleep(3000)]);
    if ((await Promise.race([exited, sleep(3000, null)])) === null) child.kill('SIGKILL');
    await exited;
    rmSync(profile, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
  }

  /** The tasks of the tab's main thread while `work` runs, each with the CPU time that it took itself. */
  async function tasks(tab, work) {
    const events = [];
    let done = null;
    const complete = new Promise((resolve) => (done = resolve));
    listeners.set(undefined, (method, params) => {
      if (method === 'Tracing.dataCollected') events.push(...params.value);
      else if (method === 'Tracing.tracingComplete') done();
    });
    await send('Tracing.start', { transferMode: 'ReportEvents', traceConfig: { includedCategories: ['toplevel', 'devtools.timeline'], excludedCategories: ['*'] } });
    await work();
    await tab.evaluate("console.timeStamp('here')");
    await send('Tracing.end');
    await complete;
    listeners.delete(undefined);
    const thread = (event) => `${event.pid}/${event.tid}`;
    // Chromium has renderers for pages of its own, too.
    const ours = events.find((e) => e.name === 'TimeStamp');
    if (!ours) throw new Error('the trace does not show the tab');
    return events
      .filter((e) => e.ph === 'X' && thread(e) === thread(ours) && /RunTask$/.test(e.name))
      .map((e) => ({ ms: e.dur / 1000, cpu_ms: (e.tdur ?? e.dur) / 1000 }));
  }

  return {
    close,
    tasks,
    version: async () => (await send('Browser.getVersion')).product,
    async tab(options) {
      // A context of its own: no storage is shared between tests.
      const { browserContextId } = await send('Target.createBrowserContext');
      const { targetId } = await send('Target.createTarget', { url: 'about:blank', browserContextId });
      const { sessionId } = await send('Target.attachToTarget', { targetId, flatten: true });
      const tab = new Tab((method, params) => send(method, params, sessionId));
      listeners.set(sessionId, (method, params) => tab.heard(method, params));
      tab.close = async () => {
        if (!listeners.delete(sessionId)) return;
        await send('Target.disposeBrowserContext', { browserContextId });
      };
      await tab.prepare(options);
      return tab;
    },
  };
}

class Tab {
  /** What nobody wants to see: errors, violations of the policy, requests. */
  errors = [];
  violations = [];
  requests = [];

  constructor(send) {
    this.send = send;
    this.waits = [];
  }

  heard(method, params) {
    if (method === 'Runtime.exceptionThrown') {
      const { exceptionDetails: details } = params;
      this.errors.push(details.exception?.description ?? details.text);
    } else if (method === 'Runtime.consoleAPICalled' && ['error', 'warning', 'assert'].includes(params.type)) {
      this.errors.push(params.args.map((arg) => arg.value ?? arg.description).join(' '));
    } else if (method === 'Log.entryAdded' && params.entry.level === 'error') {
      const { source, text, url } = params.entry;
      if (source === 'security' || /Content Security Policy/.test(text)) this.violations.push(text);
      else this.errors.push(`${text} ${url ?? ''}`.trim());
    } else if (method === 'Audits.issueAdded' && params.issue.code === 'ContentSecurityPolicyIssue') {
      this.violations.push(JSON.stringify(params.issue.details));
    } else if (method === 'Network.requestWillBeSent') {
      this.requests.push(params.request.url);
    }
    this.waits = this.waits.filter((wait) => !wait(method, params));
  }

  /** The next event of that name. */
  event(name) {
    return new Promise((resolve) => this.waits.push((method, params) => method === name && (resolve(params), true)));
  }

  async prepare({ width = 1440, height = 900, scale = 1, dark = false, reduced = false, script = '' } = {}) {
    for (const domain of ['Page', 'Runtime', 'Log', 'Network', 'Audits']) await this.send(`${domain}.enable`);
    await this.resize(width, height, scale);
    await this.media({ dark, reduced });
    await this.send('Page.addScriptToEvaluateOnNewDocument', { source: WATCH + script });
  }

  resize(width, height, scale = 1) {
    return this.send('Emulation.setDeviceMetricsOverride', { width, height, deviceScaleFactor: scale, mobile: false });
  }

  media({ dark = false, reduced = false }) {
    return this.send('Emulation.setEmulatedMedia', {
      features: [
        { name: 'prefers-color-scheme', value: dark ? 'dark' : 'light' },
        { name: 'prefers-reduced-motion', value: reduced ? 'reduce' : 'no-preference' },
      ],
    });
  }

  async open(url) {
    const loaded = this.event('Page.loadEventFired');
    const { errorText } = await this.send('Page.navigate', { url });
    if (errorText) throw new Error(`${url}: ${errorText}`);
    await loaded;
  }

  /** The value of an expression, or of a function called with arguments that JSON can carry. */
  async evaluate(what, ...args) {
    const expression = typeof what === 'function' ? `(${what})(${args.map((arg) => JSON.stringify(arg)).join(',')})` : what;
    const { result, exceptionDetails } = await this.send('Runtime.evaluate', { expression, returnByValue: true, awaitPromise: true });
    if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
    return result.value;
  }

  /** Waits until it is true; says what it was if it does not come true. */
  async until(what, ...args) {
    const limit = Date.now() + 15000;
    for (;;) {
      const value = await this.evaluate(what, ...args);
      if (value) return value;
      if (Date.now() > limit) throw new Error(`did not come true: ${what} (${JSON.stringify(args)})`);
      await sleep(25);
    }
  }

  async press(key, { shift = false } = {}) {
    const codes = { Enter: 13, Escape: 27, Tab: 9, ArrowDown: 40, ArrowUp: 38, ArrowRight: 39, ArrowLeft: 37, ' ': 32 };
    const text = key.length === 1 ? key : key === 'Enter' ? '\r' : undefined;
    const base = { key, text, windowsVirtualKeyCode: codes[key] ?? key.toUpperCase().charCodeAt(0), modifiers: shift ? 8 : 0 };
    await this.send('Input.dispatchKeyEvent', { type: 'keyDown', ...base });
    await this.send('Input.dispatchKeyEvent', { type: 'keyUp', ...base, text: undefined });
  }

  type(text) {
    return this.send('Input.insertText', { text });
  }

  async click(selector) {
    const { x, y } = await this.evaluate((css) => {
      const node = document.querySelector(css);
      node.scrollIntoView({ block: 'center' });
      const box = node.getBoundingClientRect();
      return { x: box.left + box.width / 2, y: box.top + box.height / 2 };
    }, selector);
    for (const type of ['mousePressed', 'mouseReleased']) {
      await this.send('Input.dispatchMouseEvent', { type, x, y, button: 'left', clickCount: 1 });
    }
  }

  async screenshot({ whole = false } = {}) {
    const { data } = await this.send('Page.captureScreenshot', { format: 'png', captureBeyondViewport: whole });
    return Buffer.from(data, 'base64');
  }
}

/** Runs in the page before anything else: when which repair was there, and tasks that took long. */
const WATCH = `
window.seen = { repairs: [], longTasks: [] };
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) window.seen.longTasks.push({ start: Math.round(entry.startTime), ms: Math.round(entry.duration) });
}).observe({ type: 'longtask', buffered: true });
new MutationObserver((changes) => {
  for (const change of changes) for (const node of change.addedNodes) {
    if (node.nodeType !== 1) continue;
    for (const item of node.matches('[data-id]') ? [node] : node.querySelectorAll('[data-id]')) {
      window.seen.repairs.push({ id: item.dataset.id, appeared_at: Date.now() / 1000, text: item.querySelector('.text').textContent, mender: item.querySelector('.mender').textContent, tags: item.querySelector('.tags').textContent });
    }
  }
}).observe(document, { childList: true, subtree: true });
`;
