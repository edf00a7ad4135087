/* SPDX-License-Identifier: MIT */
/**
 * Runs the tests of this folder one file after the other and reports them as TAP. `run.mjs WORD…` runs
 * the files whose names contain one of the words.
 */
import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { run } from 'node:test';

const folder = fileURLToPath(new URL('.', import.meta.url));
const wanted = process.argv.slice(2);
const files = readdirSync(folder)
  .filter((name) => name.endsWith('.test.mjs') && (!wanted.length || wanted.some((word) => name.includes(word))))
  .sort()
  .map((name) => folder + name);

let count = 0;
let failed = 0;

/** A file is itself a test for some versions of Node; only what stands in it counts. */
function report(passed, { name, details, skip }) {
  if (details.type === 'suite' || (files.some((file) => file.endsWith(name)) && passed)) return;
  failed += passed ? 0 : 1;
  console.log((passed ? 'ok ' : 'not ok ') + ++count + ' - ' + name + (skip !== undefined ? ' # SKIP ' + skip : ''));
  if (!passed) {
    const reason = details.error?.cause ?? details.error;
    console.log(String(reason?.stack ?? reason).replace(/^/gm, '# '));
  }
}

run({ files, concurrency: 1 })
  .on('test:pass', (data) => report(true, data))
  .on('test:fail', (data) => report(false, data))
  .on('test:stderr', ({ message }) => process.stderr.write(message))
  .on('end', () => {
    console.log('1..' + count);
    process.exitCode = failed || !count ? 1 : 0;
  })
  .resume();
