// Sends the calls of the page's forms. Answers are shown as text, never as markup.
"use strict";

const access = document.getElementById("access");

function request(form) {
  let path = form.dataset.path;
  const query = new URLSearchParams();
  const headers = {};
  for (const input of form.querySelectorAll("input[data-in]")) {
    const { name, in: place } = input.dataset;
    if (place === "path") path = path.replace(`{${name}}`, encodeURIComponent(input.value));
    else if (input.value === "") continue;
    else if (place === "query") query.append(name, input.value);
    else headers[name] = input.value;
  }
  if ("signedIn" in form.dataset) headers.Authorization = `Bearer ${access.value.trim()}`;
  const body = form.querySelector("textarea")?.value.trim();
  if (body) headers["Content-Type"] = "application/json";
  const search = query.size > 0 ? `?${query}` : "";
  return [path + search, { method: form.dataset.method, headers, body: body || undefined, redirect: "error" }];
}

async function send(form) {
  const [url, options] = request(form);
  const answer = await fetch(url, options);
  const text = await answer.text();
  const lines = [`${answer.status} ${answer.statusText}`.trim()];
  for (const name of ["retry-after", "www-authenticate", "dpop-nonce", "allow", "x-request-id"]) {
    const value = answer.headers.get(name);
    if (value !== null) lines.push(`${name}: ${value}`);
  }
  try {
    const json = JSON.parse(text);
    // Later calls on this page use the tokens of a sign-in.
    if (answer.ok && typeof json?.access === "string") access.value = json.access;
    lines.push("", JSON.stringify(json, null, 2));
  } catch {
    if (text !== "") lines.push("", text);
  }
  return lines.join("\n");
}

for (const form of document.querySelectorAll("form[data-path]")) {
  const output = form.querySelector("output");
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = form.querySelector("button");
    button.disabled = true;
    const shown = document.createElement("pre");
    shown.tabIndex = 0;
    try {
      shown.textContent = await send(form);
    } catch (error) {
      shown.textContent = `The call was not answered: ${error.message}`;
    }
    button.disabled = false;
    output.replaceChildren(shown);
  });
}
