/* SPDX-License-Identifier: MIT */
/**
 * Maintenance, for admins: the jobs, the hub's figures, the workers. Figures follow what happens
 * (admin.watch), at most once per second; the hub still decides what each caller may see and do.
 */
import { byId, make, setText, setUnavailable } from './dom.js';
import { clock, duration, figure, problem, sentence } from './words.js';

/** @typedef {import('./sdk/taskhub.js').TaskHub} TaskHub */

const QUIET_MS = 5000;
const BUSY_MS = 1000;

export class Admin {
  #hub;
  /** @type {any} */
  #timer;
  #read = 0;

  /** @param {TaskHub} hub */
  constructor(hub) {
    this.#hub = hub;
    for (const card of byId('admin').querySelectorAll('[data-job]')) {
      const button = card.querySelector('button');
      button.addEventListener('click', () => this.#run(card.dataset.job, button, card.querySelector('output')));
    }
    hub.on('admin.event', () => this.#soon(BUSY_MS));
    hub.on('ready', (user) => this.#joined(user.roles ?? []));
    document.addEventListener('visibilitychange', () => this.#soon(0));
  }

  #joined(/** @type {string[]} */ roles) {
    const admin = roles.includes('admin');
    byId('admin').hidden = !admin;
    if (!admin) return;
    this.#hub.call('admin.watch').catch(() => {});
    this.#soon(0);
  }

  async #run(/** @type {string} */ job, /** @type {HTMLButtonElement} */ button, /** @type {HTMLElement} */ answer) {
    const name = button.textContent;
    setUnavailable(button, true);
    answer.textContent = '';
    try {
      const task = await this.#hub.submit(job);
      button.textContent = 'Running…';
      await task.result();
      button.textContent = 'Done';
    } catch (error) {
      button.textContent = 'Failed';
      answer.textContent = problem(error);
    }
    setTimeout(() => {
      button.textContent = name;
      setUnavailable(button, false);
    }, 1500);
  }

  /** Reads the figures in `ms` at the latest, but not twice within a second. */
  #soon(/** @type {number} */ ms) {
    if (document.hidden || byId('admin').hidden || this.#hub.state !== 'connected') return;
    clearTimeout(this.#timer);
    const wait = Math.max(ms && 0, this.#read + BUSY_MS - Date.now());
    this.#timer = setTimeout(() => this.#refresh(), Math.max(0, wait));
  }

  async #refresh() {
    this.#read = Date.now();
    try {
      const [stats, workers] = await Promise.all([this.#hub.call('admin.stats'), this.#hub.call('admin.workers')]);
      this.#stats(stats);
      this.#workers(workers.workers ?? []);
    } catch {
      // Shown by the connection's state; the next turn tries again.
    }
    clearTimeout(this.#timer);
    if (!document.hidden) this.#timer = setTimeout(() => this.#refresh(), QUIET_MS);
  }

  #stats(/** @type {any} */ { tasks, active, queues, delayed, workers, failed_last_hour, mean_duration_s }) {
    const waiting = Object.values(queues).reduce((sum, n) => sum + n, 0) + delayed;
    /** @type {[string, string][]} */
    const figures = [
      ['Active', figure(active)],
      ['Waiting', figure(waiting)],
      ['Completed', figure(tasks.completed)],
      ['Failed in the last hour', figure(failed_last_hour)],
      ['Mean duration', mean_duration_s === null ? '–' : duration(mean_duration_s)],
      ['Workers', figure(workers)],
    ];
    const root = byId('stats');
    figures.forEach(([name, value], i) => {
      const cell = root.children[i] ?? root.appendChild(make('div', {}, make('dt'), make('dd')));
      setText(cell.firstChild, name);
      setText(cell.lastChild, value);
    });
  }

  #workers(/** @type {any[]} */ workers) {
    const rows = workers.map(({ name, kind, alive, seen_at, info }) => {
      const state = !alive ? 'Gone' : info.draining ? 'Draining' : 'Alive';
      const cells = [name, sentence(kind), state, busy(info), figure(info.tasks_done ?? ''), clock(seen_at)];
      return make('tr', {}, ...cells.map((text) => make('td', { text })));
    });
    if (!workers.some(({ kind, alive }) => alive && kind === 'worker')) {
      rows.unshift(make('tr', {}, make('td', { colspan: '6', text: 'No worker is alive: heavy tasks wait.' })));
    }
    byId('workers').replaceChildren(...rows);
  }
}

/** What a process is doing: slots in use per queue, or light tasks under way. @param {any} info */
function busy({ slots, running }) {
  if (!slots) return running === undefined ? '' : running + ' light';
  return Object.entries(slots).map(([queue, slot]) => queue + ' ' + slot.busy + ' of ' + slot.total).join(' · ');
}
