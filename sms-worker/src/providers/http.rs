//! Supports any sender through a webhook signed per Standard Webhooks (standardwebhooks.com): a regional operator needs
//! only a small program that answers it, and no change here.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use domain::clock::Clock;
use domain::timestamp::Timestamp;
use domain::trace_context::TraceContext;
use domain::vocabulary::{Channel, Reason};
use reqwest::Client;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::Url;

use super::{Attempt, Outcome, client};

/// A webhook that sends texts.
pub struct Http {
    url: Url,
    key: hmac::Key,
    client: Client,
    clock: Clock,
}

/// The body that is posted.
#[derive(Serialize)]
struct Body<'a> {
    message_id: String,
    attempt_id: String,
    channel: Channel,
    phone_number: &'a str,
    text: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    language: Option<&'a str>,
    not_after: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    status_callback: Option<&'a str>,
}

/// The answer; every field is optional.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Answer {
    id: Value,
    segments: Value,
    reason: Value,
    code: Value,
}

impl Http {
    /// Accepts a secret in the Standard Webhooks form (`whsec_` and base64) or any other text.
    pub fn new(url: Url, secret: &SecretString, client: Client, clock: Clock) -> Self {
        let secret = secret.expose_secret();
        let decoded = secret.strip_prefix("whsec_").and_then(|text| {
            let text = text.trim_end_matches('=');
            STANDARD_NO_PAD.decode(text).ok()
        });
        let bytes = decoded.unwrap_or_else(|| secret.as_bytes().to_vec());
        Self { url, key: hmac::Key::new(hmac::HMAC_SHA256, &bytes), client, clock }
    }

    /// Where it is.
    pub(super) const fn url(&self) -> &Url {
        &self.url
    }

    pub(super) async fn send(&self, attempt: &Attempt<'_>) -> Outcome {
        let body = Body {
            message_id: attempt.message_id.to_string(),
            attempt_id: attempt.attempt_id.to_string(),
            channel: attempt.channel,
            phone_number: attempt.to.expose(),
            text: attempt.text,
            language: attempt.language,
            not_after: attempt.not_after,
            status_callback: attempt.status_callback.as_ref().map(Url::as_str),
        };
        let Ok(body) = serde_json::to_vec(&body) else {
            return Outcome::Unavailable("the request could not be built");
        };
        // The attempt's id, not the message's: a receiver that drops duplicates by id must not drop our retry.
        let id = attempt.attempt_id.to_string();
        let timestamp = self.clock.now().secs().to_string();
        let request = self
            .client
            .post(self.url.clone())
            .header("webhook-signature", signature(&self.key, &id, &timestamp, &body))
            .header("webhook-id", id)
            .header("webhook-timestamp", timestamp)
            .header("content-type", "application/json")
            .body(body);
        // A publisher may have written anything there: only a valid trace is forwarded.
        let request = match attempt.trace.and_then(TraceContext::from_header) {
            Some(trace) => request.header("traceparent", traces::next_step(&trace).to_header()),
            None => request,
        };
        let mut response = match request.send().await {
            Ok(response) => response,
            Err(error) => return client::without_answer(&error),
        };
        let status = response.status().as_u16();
        traces::note("http.response.status_code", i64::from(status));
        let retry_after = client::retry_after(&response);
        let body = client::body(&mut response).await;
        outcome(status, retry_after, &serde_json::from_slice(&body).unwrap_or_default())
    }
}

fn outcome(status: u16, retry_after: Option<std::time::Duration>, answer: &Answer) -> Outcome {
    let code = match &answer.code {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    let provider_code = code.or_else(|| Some(format!("http {status}")));
    match status {
        200..300 => Outcome::Accepted {
            provider_message_id: answer.id.as_str().filter(|id| !id.is_empty()).map(str::to_owned),
            segments: answer.segments.as_u64().and_then(|segments| segments.try_into().ok()),
        },
        429 => Outcome::Throttled { retry_after },
        500.. => Outcome::Unknown("server error"),
        // A redirect, a refused signature or a wrong address: an operator must act.
        ..=399 | 401 | 403 | 404 | 405 => {
            Outcome::RejectedUntilOps { provider_code, whole_account: true }
        }
        _ => match answer.reason.as_str().and_then(|reason| reason.parse().ok()) {
            Some(reason @ Reason::CarrierBlocked) => Outcome::Filtered { reason, provider_code },
            Some(Reason::ProviderUnavailable) => Outcome::Unavailable("the provider says so"),
            reason => {
                Outcome::Rejected { reason: reason.unwrap_or(Reason::Unknown), provider_code }
            }
        },
    }
}

/// Returns `v1,` and the HMAC of `id.timestamp.body`.
fn signature(key: &hmac::Key, id: &str, timestamp: &str, body: &[u8]) -> String {
    let mut context = hmac::Context::with_key(key);
    for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
        context.update(part);
    }
    format!("v1,{}", STANDARD.encode(context.sign()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The expected value was computed with the reference library `standardwebhooks` 1.1.0 for Python.
    #[test]
    fn requests_are_signed_per_standard_webhooks() {
        let secret = SecretString::from("whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=");
        let url = Url::parse("https://sms.example.test/").unwrap();
        let http = Http::new(url, &secret, Client::new(), Clock::system());
        let id = "0190a1b2-0000-7000-8000-000000000001";
        assert_eq!(
            signature(&http.key, id, "1767323045", "{\"text\":\"سلام\"}".as_bytes()),
            "v1,3yeIyfUHxhtmfw+At2JXo1gy47YzK3f6e7wSHR6R/Pc="
        );
    }

    #[test]
    fn a_refusal_may_name_a_public_reason() {
        let answer = |text: &str| serde_json::from_str::<Answer>(text).unwrap_or_default();
        for (status, body, wanted) in [
            (202, "", Outcome::Accepted { provider_message_id: None, segments: None }),
            (
                200,
                r#"{"id":"x1","segments":2}"#,
                Outcome::Accepted { provider_message_id: Some("x1".to_owned()), segments: Some(2) },
            ),
            (
                422,
                r#"{"reason":"number_not_mobile","code":7}"#,
                Outcome::Rejected {
                    reason: Reason::NumberNotMobile,
                    provider_code: Some("7".to_owned()),
                },
            ),
            (
                422,
                r#"{"reason":"carrier_blocked"}"#,
                Outcome::Filtered {
                    reason: Reason::CarrierBlocked,
                    provider_code: Some("http 422".to_owned()),
                },
            ),
            (
                400,
                "no",
                Outcome::Rejected {
                    reason: Reason::Unknown,
                    provider_code: Some("http 400".to_owned()),
                },
            ),
            (
                401,
                "",
                Outcome::RejectedUntilOps {
                    provider_code: Some("http 401".to_owned()),
                    whole_account: true,
                },
            ),
            (429, "", Outcome::Throttled { retry_after: None }),
            (502, "", Outcome::Unknown("server error")),
        ] {
            assert_eq!(outcome(status, None, &answer(body)), wanted, "{status} {body}");
        }
    }
}
