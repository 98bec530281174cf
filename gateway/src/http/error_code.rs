//! The codes of refusals: when each comes, what an app does about it, and which members its answer has beside those that
//! every problem has. docs/errors.md and the OpenAPI document are made from this table and from that of
//! [`ErrorKind`](crate::http::error::ErrorKind).

use domain::string_enum;

/// A member of a problem that only some codes have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Member {
    Errors,
    Field,
    AttemptsLeft,
    Limit,
    RetryAfter,
    /// Left out only for a phone that is locked without an end (contract, ruling 4).
    RetryAfterIfAny,
}

impl Member {
    /// Its name, and whether the answer always has it.
    pub(crate) const fn name_and_always(self) -> (&'static str, bool) {
        match self {
            Self::Errors => ("errors", true),
            Self::Field => ("field", true),
            Self::AttemptsLeft => ("attempts_left", true),
            Self::Limit => ("limit", true),
            Self::RetryAfter => ("retry_after", true),
            Self::RetryAfterIfAny => ("retry_after", false),
        }
    }
}

/// Declares [`ErrorCode`], a row for each code: the word, its members, when it comes, and what an app does about it.
macro_rules! codes {
    ($($variant:ident = $word:literal [$($member:ident),*] $when:literal $then:literal;)+) => {
        string_enum! {
            /// The stable code that clients branch on (contract, section 3).
            #[derive(PartialOrd, Ord)]
            pub enum ErrorCode { $($variant = $word),+ }
        }

        impl ErrorCode {
            /// When an answer has this code.
            pub(crate) const fn when(self) -> &'static str {
                match self { $(Self::$variant => $when),+ }
            }

            /// What an app does about it.
            pub(crate) const fn then(self) -> &'static str {
                match self { $(Self::$variant => $then),+ }
            }

            pub(crate) const fn members(self) -> &'static [Member] {
                match self { $(Self::$variant => &[$(Member::$member),*]),+ }
            }
        }
    };
}

impl ErrorCode {
    /// Whether only the admin API answers with it: an app never sees it.
    pub(crate) const fn is_of_admin(self) -> bool {
        matches!(self, Self::RoleNotAllowed | Self::HigherRole | Self::BrowserNotAllowed)
    }
}

codes! {
    InvalidRequest = "invalid_request" [Errors]
        "A field, a header or the body as a whole is missing, malformed or unknown."
        "Show each error at its field. An error at a field that the user does not see is a mistake in the app.";
    InvalidPhoneNumber = "invalid_phone_number" [Field]
        "The text is not a phone number, or not a complete one."
        "Ask the user to check the number and its country.";
    PhoneNumberNotSupported = "phone_number_not_supported" [Field]
        "The number is of a country or a type that gets no codes: premium, satellite, landline and so on."
        "Ask the user for another mobile number.";
    OtpIncorrect = "otp_incorrect" [AttemptsLeft]
        "The code is wrong, expired, used or was never issued: all are answered alike."
        "Let the user correct the code while `attempts_left` is above 0, and offer to send a new one.";
    TokenNotValid = "token_not_valid" []
        "A token is missing, malformed or expired, or it needs a proof of a key that is missing or wrong."
        "Refresh once and repeat the call; after a second refusal sign in again. If `WWW-Authenticate` begins with \
         `DPoP`, make a new proof, with the nonce of `DPoP-Nonce` if the answer has one.";
    RefreshReused = "refresh_reused" []
        "The refresh token was replaced before, so a copy of it is about. Its session has ended."
        "Forget the tokens and sign in again.";
    SessionRevoked = "session_revoked" []
        "The session has ended: by a logout, by its owner elsewhere, by staff or by its age."
        "Forget the tokens and sign in again.";
    InvalidCredentials = "invalid_credentials" []
        "The phone number and the password do not belong together. A wrong `current_password` is answered so too."
        "Let the user try again, and offer to sign in by code.";
    FreshSignInRequired = "fresh_sign_in_required" []
        "What was asked for takes a sign-in by code in the last 10 minutes."
        "Sign in by code again and repeat the call; for a change of the password `current_password` serves as well.";
    AccountBlocked = "account_blocked" []
        "The code or the password is right, and staff have blocked the account."
        "Show how to reach support.";
    InvalidSignature = "invalid_signature" []
        "A receipt is not signed by the provider's account."
        "Nothing: apps make no such calls. Operators compare LATCHKEY_PUBLIC_URL and the provider's credentials.";
    HostNotAllowed = "host_not_allowed" []
        "The inbox is opened under another name than this machine's, or through a proxy. Development only."
        "Open it as http://127.0.0.1, or set LATCHKEY_INBOX_TOKEN.";
    RoleNotAllowed = "role_not_allowed" []
        "The role of the key does not allow the call. Admin API only."
        "Use a key of a role that allows it.";
    HigherRole = "higher_role" []
        "The account is of staff with a higher role than the key's. Admin API only."
        "Use a key of that role.";
    BrowserNotAllowed = "browser_not_allowed" []
        "The call comes from a page in a browser. Admin API only."
        "Make the call from a program on a server: a key does not belong in a page.";
    PhoneNumberTaken = "phone_number_taken" []
        "The new number was proven, and another account has it."
        "Offer to sign in with that number.";
    NotFound = "not_found" []
        "There is no such path, or nothing (any more) under this id."
        "Treat what the id names as gone.";
    MethodNotAllowed = "method_not_allowed" []
        "The path does not take this method; `Allow` lists those that it takes."
        "It is a mistake in the app.";
    PayloadTooLarge = "payload_too_large" []
        "The body has more than 16 KiB (413), or the request line and the headers are too long (431)."
        "It is a mistake in the app.";
    UnsupportedMediaType = "unsupported_media_type" []
        "The body is not `application/json` in UTF-8, or it is compressed."
        "It is a mistake in the app.";
    IdempotencyKeyReused = "idempotency_key_reused" []
        "The `Idempotency-Key` was used with another body."
        "Make a new key for each new request, and repeat it only to repeat that request.";
    ResendTooSoon = "resend_too_soon" [RetryAfter, Limit]
        "A code was sent to this number a moment ago."
        "Count `retry_after` down on the button that sends again.";
    TooManyRequests = "too_many_requests" [RetryAfterIfAny, Limit]
        "The limit that `limit` names is reached."
        "Wait `retry_after` seconds. Without it the number is locked: sign in on a device that is known, or ask support.";
    OtpAttemptsExhausted = "otp_attempts_exhausted" [RetryAfter]
        "Too many wrong codes: no code for this number is accepted or sent until `retry_after` is over."
        "Wait `retry_after` seconds, then send a new code.";
    InternalError = "internal_error" [RetryAfter]
        "A fault in the service."
        "Try again after `retry_after` seconds; report `X-Request-Id` if it stays.";
    TemporarilyUnavailable = "temporarily_unavailable" [RetryAfter]
        "An engine is away or the service is full. Nothing is half done, but a code request may have been taken."
        "Repeat the same call, with the same `Idempotency-Key`, after `retry_after` seconds.";
}
