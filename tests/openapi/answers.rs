//! What a running gateway answers is what the document says, and the document's examples are such answers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use reqwest::Method;
use serde_json::{Value, json};
use testkit::http::{Answer, Api, new_phone, wrong};
use testkit::system::{Side, System};
use testkit::{PATIENCE, both_sides};

use super::described::Described;
use super::python::{Claim, faults};

both_sides!(
    the_answers_of_a_whole_account_are_those_described,
    the_refusals_of_the_main_calls_are_those_described,
    the_examples_have_the_members_of_live_answers,
);

const PASSWORD: &str = "seven quiet lanterns by the sea";

/// Makes calls and checks each answer.
struct Checked {
    described: Described,
    api: Api,
    /// What is still to be judged, all at once at the end.
    claims: Mutex<Vec<Claim>>,
}

impl Checked {
    fn new(system: &System) -> Self {
        Self { described: Described::new(), api: system.api(), claims: Mutex::default() }
    }

    async fn call(
        &self,
        id: &str,
        ids: &[&str],
        body: Option<Value>,
        headers: &[(&str, &str)],
    ) -> Answer {
        let call = self.described.call(id);
        let mut path = String::new();
        let mut ids = ids.iter();
        for part in call.path.split('/').skip(1) {
            path += "/";
            path += if part.starts_with('{') { ids.next().expect("an id") } else { part };
        }
        path += ids.next().copied().unwrap_or_default();
        let method = call.method.to_ascii_uppercase();
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let answer = self.api.try_call(method, &path, body.as_ref(), headers).await;
        let answer = answer.unwrap_or_else(|error| panic!("{id}: {error:?}"));
        let claim = self.described.check(id, &answer);
        self.claims.lock().expect("no test fails with it").extend(claim);
        answer
    }

    /// Reads the first events of a request's stream. It does not wait for the end: that comes with a final status.
    async fn stream(&self, request: &str) {
        let client =
            reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().expect("a client");
        let url = format!("{}/v1/otp/{request}/events", self.api.url);
        let mut stream = client.get(url).send().await.expect("an answer");
        assert_eq!(stream.status().as_u16(), 200);
        assert_eq!(stream.headers()["content-type"], "text/event-stream");
        let mut read = Vec::new();
        while !read.windows(2).any(|two| two == b"\n\n") {
            read.extend(stream.chunk().await.expect("a part").expect("an event before the end"));
        }
        let text = String::from_utf8(read).expect("UTF-8");
        let (text, _) = text.rsplit_once("\n\n").expect("a whole event");
        let events = text.split("\n\n").filter(|event| !event.trim().is_empty());
        let mut claims = Vec::new();
        for event in events.filter(|event| !event.starts_with(':')) {
            let fields: BTreeMap<&str, &str> =
                event.lines().filter_map(|line| line.split_once(": ")).collect();
            let data: Value = serde_json::from_str(fields["data"]).expect("JSON");
            claims.extend([("StatusEvent", json!(fields)), ("CodeRequestStatus", data)]);
        }
        assert!(!claims.is_empty(), "no event in {text}");
        let claims = claims.into_iter().map(|(name, value)| Claim {
            at: format!("the stream of {request}"),
            schema: json!({ "$ref": format!("#/components/schemas/{name}") }),
            value,
        });
        self.claims.lock().expect("no test fails with it").extend(claims);
    }

    /// Fails if an answer was not what its schema says.
    fn judge(self) {
        let claims = self.claims.into_inner().expect("no test fails with it");
        assert!(claims.len() > 5, "{} answers", claims.len());
        assert_eq!(faults(&self.described.0["components"], &claims), [""; 0]);
    }

    async fn post(&self, id: &str, body: Value) -> Answer {
        self.call(id, &[], Some(body), &[]).await
    }
}

async fn the_answers_of_a_whole_account_are_those_described(side: Side) {
    let system = System::start(side, &[]).await;
    let checked = Checked::new(&system);
    let (phone, other) = (new_phone(), new_phone());
    let profile = json!({ "phone_number": phone, "first_name": "Ada", "last_name": "Lovelace", "channel": "voice" });
    let request = checked.post("signUp", profile).await.expect(202).text("request_id");
    let code = checked.api.code(&phone, 1).await;
    let query = format!("?phone_number=%2B{}", &phone[1..]);
    checked.call("listInbox", &[&query], None, &[]).await.expect(200);
    let again = json!({ "phone_number": phone, "locale": "en" });
    checked.call("requestCode", &[], Some(again), &[("idempotency-key", "k")]).await.expect(202);
    checked.call("getCodeRequest", &[&request], None, &[]).await.expect(200);
    let login = json!({ "phone_number": phone, "otp": code, "request_id": request });
    let signed_in = checked.post("logIn", login).await.expect(200);
    checked.call("getCodeRequest", &[&request], None, &[]).await.expect(200);

    checked.stream(&request).await;

    let bearer = format!("Bearer {}", signed_in.text("access"));
    let with = [("authorization", bearer.as_str())];
    checked.call("getUser", &[], None, &with).await.expect(200);
    let change = json!({ "first_name": "Augusta", "locale": "en-GB" });
    checked.call("changeUser", &[], Some(change), &with).await.expect(200);
    let password = json!({ "password": PASSWORD });
    checked.call("setPassword", &[], Some(password), &with).await.expect(204);
    let by_password = json!({ "phone_number": phone, "password": PASSWORD });
    let second = checked.post("logInByPassword", by_password).await.expect(200);
    let sessions = checked.call("listSessions", &[], None, &with).await.expect(200).body;
    let others = sessions.as_array().expect("a list").iter().filter(|one| one["current"] == false);
    let ids: Vec<&str> = others.filter_map(|one| one["id"].as_str()).collect();
    checked.call("endSession", &ids, None, &with).await.expect(204);
    checked.call("endOtherSessions", &[], None, &with).await.expect(204);
    checked.post("verifyToken", json!({ "token": second.text("access") })).await.expect(401);

    let wanted = json!({ "phone_number": other });
    checked.call("requestPhoneChange", &[], Some(wanted), &with).await.expect(202);
    let code = checked.api.code(&other, 1).await;
    checked.call("confirmPhoneChange", &[], Some(json!({ "otp": code })), &with).await.expect(200);
    checked.call("removePassword", &[], None, &with).await.expect(204);
    checked.call("listActivity", &[], None, &with).await.expect(200);
    checked.call("listActivity", &["?limit=1"], None, &with).await.expect(200);
    let refresh = json!({ "refresh": signed_in.text("refresh") });
    let pair = checked.post("refreshTokens", refresh).await.expect(200);
    checked.post("verifyToken", json!({ "token": pair.text("refresh") })).await.expect(200);
    checked.call("deleteUser", &[], None, &with).await.expect(204);
    checked.post("logOut", json!({ "refresh": pair.text("refresh") })).await.expect(401);
    checked.call("getKeys", &[], None, &[]).await.expect(200);
    checked.judge();
}

async fn the_refusals_of_the_main_calls_are_those_described(side: Side) {
    let settings = [
        ("LATCHKEY_RESEND_COOLDOWN_SECS", "3600"),
        ("LATCHKEY_OTP_ATTEMPTS", "1"),
        ("LATCHKEY_DPOP_NONCE", "true"),
    ];
    let system = System::start(side, &settings).await;
    let checked = Checked::new(&system);
    let phone = new_phone();
    let nobody = "019c2b7e-8f00-7a31-9d2c-5b1f0e6c4a11";
    checked.post("requestCode", json!({})).await.problem(400, "invalid_request");
    checked
        .post("requestCode", json!({ "phone_number": "x" }))
        .await
        .problem(400, "invalid_phone_number");
    let landline = json!({ "phone_number": "+982188888888" });
    checked
        .post("signUp", json!({ "phone_number": 1, "role": "x" }))
        .await
        .problem(400, "invalid_request");
    checked.post("requestCode", landline).await.problem(400, "phone_number_not_supported");
    let key = [("idempotency-key", "one")];
    let first = json!({ "phone_number": phone });
    checked.call("requestCode", &[], Some(first.clone()), &key).await.expect(202);
    let code = checked.api.code(&phone, 1).await;
    checked.post("requestCode", first).await.problem(429, "resend_too_soon");
    let reused = json!({ "phone_number": phone, "channel": "voice" });
    checked
        .call("requestCode", &[], Some(reused), &key)
        .await
        .problem(422, "idempotency_key_reused");
    let guess = json!({ "phone_number": phone, "otp": wrong(&code, 1) });
    checked.post("logIn", guess.clone()).await.problem(401, "otp_incorrect");
    checked.post("logIn", guess).await.problem(429, "otp_attempts_exhausted");
    let unproven = json!({ "phone_number": phone, "otp": code });
    let proof = [("dpop", "no proof")];
    checked.call("logIn", &[], Some(unproven), &proof).await.problem(401, "token_not_valid");
    let by_password = json!({ "phone_number": phone, "password": PASSWORD });
    checked.post("logInByPassword", by_password).await.problem(401, "invalid_credentials");
    checked.call("getCodeRequest", &[nobody], None, &[]).await.problem(404, "not_found");
    checked.call("streamCodeRequest", &[nobody], None, &[]).await.problem(404, "not_found");
    checked.call("getUser", &[], None, &[]).await.problem(401, "token_not_valid");
    let receipt = checked.call("receiveTwilioReceipt", &[nobody], Some(json!({})), &[]).await;
    receipt.problem(403, "invalid_signature");

    let signed_in = checked.api.sign_in(&new_phone()).await;
    let bearer = format!("Bearer {}", signed_in["access"].as_str().expect("a token"));
    let with = [("authorization", bearer.as_str())];
    let bound = bearer.replace("Bearer", "DPoP");
    let as_bound = [("authorization", bound.as_str())];
    checked.call("getUser", &[], None, &as_bound).await.problem(401, "token_not_valid");
    checked.call("endSession", &[nobody], None, &with).await.problem(404, "not_found");
    let weak = json!({ "password": "password" });
    checked.call("setPassword", &[], Some(weak), &with).await.problem(400, "invalid_request");
    checked
        .call("confirmPhoneChange", &[], Some(json!({ "otp": "000000" })), &with)
        .await
        .problem(401, "otp_incorrect");
    let refresh = json!({ "refresh": signed_in["refresh"] });
    checked.post("logOut", refresh.clone()).await.expect(200);
    checked.post("refreshTokens", refresh).await.problem(401, "session_revoked");
    checked.call("getUser", &[], None, &with).await.problem(401, "session_revoked");
    let long = json!({ "phone_number": "1".repeat(20_000) });
    checked.post("requestCode", long).await.problem(413, "payload_too_large");
    let encoded = [("content-encoding", "gzip")];
    checked
        .call("requestCode", &[], Some(json!({})), &encoded)
        .await
        .problem(415, "unsupported_media_type");
    checked.judge();
}

/// The names of all members, at any depth.
fn members(value: &Value, at: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(members_) => {
            for (name, member) in members_ {
                let at = format!("{at}.{name}");
                members(member, &at, found);
                found.insert(at);
            }
        }
        Value::Array(items) => {
            for item in items {
                members(item, &format!("{at}[]"), found);
            }
        }
        _ => {}
    }
}

async fn the_examples_have_the_members_of_live_answers(side: Side) {
    let system = System::start(side, &[]).await;
    let checked = Checked::new(&system);
    let phone = new_phone();
    let request = checked.post("requestCode", json!({ "phone_number": phone })).await.expect(202);
    let code = checked.api.code(&phone, 1).await;
    let query = format!("?phone_number=%2B{}", &phone[1..]);
    let inbox = checked.call("listInbox", &[&query], None, &[]).await.expect(200);
    let status = checked.call("getCodeRequest", &[&request.text("request_id")], None, &[]).await;
    let signed_in =
        checked.post("logIn", json!({ "phone_number": phone, "otp": code })).await.expect(200);
    let bearer = format!("Bearer {}", signed_in.text("access"));
    let with = [("authorization", bearer.as_str())];
    let user = checked.call("getUser", &[], None, &with).await.expect(200);
    let sessions = checked.call("listSessions", &[], None, &with).await.expect(200);
    let activity = checked.call("listActivity", &["?limit=1"], None, &with).await.expect(200);
    let refresh = json!({ "refresh": signed_in.text("refresh") });
    let pair = checked.post("refreshTokens", refresh).await.expect(200);
    let keys = checked.call("getKeys", &[], None, &[]).await.expect(200);
    let empty =
        checked.post("verifyToken", json!({ "token": pair.text("access") })).await.expect(200);
    for (id, answer) in [
        ("requestCode", request),
        ("listInbox", inbox),
        ("getCodeRequest", status),
        ("logIn", signed_in),
        ("getUser", user),
        ("listSessions", sessions),
        ("listActivity", activity),
        ("refreshTokens", pair),
        ("getKeys", keys),
        ("verifyToken", empty),
    ] {
        let call = checked.described.call(id);
        let response = checked.described.response(&call, answer.status);
        let contents = response["content"].as_object().expect("contents");
        let example = &contents.values().next().expect("a content")["example"];
        let (mut of_example, mut live) = (BTreeSet::new(), BTreeSet::new());
        members(example, "", &mut of_example);
        members(&answer.body, "", &mut live);
        assert_eq!(of_example, live, "{id}: the example and a live answer");
    }
    checked.judge();
}
