/* SPDX-License-Identifier: MIT */
/**
 * The task handle of taskhub.js, its errors and its emitter. Owns what a client knows of one task; never
 * touches the socket: it asks the hub it belongs to.
 */

/** @typedef {import('./taskhub.js').TaskHub} TaskHub */
/** @typedef {'completed'|'failed'|'cancelled'} Ended */
/**
 * @typedef {object} TaskData What is known of a task, named as on the wire.
 * @property {string} task_id
 * @property {string} [task] its type
 * @property {string} [user_id] its owner
 * @property {'pending'|'processing'|Ended} status
 * @property {string} [stage]
 * @property {number} progress 0–100
 * @property {string} [message]
 * @property {any} [meta]
 * @property {number} attempt
 * @property {number} seq of the last logged event that is part of this
 * @property {any} [result]
 * @property {boolean} [result_omitted] too large for an event: Task.result() fetches it
 * @property {{code: string, message: string}} [error]
 * @property {string} [created_at]
 * @property {string} [started_at]
 * @property {string} [completed_at]
 * @property {string} [updated_at]
 * @property {string} [retry_of]
 * @property {any[]} [pieces] closed pieces of its partial result, the newest: meta of the 'partial' events
 * @property {number} [pieces_omitted] how many older ones are not among them
 */
/**
 * @typedef {Record<string, any> & {type: string, task_id: string, seq?: number, from?: number, rev?: number}} TaskEvent
 */

const ENDED = new Set(['completed', 'failed', 'cancelled']);

/** Any failure: a refused call, a failed or cancelled task, a lost connection. */
export class TaskHubError extends Error {
  /**
   * @param {string} code a stable word
   * @param {string} message
   * @param {{rpc?: number, status?: number, field?: string, retry_ms?: number, cause?: any}} [more]
   */
  constructor(code, message, more = {}) {
    super(message, { cause: more.cause });
    this.name = 'TaskHubError';
    this.code = code;
    /** JSON-RPC code and HTTP status, where the hub refused. */
    this.rpc = more.rpc;
    this.status = more.status;
    /** The argument that was wrong. */
    this.field = more.field;
    /** When trying again makes sense. */
    this.retryMs = more.retry_ms;
  }
}

/** @type {Record<string, string>} */
const DEVICE_ERRORS = { NotAllowedError: 'mic_denied', NotFoundError: 'no_device', NotReadableError: 'mic_busy' };

/** What a browser says about its microphone, as one of ours. @param {any} error @returns {Error} */
export function deviceError(error) {
  const code = navigator.mediaDevices ? DEVICE_ERRORS[error.name] : 'insecure_context';
  return code ? new TaskHubError(code, error.message) : error;
}

export class Emitter {
  /** @type {Map<string, Set<Function>>} */
  #listeners = new Map();

  /**
   * @param {string} type
   * @param {(...args: any[]) => void} fn
   * @returns {() => void} removes the listener
   */
  on(type, fn) {
    const set = this.#listeners.get(type) ?? new Set();
    this.#listeners.set(type, set.add(fn));
    return () => this.off(type, fn);
  }

  /** @param {string} type @param {(...args: any[]) => void} fn */
  once(type, fn) {
    const off = this.on(type, (...args) => {
      off();
      fn(...args);
    });
    return off;
  }

  /** @param {string} type @param {Function} fn */
  off(type, fn) {
    this.#listeners.get(type)?.delete(fn);
  }

  /** @param {string} type @param {Function} fn */
  has(type, fn) {
    return !!this.#listeners.get(type)?.has(fn);
  }

  /** A listener that throws disturbs nobody: its error surfaces by itself. */
  emit(/** @type {string} */ type, /** @type {any[]} */ ...args) {
    for (const fn of [...(this.#listeners.get(type) ?? [])]) {
      try {
        fn(...args);
      } catch (error) {
        setTimeout(() => {
          throw error;
        });
      }
    }
  }
}

/** Calls when the signal fires. @returns {() => void} stops that */
export function onAbort(/** @type {AbortSignal|undefined} */ signal, /** @type {() => void} */ fn) {
  signal?.addEventListener('abort', fn, { once: true });
  return () => signal?.removeEventListener('abort', fn);
}

/**
 * A task of this owner, wherever it was submitted. Events: 'progress', 'partial', 'log', 'accepted',
 * 'started', 'retrying', 'completed', 'failed', 'cancelled' (each with the event), 'event' (any of
 * them), 'state' (status or stage changed), 'done' (ended; also for late listeners).
 */
export class Task extends Emitter {
  #hub;
  #rev = 0;
  #reading = false;
  /** @type {AbortSignal|undefined} of the submission */
  #signal;
  /** What is known may not be the truth: the record has to be read. */
  _stale = false;

  /** @param {TaskHub} hub @param {string} id */
  constructor(hub, id) {
    super();
    this.#hub = hub;
    /** @type {TaskData} */
    this.data = { task_id: id, status: 'pending', progress: 0, attempt: 0, seq: 0 };
  }

  get id() {
    return this.data.task_id;
  }
  get status() {
    return this.data.status;
  }
  get progress() {
    return this.data.progress;
  }
  get finished() {
    return ENDED.has(this.data.status);
  }

  /** @param {string} type @param {(...args: any[]) => void} fn */
  on(type, fn) {
    const off = super.on(type, fn);
    if (type === 'done' && this.finished) queueMicrotask(() => super.has(type, fn) && fn(this));
    return off;
  }

  /**
   * The result; throws a TaskHubError if the task failed or was cancelled. Waits through reconnects; ends with
   * `closed` or `unauthenticated` when the hub does, with `unreachable` when it is gone too long. Aborting the
   * signal ends the waiting, not the task.
   * @param {{signal?: AbortSignal}} [options]
   * @returns {Promise<any>}
   */
  async result({ signal } = {}) {
    signal?.throwIfAborted();
    if (!this.finished) await this.#wait('done', signal);
    if (this.data.result_omitted) await this.refresh({ signal });
    const { status, error, message, result } = this.data;
    if (status === 'completed') return result;
    if (status === 'cancelled') this.#signal?.throwIfAborted();
    throw new TaskHubError(error?.code ?? status, error?.message ?? message ?? 'Task ' + status);
  }

  /** @param {string} event @param {AbortSignal|undefined} signal */
  #wait(event, signal) {
    this.#signal?.throwIfAborted();
    if (this._stale) this._read();
    return this.#hub._wait({}, signal, (resolve, reject) => {
      const offs = [this.on(event, resolve), this.on('lost', reject)];
      return () => offs.forEach((off) => off());
    });
  }

  /** Aborting the signal cancels the task; who waits for it hears at once. */
  _bind(/** @type {AbortSignal} */ signal) {
    this.#signal = signal;
    const stop = () => {
      this.emit('lost', signal.reason);
      this.cancel().catch(() => {});
    };
    if (signal.aborted) stop();
    else this.on('done', this.#hub._onAbort(signal, stop));
  }

  /** Asks the task to end; its 'done' event tells when it did. @param {import('./taskhub.js').CallOptions} [options] */
  async cancel(options) {
    const { status } = await this.#hub.call('task.cancel', { task_id: this.id }, options);
    return status;
  }

  /**
   * Runs a failed or cancelled task again, as a new one.
   * @param {import('./taskhub.js').CallOptions} [options]
   * @returns {Promise<Task>}
   */
  async retry(options) {
    const reply = await this.#hub.call('task.retry', { task_id: this.id }, options);
    return this.#hub._accepted(reply, this.data.task);
  }

  /** Why it is not running yet: one line and facts. @param {import('./taskhub.js').CallOptions} [options] */
  why(options) {
    return this.#hub.call('task.why', { task_id: this.id }, options);
  }

  /** Reads the record. @param {import('./taskhub.js').CallOptions} [options] @returns {Promise<Task>} */
  async refresh(options) {
    try {
      this._merge({ result_omitted: false, ...(await this.#hub.call('task.get', { task_id: this.id }, options)) });
    } catch (/** @type {any} */ error) {
      if (error?.rpc !== -32004 || !this.data.task) throw error;
      this._merge({ status: 'failed', error: { code: 'gone', message: error.message } });
    }
    this._stale = false;
    return this;
  }

  /** Reads the record because something may be missing; who waits for the task hears if that fails. */
  async _read() {
    this._stale = true;
    if (this.#reading) return;
    this.#reading = true;
    try {
      await this.refresh();
      if (!this.finished && this.#hub._foreign(this.data)) await this.#hub._watch(this);
    } catch (error) {
      this.emit('lost', error);
    }
    this.#reading = false;
  }

  /**
   * Its events, ending with the one that ends the task. Progress that was not read is replaced. Throws where
   * result() would without an end of the task. `for await (… of task)` is the same without a signal.
   * @param {{signal?: AbortSignal}} [options]
   * @returns {AsyncGenerator<TaskEvent, void, void>}
   */
  async *events({ signal } = {}) {
    /** @type {TaskEvent[]} */
    const queue = [];
    const off = this.on('event', (event) => {
      const newest = queue[queue.length - 1];
      if (newest && event.type === 'progress' && newest.type === 'progress') queue.pop();
      queue.push(event);
    });
    try {
      for (;;) {
        signal?.throwIfAborted();
        if (!queue.length && this.finished) queue.push({ ...this.data, type: this.status });
        const event = queue.shift();
        if (event) yield event;
        else await this.#wait('event', signal);
        if (event && ENDED.has(event.type)) return;
      }
    } finally {
      off();
    }
  }

  [Symbol.asyncIterator]() {
    return this.events();
  }

  /** An event from the hub; false if it is older than what is known. */
  _apply(/** @type {TaskEvent} */ event) {
    const { type, seq, from, rev, at, ...fields } = event;
    const { seq: known, attempt, updated_at = '' } = this.data;
    if (seq ? seq <= known : this.finished || fields.attempt < attempt || (rev ? rev <= this.#rev : at < updated_at)) return false;
    if (type === 'partial' || type === 'log') {
      delete fields.meta;
      delete fields.message;
    }
    if (rev) this.#rev = rev;
    const time = { accepted: 'created_at', started: 'started_at' }[type] ?? (ENDED.has(type) && 'completed_at');
    if (time) fields[time] = at;
    this.#update({ ...fields, seq: seq ?? this.data.seq, updated_at: at }, event);
    return true;
  }

  /** A task object, or a part of one; ignored if events went past it. */
  _merge(/** @type {Partial<TaskData>} */ data, type = 'sync') {
    const known = this.data;
    if ((data.seq ?? known.seq) < known.seq) return;
    if (data.seq === known.seq && data.attempt === known.attempt && !ENDED.has(data.status ?? '')) {
      data = { ...data, progress: Math.max(data.progress ?? 0, known.progress) };
    }
    this.#update(data, undefined, type);
  }

  #update(/** @type {any} */ fields, /** @type {TaskEvent|undefined} */ event = undefined, type = '') {
    const { status, stage } = this.data;
    const was = this.finished;
    Object.assign(this.data, fields);
    event ??= { ...this.data, type: this.finished && !was ? this.status : type };
    this.emit(event.type, event);
    this.emit('event', event);
    if (status !== this.data.status || stage !== this.data.stage) this.emit('state', this);
    if (this.finished && !was) this.emit('done', this);
    this.#hub.emit('event', event, this);
  }
}

/** A key no other submission has. */
export function newKey() {
  const random = () => Math.random() * 256; // Node 18 has no global crypto; a key need not be secret
  const bytes = globalThis.crypto?.getRandomValues(new Uint8Array(16)) ?? Uint8Array.from({ length: 16 }, random);
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}
