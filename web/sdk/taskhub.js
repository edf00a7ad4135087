/* SPDX-License-Identifier: MIT */
/**
 * Client library of Taskhub: plain ES modules for browsers and Node, without dependencies. Owns one
 * WebSocket, the calls in flight, the task handles and the resume cursor. Never polls, never puts the
 * token into a URL, never submits a task twice.
 *
 *   const hub = new TaskHub({ token });
 *   const task = await hub.submit('process_text', { text });
 *   task.on('progress', (event) => { bar.value = event.progress; });
 *   console.log(await task.result());
 */

import { Emitter, Task, TaskHubError, newKey } from './taskhub-task.js';

export { Task, TaskHubError };

/** @typedef {'idle'|'connecting'|'connected'|'waiting'|'closed'} HubState */
/** @typedef {import('./taskhub-task.js').TaskEvent} TaskEvent */
/**
 * @typedef {object} Options
 * @property {string} [token] a token; without getToken the connection ends when it expires
 * @property {(why: 'connect'|'expiring'|'rejected') => string|Promise<string>} [getToken] gives a fresh
 *   token; if it throws an error with code 'unauthorized', the hub stops connecting
 * @property {any} [WebSocket] the class to use where there is no global one (Node before 22)
 * @property {{epoch: string, seq: number}} [resume] a cursor kept from earlier (hub.resume)
 * @property {number} [maxCalls] calls waiting for an answer or a connection, default 1024
 * @property {number} [timeoutMs] for the answer to a call that was sent, default 30 000
 */

/** Calls that may be sent again when the connection was lost before their answer. */
const REPEATABLE = /^(task\.(get|list|cancel|why)|notification\.|rating\.|admin\.|ping)/;
/** Close codes that blame a message: what was in flight must not be sent again. */
const REFUSED = new Set([1002, 1003, 1007, 1008, 1009]);
const MIN_DELAY = 500;
const MAX_DELAY = 20000;
const STABLE_MS = 5000;
const SILENCE_MS = 25000;
const ANSWER_MS = 10000;
/** Bytes of audio are acknowledged at once: silence behind them is asked about sooner. */
const FED_MS = 2000;
const KEPT_TASKS = 4096;

/**
 * A connection to a hub, opened on first use and kept open. Events: 'state' (state, error), 'task'
 * (a task not seen before), 'event' (event, task: of any task of this user, from whatever tab),
 * 'notification', 'ready' (result of auth), 'user' (it is another user than before: nothing of the first
 * one's is known any more), 'error' (a token could not be renewed), and every other notification by its
 * method, such as 'hub.draining', 'auth.expiring', 'audio.ack', 'admin.event'.
 */
export class TaskHub extends Emitter {
  #url;
  #options;
  /** @type {HubState} */
  #state = 'idle';
  /** @type {any} */
  #socket = null;
  /** @type {Map<number, any>} */
  #calls = new Map();
  #nextId = 1;
  /** @type {Map<string, Task>} */
  #tasks = new Map();
  #epoch = '';
  #last = 0;
  #told = 0;
  #lastNote = 0;
  #attempts = 0;
  #opened = 0;
  #heard = 0;
  #asked = 0;
  #fed = 0;
  /** @type {string|undefined} a token given while no connection was there to take it */
  #fresh;
  /** @type {'connect'|'expiring'|'rejected'} */
  #why = 'connect';
  /** @type {[number, number]|undefined} */
  #window;
  /** @type {TaskHubError|undefined} */
  #error;
  /** @type {any} */
  #timer;
  /** @type {any} */
  #beat;
  /** The result of auth: user_id, roles, expires_at, limits … @type {any} */
  user = null;

  /**
   * @param {string|Options} [url] of the WebSocket; default: /ws of this page's host
   * @param {Options} [options]
   */
  constructor(url, options) {
    super();
    if (typeof url === 'object') [url, options] = [undefined, url];
    this.#url = url ?? location.origin.replace(/^http/, 'ws') + '/ws';
    this.#options = { maxCalls: 1024, timeoutMs: 30000, ...options };
    if (options?.resume) ({ epoch: this.#epoch, seq: this.#last } = options.resume);
    globalThis.addEventListener?.('online', () => this.#wake());
    globalThis.document?.addEventListener('visibilitychange', () => document.hidden || this.#wake());
  }

  get state() {
    return this.#state;
  }
  /** The cursor behind the newest event seen; kept and given to a later TaskHub, it misses nothing. */
  get resume() {
    return { epoch: this.#epoch, seq: this.#last };
  }

  /** Connects now instead of on first use; resolves when authenticated. @returns {Promise<any>} */
  connect() {
    if (this.#state === 'idle' || this.#state === 'closed') this.#open();
    if (this.#state === 'connected') return Promise.resolve(this.user);
    if (this.#state === 'closed') return Promise.reject(this.#error);
    return new Promise((resolve, reject) => {
      const off = this.on('state', (state, error) => {
        if (state === 'connected') resolve(this.user);
        else if (state === 'closed') reject(error);
        else return;
        off();
      });
    });
  }

  /** Ends the connection; calls without an answer are rejected. */
  close() {
    this.#stop(new TaskHubError('closed', 'The connection was closed'));
  }

  /** A new token: refreshes the live connection or starts a stopped one. @param {string} token */
  async setToken(token) {
    const live = this.#state === 'connected';
    if (live) await this.call('auth.refresh', { token });
    this.#options.token = token;
    if (live) return;
    this.#fresh = token;
    await this.connect();
  }

  /**
   * One request. Waits for the connection; sent again after a reconnect only where that is harmless.
   * @param {string} method
   * @param {object} [params]
   * @param {{resend?: boolean, timeoutMs?: number}} [options]
   * @returns {Promise<any>}
   */
  call(method, params = {}, { resend = REPEATABLE.test(method), timeoutMs = this.#options.timeoutMs } = {}) {
    if (this.#state === 'closed') return Promise.reject(this.#error);
    if (this.#state === 'idle') this.#open();
    return this.#call({ method, params, resend, timeoutMs });
  }

  #call(/** @type {any} */ call) {
    return new Promise((resolve, reject) => {
      if (this.#calls.size >= this.#options.maxCalls && !call.now) {
        reject(new TaskHubError('queue_full', 'Too many calls are waiting for the hub'));
        return;
      }
      const id = this.#nextId++;
      const text = JSON.stringify({ jsonrpc: '2.0', id, method: call.method, params: call.params });
      this.#calls.set(id, Object.assign(call, { id, text, resolve, reject }));
      if (this.#state === 'connected' || call.now) this.#send(call);
    });
  }

  #send(/** @type {any} */ call) {
    const { id, method, text } = call;
    call.timer = setTimeout(() => this.#settle(id, new TaskHubError('timeout', 'No answer to ' + method)), call.timeoutMs);
    this.#socket.send(text);
  }

  #settle(/** @type {number} */ id, /** @type {any} */ error, /** @type {any} */ result = undefined) {
    const call = this.#calls.get(id);
    if (!call) return;
    clearTimeout(call.timer);
    this.#calls.delete(id);
    if (error) call.reject(error);
    else call.resolve(result);
  }

  /**
   * Submits a task; resolves once the hub has recorded it. A key makes it happen once however often it
   * is asked for; without one the library makes its own (null: none, then a lost answer is an error). Give
   * one where you may ask again yourself: after `timeout` or `unavailable` the task may have been taken.
   * Aborting the signal cancels the task.
   * @param {string} task its type
   * @param {object} [args]
   * @param {{key?: string|null, priority?: number, delayMs?: number, expiresMs?: number, signal?: AbortSignal}} [options]
   * @returns {Promise<Task>}
   */
  async submit(task, args = {}, { key = newKey(), priority, delayMs, expiresMs, signal } = {}) {
    signal?.throwIfAborted();
    const params = { task, args, idempotency_key: key ?? undefined, priority, delay_ms: delayMs, expires_ms: expiresMs };
    const handle = this._accepted(await this.call('task.submit', params, { resend: !!key }), task);
    const cancel = () => handle.cancel().catch(() => {});
    if (signal?.aborted) cancel();
    signal?.addEventListener('abort', cancel, { once: true });
    handle.on('done', () => signal?.removeEventListener('abort', cancel));
    return handle;
  }

  /** The handle of a task by its id; reads its record when it is not known yet. @param {string} id */
  task(id) {
    const known = this.#tasks.get(id);
    if (known) return known;
    const task = this.#adopt({ task_id: id });
    task.refresh().catch(() => {});
    return task;
  }

  /**
   * A page of this user's tasks, newest first.
   * @param {{status?: string, task?: string, since?: string, until?: string, cursor?: string, limit?: number}} [filter]
   */
  async tasks(filter = {}) {
    const { tasks, next_cursor, totals } = await this.call('task.list', filter);
    return { tasks: tasks.map((/** @type {any} */ data) => this.#adopt(data)), nextCursor: next_cursor, totals };
  }

  /** Sends bytes of a stream of this connection: for taskhub-audio.js. */
  _binary(/** @type {number} */ stream, /** @type {Uint8Array} */ bytes) {
    const frame = new Uint8Array(4 + bytes.length);
    new DataView(frame.buffer).setUint32(0, stream);
    frame.set(bytes, 4);
    this.#socket?.send(frame);
    this.#fed = Date.now();
  }

  /** The answer to a submission stands for its first event. */
  _accepted(/** @type {any} */ reply, /** @type {string|undefined} */ task = undefined) {
    const { task_id, status = 'pending', seq, duplicate, retry_of } = reply;
    const known = this.#tasks.get(task_id);
    if (known) return known;
    const fresh = duplicate ? {} : { seq, created_at: new Date().toISOString() };
    const handle = this.#adopt({ task_id, task, status, stage: 'queued', retry_of, ...fresh }, 'accepted');
    if (duplicate) handle.refresh().catch(() => {});
    return handle;
  }

  #adopt(/** @type {any} */ data, /** @type {string|undefined} */ type = undefined) {
    const known = this.#tasks.get(data.task_id);
    const task = known ?? new Task(this, data.task_id);
    if (!known) {
      this.#tasks.set(task.id, task);
      if (this.#tasks.size > KEPT_TASKS) this.#forget();
    }
    task._merge(data, type);
    if (!known) this.emit('task', task);
    return task;
  }

  #forget() {
    for (const [id, task] of this.#tasks) {
      if (task.finished) this.#tasks.delete(id);
      if (this.#tasks.size <= KEPT_TASKS) return;
    }
  }

  #set(/** @type {HubState} */ state, /** @type {any} */ error = undefined) {
    if (state === this.#state) return;
    this.#state = state;
    this.#error = error;
    this.emit('state', state, error);
  }

  async #open() {
    clearTimeout(this.#timer);
    this.#set('connecting');
    const { token, getToken, WebSocket: Socket = globalThis.WebSocket } = this.#options;
    let given = this.#fresh ?? token;
    try {
      if (getToken && !this.#fresh) given = await getToken(this.#why);
    } catch (error) {
      if (/** @type {any} */ (error).code === 'unauthorized') this.#stop(error);
      else this.#later(error);
      return;
    }
    if (this.#state !== 'connecting' || this.#socket) return;
    if (given === this.#fresh) this.#fresh = undefined;
    let socket;
    try {
      socket = this.#socket = new Socket(this.#url, 'taskhub.v1');
    } catch (error) {
      this.#stop(error);
      return;
    }
    socket.binaryType = 'arraybuffer';
    socket.onopen = () => this.#authenticate(socket, given);
    socket.onmessage = (/** @type {any} */ event) => this.#receive(JSON.parse(event.data));
    socket.onclose = (/** @type {any} */ event) => this.#lost(event.code, event.reason);
    socket.onerror = () => {};
    this.#heard = this.#asked = Date.now();
    clearInterval(this.#beat);
    this.#beat = setInterval(() => this.#watch(), 5000);
  }

  #authenticate(/** @type {any} */ socket, /** @type {string|undefined} */ token) {
    const resume = this.#epoch ? this.resume : undefined;
    const call = { method: 'auth', params: { token, resume }, timeoutMs: ANSWER_MS, now: true };
    this.#call(call).then(
      (user) => this.#ready(user),
      ({ rpc, message, retryMs }) => {
        if (socket !== this.#socket) return; // it was lost, or given up, meanwhile
        this.#lost(rpc === -32001 ? 4401 : rpc === -32602 || (rpc === -32029 && !retryMs) ? 4429 : 1013, message, retryMs);
      },
    );
  }

  #ready(/** @type {any} */ user) {
    const before = this.user;
    this.user = user;
    const other = before && before.user_id !== user.user_id;
    if (other) this.#tasks.clear();
    this.#opened = Date.now();
    this.#asked = 0;
    this.#why = 'connect';
    this.#window = undefined;
    if (other || user.resumed !== 'ok') this.#last = this.#told = user.seq;
    if (other || user.epoch !== this.#epoch) this.#restart();
    this.#epoch = user.epoch;
    this.#set('connected');
    for (const call of [...this.#calls.values()]) if (!call.timer) this.#send(call);
    if (other) this.emit('user', user);
    if (user.resumed === 'gap') this.#converge(user);
    this.emit('ready', user);
  }

  /** Another user, or Redis lost its data: sequence numbers begin again. */
  #restart() {
    this.#lastNote = 0;
    for (const task of this.#tasks.values()) task.data.seq = 0;
  }

  /** After a gap: what the snapshot does not tell is read task by task. */
  #converge(/** @type {any} */ { snapshot = [], notifications = [] }) {
    const told = new Set(snapshot.map((/** @type {any} */ data) => this.#adopt(data).id));
    for (const task of this.#tasks.values()) {
      if (!task.finished && !told.has(task.id)) task.refresh().catch(() => {});
    }
    for (const note of notifications) this.#note(note);
  }

  #receive(/** @type {any} */ { id, result, error, method, params }) {
    this.#heard = Date.now();
    this.#asked = 0;
    if (method) {
      this.#notified(method, params);
      return;
    }
    const call = this.#calls.get(id);
    if (call && result?.seq && /submit|retry|start$/.test(call.method) && !result.duplicate) {
      if (result.seq === this.#last + 1) this.#last++;
      this.#told = Math.max(this.#told, result.seq);
    }
    const { code, ...data } = error?.data ?? {};
    this.#settle(id, error && new TaskHubError(code ?? 'error', error.message, { rpc: error.code, ...data }), result);
  }

  #notified(/** @type {string} */ method, /** @type {any} */ params) {
    const { seq, from = seq - 1 } = params;
    if (seq) {
      if (from > this.#last && from > this.#told) {
        this.#lost(4000, 'Events are missing');
        return;
      }
      this.#last = Math.max(this.#last, seq);
    }
    if (method === 'task.event') {
      const known = this.#tasks.get(params.task_id);
      const task = known ?? this.#adopt({ task_id: params.task_id, task: params.task });
      task._apply(params);
    } else if (method === 'notification') {
      this.#note(params);
    } else {
      if (method === 'hub.draining') this.#window = params.retry_ms;
      if (method === 'auth.expiring') this.#refresh();
      this.emit(method, params);
    }
  }

  #note(/** @type {any} */ note) {
    if (note.seq <= this.#lastNote) return;
    this.#lastNote = note.seq ?? this.#lastNote;
    this.emit('notification', note);
  }

  async #refresh() {
    if (this.#state !== 'connected') return;
    try {
      const token = await this.#options.getToken?.('expiring');
      if (token) await this.call('auth.refresh', { token });
    } catch (/** @type {any} */ error) {
      this.emit('error', error);
      if (error.code !== 'unauthorized') setTimeout(() => this.#refresh(), 5000);
    }
  }

  /** The connection is gone, or given up: what happens to the calls, and whether to come back. */
  #lost(/** @type {number} */ code, /** @type {string} */ reason, /** @type {number|undefined} */ delay = undefined) {
    this.#detach();
    const error = new TaskHubError('connection_lost', reason || 'The connection was lost (' + code + ')');
    for (const call of [...this.#calls.values()]) {
      if (!call.timer) continue;
      clearTimeout(call.timer);
      call.timer = undefined;
      if (!call.resend || REFUSED.has(code)) this.#settle(call.id, error);
    }
    if (code >= 4400 && code < 5000 && !(code === 4401 && this.#fresh)) {
      error.code = code === 4401 ? 'unauthenticated' : 'refused';
      if (code !== 4401 || !this.#options.getToken || this.#why === 'rejected') {
        this.#stop(error);
        return;
      }
      this.#why = 'rejected';
    }
    this.#later(error, delay);
  }

  #detach() {
    const socket = this.#socket;
    this.#socket = null;
    clearInterval(this.#beat);
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
  }

  /** Comes back after a random part of a growing time, or in the window a draining hub gave. */
  #later(/** @type {any} */ error, delay = 0) {
    if (this.#opened && Date.now() - this.#opened > STABLE_MS) this.#attempts = 0;
    this.#opened = 0;
    let wait = Math.random() * Math.min(MAX_DELAY, MIN_DELAY * 2 ** this.#attempts++);
    if (this.#window) wait = this.#window[0] + Math.random() * (this.#window[1] - this.#window[0]);
    this.#window = undefined;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#open(), wait + delay);
    this.#set('waiting', error);
  }

  #stop(/** @type {any} */ error) {
    clearTimeout(this.#timer);
    this.#detach();
    for (const id of [...this.#calls.keys()]) this.#settle(id, error);
    this.#set('closed', error);
  }

  /** Network or tab came back: try at once; ask whether an open connection still lives. */
  #wake() {
    if (this.#state === 'connected') this.#ask();
    if (this.#state !== 'waiting') return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#open(), Math.random() * 300);
  }

  #ask() {
    this.#asked ||= Date.now();
    this.call('ping').catch(() => {});
  }

  #watch() {
    const now = Date.now();
    if (this.#asked && now - this.#asked > ANSWER_MS) this.#lost(1006, 'The hub does not answer');
    else if (!this.#asked && now - this.#heard > (this.#fed > this.#heard ? FED_MS : SILENCE_MS)) this.#ask();
  }
}
