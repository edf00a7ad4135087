/* SPDX-License-Identifier: MIT */
/**
 * Whatever waits in the client library ends, at once where it can: closed, no connection, `unavailable`, a line that
 * died, a signal. And nothing is submitted under a second key.
 */
import assert from 'node:assert/strict';
import { getEventListeners } from 'node:events';
import { createServer } from 'node:net';
import { after, before, test } from 'node:test';
import { eventually, freePort, library, startProxy } from './fixtures.mjs';
import { auth, connect as connectWith, resuming, script } from './script.mjs';

let sdk;
before(async () => {
  sdk = await library();
});
const ends = [];
after(() => ends.forEach((end) => end()));

const connect = (server, options) => connectWith(sdk, server, options);
const never = () => new Promise(() => {});
const accepted = () => ({ task_id: 'a', status: 'pending', seq: 11 });
const unavailable = () => {
  throw { code: -32053, message: 'Redis does not answer', data: { code: 'unavailable', status: 503 } };
};
const pause = (ms) => new Promise((done) => setTimeout(done, ms));
const iterate = async (events) => {
  for await (const _ of events);
};
/** Everything that can wait for a hub without an answer. */
const waits = (hub) => [hub.submit('noop'), hub.call('ping'), hub.connect(), hub.tasks(), hub.task('x').result(), iterate(hub.task('y'))];
const allReject = (promises, error) => Promise.all(promises.map((promise) => assert.rejects(promise, error)));
const keys = (server) => server.seen.filter((call) => call.method === 'task.submit').map((call) => call.params.idempotency_key);
const within = async (ms, promise) => {
  const began = Date.now();
  await promise;
  assert.ok(Date.now() - began < ms, Date.now() - began + ' ms');
};

test('without a WebSocket everything rejects at once and names the fix', async () => {
  const { WebSocket } = globalThis;
  globalThis.WebSocket = undefined;
  try {
    const asked = [];
    for (const options of [{ token: 't' }, { getToken: () => asked.push(1) }]) {
      const hub = new sdk.TaskHub('ws://127.0.0.1:9', options);
      await within(1000, allReject(waits(hub), { code: 'no_websocket', message: /WebSocket.*"ws"/ }));
      await assert.rejects(hub.submit('noop'), { code: 'no_websocket' });
    }
    assert.deepEqual(asked, []);
  } finally {
    globalThis.WebSocket = WebSocket;
  }
});

test('a URL that is none rejects at once', async () => {
  await within(1000, allReject(waits(connect({ url: 'no url' })), Error));
});

test('close() rejects what waits and what is asked afterwards', async () => {
  const server = await script({ 'task.submit': never, 'task.get': never, 'task.list': never, ping: never });
  const hub = connect(server);
  const waiting = allReject(waits(hub).filter((_, i) => i !== 2), { code: 'closed' });
  await eventually(() => server.count('task.list'), 'the calls');
  const known = hub.task('x');
  hub.close();
  await within(1000, waiting);
  await within(1000, allReject([hub.submit('noop'), known.result(), iterate(known), hub.task('z').result()], { code: 'closed' }));
});

test('close() rejects what waits for the connection', async () => {
  const hub = connect({ url: 'ws://127.0.0.1:9' });
  const waiting = allReject(waits(hub), { code: 'closed' });
  hub.close();
  await within(1000, waiting);
});

test('a token that ran out rejects what waits', async () => {
  const server = await script({ 'task.submit': accepted });
  const hub = connect(server);
  const task = await hub.submit('noop');
  const waiting = allReject([task.result(), iterate(task)], { code: 'unauthenticated' });
  server.newest().socket.close(4401, 'token expired');
  await within(1000, waiting);
});

test('an unreachable hub is told, and what waited goes on when it is there again', async () => {
  const port = await freePort();
  const hub = connect({ url: 'ws://127.0.0.1:' + port + '/ws' }, { connectTimeoutMs: 300 });
  const errors = [];
  hub.on('error', (error) => errors.push(error));
  await within(1500, allReject(waits(hub), { code: 'unreachable', message: /127\.0\.0\.1/ }));
  await eventually(() => errors.length, 'the error event');
  assert.equal(errors[0].code, 'unreachable');
  assert.equal(hub.state, 'waiting');
  await script({ 'task.submit': accepted }, { port });
  await eventually(() => hub.state === 'connected', 'the connection', 20);
  assert.equal((await hub.submit('noop')).id, 'a');
  assert.equal(errors.length, 1);
});

test('what accepts a connection and says nothing, or nothing to auth, is unreachable too', async () => {
  const silent = createServer(() => {});
  await new Promise((done) => silent.listen(0, '127.0.0.1', done));
  ends.push(() => silent.close());
  const mute = await script({ auth: never });
  for (const url of ['ws://127.0.0.1:' + silent.address().port, mute.url]) {
    const hub = connect({ url }, { connectTimeoutMs: 300 });
    await within(1500, allReject(waits(hub), { code: 'unreachable' }));
    hub.close();
  }
});

test('a token function that hangs, throws, or answers too late', async () => {
  const server = await script();
  const hanging = connect(server, { token: undefined, getToken: never, connectTimeoutMs: 200 });
  await within(1500, allReject(waits(hanging), { code: 'unreachable' }));
  const throwing = connect(server, { token: undefined, connectTimeoutMs: 200, getToken: () => assert.fail('no token') });
  await within(2000, allReject(waits(throwing), { code: 'unreachable', message: /no token/ }));
  const final = connect(server, { token: undefined, getToken: () => Promise.reject(Object.assign(new Error('sign in'), { code: 'unauthorized' })) });
  await within(1000, allReject(waits(final), { code: 'unauthorized' }));
  for (const settle of ['resolve', 'reject']) {
    let late;
    const hub = connect(server, { token: undefined, getToken: () => new Promise((resolve, reject) => (late = { resolve, reject })) });
    const states = [];
    const connecting = assert.rejects(hub.connect(), { code: 'closed' });
    hub.close();
    hub.on('state', (state) => states.push(state));
    late[settle]('t');
    await connecting;
    await pause(50);
    assert.deepEqual([states, hub.state], [[], 'closed'], 'a hub that was closed stays closed');
  }
  assert.equal(server.connections.length, 0);
});

test('an outage that is short is waited out, a long one ends the waiting, not the handle', async () => {
  const port = await freePort();
  const proxy = await startProxy();
  ends.push(proxy.close);
  const server = await script({
    auth: (params) => resuming(params),
    'task.submit': accepted,
    'task.get': ({ task_id }) => ({ task_id, task: 'noop', status: 'completed', attempt: 1, seq: 12, result: { done: true } }),
  }, { port });
  proxy.target = port;
  const hub = connect({ url: 'ws://127.0.0.1:' + proxy.port }, { connectTimeoutMs: 1500 });
  const task = await hub.submit('noop');
  const wait = task.result();
  wait.catch(() => {});
  proxy.cut();
  await eventually(() => server.count('auth') === 2 && hub.state === 'connected', 'the reconnect');
  proxy.open = false;
  proxy.cut();
  await within(4000, allReject([wait, iterate(task)], { code: 'unreachable' }));
  proxy.open = true;
  await eventually(() => hub.state === 'connected', 'the connection', 30);
  server.newest().event({ seq: 11, task_id: 'a', type: 'completed', status: 'completed', result: { done: true } });
  server.newest().event({ seq: 12, task_id: 'a', type: 'completed', status: 'completed', result: { done: true } });
  assert.deepEqual(await task.result(), { done: true });
});

test('`unavailable` is asked again with the same key, until timeoutMs', async () => {
  let left = 3;
  const server = await script({ 'task.submit': () => (left-- > 0 ? unavailable() : { ...accepted(), duplicate: true }), 'task.get': never });
  assert.equal((await connect(server).submit('noop')).id, 'a');
  assert.equal(keys(server).length, 4);
  assert.equal(new Set(keys(server)).size, 1);

  const dead = await script({ 'task.submit': unavailable, 'task.retry': unavailable });
  const hub = connect(dead, { timeoutMs: 1000 });
  await within(4000, assert.rejects(hub.submit('noop', {}, { key: 'mine' }), { code: 'unavailable', status: 503 }));
  assert.ok(keys(dead).length >= 3);
  assert.deepEqual([...new Set(keys(dead))], ['mine']);
  const before = dead.seen.length;
  await assert.rejects(hub.submit('noop', {}, { key: null }), { code: 'unavailable' });
  assert.equal(dead.seen.length, before + 1, 'without a key it is not repeated');
  assert.equal(keys(dead).at(-1), undefined);
});

test('a pause that the hub names is kept, and a signal ends it', async () => {
  const server = await script({
    'task.submit': () => {
      throw { code: -32053, message: 'later', data: { code: 'unavailable', status: 503, retry_ms: 60000 } };
    },
  });
  const stop = new AbortController();
  const waiting = connect(server).submit('noop', {}, { signal: stop.signal });
  await eventually(() => server.count('task.submit'), 'the submission');
  await pause(300);
  assert.equal(server.count('task.submit'), 1);
  stop.abort();
  await within(500, assert.rejects(waiting, { name: 'AbortError' }));
});

test('a connection that is lost at every try does not go on for ever', async () => {
  const server = await script({ auth: (params) => resuming(params), 'task.submit': (_params, { socket }) => socket.terminate() });
  await within(8000, assert.rejects(connect(server, { timeoutMs: 2000 }).submit('noop'), { code: 'timeout' }));
  assert.ok(keys(server).length >= 2);
  assert.equal(new Set(keys(server)).size, 1);
});

test('a line that went silent is dropped within seconds, and keyed calls are sent again', async () => {
  const proxy = await startProxy();
  ends.push(proxy.close);
  const server = await script({ auth: (params) => resuming(params), 'task.submit': () => (proxy.silent ? never() : accepted()), 'task.retry': never });
  proxy.target = Number(new URL(server.url).port);
  const hub = connect({ url: 'ws://127.0.0.1:' + proxy.port });
  await hub.connect();
  proxy.silent = true;
  hub.once('state', () => (proxy.silent = false));
  const began = Date.now();
  const task = hub.submit('noop');
  const unkeyed = assert.rejects(hub.submit('noop', {}, { key: null }), { code: 'connection_lost' });
  assert.equal((await task).id, 'a');
  await unkeyed;
  assert.ok(Date.now() - began > 5500, 'not before it was asked');
  assert.ok(Date.now() - began < 12000, Date.now() - began + ' ms');
  assert.equal(server.connections.length, 2);
});

test('an answer that takes long is waited for while the hub lives', async () => {
  const server = await script({ 'task.submit': () => pause(8000).then(accepted) });
  const hub = connect(server);
  assert.equal((await hub.submit('noop')).id, 'a');
  assert.equal(server.connections.length, 1);
  assert.ok(server.count('ping') >= 1);
});

test('an abort of a submission that waits for the connection rejects at once and is never sent', async () => {
  let open;
  const server = await script({ auth: () => new Promise((done) => (open = () => done(auth()))), 'task.submit': accepted });
  const hub = connect(server);
  const stop = new AbortController();
  const submitting = hub.submit('noop', {}, { signal: stop.signal });
  await eventually(() => open, 'auth');
  stop.abort();
  await within(500, assert.rejects(submitting, { name: 'AbortError' }));
  open();
  await hub.call('ping');
  assert.equal(server.count('task.submit'), 0);
});

test('an abort of a submission that was sent rejects at once; its task is cancelled', async () => {
  let answer;
  const server = await script({ 'task.submit': () => new Promise((done) => (answer = done)), 'task.cancel': () => ({ task_id: 'a', status: 'cancelled' }) });
  const stop = new AbortController();
  const submitting = connect(server).submit('noop', {}, { signal: stop.signal });
  await eventually(() => answer, 'the submission');
  stop.abort(new Error('enough'));
  await within(500, assert.rejects(submitting, { message: 'enough' }));
  answer(accepted());
  await eventually(() => server.count('task.cancel') === 1, 'the cancel');
});

test('and where its answer was lost, it is asked for so that nothing new begins', async () => {
  let lost;
  const server = await script({
    auth: (params) => resuming(params),
    'task.submit': (_params, { socket }) => {
      if (lost) return { task_id: 'a', status: 'processing', duplicate: true };
      lost = socket;
      return never();
    },
    'task.cancel': () => ({ task_id: 'a', status: 'cancelled' }),
  });
  const stop = new AbortController();
  const submitting = connect(server).submit('noop', {}, { signal: stop.signal });
  await eventually(() => lost, 'the submission');
  stop.abort();
  await assert.rejects(submitting, { name: 'AbortError' });
  lost.terminate();
  await eventually(() => server.count('task.cancel') === 1, 'the cancel');
  const [first, second] = server.seen.filter((call) => call.method === 'task.submit').map((call) => call.params);
  assert.equal(second.idempotency_key, first.idempotency_key);
  assert.ok(second.delay_ms > second.expires_ms, 'a new one would expire before it starts');
});

test('an abort of a submitted task is an AbortError wherever it is waited for; after its end it is nothing', async () => {
  let count = 0;
  const server = await script({ 'task.submit': () => ({ task_id: 't' + ++count, status: 'pending', seq: 10 + count }), 'task.cancel': ({ task_id }) => ({ task_id, status: 'cancelled' }) });
  const hub = connect(server);
  const stop = new AbortController();
  const { signal } = stop;
  const [running, ended] = [await hub.submit('noop', {}, { signal }), await hub.submit('noop', {}, { signal })];
  const waiting = allReject([running.result(), iterate(running)], { name: 'AbortError' });
  server.newest().event({ seq: 13, task_id: 't2', type: 'completed', status: 'completed', result: { x: 1 } });
  await ended.result();
  stop.abort();
  await within(500, waiting);
  await assert.rejects(running.result(), { name: 'AbortError' });
  server.newest().event({ seq: 14, task_id: 't1', type: 'cancelled', status: 'cancelled' });
  await eventually(() => running.finished, 'the end');
  await assert.rejects(running.result(), { name: 'AbortError' });
  assert.deepEqual(await ended.result(), { x: 1 });
  assert.deepEqual(server.seen.filter((call) => call.method === 'task.cancel').map((call) => call.params.task_id), ['t1']);
});

test('a signal ends every wait at once, and nothing else', async () => {
  const server = await script({ 'task.submit': accepted, 'task.get': never, 'task.list': never, 'task.cancel': never, 'task.why': never });
  const hub = connect(server);
  const task = await hub.submit('noop');
  const stop = new AbortController();
  const { signal } = stop;
  const away = connect({ url: 'ws://127.0.0.1:9' });
  const waiting = [task.result({ signal }), iterate(task.events({ signal })), task.refresh({ signal }), task.cancel({ signal }), task.why({ signal })];
  waiting.push(hub.tasks({}, { signal }), hub.call('task.get', {}, { signal }), away.connect({ signal }), away.task('x').result({ signal }));
  const rejected = allReject(waiting, { name: 'AbortError' });
  stop.abort();
  await within(500, rejected);
  await within(500, allReject([task.result({ signal }), iterate(task.events({ signal })), hub.submit('noop', {}, { signal })], { name: 'AbortError' }));
  assert.equal(getEventListeners(signal, 'abort').length, 0);
  server.newest().event({ seq: 12, task_id: 'a', type: 'completed', status: 'completed', result: { x: 1 } });
  assert.deepEqual(await task.result(), { x: 1 });
});

test('close() lets go of window, document and signals', async () => {
  const window = new EventTarget();
  globalThis.document = Object.assign(new EventTarget(), { hidden: false });
  for (const name of ['addEventListener', 'removeEventListener']) globalThis[name] = window[name].bind(window);
  const listeners = () => [getEventListeners(window, 'online').length, getEventListeners(document, 'visibilitychange').length];
  try {
    const server = await script({ 'task.submit': accepted });
    const { signal } = new AbortController();
    const hub = connect(server);
    const task = await hub.submit('noop', {}, { signal });
    const waiting = allReject([task.result({ signal }), iterate(task.events({ signal }))], { code: 'closed' });
    assert.deepEqual(listeners(), [1, 1]);
    hub.close();
    await waiting;
    assert.deepEqual([...listeners(), getEventListeners(signal, 'abort').length], [0, 0, 0]);
    await hub.connect();
    assert.deepEqual(listeners(), [1, 1]);
    if (Symbol.dispose) hub[Symbol.dispose]();
    else hub.close();
    assert.deepEqual([hub.state, ...listeners()], ['closed', 0, 0]);
  } finally {
    for (const name of ['addEventListener', 'removeEventListener', 'document']) delete globalThis[name];
  }
});

test("an admin's handle of another owner's task follows it, through a reconnect too", async () => {
  let status = 'pending';
  const server = await script({
    auth: (params) => resuming(params, { user_id: 'root', roles: ['admin'] }),
    'task.get': ({ task_id }) => ({ task_id, task: 'noop', user_id: 'alice', status, attempt: 0, seq: 500, updated_at: '2026-01-01T00:00:01.000Z' }),
    'admin.watch': () => ({ watching: true }),
  });
  const hub = connect(server);
  const task = hub.task('a');
  const result = task.result();
  await eventually(() => server.count('task.get') === 2, 'what it missed');
  assert.deepEqual(server.seen.filter((call) => call.method === 'admin.watch').map((call) => call.params), [{ owner: 'alice' }]);
  const tell = (params) => server.newest().notify('admin.event', { task_id: 'a', task: 'noop', user_id: 'alice', attempt: 1, at: '2026-01-01T00:00:02.000Z', ...params });
  tell({ type: 'accepted', status: 'pending', attempt: 0, at: '2026-01-01T00:00:00.000Z', stage: 'old' });
  tell({ type: 'started', status: 'processing', progress: 0 });
  tell({ type: 'progress', status: 'processing', progress: 40, rev: 1 });
  await eventually(() => task.progress === 40, 'the progress');
  assert.notEqual(task.data.stage, 'old');
  status = 'processing';
  server.newest().socket.terminate();
  await eventually(() => server.count('admin.watch') === 2 && server.count('task.get') === 4, 'the watch of the new connection');
  tell({ type: 'completed', status: 'completed', progress: 100, result: { x: 1 } });
  assert.deepEqual(await result, { x: 1 });
});
