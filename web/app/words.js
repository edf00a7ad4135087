/* SPDX-License-Identifier: MIT */
/** What the page says in words: names of tasks and states, durations, errors. Pure functions. */

const NAMES = /** @type {Record<string, string>} */ ({
  process_speak_audio: 'Speech',
  process_text: 'Look at a text',
  calculate_rating: 'Rating',
  send_notification: 'Notification',
  cleanup_sessions: 'Clean-up',
  calculate_all_ratings: 'All ratings',
  sync_impressions_from_redis: 'Impressions',
  demo_steps: 'Demo',
  demo_steps_heavy: 'Demo in a worker',
});
const STATES = /** @type {Record<string, string>} */ ({
  pending: 'Waiting',
  processing: 'Running',
  completed: 'Done',
  failed: 'Failed',
  cancelled: 'Cancelled',
});
const ERRORS = /** @type {Record<string, string>} */ ({
  mic_denied: 'The browser may not use the microphone. Allow it for this page, then try again.',
  no_device: 'No microphone was found.',
  mic_busy: 'Another program is using the microphone.',
  user_limit: 'As many of your tasks are under way as you may have. Wait, or cancel one below.',
  busy: 'The hub is full just now. Try again in a moment.',
  insecure_context: 'Browsers open the microphone only on https and on localhost.',
});

/** @param {string} [task] */
export const taskName = (task = 'Task') => NAMES[task] ?? sentence(task);

/** @param {string} status @param {string} [stage] */
export const stateName = (status, stage) => (stage === 'cancelling' || stage === 'retrying' ? sentence(stage) : STATES[status] ?? sentence(status));

/** "words_per_minute" → "Words per minute". @param {string} text */
export function sentence(text) {
  const words = text.replaceAll('_', ' ');
  return words.charAt(0).toUpperCase() + words.slice(1);
}

/** What a recorder shows: "0:07". @param {number} seconds */
export const minutes = (seconds) => Math.floor(seconds / 60) + ':' + String(Math.floor(seconds) % 60).padStart(2, '0');

/** @param {number} seconds */
export function duration(seconds) {
  if (!(seconds >= 0)) return '';
  if (seconds < 0.001) return '< 1 ms';
  if (seconds < 1) return Math.round(seconds * 1000) + ' ms';
  if (seconds < 10) return seconds.toFixed(1) + ' s';
  if (seconds < 60) return Math.round(seconds) + ' s';
  const whole = Math.round(seconds);
  const two = (/** @type {number} */ n) => String(n).padStart(2, '0');
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  return hours ? hours + ':' + two(minutes) + ':' + two(whole % 60) + ' h' : minutes + ':' + two(whole % 60) + ' min';
}

/** @param {string} [time] RFC 3339 */
export function moment(time) {
  if (!time) return '';
  return new Date(time).toLocaleString(undefined, { dateStyle: 'medium', timeStyle: 'medium' });
}

/** The time of day, with the day if that is not today. @param {string} [time] RFC 3339 */
export function clock(time) {
  if (!time) return '';
  const date = new Date(time);
  const today = date.toDateString() === new Date().toDateString();
  return date.toLocaleString(undefined, today ? { timeStyle: 'short' } : { dateStyle: 'medium', timeStyle: 'short' });
}

/** @param {any} error */
export const problem = (error) => ERRORS[error.code] ?? error.message ?? String(error);

/** A number as people write it, with at most two decimals. @param {any} value */
export const figure = (value) =>
  typeof value === 'number' ? value.toLocaleString(undefined, { maximumFractionDigits: 2 }) : Array.isArray(value) ? value.map((v) => (typeof v === 'object' ? Object.values(v)[0] : v)).join(', ') : String(value);
