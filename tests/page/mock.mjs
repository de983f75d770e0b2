// A kmend that only plays: it serves the page and a status and events by script. No dependencies.
//
//   node tests/page/mock.mjs [SCENARIO] [PORT]     to look at it: empty, ordinary, big, hostile
import { createServer } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';

import { assemble } from './assemble.mjs';
import * as scenarios from './scenarios.mjs';

const REPLAYED = 500;

export async function startMock(scenario = scenarios.ordinary(), port = 0) {
  const page = assemble();
  let { status, events = [] } = scenario;
  let run = 'a1';
  let number = 0;
  let refusal = null; // what /api/events says instead of opening
  let server = null;
  const log = [];
  const streams = new Set();
  const sockets = new Set();
  const requests = [];

  function emit(event) {
    number += 1;
    const full = { id: `${run}-${number}`, at: Date.now() / 1000, level: 'INFO', mender: 'offset_reset', text: '', observed: false, fields: {}, ...event };
    log.push(full);
    for (const stream of streams) stream.write(line(full));
    return full;
  }

  const line = (event) => `event: repair\nid: ${event.id}\ndata: ${JSON.stringify(event)}\n\n`;

  function answer(request, response) {
    requests.push({ method: request.method, url: request.url, headers: request.headers });
    const path = request.url.split('?')[0];
    const head = (code, type, more) => response.writeHead(code, { 'content-type': type, 'cache-control': 'no-store', 'x-content-type-options': 'nosniff', ...more });
    if (path === '/') {
      head(200, 'text/html; charset=utf-8', { 'content-security-policy': page.csp });
      response.end(page.html);
    } else if (path === '/api/status') {
      const now = typeof status === 'function' ? status() : status;
      head(200, 'application/json');
      response.end(JSON.stringify(now));
    } else if (path === '/api/events' && refusal) {
      head(503, 'text/plain; charset=utf-8');
      response.end(`${refusal}\n`);
    } else if (path === '/api/events') {
      head(200, 'text/event-stream');
      response.write(': kmend\n\n');
      const last = request.headers['last-event-id'];
      const at = log.findIndex((event) => event.id === last);
      for (const event of at >= 0 ? log.slice(at + 1) : log.slice(-REPLAYED)) response.write(line(event));
      streams.add(response);
      response.on('close', () => streams.delete(response));
    } else {
      head(404, 'text/plain; charset=utf-8');
      response.end('nothing here\n');
    }
  }

  async function listen() {
    server = createServer(answer);
    server.on('connection', (socket) => {
      sockets.add(socket);
      socket.on('close', () => sockets.delete(socket));
    });
    // A port that was just closed may be busy for a moment.
    for (let left = 50; ; left -= 1) {
      const error = await new Promise((done) => {
        server.once('error', done);
        server.listen(port, '127.0.0.1', () => done(null));
      });
      if (!error) break;
      if (left === 0 || error.code !== 'EADDRINUSE') throw error;
      await sleep(100);
    }
    port = server.address().port;
  }

  const comments = setInterval(() => streams.forEach((stream) => stream.write(': still here\n\n')), 15000);
  for (const event of events) emit(event);
  await listen();

  return {
    get url() {
      return `http://127.0.0.1:${port}/`;
    },
    requests,
    streams,
    emit,
    setStatus: (next) => {
      status = next;
    },
    refuse: (text) => {
      refusal = text;
    },
    /** Ends the event streams; the server stays. */
    cut: () => streams.forEach((stream) => stream.destroy()),
    /** kmend is gone: nobody listens. */
    async gone() {
      const closed = new Promise((done) => server.close(done));
      sockets.forEach((socket) => socket.destroy());
      await closed;
    },
    back: listen,
    /** A new process: the run has another name, and what was before is forgotten. */
    restart: () => {
      run = `b${Date.now()}`;
      number = 0;
      log.length = 0;
    },
    async stop() {
      clearInterval(comments);
      const closed = new Promise((done) => server.close(done));
      sockets.forEach((socket) => socket.destroy());
      await closed;
    },
  };
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const [name = 'ordinary', port = '0'] = process.argv.slice(2);
  const scenario = scenarios[name]();
  const mock = await startMock(scenario, Number(port));
  console.log(mock.url);
  if (scenario.live) for (;;) {
    await sleep(3000);
    mock.emit(scenario.live());
  }
}
