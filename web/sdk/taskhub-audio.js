/* SPDX-License-Identifier: MIT */
/**
 * Audio for taskhub.js: streams the microphone or a file to a task. Owns the capture graph and, until
 * the hub has acknowledged them, the bytes; a lost connection is resumed where the hub stands, so the
 * task reads exactly what was captured. Never sends more than the hub gave credit for.
 */
import { Emitter, deviceError, onAbort } from './taskhub-task.js';

/** @typedef {import('./taskhub.js').TaskHub} TaskHub */
/** @typedef {{read: (from: number, to: number) => Uint8Array|Promise<Uint8Array>, size: number, whole: boolean, release: (to: number) => void}} Source */

const PCM = { encoding: 'pcm_s16le', sample_rate: 16000, channels: 1 };
/** The browser's own processing would change the sound. */
const PLAIN = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
/** The hub's answer where a stream, or its task, has ended already. */
const ENDED = -32009;
const FRAME_BYTES = 65536;
/** More than the hub waits for a lost connection (60 s = 1.9 MB). */
const KEPT_BYTES = 2 << 20;

/** Bytes that are still being captured; those the hub has are released. @implements {Source} */
class Ring {
  #bytes = new Uint8Array(KEPT_BYTES);
  #start = 0;
  size = 0;
  whole = false;

  /** Throws if the hub is so far behind that the bytes cannot be kept. */
  push(/** @type {Uint8Array} */ bytes) {
    this.#bytes.set(bytes, this.size - this.#start);
    this.size += bytes.length;
  }
  read(/** @type {number} */ from, /** @type {number} */ to) {
    return this.#bytes.slice(from - this.#start, to - this.#start);
  }
  release(/** @type {number} */ to) {
    this.#bytes.copyWithin(0, to - this.#start, this.size - this.#start);
    this.#start = to;
  }
}

/**
 * One stream on its way. Events: 'progress' (bytes acknowledged, bytes in all), 'error' (the
 * error; the task fails by itself), 'close' (after that, when the hub has everything, or when the
 * task ended).
 */
export class AudioStream extends Emitter {
  #hub;
  #source;
  /** Its number in this connection, 0 where the hub must be asked. */
  #stream = 0;
  #sent = 0;
  #limit = 0;
  #busy = false;
  /** @type {(() => void)[]} */
  #offs;
  /** @type {import('./taskhub.js').Task} */
  task = /** @type {any} */ (undefined);

  /** @param {TaskHub} hub @param {Source} source */
  constructor(hub, source) {
    super();
    this.#hub = hub;
    this.#source = source;
    this.#offs = [
      hub.on('audio.ack', (ack) => ack.stream === this.#stream && this.#grant(ack)),
      hub.on('state', (/** @type {string} */ state, /** @type {any} */ error) => {
        this.#stream = 0;
        if (state === 'closed' && error.code === 'closed') this.#fail(error);
        else this.pump();
      }),
    ];
  }

  /** @param {string} task @param {object} args @param {object} format @param {AbortSignal} [signal] */
  async start(task, args, format, signal) {
    const reply = await this.#hub.call('audio.start', { task, args, format }, { signal, undo: this.#hub._undo });
    this.task = this.#hub._accepted(reply, task);
    if (signal) this.task._bind(signal);
    this.#offs.push(onAbort(signal, () => this.#close()));
    this.#offs.push(this.task.on('done', () => this.#close()));
    this.#sent = reply.received ?? 0;
    this.#grant({ received: 0, ...reply });
    return this;
  }

  /** Throws the stream away; its task ends. */
  abort() {
    this.task?.cancel().catch(() => {});
    this.#close();
  }

  /** Sends what there is and the credit allows; called when there may be more of either. */
  async pump() {
    if (this.#busy || !this.task || this.#hub.state !== 'connected') return;
    this.#busy = true;
    try {
      while (this.#offs.length && (await this.#step()));
    } catch (/** @type {any} */ error) {
      if (error.retryMs) setTimeout(() => this.pump(), error.retryMs);
      else if (error.code !== 'connection_lost') {
        if (error.rpc === ENDED) this.#close();
        else this.#fail(error);
      }
    }
    this.#busy = false;
  }

  /** One frame, or what must come before or after them; false when there is nothing to do. */
  async #step() {
    const stream = this.#stream;
    const source = this.#source;
    if (!stream) {
      const reply = await this.#hub.call('audio.resume', { task_id: this.task.id });
      this.#sent = reply.received;
      this.#grant(reply);
      return true;
    }
    const to = Math.min(source.size, this.#limit, this.#sent + FRAME_BYTES);
    if (to > this.#sent) {
      const bytes = await source.read(this.#sent, to);
      if (stream !== this.#stream) return true;
      this.#hub._binary(stream, bytes);
      this.#sent = to;
      return true;
    }
    if (source.whole && to === source.size) {
      await this.#hub.call('audio.end', { stream });
      this.#close();
    }
    return false;
  }

  #grant(/** @type {any} */ { stream, received, credit }) {
    this.#stream = stream;
    this.#limit = received + credit;
    this.#source.release(received);
    this.emit('progress', received, this.#source.size);
    this.pump();
  }

  #fail(/** @type {any} */ error) {
    this.emit('error', error);
    this.#close();
  }

  #close() {
    for (const off of this.#offs.splice(0)) off();
    this.emit('close');
  }
}

/**
 * Records the microphone into a task that listens (16 kHz mono). `onlevel` gets {rms, peak} ten times a
 * second. Event 'muted' (whether no sound comes: another program or a switch took the microphone; see also
 * `muted`). Fails with code mic_denied, no_device, mic_busy or insecure_context.
 * @param {TaskHub} hub
 * @param {string} task its type
 * @param {object} [args]
 * @param {{onlevel?: (level: {rms: number, peak: number}) => void, constraints?: object, signal?: AbortSignal}} [options]
 * @returns {Promise<AudioStream & {stop: () => void, muted?: boolean}>}
 */
export async function record(hub, task, args = {}, { onlevel, constraints, signal } = {}) {
  const ring = new Ring();
  const stream = /** @type {AudioStream & {muted?: boolean}} */ (new AudioStream(hub, ring));
  try {
    const media = await navigator.mediaDevices.getUserMedia({ audio: { ...PLAIN, ...constraints } });
    const [track] = media.getTracks();
    const context = new AudioContext();
    stream.on('close', () => {
      track.stop();
      context.close().catch(() => {});
    });
    context.onstatechange = track.onmute = track.onunmute = () => {
      const { state } = context;
      if (state === 'closed') return;
      if (state !== 'running') context.resume().catch(() => {});
      stream.emit('muted', (stream.muted = track.muted || state !== 'running'));
    };
    await context.audioWorklet.addModule(new URL('./taskhub-worklet.js', import.meta.url));
    const node = new AudioWorkletNode(context, 'taskhub', { channelCount: 1, channelCountMode: 'explicit' });
    context.createMediaStreamSource(media).connect(node).connect(context.destination);
    node.port.onmessage = ({ data }) => {
      onlevel?.(data);
      try {
        ring.push(new Uint8Array(data.pcm.buffer));
      } catch {
        stream.abort();
      }
      ring.whole = data.last;
      stream.pump();
    };
    const stop = () => {
      node.port.postMessage(0);
      track.stop();
    };
    track.onended = stop; // unplugged, or not allowed any more
    return Object.assign(await stream.start(task, args, PCM, signal), { stop });
  } catch (error) {
    stream.abort();
    throw deviceError(error);
  }
}

/**
 * Streams a file of any audio or video format to a task.
 * @param {TaskHub} hub
 * @param {Blob & {name?: string}} file
 * @param {string} task its type
 * @param {object} [args]
 * @param {{signal?: AbortSignal}} [options]
 * @returns {Promise<AudioStream>}
 */
export function sendFile(hub, file, task, args = {}, { signal } = {}) {
  const read = async (/** @type {number} */ from, /** @type {number} */ to) => new Uint8Array(await file.slice(from, to).arrayBuffer());
  const source = { read, release() {}, size: file.size, whole: true };
  return new AudioStream(hub, source).start(task, args, { encoding: 'file', name: file.name }, signal);
}
