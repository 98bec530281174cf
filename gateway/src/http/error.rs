//! The API's errors: one variant for each row of the error table (contract, section 3).

use domain::engine_error::EngineError;
use domain::vocabulary::Limit;
use http::StatusCode;
use serde::Serialize;

use crate::dpop::proof::Flaw;

/// What is wrong with one field of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// The field's name; `body` for the body as a whole, or a header's name.
    pub field: String,
    /// Stable and machine-readable: `required`, `wrong_type`, `unknown_field`, `too_long`, …
    pub code: &'static str,
    /// What to do about it, for a human reader.
    pub detail: String,
}

impl FieldError {
    pub fn new(field: impl Into<String>, code: &'static str, detail: impl Into<String>) -> Self {
        Self { field: field.into(), code, detail: detail.into() }
    }
}

/// A refusal, or an internal failure. [`axum::response::IntoResponse`] makes it `application/problem+json` (RFC 9457).
///
/// Texts never repeat the input: it may be a code, a token or a phone number.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    #[error("the request does not match the contract")]
    InvalidRequest(Vec<FieldError>),
    #[error("not a phone number")]
    InvalidPhoneNumber { field: &'static str },
    #[error("the phone number is not supported")]
    PhoneNumberNotSupported { field: &'static str },
    /// Wrong, expired, used and never issued codes get the same answer (P6).
    #[error("the code was not accepted")]
    OtpIncorrect { attempts_left: u32 },
    /// No token was sent: the challenge names no error (RFC 6750, section 3.1).
    #[error("no token")]
    TokenMissing,
    #[error("the token was not accepted")]
    TokenNotValid,
    /// The token is bound to a key but was sent as a bearer token.
    #[error("a bound token was sent as a bearer token")]
    TokenBound,
    /// The token is not bound to a key but was sent as a bound one.
    #[error("an unbound token was sent as a bound one")]
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
    #[error("the body's media type is not supported")]
    UnsupportedMediaType { detail: &'static str },
    #[error("an Idempotency-Key was reused with another body")]
    IdempotencyKeyReused,
    #[error("another code was requested too soon")]
    ResendTooSoon { retry_after: u64 },
    /// `retry_after` is `None` only for a phone that is locked without an end (contract, ruling 4).
    #[error("limit {limit} is reached")]
    TooManyRequests { limit: Limit, retry_after: Option<u64> },
    #[error("the code's attempts are exhausted")]
    OtpAttemptsExhausted { retry_after: u64 },
    /// An internal fault. The cause is logged once, where the answer is built, and never sent to the client.
    #[error("internal error")]
    Internal(anyhow::Error),
    /// An engine is away, or this process is at capacity. Unless given, `retry_after` is a random 1 to 5 s, so that
    /// clients do not all retry in the same second.
    #[error("temporarily unavailable")]
    Unavailable { cause: anyhow::Error, retry_after: Option<u64> },
}

impl ApiError {
    /// An error in one field.
    pub fn field(field: impl Into<String>, code: &'static str, detail: impl Into<String>) -> Self {
        Self::InvalidRequest(vec![FieldError::new(field, code, detail)])
    }

    /// An error in the body as a whole.
    pub fn body(code: &'static str, detail: impl Into<String>) -> Self {
        Self::field("body", code, detail)
    }

    /// 503: a temporary failure.
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

    /// The stable code that clients branch on.
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
            Self::InvalidPhoneNumber { .. } => "The phone number is not valid",
            Self::PhoneNumberNotSupported { .. } => "The phone number is not supported",
            Self::OtpIncorrect { .. } => "The code was not accepted",
            Self::TokenMissing | Self::TokenNotValid | Self::TokenBound | Self::TokenNotBound => {
                "The token is not valid"
            }
            Self::ProofNotValid(_) => "The proof is not valid",
            Self::RefreshReused => "The refresh token was used before",
            Self::SessionRevoked => "The session has ended",
            Self::InvalidCredentials => "The phone number or password is wrong",
            Self::FreshSignInRequired => "A fresh sign-in is required",
            Self::AccountBlocked => "The account is blocked",
            Self::InvalidSignature => "The signature is not valid",
            Self::PhoneNumberTaken => "The phone number is taken",
            Self::NotFound => "Not found",
            Self::MethodNotAllowed { .. } => "Method not allowed",
            Self::PayloadTooLarge => "The body is too large",
            Self::HeadTooLarge => "The headers are too large",
            Self::UnsupportedMediaType { .. } => "Unsupported media type",
            Self::IdempotencyKeyReused => "The Idempotency-Key was used with another body",
            Self::ResendTooSoon { .. } => "A new code was requested too soon",
            Self::TooManyRequests { .. } => "Too many requests",
            Self::OtpAttemptsExhausted { .. } => "Too many wrong codes",
            Self::Internal(_) => "Internal error",
            Self::Unavailable { .. } => "Temporarily unavailable",
        }
    }

    /// What the client can do now (P8).
    pub(crate) const fn detail(&self) -> &'static str {
        match self {
            Self::InvalidRequest(_) => "Correct the fields listed in `errors` and repeat the call.",
            Self::InvalidPhoneNumber { .. } => {
                "Send a mobile number in international form, such as +14155552671."
            }
            Self::PhoneNumberNotSupported { .. } => {
                "Codes are not sent to numbers of this country or type; use another mobile number."
            }
            Self::OtpIncorrect { .. } => {
                "Check the latest message and try again, or request a new code with POST /v1/otp."
            }
            Self::TokenMissing => "Send `Authorization: Bearer` with an access token.",
            Self::TokenNotValid => {
                "Get a new access token with POST /v1/token/refresh, or sign in again."
            }
            Self::TokenBound => {
                "This token is bound to a key: send it as `Authorization: DPoP`, with a proof by that key in the `DPoP` header."
            }
            Self::TokenNotBound => {
                "This token is not bound to a key: send it as `Authorization: Bearer`."
            }
            Self::ProofNotValid(flaw) => flaw.detail(),
            Self::RefreshReused => {
                "This refresh token was already replaced, so its session has ended; sign in again."
            }
            Self::SessionRevoked => "Sign in again.",
            Self::InvalidCredentials => {
                "Check both, or request a code with POST /v1/otp and sign in with that."
            }
            Self::FreshSignInRequired => "Sign in again and repeat the call within ten minutes.",
            Self::AccountBlocked => "Contact the support of the service that you sign in to.",
            Self::InvalidSignature => {
                "Sign the call with the account's auth token over the configured public URL."
            }
            Self::PhoneNumberTaken => {
                "Sign in with that number instead, or use a number without an account."
            }
            Self::NotFound => {
                "Check the path and the id: the path is wrong, or the resource is gone."
            }
            Self::MethodNotAllowed { .. } => "Use a method listed in the `Allow` header.",
            Self::PayloadTooLarge => "Send a body of at most 16 KiB.",
            Self::HeadTooLarge => "Send fewer or shorter headers: at most 32 KiB in total.",
            Self::UnsupportedMediaType { detail } => detail,
            Self::IdempotencyKeyReused => "Use a new key for a new request.",
            Self::ResendTooSoon { .. } => {
                "Wait `retry_after` seconds; the last message may still be on its way."
            }
            Self::TooManyRequests { limit: Limit::Attempts, retry_after: None } => {
                "Sign in on a device that has signed in before, or contact support."
            }
            Self::TooManyRequests { .. } => "Wait `retry_after` seconds before trying again.",
            Self::OtpAttemptsExhausted { .. } => {
                "Wait `retry_after` seconds, then request a new code with POST /v1/otp."
            }
            Self::Internal(_) => {
                "Try again; if the error persists, report the X-Request-Id of this response."
            }
            Self::Unavailable { .. } => {
                "Wait `retry_after` seconds, then repeat the call with the same Idempotency-Key."
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
    /// An engine that is away stays 503 under any number of contexts; any other error is an internal one.
    fn from(error: anyhow::Error) -> Self {
        match error.downcast_ref::<EngineError>() {
            Some(engine) if engine.is_away() => Self::unavailable(error),
            _ => Self::Internal(error),
        }
    }
}
