/* SPDX-License-Identifier: MIT */
/** The pieces of code in docs/client.md run as they stand: in Chromium, and in every Node that the page names. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { NODES, TOP, scratch, startBrowser, startHub } from './fixtures.mjs';

const [page, node, audio] = [...readFileSync(join(TOP, 'docs/client.md'), 'utf8').matchAll(/```js\n(.*?)```/gs)].map(([, code]) => code);

let hub, browser;
before(async () => {
  hub = await startHub();
  browser = await startBrowser();
});
after(async () => {
  await browser?.close();
  await hub?.stop();
});

/** Runs a module in a page whose server gives out tokens; gives what it said. */
async function run(code) {
  const at = await (await browser.newContext()).newPage();
  const said = [];
  at.on('console', (message) => said.push(message.text()));
  await at.route('**/token', (route) => route.fulfill({ body: hub.token('reader') }));
  await at.route('**/snippet.js', (route) => route.fulfill({ contentType: 'text/javascript', body: code }));
  await at.goto(hub.url + '/healthz');
  await at.evaluate(() => import('/snippet.js').then(() => {}));
  await at.close();
  return said;
}

test('a task with progress, in a page', async () => {
  assert.match((await run(page)).at(-1), /word/);
});

test('a recording, in a page', async () => {
  const around = 'let told = 0; const stopButton = {}; const draw = () => ++told === 5 && stopButton.onclick(); const show = () => {};';
  await run(page + around + audio + 'if (!told || typeof text !== "string" || !Array.isArray(words)) throw new Error("no transcript");');
});

for (const [name, program] of NODES) {
  test('a task with progress, in ' + name, { skip: existsSync(program) ? false : 'no such Node for this machine' }, () => {
    const folder = scratch();
    cpSync(join(TOP, 'web/sdk'), join(folder, 'sdk'), { recursive: true });
    symlinkSync(join(TOP, 'tests/browser/node_modules'), join(folder, 'node_modules'));
    writeFileSync(join(folder, 'package.json'), '{"type": "module"}');
    writeFileSync(join(folder, 'snippet.js'), node.replace('127.0.0.1:8080', '127.0.0.1:' + hub.port));
    const env = { ...process.env, TASKHUB_TOKEN: hub.token('reader') };
    const said = execFileSync(program, [join(folder, 'snippet.js')], { encoding: 'utf8', env, timeout: 60000 });
    assert.match(said, /^\w+ \d+\n(.*\n)*completed 100\n$/);
  });
}
