// What a script adds to a page of the console: its lists follow what happens, and "/" leads to the search. Without it every
// page works as it is.
"use strict";

const parts = document.querySelectorAll("[data-live]");
const heading = document.querySelector("h1");
// A tab keeps a connection open, and a browser has few for one site: only what is looked at is live.
const wanted = () => !paused && document.visibilityState === "visible";
let source = null;
let paused = false;
let waiting = null;

if (parts.length > 0 && heading !== null && "EventSource" in window) {
  const line = document.createElement("p");
  line.className = "live";
  const button = document.createElement("button");
  button.type = "button";
  button.className = "plain";
  const word = document.createElement("span");
  word.className = "muted small";
  line.append(word, " ", button);
  heading.after(line);

  const tell = () => {
    word.textContent = paused ? "Paused." : waiting === null ? "Live." : "Live, and still while you are in it.";
    button.textContent = paused ? "Go on" : "Pause";
  };
  // Nothing moves away under a finger, and no choice is lost.
  const inUse = (part) =>
    part.matches(":hover") || part.contains(document.activeElement) || part.querySelector(":checked:not(option)") !== null;
  const show = () => {
    if (waiting === null || paused) return;
    if ([...parts].some(inUse)) {
      setTimeout(show, 500);
    } else {
      waiting.forEach((html, place) => { if (parts[place]) parts[place].innerHTML = html; });
      waiting = null;
    }
    tell();
  };
  const close = () => { source?.close(); source = null; };
  const over = () => {
    close();
    word.textContent = "You are no longer signed in, or may not see this any more. Reload the page.";
    button.remove();
  };
  const open = () => {
    if (!wanted()) { close(); return; }
    if (source !== null) return;
    // Without a fragment: the address is the page's own, and so are its filters.
    source = new EventSource(location.pathname + location.search);
    source.addEventListener("shown", (event) => {
      const isFirst = waiting === null;
      waiting = JSON.parse(event.data);
      if (isFirst) show();
    });
    source.addEventListener("over", over);
  };
  button.addEventListener("click", () => { paused = !paused; tell(); open(); show(); });
  document.addEventListener("visibilitychange", open);
  tell();
  open();
}

document.addEventListener("keydown", (event) => {
  const search = document.getElementById("what");
  const typing = event.target instanceof Element && event.target.closest("input, select, textarea") !== null;
  if (event.key === "/" && search !== null && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault();
    search.focus();
  }
});
