//! One error of each kind, as a gateway makes it: the document's examples are their answers.

use anyhow::anyhow;
use domain::vocabulary::Limit;

use crate::dpop::proof::Flaw;
use crate::http::error::{AlreadyLogged, ApiError, ErrorKind, FieldError};

pub(super) fn specimen(kind: ErrorKind) -> ApiError {
    match kind {
        ErrorKind::InvalidRequest => ApiError::InvalidRequest(vec![FieldError::new(
            "phone_number",
            "required",
            "This field is required.",
        )]),
        ErrorKind::InvalidPhoneNumber => ApiError::InvalidPhoneNumber { field: "phone_number" },
        ErrorKind::PhoneNumberNotSupported => {
            ApiError::PhoneNumberNotSupported { field: "phone_number" }
        }
        ErrorKind::OtpIncorrect => ApiError::OtpIncorrect { attempts_left: 4 },
        ErrorKind::TokenMissing => ApiError::TokenMissing,
        ErrorKind::TokenNotValid => ApiError::TokenNotValid,
        ErrorKind::TokenBound => ApiError::TokenBound,
        ErrorKind::TokenNotBound => ApiError::TokenNotBound,
        ErrorKind::ProofNotValid => ApiError::ProofNotValid(Flaw::Missing),
        ErrorKind::InboxTokenNotValid => ApiError::InboxTokenNotValid,
        ErrorKind::AdminKeyNotValid => ApiError::AdminKeyNotValid,
        ErrorKind::RoleNotAllowed => ApiError::RoleNotAllowed,
        ErrorKind::HigherRole => ApiError::HigherRole,
        ErrorKind::BrowserNotAllowed => ApiError::BrowserNotAllowed,
        ErrorKind::HostNotAllowed => ApiError::HostNotAllowed,
        ErrorKind::RefreshReused => ApiError::RefreshReused,
        ErrorKind::SessionRevoked => ApiError::SessionRevoked,
        ErrorKind::InvalidCredentials => ApiError::InvalidCredentials,
        ErrorKind::FreshSignInRequired => ApiError::FreshSignInRequired { or_password: false },
        ErrorKind::AccountBlocked => ApiError::AccountBlocked,
        ErrorKind::InvalidSignature => ApiError::InvalidSignature,
        ErrorKind::PhoneNumberTaken => ApiError::PhoneNumberTaken,
        ErrorKind::NotFound => ApiError::NotFound,
        ErrorKind::MethodNotAllowed => ApiError::MethodNotAllowed { allow: Some("POST") },
        ErrorKind::PayloadTooLarge => ApiError::PayloadTooLarge,
        ErrorKind::HeadTooLarge => ApiError::HeadTooLarge,
        ErrorKind::UnsupportedMediaType => ApiError::UnsupportedMediaType {
            detail: "Send JSON in UTF-8 with `Content-Type: application/json`.",
        },
        ErrorKind::IdempotencyKeyReused => ApiError::IdempotencyKeyReused,
        ErrorKind::ResendTooSoon => ApiError::ResendTooSoon { retry_after: 28 },
        ErrorKind::TooManyRequests => {
            ApiError::TooManyRequests { limit: Limit::IpHour, retry_after: Some(1740) }
        }
        ErrorKind::OtpAttemptsExhausted => ApiError::OtpAttemptsExhausted { retry_after: 214 },
        // Neither is a failure: nothing is logged.
        ErrorKind::Internal => ApiError::Internal(anyhow!(AlreadyLogged("a specimen"))),
        ErrorKind::Unavailable => ApiError::Unavailable {
            cause: anyhow!(AlreadyLogged("a specimen")),
            retry_after: Some(3),
        },
    }
}
