// Puts the page together as kmend does at compile time: one document, and the policy that goes with it.
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';

const folder = new URL('../../src/admin/page/', import.meta.url);
const read = (name) => readFileSync(new URL(name, folder), 'utf8');

export function assemble() {
  let html = read('index.html');
  for (const [name, files] of Object.entries(JSON.parse(read('parts.json')))) {
    const placeholder = `/*{${name}}*/`;
    if (html.split(placeholder).length !== 2) throw new Error(`${placeholder} has to be in index.html once`);
    html = html.replace(placeholder, () => files.map((file) => read(file).trim()).join('\n'));
  }
  return { html, csp: policy(html) };
}

/** `<script>` and `<style>` only with the content that they have here; nothing from elsewhere. */
export function policy(html) {
  const hashes = (tag) =>
    [...html.matchAll(new RegExp(`<${tag}>([^]*?)</${tag}>`, 'g'))]
      .map(([, content]) => `'sha256-${createHash('sha256').update(content).digest('base64')}'`)
      .join(' ');
  return [
    "default-src 'none'", `script-src ${hashes('script')}`, `style-src ${hashes('style')}`, "connect-src 'self'",
    'img-src data:', "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'",
  ].join('; ');
}
