/* SPDX-License-Identifier: MIT */
/**
 * Small helpers around the DOM. Owns the one animation-frame queue of the page: whatever changes is
 * marked, and drawn once per frame. Sets text and attributes only, never markup.
 */

/** The element of an id. @param {string} id @returns {any} */
export const byId = (id) => document.getElementById(id);

/**
 * A new element.
 * @param {string} tag
 * @param {Record<string, any>} [properties] text, class, or any attribute; false and null are left out
 * @param {...Node} children
 */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === 'text') element.textContent = value;
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/** A term and its value, for a <dl>. @param {[string, any][]} pairs */
export function list(pairs) {
  const rows = pairs.filter(([, value]) => value !== undefined && value !== null && value !== '');
  return make('dl', {}, ...rows.flatMap(([term, value]) => [make('dt', { text: term }), make('dd', { text: String(value) })]));
}

/** Writes text only where it differs, so that nothing is laid out (or announced) twice. */
export function setText(/** @type {Element} */ element, /** @type {string} */ text) {
  if (element.textContent !== text) element.textContent = text;
}

/** @type {Map<any, () => void>} */
const dirty = new Map();

/** Draws `key` in the next frame; the last of several calls counts. */
export function draw(/** @type {any} */ key, /** @type {() => void} */ fn) {
  if (!dirty.size) requestAnimationFrame(flush);
  dirty.set(key, fn);
}

function flush() {
  const work = [...dirty.values()];
  dirty.clear();
  for (const fn of work) fn();
}

/** A button that cannot be used just now keeps the focus: `disabled` would take it away from the keyboard. */
export function setUnavailable(/** @type {Element} */ button, /** @type {boolean} */ on) {
  button.setAttribute('aria-disabled', String(on));
}

document.addEventListener(
  'click',
  (event) => {
    if (!(/** @type {Element} */ (event.target).closest?.('[aria-disabled="true"]'))) return;
    event.preventDefault();
    event.stopImmediatePropagation();
  },
  true,
);

/** Puts an icon of the page's sprite into an <svg>. */
export function setIcon(/** @type {Element} */ use, /** @type {string} */ name) {
  use.setAttribute('href', '#i-' + name);
}
