// The inbox, live: asks for the texts once a second, and only while it is seen. Texts are set as text, never as HTML.

import { copy } from './copy.js';

const EVERY_MS = 1000;
const $ = (id) => document.getElementById(id);
const token = new URLSearchParams(location.search).get('token');

let tag = null; // Names the list that we have: an unchanged one is not sent again.
let texts = [];
const items = new Map(); // The list's items by message id.
let known = null; // The ids of the texts that were shown; null before the first answer.
let timer = 0;
let isAsking = false;

async function ask() {
  clearTimeout(timer);
  if (isAsking || document.hidden) return;
  isAsking = true;
  try {
    const headers = {};
    if (token) headers.authorization = `Bearer ${token}`;
    if (tag) headers['if-none-match'] = tag;
    const answer = await fetch('/inbox/messages', { headers, cache: 'no-store', signal: AbortSignal.timeout(10000) });
    if (answer.status === 200) {
      texts = await answer.json();
      tag = answer.headers.get('etag');
      show();
    } else if (answer.status === 401 || answer.status === 403) {
      state('lost', 'This server does not open its inbox here. Open this page again from the start page.');
      return;
    } else if (answer.status !== 304) {
      throw new Error(answer.status);
    }
    state('live', 'Live');
  } catch {
    state('lost', 'No answer. Trying again.');
  } finally {
    isAsking = false;
  }
  timer = setTimeout(ask, EVERY_MS);
}

function state(name, words) {
  if ($('live').dataset.state === name) return;
  $('live').dataset.state = name;
  $('live').textContent = words;
}

function show() {
  const digits = $('filter').value.replace(/\D/g, '');
  const shown = texts.filter((text) => text.phone_number.includes(digits));
  arrange($('messages'), shown);
  $('empty').hidden = shown.length > 0;
  $('empty-title').firstElementChild.textContent = texts.length ? 'No texts for this number' : 'No texts yet';
  $('more').hidden = texts.length < 200;
  const fresh = known ? texts.filter((text) => !known.has(text.message_id)) : [];
  if (fresh.length) $('said').textContent = `New text for ${fresh[0].phone_number}`;
  known = new Set(texts.map((text) => text.message_id));
}

// Leaves what is there already where it is, so that nobody loses the button under the finger.
function arrange(list, shown) {
  let at = list.firstElementChild;
  for (const text of shown) {
    const li = items.get(text.message_id) ?? item(text);
    if (li === at) at = at.nextElementSibling;
    else list.insertBefore(li, at);
  }
  while (at) {
    const next = at.nextElementSibling;
    at.remove();
    at = next;
  }
}

function item(text) {
  const li = $('message').content.cloneNode(true).firstElementChild;
  li.querySelector('.phone').textContent = text.phone_number;
  li.querySelector('.badge').textContent = text.channel === 'voice' ? 'Call' : 'Text';
  li.querySelector('.text').textContent = text.text;
  const time = li.querySelector('time');
  time.dateTime = text.sent_at;
  time.textContent = new Date(text.sent_at).toLocaleTimeString();
  if (known && !known.has(text.message_id)) li.classList.add('new');
  if (text.code) {
    const button = li.querySelector('.code');
    button.hidden = false;
    button.dataset.id = text.message_id;
    button.querySelector('b').textContent = text.code;
    button.setAttribute('aria-label', `Copy the code ${text.code}`);
    button.addEventListener('click', () => copyFrom(button, text.code));
  }
  items.set(text.message_id, li);
  return li;
}

async function copyFrom(button, code) {
  const isCopied = await copy(code);
  const words = button.querySelector('span');
  words.textContent = $('said').textContent = isCopied ? 'Copied' : 'Select and copy by hand';
  setTimeout(() => { words.textContent = 'Tap to copy'; }, 2000);
}

$('filter').value = new URLSearchParams(location.search).get('phone') ?? '';
$('filter').addEventListener('input', show);
document.addEventListener('visibilitychange', () => {
  if (document.hidden) state('waiting', 'Paused');
  else ask();
});
ask();
