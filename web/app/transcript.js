/* SPDX-License-Identifier: MIT */
/**
 * The transcript of one speech task: collects its pieces, and shows them word by word. Owns the sheet
 * on the right of the page. Words keep their elements while they stay the same, so the text grows
 * instead of flickering.
 */
import { byId, draw, make } from './dom.js';
import { duration } from './words.js';

/** @typedef {{word: string, mark: string, note: string}} Word */

const UNSURE_BELOW = 0.5;
/** A word that stayed the same through so many updates is no longer shown as unstable. */
const SETTLED = 3;
/** A word of the text to read counts as well read from here on. */
const WELL_READ = 0.6;
const NOTES = { unstable: '', unsure: ' (not sure)', right: '', weak: ' (unclear)', missed: ' (not heard)' };

/** @param {any} word */
const heard = (word) => {
  const unsure = word.confidence !== undefined && word.confidence < UNSURE_BELOW;
  const note = word.confidence === undefined ? '' : 'Confidence ' + Math.round(word.confidence * 100) + ' %';
  return { word: word.word, mark: unsure ? 'unsure' : '', note };
};

/** @param {string} [text] */
const split = (text = '') => text.split(/\s+/).filter(Boolean);

export class Transcript {
  #root = byId('transcript');
  /** @type {Map<number, {final: boolean, words: Word[], ages: number[]}>} */
  #pieces = new Map();
  /** @type {Word[]|null} */
  #whole = null;
  #live = false;

  /** Empty, waiting for a new task. */
  clear() {
    this.#pieces.clear();
    this.#whole = null;
    byId('score').hidden = true;
    byId('facts').hidden = true;
    byId('spoken').textContent = '';
    this.live(false);
  }

  live(/** @type {boolean} */ on) {
    this.#live = on;
    this.#draw();
  }

  /** A 'partial' event's meta: one utterance, still moving or final. */
  piece(/** @type {any} */ { utterance = 0, text, words, final }) {
    const known = this.#pieces.get(utterance);
    if (known?.final || this.#whole) return;
    if (final) {
      const list = words?.length ? words.map(heard) : split(text).map((word) => heard({ word }));
      this.#pieces.set(utterance, { final: true, words: list, ages: [] });
      byId('spoken').textContent = text;
    } else {
      const list = split(text);
      const ages = list.map((word, i) => (known?.words[i]?.word === word ? known.ages[i] + 1 : 0));
      const settled = ages.findIndex((age) => age < SETTLED);
      const marked = list.map((word, i) => ({ word, mark: settled < 0 || i < settled ? '' : 'unstable', note: '' }));
      this.#pieces.set(utterance, { final: false, words: marked, ages });
    }
    this.#draw();
  }

  /** The result of the task: what was heard, and how it compares with the text to read. */
  result(/** @type {any} */ result) {
    const all = result.words?.length && !result.warnings?.includes('words_omitted');
    const words = all ? result.words : split(result.text).map((word) => ({ word }));
    this.#whole = result.accuracy?.length ? result.accuracy.map(compared) : words.map(heard);
    const facts = [
      duration(result.duration_s),
      result.words_per_minute && Math.round(result.words_per_minute) + ' words per minute',
      result.extra_words && result.extra_words + (result.extra_words === 1 ? ' extra word' : ' extra words'),
    ];
    byId('facts').textContent = facts.filter(Boolean).join(' · ');
    byId('facts').hidden = false;
    if (result.score !== undefined && result.score !== null) this.#score(Math.round(result.score));
    byId('spoken').textContent = (result.text || 'Nothing was heard') + (result.score == null ? '' : '. Score ' + Math.round(result.score) + ' of 100');
    this.live(false);
  }

  #score(/** @type {number} */ score) {
    byId('score').hidden = false;
    byId('score-number').textContent = String(score);
    byId('score-arc').style.strokeDasharray = '0 100';
    requestAnimationFrame(() => requestAnimationFrame(() => (byId('score-arc').style.strokeDasharray = Math.max(score, 0.01) + ' 100')));
  }

  #draw() {
    draw(this, () => {
      const words = this.#whole ?? [...this.#pieces].sort(([a], [b]) => a - b).flatMap(([, piece]) => piece.words);
      this.#root.dataset.empty = String(!words.length);
      this.#root.dataset.live = String(this.#live);
      words.forEach((word, i) => this.#show(i, word));
      while (this.#root.children.length > words.length) this.#remove();
      this.#explain(new Set(words.map((word) => word.mark)));
    });
  }

  #show(/** @type {number} */ i, /** @type {Word} */ { word, mark, note }) {
    const state = word + '\n' + mark + '\n' + note;
    const old = this.#root.children[i];
    if (old?.dataset.state === state) return;
    const element = make('span', { class: 'word', 'data-state': state, 'data-word': word, 'data-mark': mark || null, title: note || null, text: word });
    const said = NOTES[/** @type {keyof NOTES} */ (mark)];
    if (said) element.append(make('span', { class: 'sr', text: said }));
    if (old) old.replaceWith(element);
    else this.#root.append(...(i ? [' ', element] : [element]));
  }

  #remove() {
    this.#root.lastChild.remove();
    if (this.#root.lastChild?.nodeType === Node.TEXT_NODE) this.#root.lastChild.remove();
  }

  #explain(/** @type {Set<string>} */ marks) {
    const items = [...byId('legend').children];
    for (const item of items) item.hidden = !marks.has(item.dataset.for);
    byId('legend').hidden = items.every((item) => item.hidden);
  }
}

/** A word of the text to read: how well it was read. @param {any} word @returns {Word} */
function compared({ word, accuracy, heard: found }) {
  const mark = accuracy >= WELL_READ ? 'right' : found ? 'weak' : 'missed';
  return { word, mark, note: Math.round(accuracy * 100) + ' % accurate' };
}
