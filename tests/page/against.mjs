// Looks at a running kmend with a real browser, and prints what it saw as JSON.
//
//   node tests/page/against.mjs URL [SECONDS]
//
// {
//   "url", "state": "Live", "title", "header": { "version", "cluster", "upstream", ... },
//   "sections": { "repairs": "13, 5 warnings", ... },
//   "feed": [{ "id", "mender", "text", "appeared_at": unix seconds }],   oldest first, once each time it was added
//   "rows_in_feed", "notice", "banner", "attention": [...],
//   "console_errors": [...], "csp_violations": [...], "requests": [...], "outside_requests": [...],
//   "long_tasks": [{ "start", "ms" }],                                   over 50 ms, by the browser's own count
//   "document_is_current", "policy_is_current"                           it is the page of this checkout, with its policy
// }
import { setTimeout as sleep } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';

import { assemble } from './assemble.mjs';
import { launch } from './browser.mjs';

export async function against(url, seconds = 5, { screenshot = null } = {}) {
  const browser = await launch();
  try {
    const tab = await browser.tab();
    await tab.open(url);
    await sleep(seconds * 1000);
    const saw = await tab.evaluate(() => {
      const text = (css) => document.querySelector(css)?.textContent ?? null;
      const shown = (css) => (document.querySelector(css)?.hidden === false ? text(css) : null);
      return {
        state: text('#state'),
        title: document.title,
        header: Object.fromEntries(['version', 'cluster', 'upstream', 'uptime', 'connections', 'listeners'].map((id) => [id, text(`#${id}`)])),
        sections: Object.fromEntries(['repairs', 'clients', 'groups', 'menders'].map((id) => [id, text(`#${id}-sum`)])),
        attention: [...document.querySelectorAll('#attention a')].map((link) => link.textContent),
        feed: window.seen.repairs,
        rows_in_feed: document.querySelectorAll('#feed .event').length,
        notice: shown('#repairs-notice'),
        banner: shown('#banner'),
        long_tasks: window.seen.longTasks,
      };
    });
    if (screenshot) (await import('node:fs')).writeFileSync(screenshot, await tab.screenshot());
    const origin = new URL(url).origin;
    const answer = await fetch(url);
    const current = assemble();
    const directives = (policy) => JSON.stringify((policy ?? '').split(';').map((one) => one.trim().split(/\s+/).join(' ')).filter(Boolean).sort());
    return {
      url,
      ...saw,
      console_errors: tab.errors,
      csp_violations: tab.violations,
      requests: tab.requests,
      document_is_current: (await answer.text()) === current.html,
      policy_is_current: directives(answer.headers.get('content-security-policy')) === directives(current.csp),
      outside_requests: tab.requests.filter((asked) => !asked.startsWith(`${origin}/`) && !asked.startsWith('data:')),
    };
  } finally {
    await browser.close();
  }
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const [url, seconds = '5', screenshot] = process.argv.slice(2);
  if (!url || !(Number(seconds) > 0)) {
    console.error('usage: node tests/page/against.mjs URL [SECONDS] [SCREENSHOT.png]');
    process.exit(64);
  }
  console.log(JSON.stringify(await against(url, Number(seconds), { screenshot }), null, 2));
}
