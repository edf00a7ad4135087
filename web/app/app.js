/* SPDX-License-Identifier: MIT */
/**
 * The page: takes the token, opens the hub, and wires the parts. Owns the connection's indicator and
 * the screen that asks for a token. Talks to the hub through taskhub.js alone.
 */
import { TaskHub } from './sdk/taskhub.js';
import { Admin } from './admin.js';
import { byId } from './dom.js';
import { Recorder } from './recorder.js';
import { TaskList } from './tasklist.js';
import { toast } from './toasts.js';
import { startCards } from './try.js';

const KEPT = 'taskhub.token';
const STATES = { idle: 'Not connected', connecting: 'Connecting…', connected: 'Connected', waiting: 'Reconnecting…', closed: 'Disconnected' };

/** A token in the link's fragment moves to this tab's storage and leaves the address. */
function takeToken() {
  const token = new URLSearchParams(location.hash.slice(1)).get('token');
  if (!token) return false;
  sessionStorage.setItem(KEPT, token);
  history.replaceState(null, '', location.pathname + location.search);
  return true;
}

function showWelcome(reason = '', busy = false) {
  byId('work').hidden = !busy; // whoever speaks must be able to stop
  scrollTo(0, 0);
  byId('welcome').hidden = false;
  byId('welcome-reason').hidden = !reason;
  byId('welcome-reason').textContent = reason;
  byId('token').focus();
}

/** @param {TaskHub} hub @param {Recorder} recorder */
function followConnection(hub, recorder) {
  hub.on('state', (state, error) => {
    byId('connection').dataset.state = state;
    byId('connection-text').textContent = STATES[/** @type {keyof STATES} */ (state)];
    byId('reconnect').hidden = state !== 'closed';
    if (state !== 'closed') return;
    if (error.code === 'unauthenticated') {
      sessionStorage.removeItem(KEPT);
      byId('reconnect').hidden = true;
      showWelcome('This token is not valid, or no longer. Please make a new one.', recorder.busy);
    } else {
      byId('connection-text').textContent = error.message;
    }
  });
  byId('reconnect').addEventListener('click', () => hub.connect().catch(() => {}));
  hub.on('ready', (user) => {
    byId('welcome').hidden = true;
    byId('work').hidden = false;
    byId('user').hidden = false;
    byId('user').textContent = user.user_id;
  });
  hub.on('user', () => location.reload());
}

function start() {
  const hub = new TaskHub({ token: sessionStorage.getItem(KEPT) ?? undefined });
  const recorder = new Recorder(hub);
  const tasks = new TaskList(hub);
  followConnection(hub, recorder);
  hub.on('ready', () => tasks.ready());
  new Admin(hub);
  startCards(hub);
  hub.on('notification', toast);
  hub.on('task', (task) => {
    if (!task.finished) recorder.follow(task);
  });
  const enter = (/** @type {string} */ token) => hub.setToken(token).catch(() => {});
  byId('token-form').addEventListener('submit', (/** @type {Event} */ event) => {
    event.preventDefault();
    const token = byId('token').value.trim();
    byId('token').value = '';
    sessionStorage.setItem(KEPT, token);
    enter(token);
  });
  addEventListener('hashchange', () => {
    if (takeToken()) location.reload();
  });
  const token = sessionStorage.getItem(KEPT);
  if (token) enter(token);
  else showWelcome();
}

takeToken();
start();
