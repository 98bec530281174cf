//! What a call is refused for.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use utoipa::openapi::extensions::ExtensionsBuilder;
use utoipa::openapi::{RefOr, Response, ResponseBuilder};

use crate::http::error::ErrorKind;
use crate::openapi::specimens::specimen;

/// The name under which a response says, until [`finish`](super::finish) has written it, which refusals it stands for.
pub(super) const KINDS: &str = "x-kinds";

/// What any call may be refused for.
const EVERY: [ErrorKind; 6] = [
    ErrorKind::InvalidRequest,
    ErrorKind::MethodNotAllowed,
    ErrorKind::UnsupportedMediaType,
    ErrorKind::HeadTooLarge,
    ErrorKind::Internal,
    ErrorKind::Unavailable,
];

/// What any call of a signed-in user may be refused for.
const SIGNED_IN: [ErrorKind; 6] = [
    ErrorKind::TokenMissing,
    ErrorKind::TokenNotValid,
    ErrorKind::TokenBound,
    ErrorKind::TokenNotBound,
    ErrorKind::ProofNotValid,
    ErrorKind::SessionRevoked,
];

/// What any call of the admin API may be refused for.
const BY_KEY: [ErrorKind; 3] =
    [ErrorKind::AdminKeyNotValid, ErrorKind::RoleNotAllowed, ErrorKind::BrowserNotAllowed];

/// How a call is made, which decides what else it may be refused for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// With a body.
    Body,
    /// Without one.
    NoBody,
    /// By a signed-in user, to read.
    Reading,
    /// By a signed-in user, to change something.
    Writing,
    /// The same, with a body.
    WritingBody,
    /// By a key of the admin API.
    Admin,
    /// The same, with a body.
    AdminBody,
    /// On the admin port, without a key.
    Browserless,
}

/// Declares a type that names what a call is refused for beside what its kind brings; for `responses(…)` of
/// `#[utoipa::path]`.
macro_rules! refusals {
    ($name:ident: $call:ident $(, $kind:ident)*) => {
        /// What the call is refused for.
        pub(crate) enum $name {}

        impl utoipa::IntoResponses for $name {
            fn responses() -> std::collections::BTreeMap<
                String,
                utoipa::openapi::RefOr<utoipa::openapi::Response>,
            > {
                $crate::openapi::refusals::responses(
                    $crate::openapi::refusals::Kind::$call,
                    &[$($crate::http::error::ErrorKind::$kind),*],
                )
            }
        }
    };
}
pub(crate) use refusals;

/// The responses by status, each to be written by [`finish`](super::finish).
pub(crate) fn responses(call: Kind, own: &[ErrorKind]) -> BTreeMap<String, RefOr<Response>> {
    let mut all: BTreeSet<ErrorKind> = EVERY.into_iter().chain(own.iter().copied()).collect();
    if matches!(call, Kind::Body | Kind::WritingBody | Kind::AdminBody) {
        all.insert(ErrorKind::PayloadTooLarge);
    }
    if matches!(call, Kind::Reading | Kind::Writing | Kind::WritingBody) {
        all.extend(SIGNED_IN);
    }
    if matches!(call, Kind::Writing | Kind::WritingBody) {
        all.insert(ErrorKind::TooManyRequests);
    }
    if matches!(call, Kind::Admin | Kind::AdminBody) {
        all.extend(BY_KEY);
    }
    if call == Kind::Browserless {
        all.insert(ErrorKind::BrowserNotAllowed);
    }
    let mut by_status: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for kind in all {
        by_status.entry(kind.status().as_str().to_owned()).or_default().push(format!("{kind:?}"));
    }
    let described = |kinds: Vec<String>| {
        let kinds = ExtensionsBuilder::new().add(KINDS, kinds).build();
        ResponseBuilder::new().extensions(Some(kinds)).build().into()
    };
    by_status.into_iter().map(|(status, kinds)| (status, described(kinds))).collect()
}

/// The name of a response that stands for these refusals.
pub(super) fn name(kinds: &[ErrorKind]) -> String {
    let is_signed_in = SIGNED_IN.iter().all(|kind| kinds.contains(kind));
    let own = kinds.iter().filter(|kind| !(is_signed_in && SIGNED_IN.contains(kind)));
    let own = own.map(|kind| format!("{kind:?}"));
    let names = is_signed_in.then(|| "NotSignedIn".to_owned()).into_iter().chain(own);
    names.collect::<Vec<_>>().join("Or")
}

/// The kind of this name.
pub(super) fn kind(name: &str) -> Option<ErrorKind> {
    ErrorKind::ALL.into_iter().find(|kind| format!("{kind:?}") == name)
}

/// The name of the schema of a refusal's answer.
pub(super) fn schema_name(kind: ErrorKind) -> String {
    // One code with two statuses.
    if kind == ErrorKind::HeadTooLarge {
        return "HeadersTooLargeProblem".to_owned();
    }
    let words = kind.code().as_str().split('_');
    let camel = words.map(|word| {
        let (first, rest) = word.split_at(1);
        format!("{}{rest}", first.to_ascii_uppercase())
    });
    format!("{}Problem", camel.collect::<String>())
}

/// The response that stands for these refusals of one status, with an example of each.
pub(super) fn response(kinds: &[ErrorKind]) -> Value {
    let schemas: BTreeSet<String> = kinds.iter().map(|kind| schema_name(*kind)).collect();
    let mut refs = schemas
        .iter()
        .map(|name| json!({ "$ref": format!("#/components/schemas/{name}") }))
        .collect::<Vec<_>>();
    let schema = if refs.len() == 1 { refs.remove(0) } else { json!({ "oneOf": refs }) };
    let mut examples = serde_json::Map::new();
    let mut codes = Vec::new();
    let mut headers = BTreeSet::from(["X-Request-Id".to_owned()]);
    for kind in kinds {
        let error = specimen(*kind);
        let answer = error.document(error.retry_after());
        let value: Value = serde_json::from_slice(&answer).unwrap_or_default();
        examples.insert(format!("{kind:?}"), json!({ "summary": kind.title(), "value": value }));
        let line = format!("`{}`: {}", kind.code(), kind.code().when());
        if !codes.contains(&line) {
            codes.push(line);
        }
        headers.extend(headers_of(*kind));
    }
    let headers: serde_json::Map<String, Value> = headers
        .into_iter()
        .map(|name| (name.clone(), json!({ "$ref": format!("#/components/headers/{name}") })))
        .collect();
    json!({
        "description": codes.join("\n\n"),
        "headers": headers,
        "content": { "application/problem+json": { "schema": schema, "examples": examples } },
    })
}

/// The headers that the answer of a refusal has, or may have, beside those of every answer.
fn headers_of(kind: ErrorKind) -> Vec<String> {
    let answer = axum::response::IntoResponse::into_response(specimen(kind));
    let own = ["Retry-After", "WWW-Authenticate", "Allow"];
    let mut have: Vec<_> = own
        .into_iter()
        .filter(|name| answer.headers().contains_key(*name))
        .map(str::to_owned)
        .collect();
    if kind == ErrorKind::ProofNotValid {
        have.push("DPoP-Nonce".to_owned());
    }
    have
}
