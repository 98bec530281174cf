//! The bodies are read field by field; the document describes them by types of their own. Here both meet.

use reqwest::Method;
use serde_json::{Map, Value, json};
use testkit::both_sides;
use testkit::http::{Answer, Api, new_phone};
use testkit::system::{Side, System};

use super::described::{Call, Described};

both_sides!(every_described_field_is_read_and_no_other);

/// What an answer says of the fields of its body.
fn flaws(answer: &Answer) -> Vec<(String, String)> {
    let errors = answer.body["errors"].as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    errors.iter().map(|error| (text(&error["field"]), text(&error["code"]))).collect()
}

struct Caller<'a> {
    api: &'a Api,
    bearer: String,
}

impl Caller<'_> {
    async fn send(&self, call: &Call<'_>, body: &Value) -> Answer {
        let method = call.method.to_ascii_uppercase();
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let headers = [("authorization", self.bearer.as_str())];
        let answer = self.api.try_call(method, call.path, Some(body), &headers).await;
        answer.unwrap_or_else(|error| panic!("{}: {error:?}", call.path))
    }
}

async fn every_described_field_is_read_and_no_other(side: Side) {
    let system = System::start(side, &[]).await;
    let api = system.api();
    let described = Described::new();
    let mut tried = 0;
    for call in described.calls() {
        let content = &call.operation["requestBody"]["content"]["application/json"];
        let Some(reference) = content.get("schema") else { continue };
        let schema = described.resolved(reference);
        let at = format!("{} {}", call.method, call.path);
        // A session of its own: a session has 30 writes a minute.
        let signed_in = api.sign_in(&new_phone()).await;
        let bearer = format!("Bearer {}", signed_in["access"].as_str().expect("a token"));
        let caller = Caller { api: &api, bearer };
        let fields = schema["properties"].as_object().expect("fields");
        let required: Vec<&str> =
            schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();

        let mut numbers: Map<String, Value> =
            fields.keys().map(|name| (name.clone(), json!(1))).collect();
        let answer = caller.send(&call, &numbers.clone().into()).await;
        answer.clone().problem(400, "invalid_request");
        // A field that the call does not know would be an `unknown_field`.
        let mut wanted: Vec<_> =
            fields.keys().map(|name| (name.clone(), "wrong_type".to_owned())).collect();
        wanted.sort();
        let mut found = flaws(&answer);
        found.sort();
        assert_eq!(found, wanted, "{at}: each described field is read");

        numbers.insert("a_field_of_nobody".to_owned(), json!("x"));
        let found = flaws(&caller.send(&call, &numbers.into()).await);
        let unknown = ("a_field_of_nobody".to_owned(), "unknown_field".to_owned());
        assert!(found.contains(&unknown), "{at}: {found:?}");
        assert_eq!(schema["additionalProperties"], false, "{at}: unknown fields are refused");

        let found = flaws(&caller.send(&call, &json!({})).await);
        let missing: Vec<&str> = found
            .iter()
            .filter(|(_, code)| code == "required")
            .map(|(field, _)| field.as_str())
            .collect();
        let mut wanted = required.clone();
        wanted.sort_unstable();
        let mut missing = missing;
        missing.sort_unstable();
        assert_eq!(missing, wanted, "{at}: the required fields");

        // The example is a body that the call can read.
        let found = flaws(&caller.send(&call, &content["example"]).await);
        assert!(found.is_empty(), "{at}: {found:?}");
        tried += 1;
    }
    assert_eq!(tried, 12, "the calls with a body");
}
