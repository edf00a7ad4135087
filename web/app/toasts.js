/* SPDX-License-Identifier: MIT */
/** Notifications in the corner: one card each, gone after a while unless looked at. */
import { byId, make } from './dom.js';

const SHOWN_MS = 8000;
const MAX_SHOWN = 4;

/** Only links of the web are offered. */
function safe(/** @type {string|undefined} */ link) {
  const url = link ? URL.parse?.(link, location.href) : null;
  return url && /^https?:$/.test(url.protocol) ? url.href : null;
}

/** @param {{title: string, body: string, link?: string}} note */
export function toast({ title, body, link }) {
  const close = make('button', { type: 'button', 'aria-label': 'Close' });
  const icon = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  icon.setAttribute('class', 'icon');
  icon.setAttribute('aria-hidden', 'true');
  const use = document.createElementNS('http://www.w3.org/2000/svg', 'use');
  use.setAttribute('href', '#i-close');
  icon.append(use);
  close.append(icon);
  const href = safe(link);
  const card = make('div', { class: 'toast' }, make('strong', { text: title }), close, make('p', { text: body }));
  if (href) card.append(make('p', {}, make('a', { href, rel: 'noopener', target: '_blank', text: 'Open' })));
  close.addEventListener('click', () => card.remove());
  const later = () => setTimeout(() => card.remove(), SHOWN_MS);
  let timer = later();
  for (const type of ['pointerenter', 'focusin']) card.addEventListener(type, () => clearTimeout(timer));
  for (const type of ['pointerleave', 'focusout']) card.addEventListener(type, () => (timer = later()));
  byId('toasts').append(card);
  while (byId('toasts').children.length > MAX_SHOWN) byId('toasts').firstElementChild.remove();
}
