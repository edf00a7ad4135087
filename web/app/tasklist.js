/* SPDX-License-Identifier: MIT */
/**
 * The list of this user's tasks: one row per task, newest first, each row drawn at most once per frame.
 * Owns the rows and their buttons; what a task is, is known by the library's handles alone.
 */
import { byId, draw, list, make, setIcon, setText, setUnavailable } from './dom.js';
import { clock, duration, moment, problem, stateName, taskName } from './words.js';

/** @typedef {import('./sdk/taskhub.js').TaskHub} TaskHub */
/** @typedef {import('./sdk/taskhub.js').Task} Task */

const PAGE = 50;
/** Rows shown until older ones are asked for. */
const SHORT = 8;
const MAX_ROWS = 1000;
const LOG_LINES = 20;

class Row {
  #task;
  #note = '';
  /** @type {string[]} */
  #log = [];
  /** Whether it can be seen: progress of the others is not drawn. */
  visible = true;
  /** Difference between the hub's clock and ours, ms. */
  static skew = -Infinity;

  /** @param {Task} task */
  constructor(task) {
    this.#task = task;
    this.id = task.id;
    const template = /** @type {HTMLTemplateElement} */ (byId('task-row'));
    this.element = /** @type {HTMLElement} */ (document.importNode(template.content, true).firstElementChild);
    this.parts = Object.fromEntries(
      ['toggle', 'task-name', 'status-text', 'task-note', 'task-time', 'cancel', 'retry', 'task-more'].map((name) => [name, /** @type {any} */ (this.element.querySelector('.' + name))]),
    );
    this.bar = /** @type {HTMLProgressElement} */ (this.element.querySelector('progress'));
    this.icon = /** @type {Element} */ (this.element.querySelector('.status use'));
    this.element.dataset.id = task.id;
    this.parts.toggle.addEventListener('click', () => this.#toggle());
    this.parts.cancel.addEventListener('click', () => this.#act(() => task.cancel()));
    this.parts.retry.addEventListener('click', () => this.#act(() => task.retry()));
    task.on('state', () => {
      this.#note = ''; // it was said of what is over
    });
    task.on('log', ({ message }) => {
      this.#log = [...this.#log.slice(1 - LOG_LINES), message];
    });
  }

  async #act(/** @type {() => Promise<any>} */ what) {
    setUnavailable(this.parts.cancel, true);
    setUnavailable(this.parts.retry, true);
    this.#note = '';
    try {
      await what();
    } catch (error) {
      this.#note = problem(error);
    }
    setUnavailable(this.parts.cancel, false);
    setUnavailable(this.parts.retry, false);
    this.draw();
    if (document.activeElement === document.body) this.parts.toggle.focus(); // its button is gone
  }

  #toggle() {
    const open = this.parts.toggle.getAttribute('aria-expanded') !== 'true';
    this.parts.toggle.setAttribute('aria-expanded', String(open));
    this.parts['task-more'].hidden = !open;
    if (open && this.#task.data.result_omitted) this.#task.refresh().catch(() => {});
    if (open && this.#task.status === 'pending') this.#why();
    this.draw();
  }

  async #why() {
    try {
      const { why, reason } = await this.#task.why();
      this.#note = why ?? reason ?? '';
      this.draw();
    } catch {
      this.#note = '';
    }
  }

  /** Seconds it runs or ran; while it waits, seconds since it was accepted. */
  #seconds() {
    const { created_at, started_at, completed_at } = this.#task.data;
    const from = Date.parse(started_at ?? created_at ?? '');
    const now = Date.now() + (Number.isFinite(Row.skew) ? Row.skew : 0);
    const to = completed_at ? Date.parse(completed_at) : this.#task.finished ? from : now;
    return Math.max(0, to - from) / 1000;
  }

  tick() {
    if (!this.#task.finished) setText(this.parts['task-time'], duration(this.#seconds()));
  }

  draw() {
    const { data, finished, status } = this.#task;
    const name = taskName(data.task);
    const parts = this.parts;
    this.element.dataset.status = status;
    setText(parts['task-name'], name);
    setText(parts['status-text'], stateName(status, data.stage));
    setIcon(this.icon, status);
    setText(parts['task-note'], this.#note || this.#words());
    setText(parts['task-time'], duration(this.#seconds()));
    parts.cancel.hidden = finished || data.stage === 'cancelling';
    parts.retry.hidden = status !== 'failed' && status !== 'cancelled';
    parts.cancel.setAttribute('aria-label', 'Cancel ' + name);
    parts.retry.setAttribute('aria-label', 'Retry ' + name);
    if (!finished) {
      this.bar.value = data.progress;
      this.bar.setAttribute('aria-label', 'Progress of ' + name);
      this.bar.setAttribute('aria-valuetext', Math.round(data.progress) + ' %' + (data.message ? ', ' + data.message : ''));
    }
    if (!parts['task-more'].hidden) this.#details();
  }

  #words() {
    const { status, stage, message, error, progress, completed_at } = this.#task.data;
    if (status === 'completed' || status === 'cancelled') return clock(completed_at);
    if (status === 'failed') return error?.message ?? message ?? '';
    if (status === 'processing') return [stage, message, progress ? Math.round(progress) + ' %' : ''].filter(Boolean).join(' · ');
    return status === 'pending' && stage !== 'queued' ? stage ?? '' : '';
  }

  #details() {
    const { data } = this.#task;
    const facts = list([
      ['Id', data.task_id],
      ['Type', data.task],
      ['Attempt', data.attempt || ''],
      ['Accepted', moment(data.created_at)],
      ['Started', moment(data.started_at)],
      ['Ended', moment(data.completed_at)],
      ['Retry of', data.retry_of],
      ['Error', data.error && data.error.code],
    ]);
    const blocks = [facts];
    if (this.#log.length) blocks.push(code('Log', this.#log.join('\n')));
    if (data.meta && Object.keys(data.meta).length) blocks.push(code('Meta', JSON.stringify(data.meta, null, 2)));
    if (data.result !== undefined && data.result !== null) blocks.push(code('Result', JSON.stringify(data.result, null, 2)));
    const key = blocks.map((block) => block.textContent).join('\n');
    if (this.parts['task-more'].dataset.key === key) return;
    this.parts['task-more'].dataset.key = key;
    this.parts['task-more'].replaceChildren(...blocks);
  }
}

/** A scrollable block of text. */
function code(/** @type {string} */ label, /** @type {string} */ text) {
  const shown = text.length > 20000 ? text.slice(0, 20000) + '\n…' : text;
  return make('pre', { class: 'code', tabindex: '0', role: 'region', 'aria-label': label }, make('code', { text: shown }));
}

export class TaskList {
  #hub;
  #root = byId('tasks');
  /** @type {Map<string, Row>} */
  #rows = new Map();
  /** @type {string[]} ids, newest first: they begin with the time */
  #order = [];
  /** @type {string|undefined} */
  #cursor;
  #loaded = false;
  #seen = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) this.#show(/** @type {HTMLElement} */ (target).dataset.id, isIntersecting);
  });

  /** @param {TaskHub} hub */
  constructor(hub) {
    this.#hub = hub;
    hub.on('event', (event, task) => {
      // Events that are told again are old: the newest one says what time it is there.
      if (event.seq && event.at) Row.skew = Math.max(Row.skew, Date.parse(event.at) - Date.now());
      if (event.type !== 'progress' || (this.#rows.get(task.id)?.visible ?? true)) this.#changed(task);
    });
    byId('more').addEventListener('click', () => this.#older());
    setInterval(() => this.#tick(), 1000);
  }

  /** The next page of older tasks. */
  async load() {
    setUnavailable(byId('more'), true);
    try {
      const pages = [this.#hub.tasks({ limit: PAGE, cursor: this.#cursor })];
      // What runs or waits is shown however old it is.
      if (!this.#loaded) pages.push(...['pending', 'processing'].map((status) => this.#hub.tasks({ status, limit: PAGE })));
      const [page, ...active] = await Promise.all(pages);
      this.#cursor = page.nextCursor;
      this.#loaded = true;
      for (const { tasks } of [page, ...active]) for (const task of tasks) this.#changed(task);
    } finally {
      setUnavailable(byId('more'), false);
      draw(this, () => this.#count());
    }
  }

  /** Once the hub can be asked: until a first page was read, nobody knows that there is nothing. */
  ready() {
    if (!this.#loaded) this.load().catch(() => {});
  }

  /** First those that are here already, then page by page. */
  #older() {
    if (this.#root.dataset.all !== 'true') this.#root.dataset.all = 'true';
    else this.load().catch(() => {});
    this.#count();
  }

  #show(/** @type {string|undefined} */ id, /** @type {boolean} */ visible) {
    const row = this.#rows.get(id ?? '');
    if (!row) return;
    row.visible = visible;
    if (visible) row.draw();
  }

  #changed(/** @type {Task} */ task) {
    draw(task, () => {
      (this.#rows.get(task.id) ?? this.#insert(task))?.draw();
      draw(this, () => this.#count());
    });
  }

  /** A new row in its place; none for a task older than all of a full list. */
  #insert(/** @type {Task} */ task) {
    let at = this.#order.findIndex((id) => id < task.id);
    if (at < 0) at = this.#order.length;
    if (at >= MAX_ROWS) return undefined;
    const row = new Row(task);
    this.#root.insertBefore(row.element, this.#root.children[at] ?? null);
    this.#seen.observe(row.element);
    this.#order.splice(at, 0, task.id);
    this.#rows.set(task.id, row);
    if (this.#order.length > MAX_ROWS) {
      const oldest = /** @type {string} */ (this.#order.pop());
      const gone = /** @type {Row} */ (this.#rows.get(oldest));
      this.#seen.unobserve(gone.element);
      gone.element.remove();
      this.#rows.delete(oldest);
    }
    return row;
  }

  #count() {
    const active = this.#root.querySelectorAll('[data-status="pending"], [data-status="processing"]').length;
    const hidden = this.#root.dataset.all !== 'true' && this.#rows.size > SHORT;
    byId('more').hidden = !hidden && (!this.#cursor || this.#rows.size >= MAX_ROWS);
    byId('tasks-empty').hidden = !this.#loaded || this.#rows.size > 0;
    setText(byId('tasks-count'), this.#rows.size ? (active ? active + ' running or waiting' : 'All finished') : '');
  }

  #tick() {
    if (document.hidden) return;
    for (const row of this.#root.querySelectorAll('[data-status="pending"], [data-status="processing"]')) {
      this.#rows.get(row.dataset.id)?.tick();
    }
  }
}
