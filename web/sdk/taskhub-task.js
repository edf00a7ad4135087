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
   * @param {{rpc?: number, status?: number, field?: string, retry_ms?: number}} [more]
   */
  constructor(code, message, more = {}) {
    super(message);
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

/** Rejects when the signal fires; `promise` itself goes on. */
function abortable(/** @type {Promise<any>|undefined} */ promise, /** @type {AbortSignal|undefined} */ signal = undefined) {
  if (!signal || !promise) return promise;
  return new Promise((resolve, reject) => {
    const stop = () => reject(signal.reason);
    if (signal.aborted) stop();
    signal.addEventListener('abort', stop, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', stop));
  });
}

/**
 * A task of this owner, wherever it was submitted. Events: 'progress', 'partial', 'log', 'accepted',
 * 'started', 'retrying', 'completed', 'failed', 'cancelled' (each with the event), 'event' (any of
 * them), 'state' (status or stage changed), 'done' (ended; also for late listeners).
 */
export class Task extends Emitter {
  #hub;
  #rev = 0;
  /** @type {Promise<any>|undefined} */
  #loading;

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
    if (type === 'done' && this.finished) queueMicrotask(() => fn(this));
    return off;
  }

  /**
   * The result; throws a TaskHubError if the task failed or was cancelled. Waits through reconnects, and
   * while the hub is closed until it is opened again. Aborting the signal stops the waiting, not the task.
   * @param {{signal?: AbortSignal}} [options]
   * @returns {Promise<any>}
   */
  async result({ signal } = {}) {
    if (!this.data.task) await abortable(this.#loading, signal);
    if (!this.finished) await abortable(new Promise((resolve) => this.once('done', resolve)), signal);
    if (this.data.result_omitted) await abortable(this.refresh(), signal);
    const { status, error, message, result } = this.data;
    if (status === 'completed') return result;
    throw new TaskHubError(error?.code ?? status, error?.message ?? message ?? 'Task ' + status);
  }

  /** Asks the task to end; its 'done' event tells when it did. */
  async cancel() {
    const { status } = await this.#hub.call('task.cancel', { task_id: this.id });
    return status;
  }

  /** Runs a failed or cancelled task again, as a new one. @returns {Promise<Task>} */
  async retry() {
    const reply = await this.#hub.call('task.retry', { task_id: this.id });
    return this.#hub._accepted(reply, this.data.task);
  }

  /** Why it is not running yet: one line and facts. */
  why() {
    return this.#hub.call('task.why', { task_id: this.id });
  }

  /** Reads the record. @returns {Promise<Task>} */
  refresh() {
    this.#loading = this.#hub.call('task.get', { task_id: this.id }).then(
      (data) => this._merge({ result_omitted: false, ...data }),
      (error) => {
        if (error.rpc === -32004 && this.data.task) this._merge({ status: 'failed', error: { code: 'gone', message: error.message } });
        else throw error;
      },
    );
    return this.#loading.then(() => this);
  }

  /** Its events, ending with the one that ends the task. Progress that was not read is replaced. */
  async *[Symbol.asyncIterator]() {
    /** @type {TaskEvent[]} */
    const queue = [];
    let wake = () => {};
    const off = this.on('event', (event) => {
      const newest = queue[queue.length - 1];
      if (newest && event.type === 'progress' && newest.type === 'progress') queue.pop();
      queue.push(event);
      wake();
    });
    try {
      for (;;) {
        if (!queue.length && this.finished) queue.push({ ...this.data, type: this.status });
        while (queue.length) {
          const event = /** @type {TaskEvent} */ (queue.shift());
          yield event;
          if (ENDED.has(event.type)) return;
        }
        await new Promise((resolve) => (wake = () => resolve(0)));
      }
    } finally {
      off();
    }
  }

  /** An event from the hub; false if it is older than what is known. */
  _apply(/** @type {TaskEvent} */ event) {
    const { type, seq, from, rev, at, ...fields } = event;
    if (seq ? seq <= this.data.seq : this.finished || fields.attempt < this.data.attempt || (rev ?? 1) <= this.#rev) return false;
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
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}
