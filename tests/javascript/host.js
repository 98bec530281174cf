// What a script finds of its host: timers, a clock, and a way to ask for requests. The script asks, and the host performs
// one thing after the other and settles it: requests in their order first, then the shortest timer. Nothing here may count
// on two of them overlapping.
const host = (() => {
  const asked = new Map();
  let last = 0;
  let end = null;
  const ask = (operation, settle) => {
    asked.set(++last, { id: last, operation, settle });
    return last;
  };
  const log = [];
  return {
    send: (request, settle) => ask({ send: request }, settle),
    wait: (ms, settle) => ask({ wait: Math.max(0, Number(ms) || 0) }, settle),
    drop: (id) => asked.delete(id),
    say: (...words) => log.push(words.map((word) => (typeof word === "string" ? word : JSON.stringify(word))).join(" ")),
    // The host's side, as JSON.
    next: () => {
      const all = [...asked.values()];
      const first = all.find((one) => one.operation.send) ?? all.sort((a, b) => a.operation.wait - b.operation.wait)[0];
      return JSON.stringify(first ? { id: first.id, ...first.operation } : null);
    },
    settle: (id, answer) => {
      const { settle } = asked.get(id);
      asked.delete(id);
      try {
        settle(answer);
      } catch (error) {
        end = { error: String(error) };
      }
    },
    run: (script) => {
      script().then(
        (value) => (end ??= { value: value ?? null }),
        (error) => (end = { error: `${error}\n${error?.stack ?? ""}` }),
      );
    },
    // What the host is given at the end; files that run before the script may put their own here.
    results: () => end.value,
    end: () => {
      end ??= { error: "the script never came to its end" };
      return JSON.stringify({ error: end.error, value: end.error ? null : host.results(), log });
    },
  };
})();

globalThis.setTimeout = (call, ms, ...rest) => host.wait(ms, () => call(...rest));
globalThis.clearTimeout = (id) => {
  host.drop(id);
};
globalThis.console = { log: host.say, warn: host.say, error: host.say };
