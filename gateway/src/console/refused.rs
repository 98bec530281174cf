//! Refusals of the console: pages for people, where the API answers with a problem document. Status and `Retry-After` are the
//! same.

use accounts::StaffRole;
use axum::response::{IntoResponse, Redirect, Response};
use http::StatusCode;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};

use crate::http::error::ApiError;
use crate::staff::rights::Act;

/// Why a page of the console is not shown, or an act not done.
#[derive(Debug)]
pub(crate) enum Refused {
    /// Nobody is signed in. `next` is the page to open after the sign-in.
    SignIn {
        next: Option<String>,
    },
    /// The code was right, and the password is still to come.
    Password,
    /// The role of whoever asks does not allow it.
    Role(Act, StaffRole),
    /// The account is of staff with a higher role.
    HigherRole,
    /// The sign-in is too old for the act.
    Stale,
    /// The form was not opened by this browser, or before its session.
    Form,
    /// Another site sent the form.
    Site,
    Api(ApiError),
}

/// What the page of a refusal says; the console's layer makes the page, because it knows the request's id.
#[derive(Clone)]
pub(crate) struct Explained {
    pub title: String,
    pub detail: String,
}

impl<E: Into<ApiError>> From<E> for Refused {
    fn from(error: E) -> Self {
        Self::Api(error.into())
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let explained = |status: StatusCode, title: &str, detail: String| {
            let mut response = status.into_response();
            let title = title.to_owned();
            response.extensions_mut().insert(Explained { title, detail });
            response
        };
        match self {
            Self::SignIn { next: None } => Redirect::to("/console/login").into_response(),
            Self::SignIn { next: Some(next) } => {
                let query = url::form_urlencoded::Serializer::new(String::new())
                    .append_pair("next", &next)
                    .finish();
                Redirect::to(&format!("/console/login?{query}")).into_response()
            }
            Self::Password => Redirect::to("/console/login/password").into_response(),
            Self::Role(act, role) => explained(
                StatusCode::FORBIDDEN,
                "Your role does not allow this",
                format!(
                    "Your role is {role}. Only {} and above may {}. An owner can grant it.",
                    act.least(),
                    act.words()
                ),
            ),
            Self::HigherRole => explained(
                StatusCode::FORBIDDEN,
                "This account has a higher role than yours",
                "Only staff with the same role or a higher one may change it.".to_owned(),
            ),
            Self::Stale => explained(
                StatusCode::FORBIDDEN,
                "Sign in again first",
                "Nothing was done. This needs a sign-in younger than 10 minutes: sign out, sign in, and do it then."
                    .to_owned(),
            ),
            Self::Form => explained(
                StatusCode::FORBIDDEN,
                "This form is out of date",
                "Nothing was done. Go back, reload the page and send the form again.".to_owned(),
            ),
            Self::Site => explained(
                StatusCode::FORBIDDEN,
                "This form came from another site",
                "Nothing was done. Open the console itself and send the form there.".to_owned(),
            ),
            Self::Api(error) => page_of(error),
        }
    }
}

fn page_of(error: ApiError) -> Response {
    let explained = Explained { title: error.title().to_owned(), detail: in_words(&error) };
    // Logs it, and knows its status and how long to wait.
    let (mut parts, _) = error.into_response().into_parts();
    parts.headers.remove(CONTENT_TYPE);
    parts.headers.remove(CONTENT_LENGTH);
    parts.extensions.insert(explained);
    Response::from_parts(parts, axum::body::Body::empty())
}

/// What a refusal means to whoever sits at the console.
pub(crate) fn in_words(error: &ApiError) -> String {
    match error {
        ApiError::InvalidPhoneNumber { .. } => {
            "This is not a mobile number. Write it with its country code, such as +1 415 555 2671."
                .to_owned()
        }
        ApiError::PhoneNumberNotSupported { .. } => {
            "Codes are not sent to numbers of this country or kind.".to_owned()
        }
        ApiError::OtpIncorrect { attempts_left } => {
            let attempts = if *attempts_left == 1 { "attempt" } else { "attempts" };
            format!("This code was not accepted. {attempts_left} {attempts} left.")
        }
        ApiError::InvalidCredentials => "This password was not accepted.".to_owned(),
        ApiError::ResendTooSoon { retry_after } => {
            format!("A code was sent a moment ago. Ask again in {}.", wait(*retry_after))
        }
        ApiError::OtpAttemptsExhausted { retry_after } => {
            format!("Too many wrong codes. Ask for a new one in {}.", wait(*retry_after))
        }
        ApiError::TooManyRequests { retry_after: Some(secs), .. } => {
            format!("Too many requests. Try again in {}.", wait(*secs))
        }
        ApiError::TooManyRequests { retry_after: None, .. } => {
            "Sign-in is locked for this number. Another member of staff can open it.".to_owned()
        }
        ApiError::InvalidRequest(errors) => {
            let details = errors.iter().map(|error| error.detail.as_str());
            details.collect::<Vec<_>>().join(" ")
        }
        ApiError::MethodNotAllowed { .. } => {
            "Nothing was done. Open the page itself, and send the form that stands on it.".to_owned()
        }
        ApiError::NotFound => {
            "There is no such page, or what it showed is gone. Search for it by phone, name or id."
                .to_owned()
        }
        ApiError::Internal(_) => {
            "Latchkey could not do this. The log has the reason under the request id.".to_owned()
        }
        ApiError::Unavailable { .. } => {
            "Something that Latchkey needs is away for the moment. Reload the page in a few seconds."
                .to_owned()
        }
        other => other.detail().to_owned(),
    }
}

fn wait(secs: u64) -> String {
    match secs {
        0..=90 => format!("{secs} s"),
        91..=5400 => format!("{} min", secs.div_ceil(60)),
        _ => format!("{} h", secs.div_ceil(3600)),
    }
}
