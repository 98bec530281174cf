//! The HTTP form of a refusal: `application/problem+json` (RFC 9457).

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use domain::rng;
use domain::vocabulary::Limit;
use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue};
use serde::Serialize;

use crate::dpop::proof::Flaw;
use crate::http::error::{AlreadyLogged, ApiError, FieldError, MOST_ERRORS};

pub const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

/// The prefix of a problem's `type`: a name, not an address, so that it is the same wherever Latchkey is served.
pub const TYPE_PREFIX: &str = "urn:latchkey:problem:";

/// How long to wait after an internal fault, which mostly affects one request.
const AFTER_INTERNAL_SECS: u64 = 5;
/// 503 says a random 1 to this many seconds.
const AFTER_UNAVAILABLE_SECS: u64 = 5;

#[derive(Serialize)]
struct Problem<'a> {
    r#type: String,
    title: &'static str,
    status: u16,
    detail: &'static str,
    code: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    errors: Option<&'a [FieldError]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempts_left: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<Limit>,
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        self.log();
        let retry_after = self.retry_after();
        let mut response = Response::new(Body::from(self.document(retry_after)));
        *response.status_mut() = self.status();
        self.set_headers(response.headers_mut(), retry_after);
        response
    }
}

impl ApiError {
    /// The problem document (RFC 9457), as bytes of JSON.
    pub(crate) fn document(&self, retry_after: Option<u64>) -> Vec<u8> {
        let problem = Problem {
            r#type: format!("{TYPE_PREFIX}{}", self.code()),
            title: self.title(),
            status: self.status().as_u16(),
            detail: self.detail(),
            code: self.code(),
            errors: match self {
                Self::InvalidRequest(errors) => Some(&errors[..errors.len().min(MOST_ERRORS)]),
                _ => None,
            },
            field: match *self {
                Self::InvalidPhoneNumber { field } | Self::PhoneNumberNotSupported { field } => {
                    Some(field)
                }
                _ => None,
            },
            attempts_left: match *self {
                Self::OtpIncorrect { attempts_left } => Some(attempts_left),
                _ => None,
            },
            retry_after,
            limit: match *self {
                Self::ResendTooSoon { .. } => Some(Limit::Cooldown),
                Self::TooManyRequests { limit, .. } => Some(limit),
                _ => None,
            },
        };
        serde_json::to_vec(&problem).expect("names and numbers always serialize")
    }

    /// Whole seconds, at least 1, for both the body and the header.
    pub(crate) fn retry_after(&self) -> Option<u64> {
        let secs = match self {
            Self::ResendTooSoon { retry_after } | Self::OtpAttemptsExhausted { retry_after } => {
                *retry_after
            }
            Self::TooManyRequests { retry_after, .. } => (*retry_after)?,
            Self::Internal(_) => AFTER_INTERNAL_SECS,
            Self::Unavailable { retry_after, .. } => {
                retry_after.unwrap_or_else(|| 1 + rng::spread_below(AFTER_UNAVAILABLE_SECS))
            }
            _ => return None,
        };
        Some(secs.max(1))
    }

    fn set_headers(&self, headers: &mut HeaderMap, retry_after: Option<u64>) {
        headers.insert(CONTENT_TYPE, PROBLEM_JSON);
        if let Some(secs) = retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(secs));
        }
        // RFC 6750, section 3: without a token the challenge names the scheme, for a bad one the error too.
        let challenge = match self {
            Self::TokenMissing => Some("Bearer"),
            Self::TokenNotValid
            | Self::InboxTokenNotValid
            | Self::AdminKeyNotValid
            | Self::TokenNotBound
            | Self::RefreshReused
            | Self::SessionRevoked => Some("Bearer error=\"invalid_token\""),
            // RFC 9449, section 7.1.
            Self::TokenBound => Some("DPoP error=\"invalid_token\", algs=\"ES256 EdDSA RS256\""),
            // RFC 9449, section 9: the client takes the nonce from the answer and makes the proof again.
            Self::ProofNotValid(Flaw::Nonce) => {
                Some("DPoP error=\"use_dpop_nonce\", algs=\"ES256 EdDSA RS256\"")
            }
            Self::ProofNotValid(_) => {
                Some("DPoP error=\"invalid_dpop_proof\", algs=\"ES256 EdDSA RS256\"")
            }
            _ => None,
        };
        if let Some(challenge) = challenge {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        if let Self::MethodNotAllowed { allow: Some(allow) } = self {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
    }

    /// The only place that logs a failed request.
    fn log(&self) {
        match self {
            Self::Internal(cause) if !cause.is::<AlreadyLogged>() => {
                tracing::error!(error = format!("{cause:#}"), "request failed");
            }
            Self::Unavailable { cause, .. } if !cause.is::<AlreadyLogged>() => {
                tracing::warn!(error = format!("{cause:#}"), "request not served");
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use anyhow::{Context as _, anyhow};
    use domain::engine_error::EngineError;
    use http_body_util::BodyExt as _;
    use passwords::PasswordError;
    use serde_json::{Value, json};

    use super::*;
    use crate::dpop::proof::Flaw;

    async fn answer(error: ApiError) -> anyhow::Result<(http::response::Parts, Value)> {
        let (parts, body) = error.into_response().into_parts();
        let body = serde_json::from_slice(&body.collect().await?.to_bytes())?;
        Ok((parts, body))
    }

    #[tokio::test]
    #[expect(clippy::too_many_lines, reason = "a table: one row a case")]
    async fn p8_every_refusal_is_a_problem_with_its_code_and_members() -> anyhow::Result<()> {
        let cause = || anyhow!("hidden cause");
        let table: Vec<(ApiError, u16, &str, &[&str])> = vec![
            (ApiError::body("x", "y"), 400, "invalid_request", &["errors"]),
            (
                ApiError::InvalidPhoneNumber { field: "phone_number" },
                400,
                "invalid_phone_number",
                &["field"],
            ),
            (
                ApiError::PhoneNumberNotSupported { field: "phone_number" },
                400,
                "phone_number_not_supported",
                &["field"],
            ),
            (ApiError::OtpIncorrect { attempts_left: 0 }, 401, "otp_incorrect", &["attempts_left"]),
            (ApiError::TokenMissing, 401, "token_not_valid", &[]),
            (ApiError::TokenNotValid, 401, "token_not_valid", &[]),
            (ApiError::TokenBound, 401, "token_not_valid", &[]),
            (ApiError::TokenNotBound, 401, "token_not_valid", &[]),
            (ApiError::ProofNotValid(Flaw::Url), 401, "token_not_valid", &[]),
            (ApiError::RefreshReused, 401, "refresh_reused", &[]),
            (ApiError::SessionRevoked, 401, "session_revoked", &[]),
            (ApiError::InvalidCredentials, 401, "invalid_credentials", &[]),
            (
                ApiError::FreshSignInRequired { or_password: false },
                403,
                "fresh_sign_in_required",
                &[],
            ),
            (ApiError::AccountBlocked, 403, "account_blocked", &[]),
            (ApiError::AdminKeyNotValid, 401, "token_not_valid", &[]),
            (ApiError::RoleNotAllowed, 403, "role_not_allowed", &[]),
            (ApiError::HigherRole, 403, "higher_role", &[]),
            (ApiError::BrowserNotAllowed, 403, "browser_not_allowed", &[]),
            (ApiError::InvalidSignature, 403, "invalid_signature", &[]),
            (ApiError::PhoneNumberTaken, 409, "phone_number_taken", &[]),
            (ApiError::NotFound, 404, "not_found", &[]),
            (ApiError::MethodNotAllowed { allow: None }, 405, "method_not_allowed", &[]),
            (ApiError::PayloadTooLarge, 413, "payload_too_large", &[]),
            (ApiError::HeadTooLarge, 431, "payload_too_large", &[]),
            (ApiError::UnsupportedMediaType { detail: "x" }, 415, "unsupported_media_type", &[]),
            (ApiError::IdempotencyKeyReused, 422, "idempotency_key_reused", &[]),
            (
                ApiError::ResendTooSoon { retry_after: 0 },
                429,
                "resend_too_soon",
                &["limit", "retry_after"],
            ),
            (
                ApiError::TooManyRequests { limit: Limit::IpHour, retry_after: Some(60) },
                429,
                "too_many_requests",
                &["limit", "retry_after"],
            ),
            (
                ApiError::TooManyRequests { limit: Limit::Attempts, retry_after: None },
                429,
                "too_many_requests",
                &["limit"],
            ),
            (
                ApiError::OtpAttemptsExhausted { retry_after: 7 },
                429,
                "otp_attempts_exhausted",
                &["retry_after"],
            ),
            (ApiError::Internal(cause()), 500, "internal_error", &["retry_after"]),
            (ApiError::unavailable(cause()), 503, "temporarily_unavailable", &["retry_after"]),
        ];
        for (error, status, code, members) in table {
            let (parts, body) = answer(error).await?;
            assert_eq!(
                (parts.status.as_u16(), body["status"].as_u64()),
                (status, Some(status.into()))
            );
            assert_eq!(parts.headers[CONTENT_TYPE], "application/problem+json");
            assert_eq!(body["code"], code);
            assert_eq!(body["type"], format!("urn:latchkey:problem:{code}"));
            let object = body.as_object().context("an object")?;
            let mut have: Vec<_> = object.keys().map(String::as_str).collect();
            have.retain(|key| !["type", "title", "status", "detail", "code"].contains(key));
            have.sort_unstable();
            assert_eq!(have, members, "{code}");
            assert!(!body.to_string().contains("hidden"), "{body}");
            let header =
                parts.headers.get(RETRY_AFTER).map(|value| value.to_str().unwrap().to_owned());
            assert_eq!(header, body.get("retry_after").map(ToString::to_string), "{code}");
            assert_ne!(header.as_deref(), Some("0"), "{code} waits at least a second");
            let challenged =
                ["token_not_valid", "refresh_reused", "session_revoked"].contains(&code);
            assert_eq!(parts.headers.contains_key(WWW_AUTHENTICATE), challenged, "{code}");
        }
        Ok(())
    }

    #[tokio::test]
    async fn the_members_hold_what_the_refusal_says() -> anyhow::Result<()> {
        let (_, body) = answer(ApiError::field("otp", "required", "Give it.")).await?;
        assert_eq!(
            body["errors"],
            json!([{"field": "otp", "code": "required", "detail": "Give it."}])
        );
        let (_, body) = answer(ApiError::ResendTooSoon { retry_after: 12 }).await?;
        assert_eq!((&body["limit"], &body["retry_after"]), (&json!("cooldown"), &json!(12)));
        let (parts, _) = answer(ApiError::MethodNotAllowed { allow: Some("GET") }).await?;
        assert_eq!(parts.headers[ALLOW], "GET");
        Ok(())
    }

    #[tokio::test]
    async fn f21_an_answer_lists_twenty_errors_and_says_when_there_are_more() -> anyhow::Result<()>
    {
        for (found, listed) in [(1, 1), (20, 20), (21, 20), (1_900, 20)] {
            let errors = (0..found).map(|n| FieldError::new(format!("f{n}"), "unknown_field", "x"));
            let (_, body) = answer(ApiError::InvalidRequest(errors.collect())).await?;
            assert_eq!(body["errors"].as_array().context("a list")?.len(), listed);
            let says_so = body["detail"].as_str().context("a text")?.contains("more errors");
            assert_eq!(says_so, found > listed, "{found}");
        }
        Ok(())
    }

    #[tokio::test]
    async fn p12_an_engine_that_is_away_is_503_under_any_context_and_a_broken_one_500() {
        let away = || EngineError::away("redis", anyhow!("refused"));
        let broken = EngineError::broken("redis", anyhow!("odd"));
        assert_eq!(ApiError::from(away()).status(), 503);
        assert_eq!(
            ApiError::from(anyhow::Error::from(away()).context("check a code")).status(),
            503
        );
        assert_eq!(ApiError::from(broken).status(), 500);
        assert_eq!(ApiError::from(anyhow!("bug")).status(), 500);
        assert_eq!(ApiError::from(PasswordError::Busy).status(), 503);
        for _ in 0..50 {
            let (_, body) = answer(ApiError::from(away())).await.unwrap();
            assert!((1..=5).contains(&body["retry_after"].as_u64().unwrap()), "{body}");
        }
    }
}
