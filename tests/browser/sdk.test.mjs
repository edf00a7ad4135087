/* SPDX-License-Identifier: MIT */
/**
 * The client library against a scripted server: what a real hub does rarely, on purpose. Connection
 * rules, the resume cursor, tokens, audio credit. (What a hub does often is tested with a real one.)
 */
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { eventually, library } from './fixtures.mjs';
import { auth, connect as connectWith, resuming, script } from './script.mjs';

let sdk;
before(async () => {
  sdk = await library();
});

const connect = (server, options) => connectWith(sdk, server, options);

test('connects on the first call, with the token in the first message', async () => {
  const server = await script({ 'task.list': () => ({ tasks: [], totals: {} }) });
  const hub = connect(server);
  assert.equal(hub.state, 'idle');
  await hub.tasks();
  assert.equal(hub.state, 'connected');
  assert.deepEqual(server.seen.map((call) => call.method), ['auth', 'task.list']);
  assert.equal(server.seen[0].params.token, 't');
});

test('a submission carries a key, and is sent again with the same one when its answer was lost', async () => {
  let lost = true;
  const server = await script({
    auth: (params) => resuming(params),
    'task.submit': (_params, { socket }) => {
      if (lost) {
        lost = false;
        socket.terminate();
        return undefined;
      }
      return { task_id: 'a', status: 'pending', duplicate: true };
    },
    'task.get': () => ({ task_id: 'a', task: 'noop', status: 'completed', progress: 100, attempt: 1, seq: 12, result: { x: 1 } }),
  });
  const task = await connect(server).submit('noop', {});
  assert.deepEqual(await task.result(), { x: 1 });
  const keys = server.seen.filter((call) => call.method === 'task.submit').map((call) => call.params.idempotency_key);
  assert.equal(keys.length, 2);
  assert.equal(keys[0], keys[1]);
  assert.match(keys[0], /^[0-9a-f]{32}$/);
});

test('without a key a lost submission is an error, and so is a retry', async () => {
  const server = await script({
    'task.submit': (_params, { socket }) => socket.terminate(),
    'task.retry': (_params, { socket }) => socket.terminate(),
  });
  const hub = connect(server);
  await assert.rejects(hub.submit('noop', {}, { key: null }), { code: 'connection_lost' });
  await assert.rejects(hub.call('task.retry', { task_id: 'a', idempotency_key: null }), { code: 'connection_lost' });
});

test('events come to the handle, and the iterator ends with the terminal one', async () => {
  const server = await script({
    'task.submit': () => ({ task_id: 'a', status: 'pending', seq: 11 }),
  });
  const task = await connect(server).submit('noop');
  const said = [];
  task.on('progress', (event) => said.push(event.progress));
  const { event } = server.newest();
  const read = (async () => {
    const types = [];
    for await (const { type } of task) types.push(type);
    return types;
  })();
  event({ seq: 12, task_id: 'a', type: 'started' });
  event({ rev: 1, task_id: 'a', type: 'progress', progress: 30 });
  event({ rev: 3, task_id: 'a', type: 'progress', progress: 60 });
  event({ rev: 2, task_id: 'a', type: 'progress', progress: 45 });
  event({ rev: 4, task_id: 'a', attempt: 0, type: 'progress', progress: 99 });
  event({ seq: 13, task_id: 'a', type: 'completed', status: 'completed', progress: 100, result: { ok: true } });
  event({ rev: 5, task_id: 'a', type: 'progress', progress: 1 });
  assert.deepEqual(await task.result(), { ok: true });
  assert.equal((await read).at(-1), 'completed');
  assert.deepEqual(said, [30, 60]);
  assert.equal(task.progress, 100);
  const late = await new Promise((done) => task.on('done', done));
  assert.equal(late, task);
});

test('the cursor follows the events, and a reconnect resumes from it without repeating anything', async () => {
  const server = await script({
    auth: (params, connection) => {
      if (params.resume) setTimeout(() => {
        connection.event({ seq: 11, task_id: 'a', type: 'accepted', status: 'pending' });
        connection.event({ seq: 12, task_id: 'a', type: 'completed', status: 'completed', progress: 100 });
      });
      return resuming(params);
    },
  });
  const hub = connect(server);
  const types = [];
  hub.on('event', (event) => event.seq && event.type !== 'sync' && types.push(event.type));
  await hub.connect();
  server.newest().event({ seq: 11, task_id: 'a', type: 'accepted', status: 'pending' });
  await eventually(() => hub.resume.seq === 11, 'the event');
  server.newest().socket.terminate();
  await eventually(() => hub.resume.seq === 12, 'the replay');
  assert.deepEqual(server.seen.filter((call) => call.method === 'auth')[1].params.resume, { epoch: 'e', seq: 11 });
  assert.deepEqual(types, ['accepted', 'completed']);
});

test('dropped events are no gap when `from` says so; a real hole makes it come back and resume', async () => {
  const server = await script({ auth: (params) => resuming(params) });
  const hub = connect(server);
  await hub.connect();
  const { event } = server.newest();
  event({ seq: 15, from: 10, task_id: 'a', type: 'started' });
  await eventually(() => hub.resume.seq === 15, 'the event');
  assert.equal(server.connections.length, 1);
  event({ seq: 18, from: 17, task_id: 'a', type: 'completed', status: 'completed' });
  await eventually(() => server.connections.length === 2, 'the reconnect');
  await eventually(() => server.count('auth') === 2, 'the second auth');
  assert.deepEqual(server.seen.at(-1).params.resume, { epoch: 'e', seq: 15 });
  assert.notEqual(hub.task('a').status, 'completed');
});

test('the answer to a submission counts as its event', async () => {
  const server = await script({ 'task.submit': () => ({ task_id: 'a', status: 'pending', seq: 14 }) });
  const hub = connect(server);
  await hub.submit('noop');
  server.newest().event({ seq: 15, task_id: 'a', type: 'started' });
  await eventually(() => hub.resume.seq === 15, 'the event');
  assert.equal(server.connections.length, 1);
});

test('an answer moves the cursor by one, and only if it is no duplicate', async () => {
  const rows = [[11, false, 11], [12, false, 10], [500, false, 10], [10, false, 10], [11, true, 10], [12, true, 10]];
  const methods = { 'task.submit': (hub) => hub.submit('noop'), 'task.retry': (hub) => hub.task('b').retry() };
  for (const [seq, duplicate, cursor] of rows) {
    for (const [method, ask] of Object.entries(methods)) {
      const server = await script({
        auth: (params) => resuming(params),
        [method]: () => ({ task_id: 'a', status: 'pending', seq, ...(duplicate && { duplicate }) }),
        'task.get': ({ task_id }) => ({ task_id, task: 'noop', status: 'pending', attempt: 0, seq: 499 }),
      });
      const hub = connect(server);
      await ask(hub);
      server.newest().socket.terminate();
      await eventually(() => server.count('auth') === 2, 'the second auth');
      assert.deepEqual(server.seen.filter((call) => call.method === 'auth')[1].params.resume, { epoch: 'e', seq: cursor }, `${method} ${seq} ${duplicate}`);
    }
  }
});

test('events that an answer overtook are not lost with the connection', async () => {
  const server = await script({
    auth: (params, connection) => {
      if (params.resume) setTimeout(() => [11, 12, 13].filter((seq) => seq > params.resume.seq).forEach((seq) =>
        connection.event({ seq, task_id: seq === 12 ? 'a' : 'b', type: seq === 12 ? 'accepted' : 'started' })));
      return resuming(params, { seq: params.resume ? 13 : 10 });
    },
    'task.submit': () => ({ task_id: 'a', status: 'pending', seq: 12 }),
  });
  const hub = connect(server);
  const types = [];
  hub.on('event', (event) => event.seq && event.type !== 'sync' && types.push(event.type + event.seq));
  await hub.submit('noop');
  server.newest().event({ seq: 11, task_id: 'b', type: 'started' });
  await eventually(() => hub.resume.seq === 11, 'the event before');
  server.newest().socket.terminate();
  await eventually(() => hub.resume.seq === 13, 'the replay');
  assert.deepEqual(types.filter((type) => type.startsWith('started')), ['started11', 'started13']);
});

test('after a gap the snapshot counts, and what it does not hold is read', async () => {
  let gap = false;
  const server = await script({
    auth: () => (gap ? auth({ resumed: 'gap', epoch: 'f', seq: 3, snapshot: [{ task_id: 'a', task: 'noop', status: 'processing', progress: 70, attempt: 1, seq: 2 }], notifications: [{ id: 'n', title: 'T', body: 'B' }] }) : auth()),
    'task.get': () => {
      throw { code: -32004, message: 'Task not found', data: { code: 'not_found' } };
    },
  });
  const hub = connect(server);
  await hub.connect();
  const { event, socket } = server.newest();
  event({ seq: 11, task_id: 'a', type: 'started' });
  event({ seq: 12, task_id: 'b', type: 'started' });
  await eventually(() => hub.resume.seq === 12, 'the events');
  const notes = [];
  hub.on('notification', (note) => notes.push(note.title));
  gap = true;
  const lost = hub.task('b').result();
  socket.terminate();
  await assert.rejects(lost, { code: 'gone' });
  assert.equal(hub.task('a').progress, 70);
  assert.deepEqual(hub.resume, { epoch: 'f', seq: 3, mark: undefined });
  assert.deepEqual(notes, ['T']);
});

test('4401 asks getToken once; a second refusal ends it', async () => {
  const why = [];
  const server = await script({
    auth: () => {
      throw { code: -32001, message: 'Not authenticated', data: { code: 'unauthenticated', status: 401 } };
    },
  });
  const hub = connect(server, { token: undefined, getToken: (reason) => (why.push(reason), 'x') });
  await assert.rejects(hub.connect(), { code: 'unauthenticated' });
  assert.deepEqual(why, ['connect', 'rejected']);
  assert.equal(hub.state, 'closed');
});

test('close codes from 4400 on are final, others are not', async () => {
  const server = await script();
  for (const [code, state] of [[4429, 'closed'], [4408, 'closed'], [4100, 'waiting'], [4101, 'waiting'], [1001, 'waiting']]) {
    const hub = connect(server);
    await hub.connect();
    const ended = new Promise((done) => hub.once('state', done));
    server.newest().socket.close(code);
    assert.equal(await ended, state, String(code));
    hub.close();
  }
});

test('a draining hub says when to come back', async () => {
  const server = await script({ auth: (params) => resuming(params) });
  const hub = connect(server);
  await hub.connect();
  server.newest().notify('hub.draining', { retry_ms: [700, 900] });
  await new Promise((done) => hub.once('hub.draining', done));
  const left = Date.now();
  server.newest().socket.close(4100);
  await eventually(() => server.count('auth') === 2, 'the reconnect');
  assert.ok(Date.now() - left >= 690, String(Date.now() - left));
});

test('an expiring token is refreshed in the connection', async () => {
  const server = await script({ 'auth.refresh': () => ({ expires_at: 'later' }) });
  const hub = connect(server, { token: undefined, getToken: (why) => 'token for ' + why });
  await hub.connect();
  server.newest().notify('auth.expiring', { expires_at: 'soon' });
  await eventually(() => server.count('auth.refresh') === 1, 'the refresh');
  assert.equal(server.seen.at(-1).params.token, 'token for expiring');
  assert.equal(server.connections.length, 1);
});

test('an abort of the submission cancels the task; an abort of the wait does not', async () => {
  const server = await script({
    'task.submit': () => ({ task_id: 'a', status: 'pending', seq: 11 }),
    'task.cancel': () => ({ task_id: 'a', status: 'cancelled' }),
  });
  const hub = connect(server);
  const submitting = new AbortController();
  const waiting = new AbortController();
  const task = await hub.submit('noop', {}, { signal: submitting.signal });
  const wait = task.result({ signal: waiting.signal });
  waiting.abort();
  await assert.rejects(wait, { name: 'AbortError' });
  assert.equal(server.count('task.cancel'), 0);
  submitting.abort();
  await eventually(() => server.count('task.cancel') === 1, 'the cancel');
});

test('refusals are errors with code, field and time', async () => {
  const server = await script({
    'task.submit': () => {
      throw { code: -32029, message: 'Maximum 5 concurrent tasks per user exceeded', data: { code: 'user_limit', status: 429, retry_ms: 500, field: 'task' } };
    },
  });
  await assert.rejects(connect(server).submit('noop'), { name: 'TaskHubError', code: 'user_limit', rpc: -32029, status: 429, retryMs: 500, field: 'task' });
});

test('calls wait for the connection, but not without bound', async () => {
  const hub = connect({ url: 'ws://127.0.0.1:9' }, { maxCalls: 2 });
  const waiting = [hub.call('ping'), hub.call('ping')];
  await assert.rejects(hub.call('ping'), { code: 'queue_full' });
  const refused = Promise.all(waiting.map((call) => assert.rejects(call, { code: 'closed' })));
  hub.close();
  await refused;
});

test('a file goes out within its credit, and after a cut exactly the missing bytes', async () => {
  const file = new Blob([Buffer.from(Array.from({ length: 300000 }, (_, i) => i % 251))]);
  let received = 0;
  let cut = false;
  const got = [];
  const server = await script({
    auth: (params) => resuming(params),
    'audio.start': () => ({ task_id: 'a', stream: 7, credit: 100000, seq: 11 }),
    'audio.resume': () => ({ stream: 9, received, credit: 100000 }),
    'audio.end': () => ({ received }),
    binary: (frame, { socket, notify }) => {
      const stream = frame.readUInt32BE(0);
      assert.equal(stream, cut ? 9 : 7);
      assert.ok(frame.length <= 65540);
      if (!cut && received >= 60000) {
        cut = true;
        socket.terminate();
        return;
      }
      got.push(frame.subarray(4));
      received += frame.length - 4;
      notify('audio.ack', { stream, received, credit: 100000 });
    },
  });
  const stream = await sdk.sendFile(connect(server), file, 'speech', {});
  await new Promise((done) => stream.on('close', done));
  assert.equal(received, 300000);
  assert.ok(Buffer.concat(got).equals(Buffer.from(await file.arrayBuffer())));
  assert.equal(server.count('audio.end'), 1);
});
