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
