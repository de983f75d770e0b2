// Looks at a running kmend with a real browser, and prints what it saw as JSON.
//
//   node tests/page/against.mjs URL [SECONDS | -] [SCREENSHOT.png | --tasks]
//
// `-`: until the standard input ends; each of its lines is evaluated in the page. "live" on the standard error output says
// when the page shows what happens. `--tasks`: from then on the CPU time of the page's tasks is taken.
//
// {
//   "url", "state": "Live", "title", "header": { "version", "cluster", "upstream", ... },
//   "sections": { "repairs": "13, 5 warnings", ... },
//   "feed": [{ "id", "mender", "text", "tags", "appeared_at": unix seconds }],   as they were added, once each time
//   "rows_in_feed", "notice", "banner", "attention": [...],
//   "console_errors": [...], "csp_violations": [...], "requests": [...], "outside_requests": [...],
//   "group_rows",                                                        of the table, in sight or not
//   "tasks": { "count", "longest_cpu_ms" },                              null without --tasks
//   "long_tasks": [{ "start", "ms" }],                                   over 50 ms, by the browser's own count
//   "document_is_current", "policy_is_current"                           it is the page of this checkout, with its policy
// }
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';

import { assemble } from './assemble.mjs';
import { launch } from './browser.mjs';

/** `looks`: seconds, or a function that looks at the tab for as long as it likes. */
export async function against(url, looks = 5, { screenshot = null, traced = false } = {}) {
  const browser = await launch();
  try {
    const tab = await browser.tab();
    await tab.open(url);
    const look = () => (typeof looks === 'function' ? looks(tab) : sleep(looks * 1000));
    let tasks = null;
    if (traced) {
      await isLive(tab);
      const all = await browser.tasks(tab, look);
      tasks = { count: all.length, longest_cpu_ms: Math.max(...all.map((task) => task.cpu_ms)) };
    } else {
      await look();
    }
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
        group_rows: Number(document.querySelector('#groups-table').getAttribute('aria-rowcount')),
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
      tasks,
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

const isLive = (tab) => tab.until("document.querySelector('#state').textContent === 'Live'");

/** Says when the page is live, and does what is written to this process until nobody does any more. */
async function untilStdinEnds(tab) {
  await isLive(tab);
  console.error('live');
  for await (const line of createInterface({ input: process.stdin })) await tab.evaluate(line);
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const [url, seconds = '5', last] = process.argv.slice(2);
  if (!url || !(seconds === '-' || Number(seconds) > 0)) {
    console.error('usage: node tests/page/against.mjs URL [SECONDS | -] [SCREENSHOT.png | --tasks]');
    process.exit(64);
  }
  const traced = last === '--tasks';
  const saw = await against(url, seconds === '-' ? untilStdinEnds : Number(seconds), { traced, screenshot: traced ? null : last });
  console.log(JSON.stringify(saw, null, 2));
}
