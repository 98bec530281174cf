//! The API's errors: one variant for each row of the error table (contract, section 3).

use domain::engine_error::EngineError;
use domain::vocabulary::Limit;
use http::StatusCode;
use passwords::PasswordError;
use serde::Serialize;

use crate::dpop::proof::Flaw;
use crate::http::error_code::ErrorCode;
use crate::staff::rights::Denied;

/// How many errors an answer lists (contract, ruling 44): it must not be much longer than its request.
pub(crate) const MOST_ERRORS: usize = 20;

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

/// Declares [`ApiError`] and [`ErrorKind`], a row for each error: the variant, its status, its code, its title, and what
/// the client can do now (P8); the last is empty where [`ApiError::detail`] has it from elsewhere.
macro_rules! errors {
    ($($(#[$doc:meta])* $variant:ident $(($inner:ty))? $({ $($field:ident: $type:ty),+ })?:
        $status:ident, $code:ident, $title:literal, $detail:literal;)+
    ) => {
        /// A refusal, or an internal failure. [`axum::response::IntoResponse`] makes it `application/problem+json`
        /// (RFC 9457).
        ///
        /// Texts never repeat the input: it may be a code, a token or a phone number.
        #[derive(Debug)]
        pub enum ApiError {
            $($(#[$doc])* $variant $(($inner))? $({ $($field: $type),+ })?),+
        }

        /// An [`ApiError`] without what it holds.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum ErrorKind { $($variant),+ }

        impl ErrorKind {
            /// Every kind, in the order of the table.
            pub const ALL: [Self; [$(Self::$variant),+].len()] = [$(Self::$variant),+];

            pub const fn status(self) -> StatusCode {
                match self { $(Self::$variant => StatusCode::$status),+ }
            }

            pub const fn code(self) -> ErrorCode {
                match self { $(Self::$variant => ErrorCode::$code),+ }
            }

            pub const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title),+ }
            }

            const fn usual_detail(self) -> &'static str {
                match self { $(Self::$variant => $detail),+ }
            }
        }

        impl ApiError {
            pub const fn kind(&self) -> ErrorKind {
                match self { $(Self::$variant { .. } => ErrorKind::$variant),+ }
            }
        }
    };
}

errors! {
    InvalidRequest(Vec<FieldError>): BAD_REQUEST, InvalidRequest, "The request is not valid",
        "Correct the fields listed in `errors` and repeat the call.";
    InvalidPhoneNumber { field: &'static str }: BAD_REQUEST, InvalidPhoneNumber, "The phone number is not valid",
        "Send a mobile number in international form, such as +14155552671.";
    PhoneNumberNotSupported { field: &'static str }: BAD_REQUEST, PhoneNumberNotSupported,
        "The phone number is not supported",
        "Codes are not sent to numbers of this country or type; use another mobile number.";
    /// Wrong, expired, used and never issued codes get the same answer (P6).
    OtpIncorrect { attempts_left: u32 }: UNAUTHORIZED, OtpIncorrect, "The code was not accepted",
        "Check the latest message and try again, or request a new code with POST /v1/otp.";
    /// No token was sent: the challenge names no error (RFC 6750, section 3.1).
    TokenMissing: UNAUTHORIZED, TokenNotValid, "The token is not valid",
        "Send `Authorization: Bearer` with an access token.";
    TokenNotValid: UNAUTHORIZED, TokenNotValid, "The token is not valid",
        "Get a new access token with POST /v1/token/refresh, or sign in again.";
    /// The token is bound to a key but was sent as a bearer token.
    TokenBound: UNAUTHORIZED, TokenNotValid, "The token is not valid",
        "This token is bound to a key: send it as `Authorization: DPoP`, with a proof by that key in the `DPoP` header.";
    /// The token is not bound to a key but was sent as a bound one.
    TokenNotBound: UNAUTHORIZED, TokenNotValid, "The token is not valid",
        "This token is not bound to a key: send it as `Authorization: Bearer`.";
    ProofNotValid(Flaw): UNAUTHORIZED, TokenNotValid, "The proof is not valid", "";
    InboxTokenNotValid: UNAUTHORIZED, TokenNotValid, "The inbox needs its token",
        "Send the token that the gateway printed at start, or LATCHKEY_INBOX_TOKEN, as `Authorization: Bearer` or `?token=`.";
    /// Of the admin API. Missing, unknown, revoked and expired keys get the same answer.
    AdminKeyNotValid: UNAUTHORIZED, TokenNotValid, "The key is not valid",
        "Send `Authorization: Bearer` with a key of the admin API, as `latchkey admin-keys create` printed it.";
    RoleNotAllowed: FORBIDDEN, RoleNotAllowed, "The role of this key does not allow this",
        "Make the call with a key of a role that allows it: `latchkey admin-keys create NAME --role ROLE`.";
    HigherRole: FORBIDDEN, HigherRole, "The account has a higher role than the key",
        "Only a key with the same role as the account, or a higher one, may change it.";
    BrowserNotAllowed: FORBIDDEN, BrowserNotAllowed, "Browsers may not call the admin API",
        "Make the call from a program on a server, without `Origin` and `Sec-Fetch-Site`.";
    HostNotAllowed: FORBIDDEN, HostNotAllowed, "The host is not allowed",
        "Open the inbox under a name of this machine, such as http://127.0.0.1 or http://localhost, and not through a proxy; or set LATCHKEY_INBOX_TOKEN.";
    RefreshReused: UNAUTHORIZED, RefreshReused, "The refresh token was used before",
        "This refresh token was already replaced, so its session has ended; sign in again.";
    SessionRevoked: UNAUTHORIZED, SessionRevoked, "The session has ended", "Sign in again.";
    InvalidCredentials: UNAUTHORIZED, InvalidCredentials, "The phone number or password is wrong",
        "Check both, or request a code with POST /v1/otp and sign in with that.";
    /// `or_password`: the current password serves as well (contract, ruling 37).
    FreshSignInRequired { or_password: bool }: FORBIDDEN, FreshSignInRequired, "A fresh sign-in is required",
        "Sign in again by code and repeat the call within ten minutes.";
    AccountBlocked: FORBIDDEN, AccountBlocked, "The account is blocked",
        "Contact the support of the service that you sign in to.";
    InvalidSignature: FORBIDDEN, InvalidSignature, "The signature is not valid",
        "Sign the call with the account's auth token over the configured public URL.";
    PhoneNumberTaken: CONFLICT, PhoneNumberTaken, "The phone number is taken",
        "Sign in with that number instead, or use a number without an account.";
    NotFound: NOT_FOUND, NotFound, "Not found",
        "Check the path and the id: the path is wrong, or the resource is gone.";
    /// `allow` is filled by the router when it is `None`.
    MethodNotAllowed { allow: Option<&'static str> }: METHOD_NOT_ALLOWED, MethodNotAllowed, "Method not allowed",
        "Use a method listed in the `Allow` header.";
    PayloadTooLarge: PAYLOAD_TOO_LARGE, PayloadTooLarge, "The body is too large", "Send a body of at most 16 KiB.";
    HeadTooLarge: REQUEST_HEADER_FIELDS_TOO_LARGE, PayloadTooLarge, "The headers are too large",
        "Send fewer or shorter headers: at most 16 KiB in total.";
    UnsupportedMediaType { detail: &'static str }: UNSUPPORTED_MEDIA_TYPE, UnsupportedMediaType,
        "Unsupported media type", "";
    IdempotencyKeyReused: UNPROCESSABLE_ENTITY, IdempotencyKeyReused,
        "The Idempotency-Key was used with another body", "Use a new key for a new request.";
    ResendTooSoon { retry_after: u64 }: TOO_MANY_REQUESTS, ResendTooSoon, "A new code was requested too soon",
        "Wait `retry_after` seconds; the last message may still be on its way.";
    /// `retry_after` is `None` only for a phone that is locked without an end (contract, ruling 4).
    TooManyRequests { limit: Limit, retry_after: Option<u64> }: TOO_MANY_REQUESTS, TooManyRequests,
        "Too many requests", "Wait `retry_after` seconds before trying again.";
    OtpAttemptsExhausted { retry_after: u64 }: TOO_MANY_REQUESTS, OtpAttemptsExhausted, "Too many wrong codes",
        "Wait `retry_after` seconds, then request a new code with POST /v1/otp.";
    /// An internal fault. The cause is logged once, where the answer is built, and never sent to the client.
    Internal(anyhow::Error): INTERNAL_SERVER_ERROR, InternalError, "Internal error",
        "Try again; if the error persists, report the X-Request-Id of this response.";
    /// An engine is away, or this process is at capacity. Unless given, `retry_after` is a random 1 to 5 s, so that
    /// clients do not all retry in the same second.
    Unavailable { cause: anyhow::Error, retry_after: Option<u64> }: SERVICE_UNAVAILABLE, TemporarilyUnavailable,
        "Temporarily unavailable", "Wait `retry_after` seconds, then repeat the call with the same Idempotency-Key.";
}

/// A cause of 503 that is logged where it is found, as often as is useful, and not with each answer.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct AlreadyLogged(pub(crate) &'static str);

impl ApiError {
    pub const fn status(&self) -> StatusCode {
        self.kind().status()
    }

    /// The stable code that clients branch on.
    pub const fn code(&self) -> &'static str {
        self.kind().code().as_str()
    }

    pub const fn title(&self) -> &'static str {
        self.kind().title()
    }

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

    /// What the client can do now (P8).
    pub(crate) const fn detail(&self) -> &'static str {
        match self {
            Self::InvalidRequest(errors) if errors.len() > MOST_ERRORS => {
                "Correct the fields listed in `errors` and repeat the call; there are more errors than the 20 listed."
            }
            Self::ProofNotValid(flaw) => flaw.detail(),
            Self::UnsupportedMediaType { detail } => detail,
            Self::FreshSignInRequired { or_password: true } => {
                "Send `current_password`, or sign in again by code and repeat the call within ten minutes."
            }
            Self::TooManyRequests { limit: Limit::Attempts, retry_after: None } => {
                "Sign in on a device that has signed in before, or contact support."
            }
            usual => usual.kind().usual_detail(),
        }
    }
}

impl From<Denied> for ApiError {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Role(..) => Self::RoleNotAllowed,
            Denied::HigherRole => Self::HigherRole,
        }
    }
}

impl From<EngineError> for ApiError {
    fn from(error: EngineError) -> Self {
        if error.is_away() { Self::unavailable(error) } else { Self::Internal(error.into()) }
    }
}

impl From<PasswordError> for ApiError {
    fn from(error: PasswordError) -> Self {
        match error {
            PasswordError::Busy => Self::unavailable(error),
            PasswordError::Broken(cause) => Self::Internal(cause),
        }
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
