// Signs in by phone number and code, with nothing but Latchkey's public API (docs/CONTRACT.md, section 3). It keeps the
// tokens in memory only: reload, and they are gone. An app keeps the refresh token and the device token in the
// platform's safe store.

const LOCALES = {
  en: 'English', fa: 'فارسی', es: 'Español', fr: 'Français', de: 'Deutsch', ar: 'العربية', tr: 'Türkçe',
  'pt-BR': 'Português (Brasil)', hi: 'हिन्दी', id: 'Bahasa Indonesia',
};
const RIGHT_TO_LEFT = ['fa', 'ar'];
// The statuses after which none comes (contract, ruling 2), and what their dot looks like.
const FINAL = ['delivered', 'undelivered', 'failed', 'verified', 'expired', 'superseded'];
const KIND = { sent: 'good', delivered: 'good', verified: 'good', undelivered: 'bad', failed: 'bad', expired: 'bad' };
const POLL_MS = 3000;
const REPEATS = 3;

const $ = (id) => document.getElementById(id);
let locale = 'en';
let words = {};
let settings = null;
let request = null; // The last answer to a code request.
let news = null; // Its last status.
let login = null; // The last answer with tokens.
let deviceToken; // Proves to later sign-ins on this page that this device is known.
let attempt = { otp: null, key: null }; // The code that was tried last, under which Idempotency-Key.
const until = { send: 0, code: 0 }; // When the next code request, and the next code, may be sent.

// Words

const t = (name, values = {}) =>
  // A value keeps its own direction (U+2066 to U+2069): a number in Persian or Arabic words still reads left to right.
  (words[name] ?? name).replace(/\{(\w+)\}/g, (_, value) => `\u2066${values[value] ?? ''}\u2069`);

function preferred() {
  const wanted = [new URLSearchParams(location.search).get('lang'), ...navigator.languages];
  const language = (tag) => tag.split('-')[0].toLowerCase();
  for (const tag of wanted.filter(Boolean)) {
    const found = Object.keys(LOCALES).find((known) => known.toLowerCase() === tag.toLowerCase())
      ?? Object.keys(LOCALES).find((known) => language(known) === language(tag));
    if (found) return found;
  }
  return 'en';
}

async function speak(next) {
  const answer = await fetch(`/pages/${next}.json`);
  [locale, words] = [next, await answer.json()];
  document.documentElement.lang = locale;
  document.documentElement.dir = RIGHT_TO_LEFT.includes(locale) ? 'rtl' : 'ltr';
  document.title = `${t('title')} · Latchkey`;
  for (const element of document.querySelectorAll('[data-t]')) element.textContent = t(element.dataset.t);
  for (const error of ['phone', 'code', 'done']) fail(error, '');
  listCountries();
  if (request) describeRequest();
  if (login) describeLogin();
  tick();
}

const clock = (seconds) => {
  const [h, m, s] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  return h ? `${h}:${`${m}`.padStart(2, '0')}:${`${s}`.padStart(2, '0')}` : `${m}:${`${s}`.padStart(2, '0')}`;
};
const date = (text) => new Date(text).toLocaleString(locale, { dateStyle: 'medium', timeStyle: 'short' });

// Calls

const newKey = () => [...crypto.getRandomValues(new Uint8Array(16))].map((b) => b.toString(16).padStart(2, '0')).join('');
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// Every call of this page can be repeated after a lost answer: a code request and a login by their Idempotency-Key (P9,
// W2), a refresh within 30 s (P9), the others because they change nothing twice.
async function send(method, path, { body, key, access } = {}) {
  const headers = {};
  if (body) headers['content-type'] = 'application/json';
  if (key) headers['idempotency-key'] = key;
  if (access) headers.authorization = `Bearer ${access}`;
  for (let n = 0; ; n += 1) {
    let problem;
    try {
      const answer = await fetch(path, {
        method, headers, body: body && JSON.stringify(body), cache: 'no-store', signal: AbortSignal.timeout(10000),
      });
      const text = await answer.text();
      const document = text ? JSON.parse(text) : {};
      if (answer.ok) return document;
      problem = { code: 'other', ...document, status: answer.status };
    } catch {
      problem = { code: 'network' };
    }
    const mayRepeat = problem.code === 'network' || problem.status >= 500;
    if (!mayRepeat || n === REPEATS) throw problem;
    say(t('retrying'));
    await pause((problem.retry_after ?? 2 ** n) * 1000);
  }
}

// Every error code that these calls can give, in words.
function explain(problem) {
  const { code, limit, attempts_left: left, retry_after: wait } = problem;
  let said = words[`error_${code}`] ? t(`error_${code}`, { n: left }) : t('error_other', { code });
  if (code === 'otp_incorrect' && left === 0) said = t('error_otp_incorrect_last');
  if (code === 'too_many_requests') said = t(`limit_${LIMITS[limit] ?? 'service'}`);
  return wait ? `${said} ${t('wait', { time: clock(wait) })}` : said;
}
const LIMITS = {
  phone_hour: 'phone', phone_day: 'phone', ip_hour: 'network', logins_ip: 'network', guesses: 'guesses', blocked: 'blocked',
};

// What the page shows

function fail(step, text) {
  $(`${step}-error`).textContent = text;
  if (step === 'done') return;
  if (text) {
    $(step).setAttribute('aria-invalid', 'true');
    $(step).focus();
    $(step).select();
  } else {
    $(step).removeAttribute('aria-invalid');
  }
}

function say(text, kind = '') {
  const line = document.querySelector('main > :not([hidden]) > .status');
  if (line.textContent === text) return;
  line.dataset.kind = kind;
  line.textContent = text;
}

function open(step) {
  for (const id of ['phone-step', 'code-step', 'done-step']) $(id).hidden = id !== step;
  window.scrollTo(0, 0);
}

let isBusy = false;
async function alone(step, work) {
  if (isBusy) return;
  isBusy = true;
  fail(step, '');
  try {
    await work();
  } catch (problem) {
    if (problem instanceof Error) throw problem;
    say(step === 'code' ? statusWords() : '');
    fail(step, explain(problem));
    return problem;
  } finally {
    isBusy = false;
    tick();
  }
}

// Each button counts down what the server told it to wait.
function tick() {
  const label = (id, name, left) => {
    const text = left > 0 ? `${t(name)} · \u2066${clock(left)}\u2069` : t(name);
    if ($(id).textContent !== text) $(id).textContent = text;
    $(id).disabled = left > 0;
  };
  const left = (what) => Math.ceil((until[what] - performance.now()) / 1000);
  label('send', 'send', left('send'));
  label('resend', 'resend', left('send'));
  label('call', 'call', left('send'));
  label('sign-in', 'sign_in', left('code'));
}
const hold = (what, seconds) => { until[what] = performance.now() + seconds * 1000; };

// The phone number

const ascii = (text) => text.replace(/[٠-٩۰-۹०-९]/g, (digit) => {
  const at = digit.codePointAt(0);
  return at - (at >= 0x966 ? 0x966 : at >= 0x6f0 ? 0x6f0 : 0x660);
});
const digits = (text) => ascii(text).replace(/\D/g, '');
const country = () => settings.countries.find(([region]) => region === $('country').value) ?? settings.countries[0];

function listCountries() {
  if (!settings) return;
  const chosen = $('country').value || startRegion();
  const names = new Intl.DisplayNames([locale], { type: 'region' });
  const options = settings.countries.map(([region, code]) => [names.of(region), region, code]);
  options.sort(([a], [b]) => a.localeCompare(b, locale));
  $('country').replaceChildren(...options.map(([name, region, code]) => new Option(`${name} \u2066+${code}\u2069`, region)));
  $('country').value = chosen;
  showPrefix();
}

function startRegion() {
  const regions = navigator.languages.map((tag) => tag.split('-')[1]?.toUpperCase());
  const known = (region) => settings.countries.some(([other]) => other === region);
  return [settings.default_region, ...regions, 'US'].find(known) ?? settings.countries[0][0];
}

function showPrefix() {
  $('prefix').textContent = `+${country()[1]}`;
}

// Groups the digits as the country writes them; the server decides whether they are a number.
function grouped(text, groups) {
  const parts = [];
  let at = 0;
  for (const size of groups) {
    if (at < text.length) parts.push(text.slice(at, at + Number(size)));
    at += Number(size);
  }
  if (at < text.length) parts[parts.length - 1] += text.slice(at);
  return parts.join(' ');
}

function formatPhone() {
  const input = $('phone');
  const typed = ascii(input.value);
  const before = digits(typed.slice(0, input.selectionStart)).length;
  let number = digits(typed);
  let cut = 0;
  if (/^\s*(\+|00)/.test(typed)) {
    // A whole number was pasted or filled in: its calling code chooses the country.
    const whole = typed.trim().startsWith('+') ? number : number.slice(2);
    const fits = settings.countries.filter(([, code]) => whole.startsWith(`${code}`));
    const code = Math.max(...fits.map(([, known]) => known));
    const found = fits.find(([region, known]) => known === code && region === $('country').value)
      ?? fits.find(([region, known]) => known === code && MAIN.includes(region)) ?? fits.find(([, known]) => known === code);
    if (!found) return;
    $('country').value = found[0];
    showPrefix();
    number = whole.slice(`${code}`.length);
    cut = digits(typed).length - number.length;
  }
  input.value = grouped(number, country()[2]);
  let at = 0;
  for (let left = before - cut; left > 0 && at < input.value.length; at += 1) if (input.value[at] !== ' ') left -= 1;
  input.setSelectionRange(at, at);
}
// The largest of the countries that share a calling code.
const MAIN = ['US', 'RU', 'GB', 'IT', 'AU', 'NO', 'FI', 'MA', 'RE', 'SH', 'CW', 'GP'];

// Step 1: request a code. A repeated request is the resend.

async function requestCode(channel) {
  const step = request ? 'code' : 'phone';
  const number = request?.phone_number ?? `+${country()[1]}${digits($('phone').value)}`;
  if (!request && !digits($('phone').value)) return fail('phone', t('error_phone_missing'));
  const problem = await alone(step, async () => {
    say(t('status_accepted'));
    const [first_name, last_name] = [$('first').value.trim(), $('last').value.trim()];
    const isSignup = first_name && last_name;
    const body = { phone_number: number, locale, channel, ...(isSignup ? { first_name, last_name } : { device_token: deviceToken }) };
    // Each press is a new request with a key of its own, which its repeats share.
    request = await send('POST', isSignup ? '/v1/signup' : '/v1/otp', { body, key: newKey() });
    [news, attempt] = [{ status: 'accepted', next_channels: [] }, { otp: null, key: null }];
    hold('send', request.resend_in);
    hold('code', 0);
    say('');
    open('code-step');
    describeRequest();
    $('code').value = '';
    $('code').focus();
    follow(request.request_id);
    awaitText();
  });
  if (problem?.retry_after) {
    hold('send', problem.retry_after);
    tick();
  }
}

function describeRequest() {
  $('sent-to').textContent = t(request.channel === 'voice' ? 'called' : 'texted', { phone: request.phone_number });
  showNews(news);
}

function statusWords() {
  const reason = news.reason && words[`reason_${news.reason}`];
  return reason ? `${t(`status_${news.status}`)} ${reason}` : t(`status_${news.status}`);
}

function showNews(next) {
  news = next;
  if (!login) say(statusWords(), KIND[news.status] ?? '');
  $('call').hidden = !news.next_channels.includes('voice');
}

// Follows the request's status by its event stream, and by polling where streams do not get through.
let stopFollowing = () => {};
function follow(id) {
  stopFollowing();
  const source = new EventSource(`/v1/otp/${id}/events`);
  stopFollowing = () => source.close();
  let lost = 0;
  source.addEventListener('status', (event) => {
    lost = 0;
    showNews(JSON.parse(event.data));
    if (FINAL.includes(news.status)) stopFollowing();
  });
  source.addEventListener('error', () => {
    lost += 1;
    if (source.readyState === EventSource.CLOSED || lost > 2) {
      source.close();
      poll(id);
    }
  });
}

function poll(id) {
  const expires = Date.parse(request.expires_at);
  let timer = 0;
  stopFollowing = () => clearTimeout(timer);
  const ask = async () => {
    const next = await send('GET', `/v1/otp/${id}`).catch(() => null);
    if (request?.request_id !== id || login) return;
    if (next) showNews(next);
    if (!FINAL.includes(news.status) && Date.now() < expires) timer = setTimeout(ask, POLL_MS);
  };
  ask();
}

// Step 2: the code. Chrome on Android hands it over from the text (WebOTP), others fill it in by `autocomplete`.

let texting = new AbortController();
function awaitText() {
  texting.abort();
  if (!('OTPCredential' in window)) return;
  texting = new AbortController();
  navigator.credentials.get({ otp: { transport: ['sms'] }, signal: texting.signal })
    .then((credential) => { $('code').value = credential.code; formatCode(); })
    .catch(() => {}); // Aborted, refused, or not possible here: people type.
}

function formatCode() {
  const otp = digits($('code').value).slice(0, request.code_length);
  $('code').value = otp;
  if (otp.length === request.code_length && otp !== attempt.otp && until.code <= performance.now()) signIn();
}

async function signIn() {
  const otp = digits($('code').value);
  if (otp.length !== request.code_length) return fail('code', t('error_code_short', { n: request.code_length }));
  if (attempt.otp !== otp) attempt = { otp, key: newKey() };
  const problem = await alone('code', async () => {
    const body = { phone_number: request.phone_number, otp, request_id: request.request_id, device_token: deviceToken };
    login = await send('POST', '/v1/login', { body, key: attempt.key });
    deviceToken = login.device_token;
    texting.abort();
    stopFollowing();
    describeLogin();
    open('done-step');
    say('');
    $('done-title').focus();
  });
  if (problem?.retry_after) {
    hold('code', problem.retry_after);
    tick();
  }
}

function startAgain() {
  texting.abort();
  stopFollowing();
  [request, news, login] = [null, null, null];
  fail('code', '');
  open('phone-step');
  $('phone').focus();
}

// Step 3: the user and the tokens.

function describeLogin() {
  const { user } = login;
  const facts = [
    ['user_name', `${user.first_name} ${user.last_name}`.trim() || '–'],
    ['user_phone', user.phone_number, 'ltr'], ['user_id', user.id, 'ltr'], ['user_since', date(user.created_at)],
  ];
  $('user').replaceChildren(...facts.flatMap(([name, text, dir = 'auto']) => {
    const [dt, dd, bdi] = ['dt', 'dd', 'bdi'].map((tag) => document.createElement(tag));
    dt.textContent = t(name);
    bdi.dir = dir;
    bdi.textContent = text;
    dd.append(bdi);
    return [dt, dd];
  }));
  $('access').textContent = login.access;
  $('refresh-token').textContent = login.refresh;
  const claims = JSON.parse(atob(login.access.split('.')[1].replace(/-/g, '+').replace(/_/g, '/')));
  $('claims').textContent = JSON.stringify(claims, null, 2);
  $('access-expiry').textContent = t('access_until', { time: date(claims.exp * 1000) });
}

const asking = (work, done) => () => alone('done', async () => {
  say('');
  await work();
  say(t(done), 'good');
});

const whoAmI = asking(async () => {
  login.user = await send('GET', '/v1/me', { access: login.access });
  describeLogin();
}, 'me_done');

const renew = asking(async () => {
  Object.assign(login, await send('POST', '/v1/token/refresh', { body: { refresh: login.refresh } }));
  describeLogin();
}, 'refresh_done');

async function logout() {
  const problem = await alone('done', () => send('POST', '/v1/token/blacklist', { body: { refresh: login.refresh } }));
  if (!problem) startAgain();
}

async function copyFrom(button) {
  const source = $(button.dataset.copy);
  try {
    await navigator.clipboard.writeText(source.textContent);
  } catch {
    // Browsers offer the clipboard only over https and on this machine; the older way works elsewhere.
    getSelection().selectAllChildren(source);
    document.execCommand('copy');
    getSelection().removeAllRanges();
  }
  say(t('copied'), 'good');
}

$('phone-step').addEventListener('submit', (event) => {
  event.preventDefault();
  requestCode(document.querySelector('[name=channel]:checked').value);
});
$('code-step').addEventListener('submit', (event) => {
  event.preventDefault();
  signIn();
});
$('phone').addEventListener('input', formatPhone);
$('country').addEventListener('change', () => { showPrefix(); formatPhone(); $('phone').focus(); });
$('code').addEventListener('input', formatCode);
$('resend').addEventListener('click', () => requestCode('sms'));
$('call').addEventListener('click', () => requestCode('voice'));
$('back').addEventListener('click', startAgain);
$('me').addEventListener('click', whoAmI);
$('renew').addEventListener('click', renew);
$('logout').addEventListener('click', logout);
for (const button of document.querySelectorAll('[data-copy]')) button.addEventListener('click', () => copyFrom(button));
$('language').replaceChildren(...Object.entries(LOCALES).map(([tag, name]) => new Option(name, tag)));
$('language').addEventListener('change', async () => {
  await speak($('language').value);
  const url = new URL(location);
  url.searchParams.set('lang', locale);
  history.replaceState(null, '', url);
});
addEventListener('pagehide', () => { texting.abort(); stopFollowing(); });

settings = await (await fetch('/pages/settings.json')).json();
$('channels').hidden = !settings.voice;
await speak(preferred());
$('language').value = locale;
setInterval(tick, 500);
document.body.dataset.ready = 'true';
