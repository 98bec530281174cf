// Copies the calls of the start page.

const said = document.getElementById('said');

for (const button of document.querySelectorAll('[data-copy]')) {
  button.hidden = false;
  button.addEventListener('click', async () => {
    const isCopied = await copy(document.getElementById(button.dataset.copy).textContent);
    button.textContent = said.textContent = isCopied ? 'Copied' : 'Select and copy by hand';
    setTimeout(() => { button.textContent = 'Copy'; said.textContent = ''; }, 2000);
  });
}

// Browsers offer the clipboard only over https and on this machine; the older way works elsewhere.
async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = document.createElement('textarea');
    area.value = text;
    document.body.append(area);
    area.select();
    const isCopied = document.execCommand('copy');
    area.remove();
    return isCopied;
  }
}
