/* SPDX-License-Identifier: MIT */
/** The client library where somebody means it ill, or where everything happens at once. */
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { eventually, library } from './fixtures.mjs';
import { auth, connect as connectWith, resuming, script } from './script.mjs';

let sdk;
before(async () => {
  sdk = await library();
});
const connect = (server, options) => connectWith(sdk, server, options);
const never = () => new Promise(() => {});
const pause = (ms) => new Promise((done) => setTimeout(done, ms));
const accepted = () => ({ task_id: 'a', status: 'pending', seq: 11 });
const iterate = async (events) => {
  for await (const _ of events);
};

test('what answers and is no hub is left, and tried again', async () => {
  for (const garbage of ['hello', 'null', '[1]', '17', '{"method":"task.event"}', Buffer.from([1, 2, 3])]) {
    const server = await script({ auth: (_params, { socket }) => void socket.send(garbage) });
    const hub = connect(server, { connectTimeoutMs: 400 });
    await assert.rejects(hub.submit('noop'), { code: 'unreachable' }, String(garbage));
    hub.close();
  }
});

test('close() in any handler is the end', async () => {
  for (const [type, when] of [['state', 'connecting'], ['state', 'connected'], ['ready'], ['task'], ['event'], ['error'], ['state', 'waiting']]) {
    const server = await script({
      auth: (params) => resuming(params),
      'task.submit': (_params, { event, notify }) => {
        event({ seq: 11, task_id: 'b', type: 'started' });
        notify('auth.expiring', {});
        return { ...accepted(), seq: 12 };
      },
      'task.list': (_params, { socket }) => socket.terminate(),
      ping: never,
    });
    let asked = 0;
    const hub = connect(server, { token: undefined, getToken: () => (asked++ ? Promise.reject(new Error('none')) : 't') });
    const states = [];
    let closed = false;
    hub.on('state', (state) => closed && states.push(state));
    hub.on(type, (what) => {
      if (closed || (when && what !== when)) return;
      closed = true;
      hub.close();
    });
    const waiting = assert.rejects(hub.call('ping'), { code: 'closed' }, type + ' ' + when);
    hub.submit('noop').then(() => hub.tasks()).catch(() => {});
    await waiting;
    await pause(30);
    assert.deepEqual([...new Set(states)], ['closed'], type + ' ' + when);
    assert.equal(hub.state, 'closed');
  }
});

test('what a handler asks of a connection that has just come goes out once', async () => {
  const server = await script({ 'task.submit': accepted });
  const hub = connect(server);
  for (const [type, when] of [['state', 'connected'], ['ready']]) {
    hub.on(type, (what) => (when && what !== when) || hub.submit('noop', {}, { key: null }));
  }
  await hub.connect();
  await hub.call('ping');
  assert.equal(server.count('task.submit'), 2);
});

test('events told twice are heard once', async () => {
  const server = await script({ 'task.submit': accepted });
  const hub = connect(server);
  const task = await hub.submit('noop');
  const types = [];
  task.on('event', ({ type }) => types.push(type));
  task.on('done', () => types.push('done'));
  for (const event of [{ seq: 12, type: 'started' }, { rev: 1, type: 'progress', progress: 5 }, { seq: 13, type: 'completed', status: 'completed' }]) {
    for (let i = 0; i < 2; i++) server.newest().event({ task_id: 'a', ...event });
  }
  await hub.call('ping');
  assert.deepEqual(types, ['started', 'progress', 'completed', 'done']);
});

test('a clock that jumps drops nothing', async () => {
  const server = await script({ 'task.submit': () => pause(300).then(accepted) });
  const hub = connect(server);
  await hub.connect();
  const real = Date.now;
  const submitted = hub.submit('noop');
  try {
    for (const jump of [3600000, -3600000]) {
      Date.now = () => real() + jump;
      await hub.call('ping');
      await pause(100);
    }
    await submitted;
  } finally {
    Date.now = real;
  }
  assert.equal(server.connections.length, 1);
});

test('a page that was frozen hears what came meanwhile before it gives up', async () => {
  const server = await script({ ping: () => pause(1000).then(() => ({})) });
  const hub = connect(server);
  await hub.connect();
  const asked = hub.call('ping', {}, { timeoutMs: 1500 });
  const dark = connect({ url: 'ws://127.0.0.1:9' }, { connectTimeoutMs: 1500 });
  let gone = false;
  dark.connect().catch(() => (gone = true));
  await pause(50);
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 4000);
  await asked;
  assert.equal(gone, false);
  await eventually(() => gone, 'the end of waiting');
  assert.equal(server.connections.length, 1);
  dark.close();
});

test('what was asked as one user is not asked again as another', async () => {
  let user = 'alice';
  const server = await script({ auth: (params) => resuming(params, { user_id: user }), 'task.submit': () => (user === 'alice' ? never() : accepted()), 'task.get': never });
  const hub = connect(server);
  const submitted = assert.rejects(hub.submit('noop'), { code: 'closed' });
  const waiting = assert.rejects(hub.task('a').result(), { code: 'closed' });
  await eventually(() => server.count('task.submit'), 'the submission');
  user = 'bob';
  server.newest().socket.terminate();
  await Promise.all([submitted, waiting]);
  await hub.connect();
  assert.equal(server.count('task.submit'), 1);
});

test('a task that is not there, or not ours, rejects what waits for it', async () => {
  const server = await script({
    'task.get': ({ task_id }) => {
      throw { code: task_id === 'x' ? -32004 : -32003, message: 'No', data: { code: task_id === 'x' ? 'not_found' : 'forbidden' } };
    },
  });
  const hub = connect(server);
  await assert.rejects(hub.task('x').result(), { code: 'not_found' });
  await assert.rejects(iterate(hub.task('x')), { code: 'not_found' });
  await assert.rejects(iterate(hub.task('y')), { code: 'forbidden' });
});

test('a record that could not be read is read when the hub is there again', async () => {
  let down = true;
  const server = await script({
    'task.get': ({ task_id }) => {
      if (down) throw { code: -32053, message: 'No', data: { code: 'unavailable' } };
      return { task_id, task: 'noop', status: 'completed', attempt: 1, seq: 9, result: { x: 1 } };
    },
  });
  const hub = connect(server, { timeoutMs: 300 });
  await assert.rejects(hub.task('a').result(), { code: 'unavailable' });
  down = false;
  assert.deepEqual(await hub.task('a').result(), { x: 1 });
});

test('a handler that throws, and a listener that is taken off, disturb nobody', async () => {
  const server = await script({ 'task.submit': accepted });
  const task = await connect(server).submit('noop');
  server.newest().event({ seq: 12, task_id: 'a', type: 'completed', status: 'completed' });
  await task.result();
  let told = 0;
  task.on('done', () => told++)();
  await pause(20);
  assert.equal(told, 0);
});

test('a closed hub ends a recording at once, and one whose token ran out does not', async () => {
  const server = await script({ 'audio.start': () => ({ ...accepted(), stream: 1, credit: 10 }) });
  for (const [end, told] of [[(hub) => hub.close(), ['closed', 'close']], [() => server.newest().socket.close(4401), []]]) {
    const hub = connect(server);
    const stream = await sdk.sendFile(hub, new Blob([new Uint8Array(1000)]), 'speech', {});
    const heard = [];
    stream.on('error', ({ code }) => heard.push(code));
    stream.on('close', () => heard.push('close'));
    end(hub);
    await eventually(() => hub.state === 'closed', 'the end');
    assert.deepEqual(heard, told);
  }
});

test('a signal ends the sending of a file, before and after its task is known', async () => {
  const server = await script({ 'audio.start': () => ({ ...accepted(), stream: 1, credit: 10 }), 'task.cancel': () => ({}) });
  const hub = connect(server);
  const file = new Blob([new Uint8Array(1000)]);
  const first = new AbortController();
  const starting = sdk.sendFile(hub, file, 'speech', {}, { signal: first.signal });
  first.abort();
  await assert.rejects(starting, { name: 'AbortError' });
  const second = new AbortController();
  const stream = await sdk.sendFile(hub, file, 'speech', {}, { signal: second.signal });
  const closed = new Promise((done) => stream.on('close', done));
  second.abort();
  await closed;
  await assert.rejects(stream.task.result(), { name: 'AbortError' });
  await eventually(() => server.count('task.cancel'), 'the cancel');
});
