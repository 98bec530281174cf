//! What the API refuses with: one variant a row of the contract's error table (design, section 3).

use domain::engine_error::EngineError;
use domain::vocabulary::Limit;
use http::StatusCode;
use serde::Serialize;

use crate::dpop::proof::Flaw;

/// What is wrong with one field of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// The field's name; `body` when the body as a whole is meant, a header's name when it is one.
    pub field: String,
    /// Stable and machine-readable: `required`, `wrong_type`, `unknown_field`, `too_long`, …
    pub code: &'static str,
    /// What to do about it, for a person.
    pub detail: String,
}

impl FieldError {
    pub fn new(field: impl Into<String>, code: &'static str, detail: impl Into<String>) -> Self {
        Self { field: field.into(), code, detail: detail.into() }
    }
}

/// A refusal, or a failure of ours. [`axum::response::IntoResponse`] makes it `application/problem+json` (RFC 9457).
///
/// Texts never repeat what was sent: it may be a code, a token or a phone.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    #[error("the request is not what the contract describes")]
    InvalidRequest(Vec<FieldError>),
    #[error("not a phone number")]
    InvalidPhoneNumber { field: &'static str },
    #[error("a phone number that gets no texts")]
    PhoneNumberNotSupported { field: &'static str },
    /// Wrong, expired, used and never issued: all alike (P6).
    #[error("the code was not accepted")]
    OtpIncorrect { attempts_left: u32 },
    /// No token was sent: the challenge names no error (RFC 6750, section 3.1).
    #[error("no token")]
    TokenMissing,
    #[error("the token was not accepted")]
    TokenNotValid,
    /// The token is bound to a key and came as a bearer's.
    #[error("a bound token without its proof")]
    TokenBound,
    /// The token is bound to no key and came as one that is.
    #[error("a token that is not bound, as one that is")]
    TokenNotBound,
    #[error("the proof was not accepted: {0:?}")]
    ProofNotValid(Flaw),
    #[error("a refresh token was used twice")]
    RefreshReused,
    #[error("the session has ended")]
    SessionRevoked,
    #[error("phone number or password was not accepted")]
    InvalidCredentials,
    #[error("the sign-in is too old")]
    FreshSignInRequired,
    #[error("the account is blocked")]
    AccountBlocked,
    #[error("the signature was not accepted")]
    InvalidSignature,
    #[error("the phone number has another account")]
    PhoneNumberTaken,
    #[error("not found")]
    NotFound,
    /// `allow` is filled by the router when it is `None`.
    #[error("method not allowed")]
    MethodNotAllowed { allow: Option<&'static str> },
    #[error("the body is too large")]
    PayloadTooLarge,
    #[error("the request line or a header is too long")]
    HeadTooLarge,
    #[error("the body's media type is not taken")]
    UnsupportedMediaType { detail: &'static str },
    #[error("an Idempotency-Key came with another body")]
    IdempotencyKeyReused,
    #[error("asked again too soon")]
    ResendTooSoon { retry_after: u64 },
    /// `retry_after` is `None` only for a phone that no time opens again (design, ruling 4).
    #[error("limit {limit} is reached")]
    TooManyRequests { limit: Limit, retry_after: Option<u64> },
    #[error("the code's guesses are spent")]
    OtpAttemptsExhausted { retry_after: u64 },
    /// A fault of ours. The cause is logged where the answer is made, once, and never told.
    #[error("internal error")]
    Internal(anyhow::Error),
    /// An engine is away, or we are full. `retry_after` is 1 to 5 s by chance unless given, so that clients do not
    /// all come back in the same second.
    #[error("temporarily unavailable")]
    Unavailable { cause: anyhow::Error, retry_after: Option<u64> },
}

impl ApiError {
    /// One field is at fault.
    pub fn field(field: impl Into<String>, code: &'static str, detail: impl Into<String>) -> Self {
        Self::InvalidRequest(vec![FieldError::new(field, code, detail)])
    }

    /// The body as a whole is at fault.
    pub fn body(code: &'static str, detail: impl Into<String>) -> Self {
        Self::field("body", code, detail)
    }

    /// 503: what is missing will be back.
    pub fn unavailable(cause: impl Into<anyhow::Error>) -> Self {
        Self::Unavailable { cause: cause.into(), retry_after: None }
    }

    pub const fn status(&self) -> StatusCode {
        match self {
            Self::InvalidRequest(_)
            | Self::InvalidPhoneNumber { .. }
            | Self::PhoneNumberNotSupported { .. } => StatusCode::BAD_REQUEST,
            Self::OtpIncorrect { .. }
            | Self::TokenMissing
            | Self::TokenNotValid
            | Self::TokenBound
            | Self::TokenNotBound
            | Self::ProofNotValid(_)
            | Self::RefreshReused
            | Self::SessionRevoked
            | Self::InvalidCredentials => StatusCode::UNAUTHORIZED,
            Self::FreshSignInRequired | Self::AccountBlocked | Self::InvalidSignature => {
                StatusCode::FORBIDDEN
            }
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::PhoneNumberTaken => StatusCode::CONFLICT,
            Self::PayloadTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::UnsupportedMediaType { .. } => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::IdempotencyKeyReused => StatusCode::UNPROCESSABLE_ENTITY,
            Self::ResendTooSoon { .. }
            | Self::TooManyRequests { .. }
            | Self::OtpAttemptsExhausted { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Unavailable { .. } => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The stable name that clients decide by.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::InvalidRequest(_) => "invalid_request",
            Self::InvalidPhoneNumber { .. } => "invalid_phone_number",
            Self::PhoneNumberNotSupported { .. } => "phone_number_not_supported",
            Self::OtpIncorrect { .. } => "otp_incorrect",
            Self::TokenMissing
            | Self::TokenNotValid
            | Self::TokenBound
            | Self::TokenNotBound
            | Self::ProofNotValid(_) => "token_not_valid",
            Self::RefreshReused => "refresh_reused",
            Self::SessionRevoked => "session_revoked",
            Self::InvalidCredentials => "invalid_credentials",
            Self::FreshSignInRequired => "fresh_sign_in_required",
            Self::AccountBlocked => "account_blocked",
            Self::InvalidSignature => "invalid_signature",
            Self::PhoneNumberTaken => "phone_number_taken",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed { .. } => "method_not_allowed",
            Self::PayloadTooLarge | Self::HeadTooLarge => "payload_too_large",
            Self::UnsupportedMediaType { .. } => "unsupported_media_type",
            Self::IdempotencyKeyReused => "idempotency_key_reused",
            Self::ResendTooSoon { .. } => "resend_too_soon",
            Self::TooManyRequests { .. } => "too_many_requests",
            Self::OtpAttemptsExhausted { .. } => "otp_attempts_exhausted",
            Self::Internal(_) => "internal_error",
            Self::Unavailable { .. } => "temporarily_unavailable",
        }
    }

    pub const fn title(&self) -> &'static str {
        match self {
            Self::InvalidRequest(_) => "The request is not valid",
            Self::InvalidPhoneNumber { .. } => "Not a phone number",
            Self::PhoneNumberNotSupported { .. } => "This phone number is not supported",
            Self::OtpIncorrect { .. } => "The code was not accepted",
            Self::TokenMissing | Self::TokenNotValid | Self::TokenBound | Self::TokenNotBound => {
                "The token is not valid"
            }
            Self::ProofNotValid(_) => "The proof of the key is not valid",
            Self::RefreshReused => "The refresh token was used before",
            Self::SessionRevoked => "The session has ended",
            Self::InvalidCredentials => "Phone number or password is wrong",
            Self::FreshSignInRequired => "A fresh sign-in is required",
            Self::AccountBlocked => "The account is blocked",
            Self::InvalidSignature => "The signature is not valid",
            Self::PhoneNumberTaken => "The phone number is taken",
            Self::NotFound => "Not found",
            Self::MethodNotAllowed { .. } => "Method not allowed",
            Self::PayloadTooLarge => "The body is too large",
            Self::HeadTooLarge => "Headers too large",
            Self::UnsupportedMediaType { .. } => "Unsupported media type",
            Self::IdempotencyKeyReused => "The Idempotency-Key was used for another body",
            Self::ResendTooSoon { .. } => "Asked again too soon",
            Self::TooManyRequests { .. } => "Too many requests",
            Self::OtpAttemptsExhausted { .. } => "Too many wrong codes",
            Self::Internal(_) => "Internal error",
            Self::Unavailable { .. } => "Temporarily unavailable",
        }
    }

    /// What the client can do now (P8).
    pub(crate) const fn detail(&self) -> &'static str {
        match self {
            Self::InvalidRequest(_) => "Correct the fields listed in `errors` and send it again.",
            Self::InvalidPhoneNumber { .. } => {
                "Send a mobile number in international form, such as +14155552671."
            }
            Self::PhoneNumberNotSupported { .. } => {
                "Texts are not sent to numbers of this country or kind; use another mobile number."
            }
            Self::OtpIncorrect { .. } => {
                "Check the newest text and try again, or ask for a new code with POST /v1/otp."
            }
            Self::TokenMissing => "Send `Authorization: Bearer` with an access token.",
            Self::TokenNotValid => {
                "Get a new access token with POST /v1/token/refresh, or sign in again."
            }
            Self::TokenBound => {
                "This token is bound to a key: send it as `Authorization: DPoP`, with a proof of the key in `DPoP`."
            }
            Self::TokenNotBound => {
                "This token is not bound to a key: send it as `Authorization: Bearer`."
            }
            Self::ProofNotValid(flaw) => flaw.detail(),
            Self::RefreshReused => {
                "This refresh token was replaced earlier, so its session was ended; sign in again."
            }
            Self::SessionRevoked => "Sign in again.",
            Self::InvalidCredentials => "Check both, or sign in by code with POST /v1/otp.",
            Self::FreshSignInRequired => {
                "Sign in again and repeat the call within ten minutes of it."
            }
            Self::AccountBlocked => "Contact the support of the service you sign in to.",
            Self::InvalidSignature => {
                "Sign the call with the account's own secret over the configured public URL."
            }
            Self::PhoneNumberTaken => {
                "Sign in with that number instead, or confirm a number without an account."
            }
            Self::NotFound => {
                "Check path and id: the call is spelled otherwise, or what it names is gone."
            }
            Self::MethodNotAllowed { .. } => "Use a method that the `Allow` header names.",
            Self::PayloadTooLarge => "Send a body of 16 KiB at most.",
            Self::HeadTooLarge => "Send fewer and shorter headers, 32 KiB at most.",
            Self::UnsupportedMediaType { detail } => detail,
            Self::IdempotencyKeyReused => "Use a new key for a new request.",
            Self::ResendTooSoon { .. } => {
                "Wait `retry_after` seconds; the text may still be on its way."
            }
            Self::TooManyRequests { limit: Limit::Guesses, retry_after: None } => {
                "Sign in on a device that signed in before, or contact support."
            }
            Self::TooManyRequests { .. } => "Wait `retry_after` seconds before trying again.",
            Self::OtpAttemptsExhausted { .. } => {
                "Wait `retry_after` seconds, then ask for a new code with POST /v1/otp."
            }
            Self::Internal(_) => {
                "Try again; when it stays, report the X-Request-Id of this answer."
            }
            Self::Unavailable { .. } => {
                "Wait `retry_after` seconds and repeat the same call with the same Idempotency-Key."
            }
        }
    }
}

impl From<EngineError> for ApiError {
    fn from(error: EngineError) -> Self {
        if error.is_away() { Self::unavailable(error) } else { Self::Internal(error.into()) }
    }
}

impl From<anyhow::Error> for ApiError {
    /// An engine that is away stays 503 under any number of contexts; all else is ours.
    fn from(error: anyhow::Error) -> Self {
        match error.downcast_ref::<EngineError>() {
            Some(engine) if engine.is_away() => Self::unavailable(error),
            _ => Self::Internal(error),
        }
    }
}
