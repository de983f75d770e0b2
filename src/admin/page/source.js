// Where the facts come from: /api/status is polled, /api/events is a stream. Asked relative to the page, which a proxy
// may serve below a path of its own.

/** Calls `show` with the status every 2 s, every 10 s while nobody looks; `lost` with why there is none. */
function pollStatus(show, lost) {
  const often = 2000;
  const seldom = 10000;
  const patience = 5000;
  let timer = 0;
  let asking = false;

  async function ask() {
    if (asking) return;
    asking = true;
    clearTimeout(timer);
    const abort = new AbortController();
    const limit = setTimeout(() => abort.abort(), patience);
    let status = null;
    let why = '';
    try {
      const answer = await fetch('api/status', { signal: abort.signal, cache: 'no-store' });
      if (answer.ok) status = await answer.json();
      else why = `/api/status answers ${answer.status}: ${(await answer.text()).trim().slice(0, 300)}`;
    } catch (error) {
      why = abort.signal.aborted ? `/api/status did not answer within ${patience / 1000} s` : '';
      // What is no JSON is a fault to show; a connection that fails needs no words.
      if (error instanceof SyntaxError) why = `/api/status is not JSON: ${error.message}`;
    }
    clearTimeout(limit);
    asking = false;
    timer = setTimeout(ask, document.hidden ? seldom : often);
    if (status) show(status);
    else lost(why);
  }
  document.addEventListener('visibilitychange', () => {
    if (!document.hidden) ask();
  });
  ask();
  return ask;
}

/** Reads a text/event-stream from pieces of text; calls `on` with { type, id, data }. */
function eventParser(on, retry) {
  let rest = '';
  let event = { type: '', data: [] };
  let id = '';
  return (piece) => {
    rest += piece;
    let begin = 0;
    for (;;) {
      const end = rest.indexOf('\n', begin);
      if (end < 0) break;
      const line = rest.slice(begin, end).replace(/\r$/, '');
      begin = end + 1;
      if (line === '') {
        if (event.data.length > 0) on({ type: event.type || 'message', id, data: event.data.join('\n') });
        event = { type: '', data: [] };
        continue;
      }
      const colon = line.indexOf(':');
      if (colon === 0) continue;
      const field = colon < 0 ? line : line.slice(0, colon);
      const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '');
      if (field === 'event') event.type = value;
      else if (field === 'data') event.data.push(value);
      else if (field === 'id') id = value;
      else if (field === 'retry' && /^\d+$/.test(value)) retry(Number(value));
    }
    rest = rest.slice(begin);
  };
}

/**
 * Follows /api/events for ever. With fetch, not EventSource: that one hides why it is refused, and does not
 * notice a connection that is dead without having ended, as one through a forwarded port may be.
 */
function followEvents({ event, open, lost, refused }) {
  const silence = 40000; // a comment comes each 15 s
  let lastId = '';
  let pause = 1000;
  let timer = 0;
  let running = false;

  async function run() {
    running = true;
    clearTimeout(timer);
    const abort = new AbortController();
    let watchdog = 0;
    const heard = () => {
      clearTimeout(watchdog);
      watchdog = setTimeout(() => abort.abort(), silence);
    };
    let why = null;
    heard();
    try {
      const headers = { Accept: 'text/event-stream' };
      if (lastId) headers['Last-Event-ID'] = lastId;
      const answer = await fetch('api/events', { headers, signal: abort.signal, cache: 'no-store' });
      if (!answer.ok) {
        why = (await answer.text()).trim().slice(0, 300) || `/api/events answers ${answer.status}`;
      } else {
        open();
        const parse = eventParser(
          (message) => {
            if (message.id) lastId = message.id;
            if (message.type === 'repair') event(JSON.parse(message.data));
          },
          (ms) => {
            pause = Math.min(Math.max(ms, 200), 10000);
          },
        );
        const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
        for (;;) {
          const { value, done } = await reader.read();
          if (done) break;
          heard();
          parse(value);
        }
      }
    } catch (error) {
      // The connection broke: that is said by `lost`. What cannot be read is a fault of kmend's, and is shown.
      if (error instanceof SyntaxError) {
        why = `an event could not be read: ${error.message}`;
        abort.abort();
      }
    }
    clearTimeout(watchdog);
    running = false;
    if (why === null) lost();
    else refused(why);
    timer = setTimeout(run, why === null ? pause : 5000);
  }
  run();
  // kmend answers again: no need to wait.
  return () => {
    if (!running) run();
  };
}
