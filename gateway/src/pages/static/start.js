// Copies the calls of the start page.

import { copy } from './copy.js';

const said = document.getElementById('said');

for (const button of document.querySelectorAll('[data-copy]')) {
  button.hidden = false;
  button.addEventListener('click', async () => {
    const isCopied = await copy(document.getElementById(button.dataset.copy).textContent);
    button.textContent = said.textContent = isCopied ? 'Copied' : 'Select and copy by hand';
    setTimeout(() => { button.textContent = 'Copy'; said.textContent = ''; }, 2000);
  });
}
