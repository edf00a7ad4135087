/* SPDX-License-Identifier: MIT */
/** Speaking into the page: a WAV plays into Chromium's microphone and the words appear. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { WebSocket } from 'ws';
import { SLOWDOWN, SPEECH, eventually, library, openPage, speechFile, startBrowser, startHub, startProxy, transcript } from './fixtures.mjs';

const SAID = 'go forward ten meters';
/** Between the record button and the end of the speech in the file. */
const SPOKEN_MS = 4200;

let hub, proxy, browser;
before(async () => {
  proxy = await startProxy();
  hub = await startHub({ alsoAt: [proxy.port] });
  proxy.target = hub.port;
  browser = await startBrowser({ wav: speechFile() });
});
after(async () => {
  await browser?.close();
  proxy?.close();
  await hub?.stop();
});

const listening = (page) => page.waitForSelector('#record[data-recording="true"]');
const finished = (page) => page.waitForSelector('.task[data-status="completed"]', { timeout: 30000 * SLOWDOWN });

test('the transcript grows while the user speaks, and ends right', { timeout: 90000 * SLOWDOWN }, async () => {
  const page = await openPage(browser, hub.url, hub.token('speaker'));
  await page.click('#record');
  await listening(page);
  const spoken = Date.now();
  const early = await eventually(() => transcript(page), 'the first words', 20);
  assert.ok(await page.$('.task[data-status="processing"]'), 'words came while the task was running');
  assert.ok(early.length > 0);
  await page.waitForFunction(() => Number(document.querySelector('#level').getAttribute('aria-valuenow')) > 0);
  assert.match(await page.textContent('#record-time'), /^0:0\d$/, 'how long it has been recording');
  await page.waitForFunction((end) => Date.now() > end, spoken + SPOKEN_MS);
  await page.click('#record');
  await finished(page);
  await eventually(async () => (await transcript(page)) === SAID, 'the transcript "' + SAID + '"');
  assert.match(await page.textContent('#spoken'), /go forward/i);
  await page.waitForSelector('#record-time:empty', { state: 'attached' });
  assert.deepEqual(page.complaints, []);
});

test('a text to read gives a score and marks its words', { timeout: 90000 * SLOWDOWN }, async () => {
  const page = await openPage(browser, hub.url, hub.token('reader'));
  await page.fill('#expected', 'Go forward ten meters.');
  await page.setInputFiles('#file', { name: 'speech.wav', mimeType: 'audio/wav', buffer: wav(readFileSync(SPEECH)) });
  await finished(page);
  await page.waitForSelector('#score:not([hidden])');
  assert.ok(Number(await page.textContent('#score-number')) >= 60, await page.textContent('#score-number'));
  assert.equal(await transcript(page), SAID);
  assert.ok((await page.$$('#transcript .word[data-mark="right"]')).length >= 3);
  assert.deepEqual(page.complaints, []);
});

test('a suspended recording goes on, and a muted microphone is told', { timeout: 90000 * SLOWDOWN }, async () => {
  const page = await openPage(browser, hub.url, hub.token('muted'));
  await page.evaluate(() => {
    const Context = window.AudioContext;
    window.AudioContext = class extends Context {
      constructor(...words) {
        super(...words);
        window.context = this;
      }
    };
    const media = navigator.mediaDevices;
    const open = media.getUserMedia.bind(media);
    media.getUserMedia = async (wanted) => (window.media = await open(wanted));
  });
  await page.click('#record');
  await listening(page);
  await page.evaluate(() => window.context.suspend());
  await page.waitForFunction(() => window.context.state === 'running');
  const mute = (muted) =>
    page.evaluate((muted) => {
      const [track] = window.media.getTracks();
      Object.defineProperty(track, 'muted', { value: muted, configurable: true });
      track.dispatchEvent(new Event(muted ? 'mute' : 'unmute'));
    }, muted);
  await mute(true);
  await page.waitForFunction(() => document.body.textContent.includes('it is muted'));
  await mute(false);
  await page.waitForFunction(() => document.body.textContent.includes('Speak now'));
  await page.click('#record');
  await finished(page);
  assert.deepEqual(page.complaints, []);
});

test('a connection cut in the middle of speaking loses nothing', { timeout: 90000 * SLOWDOWN }, async () => {
  const page = await openPage(browser, 'http://127.0.0.1:' + proxy.port, hub.token('cut'));
  await page.click('#record');
  await listening(page);
  await eventually(() => transcript(page), 'the first words', 20);
  proxy.open = false;
  proxy.cut();
  await page.waitForSelector('#connection[data-state="waiting"]');
  await page.waitForFunction((end) => Date.now() > end, Date.now() + 1200);
  proxy.open = true;
  await page.waitForSelector('#connection[data-state="connected"]', { timeout: 20000 * SLOWDOWN });
  await page.waitForFunction((end) => Date.now() > end, Date.now() + SPOKEN_MS / 2);
  await page.click('#record');
  await finished(page);
  await eventually(async () => (await transcript(page)) === SAID, 'the transcript "' + SAID + '"');
});

test('a file whose connection is cut arrives byte for byte', { timeout: 90000 * SLOWDOWN }, async () => {
  const { TaskHub, sendFile } = await library();
  const bytes = Buffer.concat([readFileSync(SPEECH), Buffer.alloc(640000), readFileSync(SPEECH)]);
  const said = [];
  for (const cuts of [0, 2]) {
    const client = new TaskHub('ws://127.0.0.1:' + proxy.port + '/ws', { token: hub.token('file'), WebSocket });
    await client.connect();
    const stream = await sendFile(client, Object.assign(new Blob([wav(bytes)]), { name: 'speech.wav' }), 'process_speak_audio', { resource_id: 'r' });
    let left = cuts;
    stream.on('progress', (received) => {
      if (!left || received < (bytes.length * (cuts - left + 1)) / (cuts + 2)) return;
      left--;
      proxy.cut();
    });
    const result = await stream.task.result();
    assert.equal(left, 0);
    assert.ok(Math.abs(result.duration_s - bytes.length / 32000) < 0.02, String(result.duration_s));
    said.push(JSON.stringify(result.words));
    client.close();
  }
  assert.equal(said[0], said[1]);
});

/** 16 kHz mono PCM as a WAV file. */
function wav(pcm) {
  const head = Buffer.alloc(44);
  head.write('RIFF', 0);
  head.writeUInt32LE(36 + pcm.length, 4);
  head.write('WAVEfmt ', 8);
  head.writeUInt32LE(16, 16);
  head.writeUInt16LE(1, 20);
  head.writeUInt16LE(1, 22);
  head.writeUInt32LE(16000, 24);
  head.writeUInt32LE(32000, 28);
  head.writeUInt16LE(2, 32);
  head.writeUInt16LE(16, 34);
  head.write('data', 36);
  head.writeUInt32LE(pcm.length, 40);
  return Buffer.concat([head, pcm]);
}
