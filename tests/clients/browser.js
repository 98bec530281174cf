// What the JavaScript client finds of a browser: `fetch` and random ids. `input`: {url, phone}
// `losing`: how many answers are lost from now on. Their requests are sent all the same.
globalThis.losing = 0;

globalThis.fetch = (url, { method = "GET", headers = {}, body = null } = {}) =>
  new Promise((done, fail) => {
    host.send({ method, url, headers: Object.entries(headers), body: body ?? null }, (answer) => {
      if (answer.error) return fail(new TypeError(answer.error));
      if (losing > 0) return losing--, fail(new TypeError("the connection was cut"));
      const { status, body: text } = answer;
      done({
        ok: status >= 200 && status < 300,
        status,
        text: async () => text,
        json: async () => JSON.parse(text),
      });
    });
  });

globalThis.crypto = {
  randomUUID: () =>
    "xxxxxxxx-xxxx-4xxx-8xxx-xxxxxxxxxxxx".replace(/x/g, () => Math.floor(Math.random() * 16).toString(16)),
};
