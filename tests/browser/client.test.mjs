/* SPDX-License-Identifier: MIT */
/** The client library with a real hub, in Chromium and in Node: what gets lost, what is repeated, what stays. */
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { after, before, describe, test } from 'node:test';
import { WebSocket } from 'ws';
import { NODES, SLOWDOWN, eventually, library, startBrowser, startHub, startProxy } from './fixtures.mjs';

const here = (name) => fileURLToPath(new URL(name, import.meta.url));
const STATES = ['pending', 'processing', 'completed', 'failed', 'cancelled'];

let hub, proxy, stranger, browser, sdk;
before(async () => {
  [proxy, stranger] = [await startProxy(), await startProxy()];
  hub = await startHub({ alsoAt: [proxy.port] });
  proxy.target = stranger.target = hub.port;
  sdk = await library();
  browser = await startBrowser();
});
after(async () => {
  await browser?.close();
  await hub?.stop();
  proxy?.close();
  stranger?.close();
});

const open = [];
after(() => open.forEach((client) => client.close()));
const client = (user, options = {}, at = proxy.port, ...roles) => {
  const made = new sdk.TaskHub('ws://127.0.0.1:' + at + '/ws', { token: hub.token(user, ...roles), WebSocket, ...options });
  open.push(made);
  return made;
};
const count = async (user) => {
  const { totals } = await client(user, {}, hub.port).tasks();
  return STATES.reduce((sum, status) => sum + (totals[status] ?? 0), 0);
};

/** A page of nothing at an origin, with `hub` made from these options. */
async function page(user, { at = proxy.port, path = '/ws', ...options } = {}) {
  const made = await (await browser.newContext()).newPage();
  await made.goto('http://127.0.0.1:' + at + '/healthz');
  const given = [{ token: hub.token(user), ...options }, 'ws://127.0.0.1:' + at + path];
  await made.evaluate(async ([options, url]) => {
    const { TaskHub } = await import('/sdk/taskhub.js');
    window.TaskHub = TaskHub;
    window.errors = [];
    window.hub = new TaskHub(url, options);
    window.hub.on('error', ({ code }) => window.errors.push(code));
    window.code = (promise) => promise.then(() => 'done', (error) => error.code ?? error.name);
    window.iterate = async (task) => {
      for await (const event of task) window.newest = event.type;
    };
  }, given);
  return made;
}

test('a wrong path and a refused origin end what waits, in a page and in Node', async () => {
  const codes = ['unreachable', 'unreachable', 'unreachable', 'unreachable'];
  for (const where of [{ path: '/nope' }, { at: stranger.port }]) {
    const lost = await page('lost', { connectTimeoutMs: 500, ...where });
    const waits = () => [hub.submit('noop'), hub.connect(), hub.task('x').result(), iterate(hub.task('x'))].map(code);
    assert.deepEqual(await lost.evaluate('Promise.all((' + waits + ')())'), codes);
    await lost.waitForFunction(() => window.errors.length);
    assert.deepEqual(await lost.evaluate(() => window.errors), ['unreachable']);
    await lost.close();
  }
  const wrong = new sdk.TaskHub(hub.url.replace('http', 'ws') + '/nope', { token: 't', WebSocket, connectTimeoutMs: 500 });
  await assert.rejects(wrong.submit('noop'), { code: 'unreachable', message: /404/ });
  wrong.close();
});

test('a line that went silent in a page: the call is sent again and done once', async () => {
  const at = await page('sleepy');
  await at.evaluate(() => hub.connect());
  proxy.silent = true;
  await at.evaluate(() => {
    window.lost = new Promise((done) => hub.once('state', done));
    window.began = Date.now();
    window.done = hub.submit('noop').then((task) => task.result());
  });
  assert.equal(await at.evaluate(() => window.lost), 'waiting');
  proxy.silent = false;
  await at.evaluate(() => window.done);
  const took = await at.evaluate(() => Date.now() - window.began);
  assert.ok(took < 12000 * SLOWDOWN, took + ' ms');
  assert.equal(await count('sleepy'), 1);
  await at.close();
});

test('cut before, behind and at every answer, what is submitted happens once', async () => {
  const cuts = [
    () => proxy.cut(),
    () => (proxy.down = (data) => !data.includes('"task_id"') || (proxy.cut(), (proxy.down = () => true), false)),
    () => (proxy.down = (data) => (data.includes('"task_id"') ? setImmediate(proxy.cut) && (proxy.down = () => true) : true)),
    () => setImmediate(proxy.cut),
  ];
  const at = client('cutter');
  for (const cut of cuts) {
    await at.connect();
    const tasks = Promise.all([1, 2, 3].map(() => at.submit('noop')));
    cut();
    for (const task of await tasks) await task.result();
  }
  assert.equal(await count('cutter'), 3 * cuts.length);
});

test('a hub that restarts among submissions loses and doubles none', async () => {
  const at = client('restarter', {}, hub.port);
  await at.connect();
  const submitted = [];
  let going = true;
  const submitting = (async () => {
    while (going) {
      submitted.push(at.submit('noop').then((task) => task.result()));
      await new Promise((done) => setTimeout(done, 20));
    }
  })();
  await eventually(() => submitted.length > 5, 'submissions');
  await hub.stop();
  await hub.start();
  going = false;
  await submitting;
  await Promise.all(submitted);
  assert.equal(await count('restarter'), submitted.length);
});

test("staff follow another owner's task by its handle, and their own as ever", async () => {
  const alice = client('alice');
  const mine = await alice.submit('noop_heavy', { steps: 10, sleep_ms: 100 });
  for (const role of ['admin', 'viewer']) {
    const root = client('root-' + role, {}, proxy.port, role);
    const theirs = root.task(mine.id);
    const seen = [];
    theirs.on('event', ({ type }) => seen.push(type));
    if (role === 'viewer') proxy.cut();
    await theirs.result();
    assert.equal(theirs.status, 'completed');
    if (role === 'admin') assert.ok(seen.includes('progress') && seen.at(-1) === 'completed', seen.join(' '));
    const own = await root.submit('noop');
    const types = [];
    own.on('event', ({ type }) => types.push(type));
    await own.result();
    assert.ok(types.length <= 1, types.join(' '));
  }
});

test('two tabs: each hears of both, and goes on when the other is closed', async () => {
  const [first, second] = [await page('tabs'), await page('tabs')];
  await Promise.all([first, second].map((at) => at.evaluate(() => hub.connect())));
  const id = await first.evaluate(async () => (await hub.submit('noop_heavy', { steps: 10, sleep_ms: 100 })).id);
  const told = second.evaluate((id) => hub.task(id).result().then(() => hub.task(id).status), id);
  await first.close();
  assert.equal(await told, 'completed');
  await second.close();
});

test('a thousand hubs leave nothing behind, in a page', async () => {
  const at = await page('many');
  const source = readFileSync(here('memory.mjs'), 'utf8').match(/export (async function churn[\s\S]*?\n})\n/)[1];
  const tools = await at.context().newCDPSession(at);
  const heap = async () => {
    for (let i = 0; i < 3; i++) await tools.send('HeapProfiler.collectGarbage');
    return (await tools.send('Runtime.getHeapUsage')).usedSize;
  };
  const told = [];
  for (const number of [200, 800]) {
    await at.evaluate(async ([source, number, token, url]) => {
      const churn = new Function('return ' + source)();
      await churn(window.TaskHub, [url, { token }], number, () => {});
    }, [source, number, hub.token('many'), 'ws://127.0.0.1:' + proxy.port + '/ws']);
    told.push(await heap());
  }
  assert.ok(told[1] < told[0] * 1.25, told.join(' '));
  await at.close();
});

test('a thousand hubs leave nothing behind, in Node', async () => {
  const library = pathToFileURL(sdk.folder + '/taskhub.js').href;
  for (const node of NODES.map(([, program]) => program).filter(existsSync)) {
    const text = execFileSync(node, ['--expose-gc', here('memory.mjs'), hub.url.replace('http', 'ws') + '/ws', hub.token('many'), library], { encoding: 'utf8' });
    const [first, second] = JSON.parse(text);
    assert.ok(first.alive + second.alive <= 2, text);
    assert.ok(second.heap < first.heap * 1.25, text);
  }
});

test('a program ends when it closes a hub that went silent', async () => {
  for (const node of NODES.map(([, program]) => program).filter(existsSync)) {
    const words = [here('closes.mjs'), 'ws://127.0.0.1:' + proxy.port + '/ws', hub.token('closer'), pathToFileURL(sdk.folder + '/taskhub.js').href];
    const child = spawn(node, words, { stdio: ['pipe', 'pipe', 'inherit'] });
    const ended = new Promise((done) => child.on('exit', done));
    await new Promise((done) => child.stdout.once('data', done));
    proxy.silent = true;
    const began = Date.now();
    child.stdin.end('close');
    assert.equal(await ended, 0);
    proxy.silent = false;
    assert.ok(Date.now() - began < 10000 * SLOWDOWN, node + ' ' + (Date.now() - began) + ' ms');
  }
});

describe('the whole library', { concurrency: true }, () => NODES.slice(1).forEach(([name, node]) => {
  test('in ' + name, { skip: existsSync(node) ? false : 'no such Node for this machine' }, async () => {
    const { NODE_TEST_CONTEXT: _, ...env } = process.env; // it is a run of its own
    const child = spawn(node, [here('run.mjs'), 'settle', 'hostile', 'edges', 'sdk'], { env });
    let said = '';
    child.stdout.on('data', (data) => (said += data));
    const status = await new Promise((done) => child.on('close', done));
    assert.equal(status, 0, said.replace(/^ok.*\n/gm, ''));
  });
}));
