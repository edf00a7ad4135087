/* SPDX-License-Identifier: MIT */
/**
 * Speaking: the record button, the file chooser, the level, and the one speech task they feed. Owns the
 * microphone's state on this page; the transcript itself is shown by transcript.js.
 */
import { record, sendFile } from './sdk/taskhub-audio.js';
import { byId, draw, make, setIcon, setText, setUnavailable } from './dom.js';
import { Transcript } from './transcript.js';
import { minutes, problem } from './words.js';

/** @typedef {import('./sdk/taskhub.js').TaskHub} TaskHub */
/** @typedef {import('./sdk/taskhub.js').Task} Task */

const TASK = 'process_speak_audio';
const MUTED = 'No sound comes from the microphone: it is muted, or another program has it.';
const BARS = 44;
const TITLE = document.title;
const SAMPLES = [
  'Go forward ten meters.',
  'The sun is warm and the water is cold.',
  'Please call me when you get home tonight.',
  'She opened the window and listened to the rain.',
];

export class Recorder {
  #hub;
  #transcript = new Transcript();
  /** @type {any} the stream that is open */
  #stream = null;
  #recording = false;
  #opening = false;
  /** When recording began, on the page's clock. */
  #since = 0;
  #levels = new Array(BARS).fill(0);
  #bars;
  #sample = 0;
  /** @type {Task|null} the task whose transcript is shown */
  #shown = null;

  /** @param {TaskHub} hub */
  constructor(hub) {
    this.#hub = hub;
    byId('level').append(...this.#levels.map(() => make('i')));
    this.#bars = [...byId('level').children];
    byId('record').addEventListener('click', () => (this.#recording ? this.#stop() : this.#record()));
    byId('choose').addEventListener('click', () => byId('file').click());
    byId('file').addEventListener('change', (/** @type {any} */ event) => {
      const [file] = event.target.files;
      event.target.value = '';
      if (file) this.#send(file);
    });
    byId('sample').addEventListener('click', () => {
      byId('expected').value = SAMPLES[this.#sample++ % SAMPLES.length];
    });
    this.#drops(byId('speak'));
    addEventListener('beforeunload', (event) => this.busy && event.preventDefault());
  }

  /** Whether a recording or a file is on its way. */
  get busy() {
    return this.#opening || !!this.#stream;
  }

  /** Shows what is being said in a task that runs already, unless there is something to read. */
  follow(/** @type {Task} */ task) {
    if (!this.#shown && task.data.task === TASK) this.#show(task);
  }

  #drops(/** @type {HTMLElement} */ area) {
    const mark = (/** @type {DragEvent} */ event, /** @type {boolean} */ on) => {
      event.preventDefault();
      area.dataset.drop = String(on);
    };
    area.addEventListener('dragover', (event) => mark(event, true));
    area.addEventListener('dragleave', (event) => mark(event, false));
    area.addEventListener('drop', (event) => {
      mark(event, false);
      const file = event.dataTransfer?.files[0];
      if (file) this.#send(file);
    });
  }

  #args() {
    const expected = byId('expected').value.trim();
    return { resource_id: 'page', ...(expected && { expected_text: expected }) };
  }

  async #record() {
    if (this.#hub.state !== 'connected') {
      this.#say('The hub cannot be reached. Try again when it is connected.', true);
      return;
    }
    const stream = await this.#begin('Opening the microphone…', () =>
      record(this.#hub, TASK, this.#args(), { onlevel: (level) => this.#level(level) }),
    );
    if (!stream || stream !== this.#stream) return;
    this.#recording = true;
    this.#since = performance.now();
    const listen = () => this.#recording && this.#say(stream.muted ? MUTED : 'Speak now. Stop when you are done.', stream.muted);
    stream.on('muted', listen);
    listen();
    this.#button();
  }

  #stop() {
    this.#stream?.stop();
    this.#recording = false;
    this.#say('Finishing…');
    this.#button();
  }

  async #send(/** @type {File} */ file) {
    const stream = await this.#begin('Sending ' + file.name + '…', () => sendFile(this.#hub, file, TASK, this.#args()));
    stream?.on('progress', (/** @type {number} */ done, /** @type {number} */ all) => {
      if (done < all && stream === this.#stream) this.#say('Sending ' + file.name + ', ' + Math.floor((100 * done) / all) + ' %');
    });
  }

  /** Opens a stream and shows its task; null where there is one already, or it cannot be opened. */
  async #begin(/** @type {string} */ words, /** @type {() => Promise<any>} */ open) {
    if (this.busy) {
      this.#say('One at a time: wait until the other recording is finished.', true);
      return null;
    }
    this.#available((this.#opening = true));
    this.#say(words);
    try {
      const stream = (this.#stream = await open());
      let failed = false;
      stream.on('error', (/** @type {any} */ error) => {
        failed = true;
        if (stream === this.#stream) this.#say(problem(error), true);
      });
      stream.on('close', () => stream === this.#stream && this.#closed(failed || stream.task.finished));
      this.#show(stream.task);
      return stream;
    } catch (error) {
      this.#say(problem(error), true);
      return null;
    } finally {
      this.#available((this.#opening = false));
    }
  }

  #available(/** @type {boolean} */ busy) {
    setUnavailable(byId('record'), busy);
    setUnavailable(byId('choose'), busy);
  }

  /** `told`: what became of it is shown already. */
  #closed(/** @type {boolean} */ told) {
    this.#stream = null;
    if (!told) this.#say(this.#recording ? 'The recording has ended.' : 'Sent. Listening to the end…');
    this.#recording = false;
    this.#button();
  }

  #show(/** @type {Task} */ task) {
    this.#shown = task;
    this.#transcript.clear();
    this.#transcript.live(true);
    for (const piece of task.data.pieces ?? []) this.#transcript.piece({ ...piece, final: true });
    task.on('partial', (event) => {
      if (task === this.#shown) this.#transcript.piece(event.meta);
    });
    task.on('done', () => {
      if (task === this.#shown) this.#finish(task);
    });
  }

  async #finish(/** @type {Task} */ task) {
    try {
      this.#transcript.result(await task.result());
      this.#say('Done. Record again whenever you like.');
    } catch (error) {
      this.#transcript.live(false);
      if (task.status === 'cancelled') this.#say('Cancelled.');
      else this.#say(problem(error), true);
    }
  }

  #say(/** @type {string} */ words, bad = false) {
    byId('speak-status').dataset.bad = String(bad);
    byId('speak-status').textContent = words;
  }

  #button() {
    byId('record').dataset.recording = String(this.#recording);
    byId('record-text').textContent = this.#recording ? 'Stop' : 'Record';
    document.title = (this.#recording ? '● ' : '') + TITLE;
    setIcon(byId('record-icon'), this.#recording ? 'stop' : 'mic');
    if (!this.#recording) this.#level({ rms: 0, peak: 0 }, true);
  }

  /** The last seconds of sound as bars, on a scale of 60 dB. */
  #level(/** @type {{rms: number, peak: number}} */ { rms, peak }, silent = false) {
    const percent = rms ? Math.max(0, Math.min(100, 100 + (20 * Math.log10(rms) * 100) / 60)) : 0;
    if (silent) this.#levels.fill(0);
    this.#levels = [...this.#levels.slice(1), percent];
    draw(this, () => {
      setText(byId('record-time'), this.#recording ? minutes((performance.now() - this.#since) / 1000) : '');
      byId('level').dataset.live = String(!silent);
      byId('level').setAttribute('aria-valuenow', String(Math.round(percent)));
      byId('level').dataset.clipped = String(peak >= 0.99);
      this.#bars.forEach((bar, i) => (bar.style.transform = 'scaleY(' + Math.max(0.07, this.#levels[i] / 100) + ')'));
    });
  }
}
