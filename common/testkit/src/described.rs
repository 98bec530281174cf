//! Every answer that a test gets is one that the OpenAPI document describes: its status, and the code of a refusal.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use reqwest::Method;
use serde_json::Value;

/// The document of production. A test of its own keeps it equal to what a gateway serves.
const DOCUMENT: &str = include_str!("../../../docs/openapi.json");

/// A call of the document, and the codes of each status that it may answer with.
struct Call {
    /// The segments of its path; `None` stands for an id.
    path: Vec<Option<String>>,
    method: String,
    answers: BTreeMap<u16, BTreeSet<String>>,
}

static CALLS: LazyLock<Vec<Call>> = LazyLock::new(|| {
    let document: Value = serde_json::from_str(DOCUMENT).expect("docs/openapi.json is JSON");
    let mut calls = Vec::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        let segment = |part: &str| (!part.starts_with('{')).then(|| part.to_owned());
        for (method, operation) in item.as_object().expect("a path") {
            calls.push(Call {
                path: path.split('/').map(segment).collect(),
                method: method.to_ascii_uppercase(),
                answers: answers(&document, operation),
            });
        }
    }
    calls
});

fn answers(document: &Value, operation: &Value) -> BTreeMap<u16, BTreeSet<String>> {
    let responses = operation["responses"].as_object().expect("responses");
    let answer = |(status, response): (&String, &Value)| {
        let pointer = response["$ref"].as_str().and_then(|reference| reference.strip_prefix('#'));
        let response = pointer.and_then(|at| document.pointer(at)).expect("a response");
        let examples = response["content"]["application/problem+json"]["examples"].as_object();
        let examples = examples.into_iter().flat_map(|examples| examples.values());
        let codes = examples.filter_map(|example| example["value"]["code"].as_str());
        (status.parse().expect("a status"), codes.map(str::to_owned).collect())
    };
    responses.iter().map(answer).collect()
}

/// Fails unless the document describes this answer. Pages, and calls that the document does not have, are not judged.
pub(crate) fn check(method: &Method, target: &str, status: u16, body: &Value) {
    if let Some(undescribed) = undescribed(&CALLS, method.as_str(), target, status, body) {
        panic!("docs/openapi.json does not describe this answer: {undescribed}\n{body}");
    }
}

fn undescribed(
    calls: &[Call],
    method: &str,
    target: &str,
    status: u16,
    body: &Value,
) -> Option<String> {
    let path = target.split('?').next().unwrap_or_default();
    let segments: Vec<&str> = path.trim_end_matches('/').split('/').collect();
    let fits = |call: &&Call| {
        let mut parts = call.path.iter().zip(&segments);
        call.method == method
            && call.path.len() == segments.len()
            && parts.all(|(part, segment)| part.as_ref().is_none_or(|part| part == segment))
    };
    let call = calls.iter().find(fits)?;
    let code = body["code"].as_str().unwrap_or_default();
    let is_described = match call.answers.get(&status) {
        Some(codes) => codes.is_empty() || codes.contains(code),
        None => false,
    };
    (!is_described).then(|| format!("{method} {path}: {status} {code}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_answer_that_the_document_lacks_is_found() {
        let judge = |method: &str, target: &str, status: u16, code: &str| {
            undescribed(&CALLS, method, target, status, &json!({ "code": code })).is_some()
        };
        assert!(!judge("POST", "/v1/login", 401, "otp_incorrect"));
        assert!(!judge("POST", "/v1/login/", 200, ""));
        assert!(!judge("GET", "/v1/otp/0193?x=1", 404, "not_found"));
        assert!(judge("POST", "/v1/login", 401, "refresh_reused"));
        assert!(judge("POST", "/v1/login", 418, "teapot"));
        assert!(judge("GET", "/v1/otp/0193?x=1", 403, "account_blocked"));
        assert!(
            !judge("GET", "/v1/login", 405, "method_not_allowed"),
            "not a call of the document"
        );
        assert!(!judge("GET", "/console", 418, "teapot"), "not a call of the document");
    }
}
