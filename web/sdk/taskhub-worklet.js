/* SPDX-License-Identifier: MIT */
/**
 * Runs on the audio thread: turns the microphone's sound, whatever its rate, into mono PCM16 at 16 kHz
 * and posts frames of 100 ms with their level. Knows nothing of hubs or tasks.
 */

const RATE = 16000;
/** Input samples on each side of an output sample that take part in it. */
const REACH = 64;

/** An output sample stands at one of `up` positions between two input samples, down / up after the last. */
let up = 1;
while ((up * sampleRate) % RATE) up++;
const down = (up * sampleRate) / RATE;
const cutoff = Math.min(7400 / sampleRate, 0.46);

/** For each position a low-pass: sinc in a window of cos^4. */
const filters = Array.from({ length: up }, (_, position) =>
  Float32Array.from({ length: 2 * REACH }, (_, k) => {
    const x = Math.PI * (k - REACH + 1 - position / up || 1e-9);
    return (Math.sin(2 * cutoff * x) / x) * Math.cos(x / REACH / 2) ** 4;
  }),
);

class Capture extends AudioWorkletProcessor {
  input = new Float32Array(4096);
  kept = REACH - 1;
  position = 0;
  frame = new Int16Array(RATE / 10);
  filled = 0;
  power = 0;
  peak = 0;
  last = false;

  constructor() {
    super();
    this.port.onmessage = () => {
      if (this.last) return;
      this.process([[new Float32Array(REACH)]]);
      this.last = true;
      this.post();
    };
  }

  /** @param {Float32Array[][]} inputs */
  process([[samples]]) {
    if (!samples || this.last) return !this.last;
    const input = this.input;
    input.set(samples, this.kept);
    const end = this.kept + samples.length;
    let first = 0;
    while (first + 2 * REACH <= end) {
      const exact = filters[this.position].reduce((sum, tap, k) => sum + tap * input[first + k], 0);
      const value = Math.max(-1, Math.min(1, exact));
      this.frame[this.filled++] = value * 32767;
      this.power += value * value;
      this.peak = Math.max(this.peak, Math.abs(value));
      if (this.filled === this.frame.length) this.post();
      this.position += down;
      first += Math.floor(this.position / up);
      this.position %= up;
    }
    input.copyWithin(0, first, end);
    this.kept = end - first;
    return true;
  }

  post() {
    const { frame, filled, power, peak, last } = this;
    this.port.postMessage({ pcm: frame.slice(0, filled), rms: Math.sqrt(power / frame.length), peak, last });
    this.filled = this.power = this.peak = 0;
  }
}

registerProcessor('taskhub', Capture);
