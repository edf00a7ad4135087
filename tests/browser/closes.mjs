/* SPDX-License-Identifier: MIT */
/** Connects, says so, closes when it is told to: `closes.mjs URL TOKEN LIBRARY`. Must then end by itself (Node's own socket cannot). */
const [url, token, library] = process.argv.slice(2);
const [{ TaskHub }, { WebSocket }] = await Promise.all([import(library), import('ws')]);
const hub = new TaskHub(url, { token, WebSocket });
await hub.connect();
process.stdin.once('data', () => hub.close());
console.log('connected');
