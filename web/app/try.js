/* SPDX-License-Identifier: MIT */
/** The cards that start a quick task and show its answer in place. Owns their forms. */
import { byId, list, setUnavailable } from './dom.js';
import { duration, figure, problem, sentence } from './words.js';

/** @typedef {import('./sdk/taskhub.js').TaskHub} TaskHub */

/** What a card shows of a result, where that is not simply every field. @type {Record<string, (result: any) => [string, any][]>} */
const ANSWERS = {
  send_notification: (result) => [['Sent to', result.delivered ? 'your open windows' : 'your list']],
};

/** Every field, those of an object within it too. @param {any} result @returns {[string, any][]} */
const everything = (result) =>
  Object.entries(result).flatMap(([name, value]) => {
    if (value && typeof value === 'object' && !Array.isArray(value)) return everything(value);
    if (name.endsWith('_s')) return [[sentence(name.slice(0, -2)), duration(Number(value))]];
    return [[sentence(name), figure(value)]];
  });

/** Connects the cards with the hub. @param {TaskHub} hub */
export function startCards(hub) {
  for (const form of /** @type {NodeListOf<HTMLFormElement>} */ (byId('work').querySelectorAll('form[data-task]'))) {
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      run(hub, form);
    });
  }
}

/** @param {TaskHub} hub @param {HTMLFormElement} form */
async function run(hub, form) {
  const task = /** @type {string} */ (form.dataset.task);
  const button = /** @type {HTMLButtonElement} */ (form.querySelector('button'));
  const answer = /** @type {HTMLElement} */ (form.querySelector('.answer'));
  const { stars, ...args } = Object.fromEntries(new FormData(form));
  if (button.getAttribute('aria-disabled') === 'true') return;
  setUnavailable(button, true);
  answer.textContent = '';
  answer.dataset.bad = 'false';
  try {
    if (stars) await hub.call('rating.submit', { resource_id: args.resource_id, stars: Number(stars) });
    const result = await (await hub.submit(task, args)).result();
    answer.replaceChildren(list((ANSWERS[task] ?? everything)(result)));
  } catch (error) {
    answer.dataset.bad = 'true';
    answer.textContent = problem(error);
  }
  setUnavailable(button, false);
}
