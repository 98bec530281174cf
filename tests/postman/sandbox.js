// The part of Postman's sandbox that the collection's scripts use. Anything else throws, so that no call passes silently.
// Described at https://learning.postman.com/docs/tests-and-scripts/write-scripts/postman-sandbox-api-reference/
// `input`: {request_name, event, variables: {environment, collection}, response?}
const strict = (path, members) =>
  new Proxy(members, {
    get: (target, name) => {
      if (typeof name === "symbol") return undefined;
      if (name in target) return target[name];
      throw new Error(`${path}.${name} is not known to this runner`);
    },
    set: (target, name) => {
      throw new Error(`${path}.${String(name)} cannot be set`);
    },
  });

const show = (value) => {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 300 ? `${text.slice(0, 300)}…` : text;
};

const isSame = (a, b) => {
  if (a === b || (Number.isNaN(a) && Number.isNaN(b))) return true;
  if (typeof a !== "object" || typeof b !== "object" || !a || !b || Array.isArray(a) !== Array.isArray(b)) return false;
  const names = Object.keys(a);
  return names.length === Object.keys(b).length && names.every((name) => name in b && isSame(a[name], b[name]));
};

const kindOf = (value) => (value === null ? "null" : Array.isArray(value) ? "array" : typeof value);

// The chains of chai's `expect` (https://www.chaijs.com/api/bdd/).
const expect = (actual, message) => {
  let negated = false;
  const judge = (holds, words) => {
    if (Boolean(holds) === negated) {
      throw new Error(`${message ? `${message}: ` : ""}expected ${show(actual)} ${negated ? "not " : ""}${words}`);
    }
    return chain;
  };
  const size = () => (typeof actual === "object" && !Array.isArray(actual) ? Object.keys(actual) : actual).length;
  const kind = (wanted) => judge(kindOf(actual) === wanted, `to be of type ${wanted}`);
  const compared = (words, holds) => (limit) => {
    if (typeof limit !== "number") throw new Error(`${show(limit)} is not a number`);
    return judge(typeof actual === "number" && holds(actual, limit), `${words} ${limit}`);
  };
  const members = {
    a: kind,
    an: kind,
    equal: (wanted) => judge(actual === wanted, `to equal ${show(wanted)}`),
    eql: (wanted) => judge(isSame(actual, wanted), `to equal ${show(wanted)}`),
    property: (name) => judge(actual !== null && typeof actual === "object" && name in actual, `to have ${name}`),
    include: (part) => judge(actual.includes(part), `to include ${show(part)}`),
    match: (pattern) => judge(typeof actual === "string" && pattern.test(actual), `to match ${pattern}`),
    oneOf: (list) => judge(list.includes(actual), `to be one of ${show(list)}`),
    lengthOf: (length) => judge(size() === length, `to have the length ${length}`),
    above: compared("to be above", (a, b) => a > b),
    below: compared("to be below", (a, b) => a < b),
    least: compared("to be at least", (a, b) => a >= b),
    most: compared("to be at most", (a, b) => a <= b),
    within: (from, to) => judge(actual >= from && actual <= to, `to be within ${from} and ${to}`),
  };
  const properties = {
    not: () => ((negated = !negated), chain),
    true: () => judge(actual === true, "to be true"),
    false: () => judge(actual === false, "to be false"),
    null: () => judge(actual === null, "to be null"),
    undefined: () => judge(actual === undefined, "to be undefined"),
    empty: () => judge(size() === 0, "to be empty"),
  };
  for (const word of ["to", "be", "been", "is", "that", "which", "and", "has", "have", "with", "at", "of"]) {
    properties[word] = () => chain;
  }
  for (const [name, get] of Object.entries(properties)) Object.defineProperty(members, name, { get });
  const chain = strict("expect", members);
  return chain;
};

const scope = (path, values) =>
  strict(path, {
    get: (name) => values[name],
    has: (name) => name in values,
    set: (name, value) => {
      if (!["string", "number", "boolean"].includes(typeof value)) {
        throw new Error(`${path}.set(${show(name)}): ${show(value)} is no value of a variable`);
      }
      values[name] = value;
    },
    unset: (name) => {
      delete values[name];
    },
  });

const { environment, collection } = input.variables;
const results = { tests: [], next: undefined };
host.results = () => ({ environment, collection, ...results });

const answerOf = ({ status, headers, body }) => {
  const have = strict("pm.response.to.have", {
    status: (wanted) => {
      if (status !== wanted) throw new Error(`expected status ${wanted}, but it is ${status}: ${show(body)}`);
    },
  });
  return strict("pm.response", {
    code: status,
    text: () => body,
    json: () => JSON.parse(body),
    headers: strict("pm.response.headers", {
      get: (name) => headers.find(([own]) => own.toLowerCase() === name.toLowerCase())?.[1],
    }),
    to: strict("pm.response.to", { have }),
  });
};

const pm = strict("pm", {
  info: strict("pm.info", { requestName: input.request_name, eventName: input.event }),
  environment: scope("pm.environment", environment),
  collectionVariables: scope("pm.collectionVariables", collection),
  variables: strict("pm.variables", {
    get: (name) => environment[name] ?? collection[name],
    replaceIn: (text) =>
      text.replace(/\{\{(.*?)\}\}/g, (_, name) => {
        const found = name === "$guid" ? newGuid() : (environment[name] ?? collection[name]);
        if (found === undefined) throw new Error(`{{${name}}} has no value`);
        return String(found);
      }),
  }),
  ...(input.response ? { response: answerOf(input.response) } : {}),
  expect,
  test: (name, body) => {
    if (input.event !== "test") throw new Error("pm.test belongs in a test script");
    if (body.length > 0) throw new Error(`${name}: a test with a callback is not known to this runner`);
    let error = null;
    try {
      if (body() instanceof Promise) throw new Error("a test that is a promise is not known to this runner");
    } catch (thrown) {
      error = String(thrown);
    }
    results.tests.push({ name, error });
  },
  sendRequest: (wanted, done) => {
    const { url, method = "GET", header = {}, body } = typeof wanted === "string" ? { url: wanted } : wanted;
    if (body && body.mode !== "raw") throw new Error(`pm.sendRequest: the mode ${body.mode} is not known to this runner`);
    const request = { url, method, headers: Object.entries(header), body: body?.raw ?? null };
    host.send(request, (answer) => (answer.error ? done(new Error(answer.error)) : done(null, answerOf(answer))));
  },
  execution: strict("pm.execution", {
    setNextRequest: (name) => {
      if (name !== null) throw new Error("pm.execution.setNextRequest: this runner only knows null, the end of the run");
      results.next = null;
    },
  }),
});

const newGuid = () =>
  "xxxxxxxx-xxxx-4xxx-8xxx-xxxxxxxxxxxx".replace(/x/g, () => Math.floor(Math.random() * 16).toString(16));
