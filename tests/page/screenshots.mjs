// Writes the pictures of the docs: docs/images/status-{light,dark,narrow}.png, from the ordinary scenario.
//
//   node tests/page/screenshots.mjs [FOLDER]
//
// They look as in the docs with the fonts Inter and JetBrains Mono (Debian: fonts-inter, fonts-jetbrains-mono).
import { mkdirSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { join, resolve } from 'node:path';

import { launch } from './browser.mjs';
import { startMock } from './mock.mjs';
import { ordinary } from './scenarios.mjs';

const folder = resolve(process.argv[2] ?? fileURLToPath(new URL('../../docs/images', import.meta.url)));
mkdirSync(folder, { recursive: true });

const PICTURES = [
  { name: 'light', width: 1440, height: 1060, open: true },
  { name: 'dark', width: 1440, height: 926, dark: true, bottom: true },
  { name: 'narrow', width: 390, height: 844, scale: 2, dark: true },
];

const mock = await startMock(ordinary());
const browser = await launch({ flags: ['--hide-scrollbars'] });
try {
  for (const { name, open, bottom, ...options } of PICTURES) {
    const tab = await browser.tab({ reduced: true, ...options });
    await tab.open(mock.url);
    await tab.until("document.querySelectorAll('#feed .event').length === 13 && document.querySelectorAll('.u-wrap').length === 5 && document.querySelector('#state').textContent === 'Live'");
    if (open) await tab.evaluate("document.querySelector('#feed .line').click()");
    if (bottom) await tab.evaluate("document.querySelector('[data-show=trouble]').click(); window.scrollTo(0, document.body.scrollHeight)");
    await tab.evaluate('new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))');
    const file = join(folder, `status-${name}.png`);
    writeFileSync(file, await tab.screenshot());
    console.log(file);
    await tab.close();
  }
} finally {
  await browser.close();
  await mock.stop();
}
