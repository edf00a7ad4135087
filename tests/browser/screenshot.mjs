/* SPDX-License-Identifier: MIT */
/**
 * Makes the pictures of the README from the real page: node tests/browser/screenshot.mjs [FOLDER]. The
 * default folder is docs/. Speaks a sentence, while longer work goes on behind it.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { TOP, SPEECH, eventually, openPage, speechFile, startBrowser, startHub, transcript } from './fixtures.mjs';

const folder = process.argv[2] ?? join(TOP, 'docs');
const hub = await startHub({ options: { web_root: join(TOP, 'web') } });
const browser = await startBrowser({ wav: speechFile() });
const long = Buffer.concat([Buffer.alloc(64000), ...Array(40).fill(readFileSync(SPEECH))]);

for (const colorScheme of ['light', 'dark']) {
  const options = { colorScheme, viewport: { width: 1280, height: 960 } };
  const page = await openPage(browser, hub.url, hub.token('demo', 'admin'), options);
  await page.click('[data-task="process_text"] button');
  await page.click('[data-task="calculate_rating"] button');
  await page.click('[data-job="calculate_all_ratings"] button');
  await page.waitForFunction(() => document.querySelectorAll('.task[data-status="completed"]').length >= 3);
  await page.fill('#expected', 'Go forward ten meters.');
  await page.click('#record');
  await page.waitForSelector('#record[data-recording="true"]');
  await eventually(() => transcript(page).then((words) => words.includes('meters')), 'the words', 20);
  await page.waitForFunction((end) => Date.now() > end, Date.now() + 1500);
  await page.click('#record');
  await page.waitForSelector('#score:not([hidden])');
  await page.evaluate(async (bytes) => {
    const [{ TaskHub }, { sendFile }] = await Promise.all([import('/sdk/taskhub.js'), import('/sdk/taskhub-audio.js')]);
    const client = new TaskHub({ token: sessionStorage.getItem('taskhub.token') });
    const file = new File([Uint8Array.from(atob(bytes), (c) => c.charCodeAt(0))], 'lecture.raw');
    window.background = await sendFile(client, file, 'process_speak_audio', { resource_id: 'lecture' });
  }, long.toString('base64'));
  await eventually(() => page.$eval('.task[data-status="processing"] progress', (bar) => bar.value > 30).catch(() => false), 'work in progress', 30);
  await page.mouse.move(5, 5);
  await page.evaluate(() => scrollTo(0, 0));
  await page.screenshot({ path: join(folder, colorScheme === 'light' ? 'screenshot.png' : 'screenshot-dark.png') });
  await page.evaluate(() => window.background.abort());
  await page.context().close();
}
await browser.close();
await hub.stop();
