/* SPDX-License-Identifier: MIT */
/**
 * What waits in taskhub.js: calls for their answers, and others for an event. Owns their timers and their listeners on
 * signals; whatever it takes in, it settles. Never touches the socket: it asks its owner to send.
 */
import { TaskHubError, onAbort } from './taskhub-task.js';

/** A timer that fires so late was held up: the page was frozen, the machine slept. */
const LATE_MS = 1000;
/** An aborted submission is sent again only to learn the id of its task: a new one must never begin. */
const NEVER = { delay_ms: 60000, expires_ms: 1000 };
const MIN_PAUSE = 200;
const MAX_PAUSE = 2000;

/** Runs on while the clock of the wall jumps. */
export const now = () => performance.now();

export const held = (/** @type {number} */ due) => now() - due > LATE_MS;

/** A timer that waits once more when it was held up, so that what came meanwhile is heard first. */
function after(/** @type {number} */ ms, /** @type {() => void} */ fn) {
  const due = now() + ms;
  const fire = () => (held(due) ? (timer = setTimeout(fn, ms)) : fn());
  let timer = ms < 2 ** 31 ? setTimeout(fire, ms) : undefined;
  return () => clearTimeout(timer);
}

export class Waits {
  /** @type {Map<number, any>} */
  #all = new Map();
  #calls = 0;
  #nextId = 1;
  #hub;

  /**
   * @param {{options: {maxCalls: number, connectTimeoutMs: number}, send: (text: string) => void, connected: () => boolean, unreachable: () => Error}} hub
   */
  constructor(hub) {
    this.#hub = hub;
  }

  /**
   * @param {any} wait a call: {method, params, timeoutMs, resend, undo, now}, `now`: before others, outside the limit; or {}
   * @param {AbortSignal} [signal]
   * @param {(resolve: any, reject: any) => any} [start] begins to wait; what it returns is called in the end
   * @returns {Promise<any>}
   */
  add(wait, signal, start) {
    return new Promise((resolve, reject) => {
      signal?.throwIfAborted();
      const { method } = wait;
      if (method && !wait.now && this.#calls >= this.#hub.options.maxCalls) throw new TaskHubError('queue_full', 'Too many calls are waiting for the hub');
      const id = this.#nextId++;
      Object.assign(wait, { id, resolve, reject });
      if (method) this.#write(wait);
      wait.offs = [
        onAbort(signal, () => this.#abort(wait, signal?.reason)),
        start?.((/** @type {any} */ value) => this.settle(id, value), (/** @type {any} */ error) => this.fail(id, error)),
      ];
      this.#all.set(id, wait);
      if (method) this.#calls++;
      if (method && (wait.now || this.#hub.connected())) this.#send(wait);
      else if (!this.#hub.connected()) this.#limit(wait);
    });
  }

  get(/** @type {number} */ id) {
    return this.#all.get(id);
  }

  #write(/** @type {any} */ call, more = {}) {
    const { id, method, params } = call;
    call.text = JSON.stringify({ jsonrpc: '2.0', id, method, params: { ...params, ...more } });
  }

  /** Without a connection it waits for so long. */
  #limit(/** @type {any} */ wait) {
    wait.stop ??= after(this.#hub.options.connectTimeoutMs, () => this.fail(wait.id, this.#hub.unreachable()));
  }

  #send(/** @type {any} */ call) {
    clearTimeout(call.again);
    if (!call.begun) {
      call.stop?.();
      call.stop = after(call.timeoutMs, () => this.fail(call.id, call.refusal ?? new TaskHubError('timeout', 'No answer to ' + call.method)));
    }
    call.begun = true;
    call.sent = now();
    this.#hub.send(call.text);
  }

  settle(/** @type {number} */ id, /** @type {any} */ value, /** @type {'resolve'|'reject'} */ how = 'resolve') {
    const wait = this.#all.get(id);
    if (!wait) return;
    this.#all.delete(id);
    if (wait.method) this.#calls--;
    wait.stop?.();
    clearTimeout(wait.again);
    for (const off of wait.offs) off?.();
    wait[how](value);
  }

  fail(/** @type {number} */ id, /** @type {any} */ error) {
    this.settle(id, error, 'reject');
  }

  failAll(/** @type {any} */ error) {
    for (const id of [...this.#all.keys()]) this.fail(id, error);
  }

  /** Who waits hears at once; a submission that may have reached the hub goes on, to be undone. */
  #abort(/** @type {any} */ wait, /** @type {any} */ reason) {
    if (!wait.undo || !wait.begun) {
      this.fail(wait.id, reason);
      return;
    }
    wait.reject(reason);
    wait.resolve = wait.undo;
    this.#write(wait, NEVER);
  }

  /** `unavailable` leaves open whether it happened: what may be sent again is, until its time is over. */
  refuse(/** @type {any} */ call, /** @type {TaskHubError} */ error) {
    if (error.code !== 'unavailable' || !call.resend) {
      this.fail(call.id, error);
      return;
    }
    call.sent = 0;
    call.refusal = error;
    call.pause = Math.min(MAX_PAUSE, call.pause * 2 || MIN_PAUSE);
    call.again = setTimeout(() => this.#hub.connected() && this.#send(call), error.retryMs ?? call.pause * (0.5 + Math.random() / 2));
  }

  /** The connection is gone: what was in flight is kept to be sent again, where that is harmless. */
  lost(/** @type {TaskHubError} */ error, /** @type {boolean} */ repeat) {
    for (const wait of [...this.#all.values()]) {
      this.#limit(wait);
      if (wait.sent && !(repeat && wait.resend)) this.fail(wait.id, error);
      wait.sent = 0;
    }
  }

  /** The connection is there. What was asked as another user is not asked again as this one. */
  goOn(/** @type {boolean} */ other) {
    for (const wait of [...this.#all.values()]) {
      if (other && (wait.method ? wait.begun : !wait.opens)) this.fail(wait.id, new TaskHubError('closed', 'Another user has signed in'));
      else if (!wait.method) {
        wait.stop?.();
        wait.stop = undefined;
      } else if (!wait.sent) this.#send(wait); // else a handler of this very connection asked it
    }
  }

  /** When the oldest call without an answer was sent, 0 for none. */
  owed() {
    for (const { sent } of this.#all.values()) if (sent) return sent;
    return 0;
  }
}
