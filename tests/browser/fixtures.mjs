/* SPDX-License-Identifier: MIT */
/**
 * What the browser tests are written with: a real hub, tokens, Chromium with a microphone that plays a
 * file, a proxy that can cut connections. Everything started here is ended by its pid.
 */
import { execFileSync, spawn } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync, openSync } from 'node:fs';
import { createConnection, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { chromium } from 'playwright-core';

export const TOP = fileURLToPath(new URL('../..', import.meta.url));
const BUILD = resolve(process.env.TASKHUB_BUILD ?? join(TOP, 'build'));
const CHROMIUM = process.env.CHROMIUM ?? '/usr/bin/chromium';
/** The versions of Node that the library is for: this one, and others where npm has them for this machine. */
export const NODES = [['this Node', process.execPath], ...['node18', 'node22'].map((name) => [name, join(TOP, 'tests/browser/node_modules', name, 'bin/node')])];
export const SLOWDOWN = Number(process.env.TASKHUB_TEST_SLOWDOWN ?? 1);
/** "go forward ten meters", 16 kHz PCM (Debian's pocketsphinx-testdata). */
export const SPEECH = '/usr/share/pocketsphinx/test/data/goforward.raw';
const QUIET = ['--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'];

const pause = (ms) => new Promise((done) => setTimeout(done, ms));

/** Calls until it gives something true. */
export async function eventually(condition, what, seconds = 15) {
  const end = Date.now() + seconds * 1000 * SLOWDOWN;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (Date.now() > end) throw new Error(what + ' did not come true within ' + seconds * SLOWDOWN + ' s');
    await pause(20);
  }
}

export function freePort() {
  return new Promise((done) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => done(port));
    });
  });
}

/** A directory of this test, gone when the process ends. */
export function scratch() {
  const directory = mkdtempSync(join(tmpdir(), 'taskhub-browser-'));
  process.on('exit', () => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

/** The client library as modules Node can import, whatever its version thinks of ".js". */
export async function library() {
  const directory = scratch();
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, 'package.json'), '{"type":"module"}');
  for (const name of readdirSync(join(TOP, 'web/sdk'))) {
    if (/^taskhub.*\.js$/.test(name)) cpSync(join(TOP, 'web/sdk', name), join(directory, name));
  }
  const load = (name) => import(pathToFileURL(join(directory, name)));
  return { folder: directory, ...(await load('taskhub.js')), ...(await load('taskhub-audio.js')) };
}

function environment(options) {
  const own = /^(TASKHUB_(?!TEST|BUILD)|REDIS_URL|DATABASE_URL|CELERY_|MAX_(CONCURRENT|GLOBAL)_)/;
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !own.test(name)));
  for (const [key, value] of Object.entries(options)) env['TASKHUB_' + key.toUpperCase().replaceAll('.', '_')] = String(value);
  return env;
}

/** A hub with its own Redis and workers. Ports in `alsoAt` are allowed as origins, for proxies. */
export async function startHub({ options = {}, alsoAt = [] } = {}) {
  const data = scratch();
  const port = await freePort();
  const origins = [port, ...alsoAt].map((p) => 'http://127.0.0.1:' + p).join(' ');
  const env = environment({ diagnostics: true, origins, 'slots.default': 2, 'slots.live': 2, ...options });
  const log = openSync(join(data, 'hub.log'), 'a');
  const args = ['serve', '--listen', '127.0.0.1:' + port, '--data-dir', data];
  let child;
  const hub = {
    port,
    url: 'http://127.0.0.1:' + port,
    log: () => readFileSync(join(data, 'hub.log'), 'utf8'),
    token: (user, ...roles) => {
      const words = ['token', '--user', user, '--data-dir', data, ...roles.flatMap((role) => ['--role', role])];
      return execFileSync(join(BUILD, 'taskhub'), words, { env, encoding: 'utf8' }).trim();
    },
    start: async () => {
      child = spawn(join(BUILD, 'taskhub'), args, { env, stdio: ['ignore', log, log] });
      const ready = async () => {
        if (child.exitCode !== null) throw new Error('the hub ended:\n' + hub.log());
        return fetch(hub.url + '/readyz').then((answer) => answer.ok, () => false);
      };
      await eventually(ready, 'the hub ready', 20).catch((error) => {
        child.kill('SIGTERM');
        throw new Error(error.message + '\n' + hub.log());
      });
    },
    stop: async () => {
      const ended = new Promise((done) => child.once('exit', done));
      child.kill('SIGTERM');
      await ended;
    },
  };
  process.once('exit', () => child?.kill('SIGTERM'));
  await hub.start();
  return hub;
}

/**
 * Forwards to a port until cut; `bytes` counts what went up. While it is `silent` it swallows everything and
 * holds the sockets open; `down(data)` sees what comes from the hub, and keeps it if that is false.
 */
export async function startProxy() {
  const sockets = new Set();
  const proxy = { target: 0, open: true, silent: false, down: () => true, bytes: 0, port: 0, cut: () => {}, close: () => {} };
  const server = createServer((client) => {
    if (!proxy.open) {
      client.destroy();
      return;
    }
    const up = createConnection(proxy.target, '127.0.0.1');
    for (const socket of [client, up]) {
      sockets.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => {
        sockets.delete(socket);
        client.destroy();
        up.destroy();
      });
    }
    client.on('data', (data) => {
      proxy.bytes += data.length;
      if (!proxy.silent) up.write(data);
    });
    up.on('data', (data) => {
      if (!proxy.silent && proxy.down(data) !== false) client.write(data);
    });
  });
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  proxy.port = server.address().port;
  proxy.cut = () => sockets.forEach((socket) => socket.destroy());
  proxy.close = () => {
    proxy.cut();
    server.close();
  };
  return proxy;
}

/** A WAV for the fake microphone: silence, the speech (raw 16 kHz PCM), silence. */
export function speechFile(raw = SPEECH) {
  const wav = join(scratch(), 'speech.wav');
  const filter = 'adelay=700,apad=pad_dur=1.5';
  execFileSync('ffmpeg', ['-loglevel', 'error', '-f', 's16le', '-ar', '16000', '-ac', '1', '-i', raw, '-af', filter, '-ar', '48000', wav]);
  return wav;
}

export async function startBrowser({ wav } = {}) {
  const sound = wav ? ['--use-file-for-fake-audio-capture=' + wav + '%noloop'] : [];
  const args = [...QUIET, '--use-fake-device-for-media-stream', '--use-fake-ui-for-media-stream', ...sound];
  if (process.getuid() === 0) args.push('--no-sandbox');
  return chromium.launch({ executablePath: CHROMIUM, args });
}

/** A page of a user of its own, with what it complained about in `complaints`. */
export async function openPage(browser, url, token, options = {}) {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  page.setDefaultTimeout(15000 * SLOWDOWN);
  page.complaints = [];
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) page.complaints.push(message.text());
  });
  page.on('pageerror', (error) => page.complaints.push(String(error.stack)));
  await page.goto(token ? url + '/#token=' + token : url);
  if (token) await page.waitForSelector('#connection[data-state="connected"]');
  return page;
}

/** The words of the transcript, lower case, without punctuation. */
export async function transcript(page) {
  const words = await page.$$eval('#transcript .word', (found) => found.map((word) => word.dataset.word));
  return words.join(' ').toLowerCase().replace(/[^a-z' ]/g, '');
}
