// Drives the documented client as an app does, on a bad network.
const check = (holds, what) => {
  if (!holds) throw new Error(what);
};
const codeOf = async (request_id) => {
  const end = Date.now() + 60000;
  while (Date.now() < end) {
    const texts = await (await fetch(`${input.url}/inbox/messages?phone_number=${encodeURIComponent(input.phone)}`)).json();
    const text = texts.find((one) => one.request_id === request_id);
    if (text) return text.code;
    await new Promise((done) => setTimeout(done, 50));
  }
  throw new Error("the text did not come");
};
const refusalOf = async (call) => {
  try {
    await call;
  } catch (refusal) {
    return refusal;
  }
  throw new Error("it was not refused");
};
const seen = [];

const store = { kept: {}, load: () => store.kept, save: (value) => (store.kept = value) };
const latchkey = new Latchkey(input.url, store);

losing = 1;
const request = await latchkey.signUp(input.phone, "Ada", "Lovelace");
check(request.code_length === 6, "the length of the code");
const code = await codeOf(request.request_id);
const wrong = code.slice(0, -1) + ((Number(code.slice(-1)) + 1) % 10);
const refused = await refusalOf(latchkey.logIn(input.phone, wrong, request.request_id));
check(refused instanceof Refusal && refused.code === "otp_incorrect" && refused.problem.attempts_left === 4, "a wrong code");
losing = 1;
const user = await latchkey.logIn(input.phone, code, request.request_id);
check(user.first_name === "Ada" && store.kept.device_token, "the login, although its answer was lost");
check((await latchkey.call("GET", "/v1/me")).id === user.id, "the user");
seen.push("signed in");

// The access token is over, several calls find out at the same time, and the answer to their refresh is lost.
const before = store.kept.refresh;
store.kept.access = "over";
const first = latchkey.call("GET", "/v1/me");
const others = [latchkey.call("GET", "/v1/me/sessions"), latchkey.call("PATCH", "/v1/me", { first_name: "Augusta" })];
const [me, sessions, changed] = await Promise.all([first, ...others]);
check(me.id === user.id && sessions.length === 1 && changed.first_name === "Augusta", "all calls are answered");
check(store.kept.refresh !== before, "the refresh token changed");
const middle = store.kept.refresh;
losing = 1;
await latchkey.refresh();
check(store.kept.refresh !== middle, "the refresh token changed again");
check((await latchkey.call("GET", "/v1/me")).first_name === "Augusta", "the session lives on after a lost answer");
seen.push("refreshed");

const old = { ...store.kept };
await latchkey.logOut();
check(store.kept.access === undefined && store.kept.device_token, "only the device token is kept");
store.kept = old;
check((await refusalOf(latchkey.call("GET", "/v1/me"))).code === "session_revoked", "the session is over");
check((await refusalOf(latchkey.refresh())).code === "session_revoked", "its refresh token too");
check(store.kept.refresh === undefined && store.kept.device_token, "the tokens are forgotten");
seen.push("signed out");

const again = await latchkey.requestCode(input.phone);
const known = await latchkey.logIn(input.phone, await codeOf(again.request_id), again.request_id);
check(known.id === user.id, "the same user");
seen.push("signed in again");
return seen;
