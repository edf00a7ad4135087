/* SPDX-License-Identifier: MIT */
/**
 * The client library at the edges of its connection: closed or refused while it authenticates, a dead line under a
 * recording, another user's token.
 */
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { eventually, library } from './fixtures.mjs';
import { auth, connect, resuming, script } from './script.mjs';

let sdk;
before(async () => {
  sdk = await library();
});

const never = () => new Promise(() => {});
const states = (hub) => {
  const seen = [];
  hub.on('state', (state) => seen.push(state));
  return seen;
};

test('closed while it authenticates, it stays closed', async () => {
  const server = await script({ auth: never });
  const hub = connect(sdk, server);
  const seen = states(hub);
  const connecting = hub.connect();
  await eventually(() => server.count('auth'), 'auth');
  hub.close();
  await assert.rejects(connecting, { code: 'closed' });
  await assert.rejects(hub.call('ping'), { code: 'closed' });
  await new Promise((done) => setImmediate(done));
  assert.deepEqual(seen, ['connecting', 'closed']);
  await assert.rejects(connect(sdk, { url: 'no url at all' }).connect());
});

test('too many connections are not tried again and again', async () => {
  const refused = { code: -32029, message: 'Too many connections of this user', data: { code: 'connections', status: 429 } };
  const server = await script({
    auth: () => {
      throw refused;
    },
  });
  const hub = connect(sdk, server);
  await assert.rejects(hub.connect(), { code: 'refused', message: refused.message });
  assert.equal(hub.state, 'closed');
  assert.equal(server.connections.length, 1);
});

test('a refused close code during auth is final, too', async () => {
  const server = await script({ auth: (params, { socket }) => void socket.close(4408, 'no auth in time') });
  await assert.rejects(connect(sdk, server).connect(), { code: 'refused' });
  assert.equal(server.connections.length, 1);
});

test('a call that cannot be written is refused alone', async () => {
  const server = await script();
  const hub = connect(sdk, server);
  const circle = {};
  circle.self = circle;
  await Promise.all([assert.rejects(hub.call('ping', circle), TypeError), hub.call('ping')]);
  assert.equal(server.count('ping'), 1);
});

test("another user's token begins anew", async () => {
  let user = 'alice';
  const resumes = [];
  const server = await script({
    auth: (params) => {
      resumes.push(params.resume);
      return resuming(params, { user_id: user, seq: user === 'alice' ? 10 : 500 });
    },
    'auth.refresh': () => {
      throw { code: -32001, message: "The token is another user's", data: { code: 'unauthenticated', status: 401 } };
    },
    'task.get': ({ task_id }) => ({ task_id, task: 'noop', status: 'completed' }),
    'task.list': () => ({ tasks: [{ task_id: user + '-1', task: 'noop', status: 'completed' }], totals: {} }),
  });
  const hub = connect(sdk, server);
  const users = [];
  hub.on('user', ({ user_id }) => users.push(user_id));
  const [first] = (await hub.tasks()).tasks;
  await assert.rejects(hub.setToken("bob's"), { code: 'unauthenticated' });
  server.newest().socket.terminate();
  await eventually(() => server.count('auth') === 2 && hub.state === 'connected', 'the first user again');
  assert.equal(server.seen.at(-1).params.token, 't', 'a token that was refused is not used');
  hub.close();
  user = 'bob';
  await hub.setToken("bob's");
  assert.deepEqual(users, ['bob']);
  assert.equal(hub.resume.seq, 500);
  assert.notEqual(hub.task(first.id), first, "nothing of alice's is known any more");
});

test('a line that died under a recording is noticed soon', async () => {
  const server = await script({ 'audio.start': () => ({ task_id: 'a', stream: 1, credit: 1000000, seq: 11 }), 'audio.end': never, ping: never });
  const hub = connect(sdk, server);
  await hub.connect();
  await sdk.sendFile(hub, new Blob([new Uint8Array(1000)]), 'speech', {});
  const began = Date.now();
  await eventually(() => server.count('ping'), 'a question whether the hub is there', 12);
  assert.ok(Date.now() - began < 10000, 'long before the 25 s of an idle line');
});

test('a token given while an older one is being refused is used', async () => {
  const tokens = [];
  const server = await script({
    auth: ({ token }, { socket }) => {
      tokens.push(token);
      if (token === 'new') return auth();
      socket.close(4401, 'authentication failed');
    },
  });
  const hub = connect(sdk, server, { token: 'old' });
  const first = hub.connect();
  await hub.setToken('new');
  await first;
  assert.deepEqual(tokens, ['old', 'new']);
  const asked = [];
  const stale = connect(sdk, server, { token: undefined, getToken: (why) => asked.push(why) && 'stale' });
  await assert.rejects(stale.connect(), { code: 'unauthenticated' });
  await stale.setToken('new');
  assert.deepEqual(asked, ['connect', 'rejected'], 'what was given comes before what is asked for');
});

test("another user's notifications are not taken for old ones", async () => {
  let seq = 100;
  const server = await script({
    auth: () => auth({ user_id: seq === 100 ? 'alice' : 'bob', seq }),
  });
  const hub = connect(sdk, server);
  const notes = [];
  hub.on('notification', (note) => notes.push(note.title));
  await hub.connect();
  server.newest().notify('notification', { seq: 101, title: "alice's" });
  await eventually(() => notes.length, 'the first note');
  hub.close();
  seq = 5;
  await hub.setToken("bob's");
  server.newest().notify('notification', { seq: 6, title: "bob's" });
  await eventually(() => notes.length === 2, 'the second note');
  assert.deepEqual(notes, ["alice's", "bob's"]);
});

test('a token that is none is final, and calls made when it is closed connect again', async () => {
  let good = false;
  const server = await script({
    auth: () => {
      if (good) return auth();
      throw { code: -32602, message: 'token: is required', data: { code: 'params', field: 'token', status: 422 } };
    },
  });
  const hub = connect(sdk, server, { token: '' });
  let again;
  hub.on('state', (state) => {
    if (state !== 'closed' || again) return;
    good = true;
    again = hub.connect().then(() => hub.call('ping'));
  });
  await assert.rejects(hub.connect(), { code: 'refused' });
  assert.deepEqual(await again, { time: 'now' });
});

test('a file that cannot be read any more says so before it closes', async () => {
  const server = await script({
    'audio.start': () => ({ task_id: 'a', status: 'pending', seq: 11, stream: 1, credit: 1000 }),
    'task.cancel': () => ({}),
  });
  const hub = connect(sdk, server);
  const slice = () => ({ arrayBuffer: () => Promise.reject(Object.assign(new Error('gone'), { code: 'unreadable' })) });
  const stream = await sdk.sendFile(hub, { size: 5000, name: 'x', slice }, 'process_speak_audio', {});
  const told = [];
  stream.on('error', (error) => told.push(error.code));
  stream.on('close', () => told.push('close'));
  await eventually(() => told.length === 2, 'both events');
  assert.deepEqual(told, ['unreadable', 'close']);
});

test('a token that could not be renewed is asked for again while the old one lives', async () => {
  const server = await script({ 'auth.refresh': () => ({ expires_at: 'later' }) });
  const asked = [];
  const getToken = (why) => {
    asked.push(why);
    if (asked.length === 2) throw new Error('no network');
    return 't';
  };
  const hub = connect(sdk, server, { token: undefined, getToken });
  const errors = [];
  hub.on('error', (error) => errors.push(error.message));
  await hub.connect();
  server.newest().notify('auth.expiring', { expires_at: 'soon' });
  await eventually(() => server.count('auth.refresh') === 1, 'the second try', 10);
  assert.deepEqual(asked, ['connect', 'expiring', 'expiring']);
  assert.deepEqual(errors, ['no network']);
});
