/* SPDX-License-Identifier: MIT */
/**
 * Opens and closes many hubs, with everything that may hold one: for the memory test, in Node (`memory.mjs URL TOKEN
 * LIBRARY`, with --expose-gc; prints what churn() gives) and in a page.
 */

/** Opens and closes so many; gives how many of them are still alive behind a collection of garbage. */
export async function churn(TaskHub, connection, count, collect) {
  const { signal } = new AbortController();
  const made = [];
  for (let i = 0; i < count; i++) {
    const hub = new TaskHub(...connection);
    made.push(new WeakRef(hub));
    const task = await hub.submit('noop', {}, { signal });
    await task.result({ signal });
    const waiting = hub.submit('noop_heavy', { steps: 100, sleep_ms: 1000 }, { signal, delayMs: 86400000, expiresMs: 1000 });
    const gone = waiting.then((other) => other.result({ signal })).catch((error) => error.code);
    hub.close();
    if ((await gone) !== 'closed') throw new Error('not closed');
  }
  await collect();
  return made.filter((hub) => hub.deref()).length;
}

if (globalThis.process?.argv[1]?.endsWith('memory.mjs')) {
  const [url, token, library] = process.argv.slice(2);
  const { TaskHub } = await import(library);
  const WebSocket = globalThis.WebSocket ?? (await import('ws')).WebSocket;
  const heap = () => process.memoryUsage().heapUsed;
  const collect = async () => {
    await new Promise((done) => setTimeout(done, 300));
    for (let i = 0; i < 3; i++) gc();
  };
  const told = [];
  for (const count of [200, 800]) {
    const alive = await churn(TaskHub, [url, { token, WebSocket }], count, collect);
    told.push({ alive, heap: heap() });
  }
  console.log(JSON.stringify(told));
}
