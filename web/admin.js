/**
 * Maintenance, for admins: the jobs, the hub's figures, the workers. Figures follow what happens
 * (admin.watch), at most once per second; the hub still decides what each caller may see and do.
 */
import { byId, make, setText } from './dom.js';
import { figure, problem, sentence } from './words.js';

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
      button.addEventListener('click', () => this.#run(card.dataset.job, button));
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

  async #run(/** @type {string} */ job, /** @type {HTMLButtonElement} */ button) {
    const name = button.textContent;
    button.disabled = true;
    try {
      const task = await this.#hub.submit(job);
      button.textContent = 'Running…';
      await task.result();
      button.textContent = 'Done';
    } catch (error) {
      button.textContent = 'Failed';
      button.title = problem(error);
    }
    setTimeout(() => {
      button.textContent = name;
      button.disabled = false;
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

  /** Every number of the answer, in the order the hub gives them. */
  #stats(/** @type {Record<string, any>} */ stats) {
    const numbers = Object.entries(stats).filter(([, value]) => typeof value === 'number');
    const root = byId('stats');
    numbers.forEach(([name, value], i) => {
      const cell = root.children[i] ?? root.appendChild(make('div', {}, make('dt'), make('dd')));
      setText(cell.firstChild, sentence(name));
      setText(cell.lastChild, figure(value));
    });
    while (root.children.length > numbers.length) root.lastChild.remove();
  }

  #workers(/** @type {any[]} */ workers) {
    const rows = workers.map((worker) => {
      const cells = [worker.name, [worker.queues].flat().join(', '), worker.running, worker.done, worker.seen];
      return make('tr', {}, ...cells.map((value) => make('td', { text: value === undefined ? '' : figure(value) })));
    });
    if (!rows.length) rows.push(make('tr', {}, make('td', { colspan: '5', text: 'No worker is running: heavy tasks wait.' })));
    byId('workers').replaceChildren(...rows);
  }
}
