/* SPDX-License-Identifier: MIT */
/**
 * One socket of taskhub.js, and whether a hub is still behind it. Owns the socket and its timer; knows nothing of calls
 * but since when an answer is owed. Once dropped it tells nothing more.
 */
import { held, now } from './taskhub-waits.js';

const OPEN_MS = 10000;
/** A silent hub is asked after so long: having nothing to say, owing an answer, behind bytes of audio. */
const SILENCE_MS = 25000;
const UNANSWERED_MS = 3000;
const FED_MS = 2000;
/** It has so long to answer; longer, up to OPEN_MS, behind bytes that a slow line carries first. */
const ANSWER_MS = 3000;
const SLOW_BYTES_PER_MS = 8;
const ignore = () => {};
const PING = '{"jsonrpc":"2.0","id":0,"method":"ping"}';

export class Line {
  #socket;
  #tell;
  #heard = now();
  /** When the hub was asked whether it is there, 0: it was heard since. Opening and auth are such a question. */
  #asked = now();
  #fed = 0;
  /** Bytes sent since the hub was heard. */
  #unheard = 0;
  /** When it is looked after next; -1: it was dropped. */
  #due = 0;
  /** @type {any} */
  #beat;
  opened = false;
  /** Authenticated: it may be asked. */
  live = false;

  /**
   * @param {any} socket
   * @param {{opened: () => void, message: (data: any) => void, lost: (code: number, reason: string) => void, owed: () => number}} tell
   *   owed: when the oldest call without an answer was sent, 0 for none
   */
  constructor(socket, tell) {
    this.#socket = socket;
    this.#tell = tell;
    let trouble = '';
    socket.binaryType = 'arraybuffer';
    socket.onopen = () => {
      this.opened = true;
      tell.opened();
    };
    socket.onmessage = (/** @type {any} */ { data }) => {
      this.#heard = now();
      this.#asked = this.#unheard = 0;
      tell.message(data);
    };
    socket.onclose = (/** @type {any} */ { code, reason }) => tell.lost(code, reason || trouble);
    socket.onerror = (/** @type {any} */ { message = '' }) => {
      trouble = message;
      if (!this.opened) setTimeout(() => this.#lost(trouble)); // Node 22 tells no close of what did not open
    };
    this.#lookIn(OPEN_MS);
  }

  #lost(/** @type {string} */ reason) {
    if (this.#due >= 0) this.#tell.lost(1006, reason);
  }

  call(/** @type {string} */ text) {
    this.#send(text);
    this.#lookIn(UNANSWERED_MS);
  }

  feed(/** @type {Uint8Array} */ bytes) {
    if (this.#fed <= this.#heard) this.#fed = now();
    this.#send(bytes);
    this.#lookIn(FED_MS);
  }

  #send(/** @type {string|Uint8Array} */ data) {
    this.#unheard += data.length;
    this.#socket.send(data);
  }

  ask() {
    this.#asked ||= now();
    this.#send(PING);
    this.#lookIn(ANSWER_MS);
  }

  drop() {
    const socket = this.#socket;
    clearTimeout(this.#beat);
    this.#due = -1;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.onerror = ignore;
    socket.close();
    // who does not answer does not say goodbye either: a program of the package "ws" would wait for it
    if (!socket.terminate) return;
    const end = setTimeout(() => socket.terminate(), this.#asked ? 0 : ANSWER_MS).unref();
    socket.onclose = () => clearTimeout(end);
  }

  /** Looks after the hub in so many ms, unless it does sooner anyway. */
  #lookIn(/** @type {number} */ ms) {
    const due = now() + ms;
    if (this.#due && this.#due <= due) return;
    this.#due = due;
    clearTimeout(this.#beat);
    this.#beat = setTimeout(() => this.#look(), ms);
  }

  #look() {
    const late = held(this.#due);
    this.#due = 0;
    const patience = this.live ? Math.min(ANSWER_MS + this.#unheard / SLOW_BYTES_PER_MS, OPEN_MS) : OPEN_MS;
    const left = (this.#asked ? this.#asked + patience : this.#suspicious()) - now();
    if (left > 0) {
      this.#lookIn(left);
    } else if (this.#asked && !(late && this.live)) {
      this.#lost('The hub does not answer');
    } else {
      this.#asked = 0;
      this.ask();
    }
  }

  /** When its silence becomes suspicious. */
  #suspicious() {
    const owed = this.#tell.owed();
    if (this.#fed > this.#heard) return this.#fed + FED_MS;
    return owed ? Math.max(owed, this.#heard) + UNANSWERED_MS : this.#heard + SILENCE_MS;
  }
}
