/* SPDX-License-Identifier: MIT */
/**
 * Client library of Taskhub: plain ES modules for browsers and Node, without dependencies. Owns the
 * connection and when it comes back, the task handles and the resume cursor. Never polls, never puts the
 * token into a URL, never submits a task twice.
 *
 *   const hub = new TaskHub({ token });
 *   const task = await hub.submit('process_text', { text });
 *   task.on('progress', (event) => { bar.value = event.progress; });
 *   console.log(await task.result());
 */

import { Line } from './taskhub-line.js';
import { Emitter, Task, TaskHubError, newKey, onAbort } from './taskhub-task.js';
import { Waits, now } from './taskhub-waits.js';

export { Task, TaskHubError };

/** @typedef {'idle'|'connecting'|'connected'|'waiting'|'closed'} HubState */
/** @typedef {import('./taskhub-task.js').TaskEvent} TaskEvent */
/**
 * @typedef {object} Options
 * @property {string} [token] a token; without getToken the connection ends when it expires
 * @property {(why: 'connect'|'expiring'|'rejected') => string|Promise<string>} [getToken] gives a fresh
 *   token; if it throws an error with code 'unauthorized', the hub stops connecting
 * @property {any} [WebSocket] the class to use where there is no global one (Node before 22)
 * @property {{epoch: string, seq: number, mark?: string}} [resume] a cursor kept from earlier (hub.resume)
 * @property {number} [maxCalls] calls waiting for an answer or a connection, default 1024
 * @property {number} [timeoutMs] for the answer to a call, from when it was first sent, default 30 000
 * @property {number} [connectTimeoutMs] how long anything waits without a connection, default 30 000
 */
/** @typedef {{signal?: AbortSignal, timeoutMs?: number}} CallOptions */

/** Calls that carry a key, so that they happen once however often they are sent. */
const KEYED = /^(task\.(submit|retry)|audio\.start|rating\.submit|notification\.read|impression\.record)$/;
/** Others that may be sent again when the connection was lost before their answer. */
const REPEATABLE = /^(task\.(get|list|cancel|why)|notification\.|admin\.|auth\.refresh|ping)/;
/** Close codes that blame a message: what was in flight must not be sent again. */
const REFUSED = new Set([1002, 1003, 1007, 1008, 1009]);
const MIN_DELAY = 500;
const MAX_DELAY = 20000;
const STABLE_MS = 5000;
/** So many sockets that did not open are told as an error. */
const TRIES = 3;
const AUTH_MS = 10000;
const KEPT_TASKS = 4096;

/**
 * A connection to a hub, opened on first use and kept open. Events: 'state' (state, error), 'task'
 * (a task not seen before), 'event' (event, task: of any task of this user, from whatever tab),
 * 'notification', 'ready' (result of auth), 'user' (it is another user than before: nothing of the first
 * one's is known any more), 'error' (a token could not be renewed; `unreachable`: three sockets in turn did
 * not open, it goes on trying), and every other notification by its method, such as 'hub.draining',
 * 'auth.expiring', 'audio.ack', 'admin.event'.
 *
 * Whatever waits ends: by answer or signal, when it is closed, after connectTimeoutMs without a connection.
 */
export class TaskHub extends Emitter {
  #url;
  #options;
  /** @type {HubState} */
  #state = 'idle';
  /** @type {Line|null} */
  #line = null;
  #waits;
  /** Counts openings: one that was given up is not gone on with. */
  #turn = 0;
  /** Sockets made since one opened. */
  #unopened = 0;
  /** @type {Map<string, Task>} */
  #tasks = new Map();
  /** The newest event seen, and its mark. @type {{epoch: string, seq: number, mark?: string}} */
  #at = { epoch: '', seq: 0 };
  #told = 0;
  #lastNote = 0;
  #attempts = 0;
  #opened = 0;
  /** @type {string|undefined} a token given while no connection was there to take it */
  #fresh;
  /** @type {'connect'|'expiring'|'rejected'} */
  #why = 'connect';
  /** @type {[number, number]|undefined} */
  #window;
  /** Whose tasks this connection watches as staff: nobody's, an owner's, or what the caller said ('*'). */
  #watched = '';
  /** @type {TaskHubError|undefined} */
  #error;
  /** @type {any} */
  #timer;
  /** @type {any} */
  #renewal;
  /** Stop listening to the signals of tasks. @type {Set<() => void>} */
  #offs = new Set();
  #onWake = (/** @type {Event} */ { type }) => {
    if (type === 'online' || !document.hidden) this.#wake();
  };
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
    this.#options = { maxCalls: 1024, timeoutMs: 30000, connectTimeoutMs: 30000, ...options };
    this.#waits = new Waits({
      options: this.#options,
      send: (text) => this.#line?.call(text),
      connected: () => this.#state === 'connected',
      unreachable: () => this.#unreachable('No connection to'),
    });
    Object.assign(this.#at, options?.resume);
  }

  get state() {
    return this.#state;
  }
  /** The cursor behind the newest event seen; kept and given to a later TaskHub, it misses nothing. */
  get resume() {
    return { ...this.#at };
  }

  /**
   * Connects now instead of on first use; resolves when authenticated.
   * @param {{signal?: AbortSignal}} [options]
   * @returns {Promise<any>}
   */
  connect({ signal } = {}) {
    if (this.#state === 'connected') return Promise.resolve(this.user);
    return this._wait({ opens: true }, signal, (resolve) => this.once('ready', resolve));
  }

  /** Ends the connection and lets go of everything; what waits is rejected. connect() begins anew. */
  close() {
    this.#stop(new TaskHubError('closed', 'The connection was closed'));
    for (const off of this.#offs) off();
    this.#offs.clear();
  }

  [Symbol.dispose ?? Symbol('dispose')]() {
    this.close();
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
   * One request. Waits for the connection. Sent again after a reconnect, or where the hub answered
   * `unavailable`, only if that is harmless: it reads, or it has a key, which the library adds.
   * @param {string} method
   * @param {any} [params] `idempotency_key: null` for none
   * @param {CallOptions & {resend?: boolean, undo?: (reply: any) => void}} [options] undo: takes a late answer
   * @returns {Promise<any>}
   */
  call(method, params = {}, { resend, timeoutMs = this.#options.timeoutMs, signal, undo } = {}) {
    if (KEYED.test(method)) {
      const { idempotency_key: key = newKey() } = params;
      params = { ...params, idempotency_key: key ?? undefined };
      resend ??= key !== null;
    }
    if (/^admin\.(un)?watch/.test(method)) this.#watched = '*';
    return this._wait({ method, params, resend: resend ?? REPEATABLE.test(method), timeoutMs, undo }, signal);
  }

  /** See Waits.add(). @param {any} wait @param {AbortSignal} [signal] @param {(resolve: any, reject: any) => any} [start] */
  _wait(wait, signal, start) {
    if (this.#state === 'closed' && !wait.opens) return Promise.reject(this.#error);
    const promise = this.#waits.add(wait, signal, start);
    if (!signal?.aborted && (this.#state === 'idle' || this.#state === 'closed')) this.#open();
    return promise;
  }

  #unreachable(/** @type {string} */ what, hint = '') {
    const cause = this.#error;
    return new TaskHubError('unreachable', what + ' ' + this.#url + hint + (cause ? ': ' + cause.message : ''), { cause });
  }

  /**
   * Submits a task; resolves once the hub has recorded it. A key makes it happen once however often it
   * is asked for; without one the library makes its own (null: none, then a lost answer is an error). Give
   * one where you may ask again yourself: after `timeout` or `unavailable` the task may have been taken.
   * Aborting the signal cancels the task, and rejects what waits for it.
   * @param {string} task its type
   * @param {object} [args]
   * @param {CallOptions & {key?: string|null, priority?: number, delayMs?: number, expiresMs?: number}} [options]
   * @returns {Promise<Task>}
   */
  async submit(task, args = {}, { key, priority, delayMs, expiresMs, signal, timeoutMs } = {}) {
    const params = { task, args, idempotency_key: key, priority, delay_ms: delayMs, expires_ms: expiresMs };
    const handle = this._accepted(await this.call('task.submit', params, { signal, timeoutMs, undo: this._undo }), task);
    if (signal) handle._bind(signal);
    return handle;
  }

  /** The handle of a task by its id; reads its record when it is not known yet. @param {string} id */
  task(id) {
    const known = this.#tasks.get(id);
    if (known) return known;
    const task = this.#adopt({ task_id: id });
    task._read();
    return task;
  }

  /**
   * A page of this user's tasks, newest first.
   * @param {{status?: string, task?: string, since?: string, until?: string, cursor?: string, limit?: number}} [filter]
   * @param {CallOptions} [options]
   */
  async tasks(filter = {}, options) {
    const { tasks, next_cursor, totals } = await this.call('task.list', filter, options);
    return { tasks: tasks.map((/** @type {any} */ data) => this.#adopt(data)), nextCursor: next_cursor, totals };
  }

  /** Sends bytes of a stream of this connection: for taskhub-audio.js. */
  _binary(/** @type {number} */ stream, /** @type {Uint8Array} */ bytes) {
    const frame = new Uint8Array(4 + bytes.length);
    new DataView(frame.buffer).setUint32(0, stream);
    frame.set(bytes, 4);
    this.#line?.feed(frame);
  }

  /** Listens to a signal until what it returns is called, or until close(). For tasks. */
  _onAbort(/** @type {AbortSignal} */ signal, /** @type {() => void} */ fn) {
    const off = onAbort(signal, fn);
    this.#offs.add(off);
    return () => {
      off();
      this.#offs.delete(off);
    };
  }

  _foreign(/** @type {any} */ { user_id = this.user?.user_id }) {
    return user_id !== this.user?.user_id;
  }

  /** Sees to it that this connection hears of another owner's task; reads then what it missed. */
  async _watch(/** @type {Task} */ task) {
    const owner = task.data.user_id ?? '';
    if (this.#watched === '*' || this.#watched === owner) return;
    const one = !this.#watched;
    const watching = this.call('admin.watch', one ? { owner } : {});
    if (one) this.#watched = owner;
    await watching;
    await task.refresh();
  }

  /** Nobody wants this task any more. */
  _undo = (/** @type {any} */ { task_id }) => this.call('task.cancel', { task_id }).catch(() => {});

  /** The answer to a submission stands for its first event. */
  _accepted(/** @type {any} */ reply, /** @type {string|undefined} */ task = undefined) {
    const { task_id, status = 'pending', seq, duplicate, retry_of } = reply;
    const known = this.#tasks.get(task_id);
    if (known) return known;
    const fresh = duplicate ? {} : { seq, created_at: new Date().toISOString() };
    const handle = this.#adopt({ task_id, task, status, stage: 'queued', retry_of, ...fresh }, 'accepted');
    if (duplicate) handle._read();
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
    if (state !== 'connecting') this.#error = error;
    this.emit('state', state, error);
  }

  #listen(/** @type {'addEventListener'|'removeEventListener'} */ how) {
    globalThis[how]?.('online', this.#onWake);
    globalThis.document?.[how]('visibilitychange', this.#onWake);
  }

  async #open() {
    const turn = ++this.#turn;
    clearTimeout(this.#timer);
    this.#listen('addEventListener');
    this.#set('connecting');
    const { token, getToken, WebSocket: Socket = globalThis.WebSocket } = this.#options;
    let given = this.#fresh ?? token;
    try {
      if (!Socket) throw new TaskHubError('no_websocket', 'There is no WebSocket here: give the option WebSocket, the one of the package "ws", or use Node 22');
      if (getToken && !this.#fresh && turn === this.#turn) given = await getToken(this.#why);
    } catch (/** @type {any} */ error) {
      if (turn !== this.#turn) return;
      if (!Socket || error?.code === 'unauthorized') this.#stop(error);
      else this.#later(error);
      return;
    }
    if (turn !== this.#turn) return;
    if (given === this.#fresh) this.#fresh = undefined;
    try {
      const line = new Line(new Socket(this.#url, 'taskhub.v1'), {
        opened: () => this.#authenticate(line, given),
        message: (data) => this.#receive(data),
        lost: (code, reason) => this.#lost(code, reason),
        owed: () => this.#waits.owed(),
      });
      this.#line = line;
      this.#unopened++;
    } catch (error) {
      this.#stop(error);
    }
  }

  #authenticate(/** @type {Line} */ line, /** @type {string|undefined} */ token) {
    this.#unopened = 0;
    const resume = this.#at.epoch ? this.#at : undefined;
    this.#waits.add({ method: 'auth', params: { token, resume }, timeoutMs: AUTH_MS, now: true }).then(
      (user) => this.#ready(user, line),
      ({ rpc, message, retryMs }) => {
        if (line !== this.#line) return; // it was lost, or given up, meanwhile
        this.#lost(rpc === -32001 ? 4401 : rpc === -32602 || (rpc === -32029 && !retryMs) ? 4429 : 1013, message, retryMs);
      },
    );
  }

  #ready(/** @type {any} */ user, /** @type {Line} */ line) {
    if (line !== this.#line) return;
    line.live = true;
    const before = this.user;
    this.user = user;
    const other = before && before.user_id !== user.user_id;
    if (other) this.#tasks.clear();
    this.#opened = now();
    this.#why = 'connect';
    this.#window = undefined;
    if (other || user.epoch !== this.#at.epoch) this.#restart();
    if (other || user.resumed !== 'ok') Object.assign(this.#at, { epoch: '-', seq: (this.#told = user.seq), mark: user.mark });
    this.#set('connected');
    if (this.#state !== 'connected') return;
    this.#waits.goOn(other);
    if (other) this.emit('user', user);
    if (!user.snapshot_pending) this.#converge(user);
    this.emit('ready', user);
  }

  /** Another user, or Redis lost its data: sequence numbers begin again. */
  #restart() {
    this.#lastNote = 0;
    for (const task of this.#tasks.values()) task.data.seq = 0;
  }

  /** After a gap: what the snapshot does not tell is read task by task; so are others' tasks. Until then it is one. */
  #converge(/** @type {any} */ { resumed, snapshot = [], notifications = [] }) {
    this.#at.epoch = this.user.epoch;
    const told = new Set(snapshot.map((/** @type {any} */ data) => this.#adopt(data).id));
    for (const task of this.#tasks.values()) {
      if (task.finished || told.has(task.id)) continue;
      if (resumed === 'gap' || task._stale || this._foreign(task.data)) task._read();
    }
    for (const note of notifications) this.#note(note);
  }

  #receive(/** @type {any} */ data) {
    let message;
    try {
      message = JSON.parse(data);
    } catch {
      this.#lost(4000, 'What answers is no hub');
      return;
    }
    const { id, result, error, method, params = {} } = message ?? {};
    if (method) {
      this.#notified(method, params);
      return;
    }
    const call = this.#waits.get(id);
    if (!call) return;
    const { seq, mark, duplicate } = result ?? {};
    if (seq && /submit|retry|start$/.test(call.method) && !duplicate) {
      if (seq === this.#at.seq + 1) Object.assign(this.#at, { seq, mark });
      this.#told = Math.max(this.#told, seq);
    }
    const { code = 'error', ...more } = error?.data ?? {};
    if (error) this.#waits.refuse(call, new TaskHubError(code, error.message, { rpc: error.code, ...more }));
    else this.#waits.settle(id, result);
  }

  #notified(/** @type {string} */ method, /** @type {any} */ params) {
    const { seq, from = seq - 1, mark, task_id } = params;
    if (seq) {
      if (from > this.#at.seq && from > this.#told) {
        this.#lost(4000, 'Events are missing');
        return;
      }
      if (seq > this.#at.seq) Object.assign(this.#at, { seq, mark });
    }
    if (method === 'task.event') (this.#tasks.get(task_id) ?? this.#adopt({ task_id, task: params.task }))._apply(params);
    else if (method === 'notification') this.#note(params);
    else if (method === 'snapshot') this.#converge({ ...params, resumed: 'gap' });
    else {
      if (method === 'hub.draining') this.#window = params.retry_ms;
      if (method === 'auth.expiring') this.#refresh();
      if (method === 'admin.event' && this._foreign(params)) this.#tasks.get(task_id)?._apply(params);
      this.emit(method, params);
    }
  }

  #note(/** @type {any} */ note) {
    if (note.seq <= this.#lastNote) return;
    this.#lastNote = note.seq ?? this.#lastNote;
    this.emit('notification', note);
  }

  async #refresh() {
    const line = this.#line;
    try {
      const token = await this.#options.getToken?.('expiring');
      if (token && line === this.#line) await this.call('auth.refresh', { token });
    } catch (/** @type {any} */ error) {
      if (line !== this.#line) return;
      this.emit('error', error);
      if (error?.code !== 'unauthorized') this.#renewal = setTimeout(() => this.#refresh(), 5000);
    }
  }

  /** The connection is gone, or given up: what happens to the calls, and whether to come back. */
  #lost(/** @type {number} */ code, /** @type {string} */ reason, /** @type {number|undefined} */ delay = undefined) {
    this.#detach();
    const error = new TaskHubError('connection_lost', reason || 'The connection was lost (' + code + ')');
    this.#waits.lost(error, !REFUSED.has(code));
    if (code >= 4400 && code < 5000 && !(code === 4401 && this.#fresh)) {
      error.code = code === 4401 ? 'unauthenticated' : 'refused';
      if (code !== 4401 || !this.#options.getToken || this.#why === 'rejected') {
        this.#stop(error);
        return;
      }
      this.#why = 'rejected';
    }
    this.#later(error, delay);
    if (this.#unopened !== TRIES || this.#state !== 'waiting') return;
    this.emit('error', this.#unreachable('In three tries there was no way to', " (is a hub there, the path right, this page's origin allowed?)"));
  }

  #detach() {
    this.#line?.drop();
    this.#line = null;
    this.#watched = '';
    clearTimeout(this.#renewal);
  }

  /** Comes back after a random part of a growing time, or in the window a draining hub gave. */
  #later(/** @type {any} */ error, delay = 0) {
    if (this.#opened && now() - this.#opened > STABLE_MS) this.#attempts = 0;
    this.#opened = 0;
    let wait = Math.random() * Math.min(MAX_DELAY, MIN_DELAY * 2 ** this.#attempts++);
    if (this.#window) wait = this.#window[0] + Math.random() * (this.#window[1] - this.#window[0]);
    this.#window = undefined;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#open(), wait + delay);
    this.#set('waiting', error);
  }

  #stop(/** @type {any} */ error) {
    this.#turn++;
    clearTimeout(this.#timer);
    this.#listen('removeEventListener');
    this.#detach();
    this.#waits.failAll(error);
    this.#set('closed', error);
  }

  /** Network or tab came back: try at once; ask whether an open connection still lives. */
  #wake() {
    if (this.#state === 'connected') this.#line?.ask();
    if (this.#state !== 'waiting') return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#open(), Math.random() * 300);
  }
}
