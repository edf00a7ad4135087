/* SPDX-License-Identifier: MIT */
/** A scripted hub for tests of the client library: what a real one does rarely, on purpose. */
import { after } from 'node:test';
import { WebSocket, WebSocketServer } from 'ws';

const open = [];
after(() => open.forEach((close) => close()));

/**
 * A server whose methods are functions (params, connection) => result; throwing {code, message, data}
 * answers an error. `seen` holds every request, `connections` every connection so far.
 */
export async function script(methods = {}, { port = 0 } = {}) {
  const server = new WebSocketServer({ port, host: '127.0.0.1' });
  await new Promise((done) => server.once('listening', done));
  const made = { url: 'ws://127.0.0.1:' + server.address().port, seen: [], connections: [], binary: [] };
  const all = { auth: () => auth(), ping: () => ({ time: 'now' }), ...methods };
  server.on('connection', (socket) => {
    const connection = {
      socket,
      notify: (method, params) => socket.send(JSON.stringify({ jsonrpc: '2.0', method, params })),
      event: (params) => connection.notify('task.event', { attempt: 1, at: '2026-01-01T00:00:00.000Z', task: 'noop', status: 'processing', progress: 0, ...params }),
    };
    made.connections.push(connection);
    socket.on('message', async (data, binary) => {
      if (binary) {
        made.binary.push(Buffer.from(data));
        all.binary?.(Buffer.from(data), connection);
        return;
      }
      const { id, method, params } = JSON.parse(data);
      made.seen.push({ method, params, at: Date.now() });
      try {
        if (!all[method]) throw { code: -32601, message: 'Unknown method', data: { code: 'method' } };
        const result = await all[method](params, connection);
        if (result !== undefined) socket.send(JSON.stringify({ jsonrpc: '2.0', id, result }));
      } catch (error) {
        if (error instanceof Error) throw error;
        socket.send(JSON.stringify({ jsonrpc: '2.0', id, error }));
      }
    });
  });
  open.push(() => {
    server.clients.forEach((socket) => socket.terminate());
    server.close();
  });
  made.newest = () => made.connections.at(-1);
  made.count = (method) => made.seen.filter((call) => call.method === method).length;
  return made;
}

export const auth = (more = {}) => ({ user_id: 'u', roles: [], epoch: 'e', seq: 10, resumed: 'none', limits: {}, ...more });
export const resuming = (params, more) => auth({ resumed: params.resume ? 'ok' : 'none', ...more });

/** A client of the scripted hub, closed with the test file. `sdk`: the library, as fixtures.mjs loads it. */
export function connect(sdk, server, options = {}) {
  const hub = new sdk.TaskHub(server.url, { token: 't', WebSocket: globalThis.WebSocket ?? WebSocket, ...options });
  open.push(() => hub.close());
  return hub;
}
