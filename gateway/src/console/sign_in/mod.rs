//! `/console/login`: staff sign in by phone and code, and by their password where they have one (contract, rulings 20 and
//! 65).
//!
//! The code is requested and checked exactly as the API does: the same limits, the same counts, the same fence. Until the
//! code was right no answer tells whether the number is of staff (P6).

pub(crate) mod password;

use accounts::{AttemptKind, ConsoleOutcome, ConsoleSignIn, Denied, NewConsoleSession, UsedCode};
use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use domain::code::Code;
use domain::event::OtpRequested;
use domain::ids::RequestId;
use domain::phone::Phone;
use domain::vocabulary::Channel;
use http::HeaderMap;
use http::header::SET_COOKIE;
use store::Scope;

use crate::app::App;
use crate::codes::caller::Caller;
use crate::codes::check::{CodeCheck, Redeemed};
use crate::codes::claimed_phone::ClaimedPhone;
use crate::codes::matched_code::MatchedCode;
use crate::codes::refusals::{count_check, trace_refused};
use crate::codes::request::{NewCodeRequest, place_code_request};
use crate::console::form::{Form, StaffForm, VisitForm};
use crate::console::page::{Frame, html};
use crate::console::params::Params;
use crate::console::refused::{Explained, Refused, in_words};
use crate::console::secret::{SESSION, Secret, VISIT, no_cookie};
use crate::console::session::{MAX_SECS, own_page};
use crate::http::error::ApiError;
use crate::http::validate;

/// The first page: the phone.
#[derive(Template)]
#[template(path = "console/sign_in/phone.html")]
struct PhonePage<'a> {
    frame: Frame,
    next: &'a str,
    phone_number: &'a str,
    error: Option<String>,
}

/// The second page: the code.
#[derive(Template)]
#[template(path = "console/sign_in/code.html")]
struct CodePage<'a> {
    frame: Frame,
    next: &'a str,
    phone_number: &'a str,
    request_id: &'a str,
    length: u8,
    error: Option<String>,
}

/// The first page. It gives the browser its cookie, which the forms belong to.
pub(crate) async fn show(
    State(app): State<App>,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, Refused> {
    let known = Secret::of(&headers, VISIT);
    let visit = known.clone().unwrap_or_else(Secret::new);
    let page = PhonePage {
        frame: Frame::of_stranger("Sign in", visit.form_token(&app)),
        next: own_page(params.shown("next")).unwrap_or_default(),
        phone_number: "",
        error: None,
    };
    let mut response = html(&page)?;
    if known.is_none() {
        response.headers_mut().append(SET_COOKIE, visit.cookie(VISIT));
    }
    Ok(response)
}

/// Requests a code: admitted as `POST /v1/otp` is.
pub(crate) async fn request_code(
    State(app): State<App>,
    caller: Caller,
    VisitForm { visit, form }: VisitForm,
) -> Result<Response, Refused> {
    let next = own_page(form.text("next")).unwrap_or_default();
    let placed = place(&app, &caller, form.text("phone_number")).await;
    let token = visit.form_token(&app);
    match placed {
        Ok((phone, request)) => html(&CodePage {
            frame: Frame::of_stranger("Enter the code", token),
            next,
            phone_number: phone.e164().expose(),
            request_id: &request.to_string(),
            length: app.config.otp.length,
            error: None,
        }),
        Err(error) => again(error, |error| {
            html(&PhonePage {
                frame: Frame::of_stranger("Sign in", token),
                next,
                phone_number: form.text("phone_number"),
                error: Some(error),
            })
        }),
    }
}

async fn place(app: &App, caller: &Caller, writing: &str) -> Result<(Phone, RequestId), ApiError> {
    let wanted = NewCodeRequest {
        phone: app.phone(writing)?,
        scope: Scope::Login,
        route: "otp",
        profile: None,
        locale: None,
        channel: Channel::Sms,
        known_device: None,
    };
    let first = place_code_request::<OtpRequested>(app, caller, &wanted).await?;
    Ok((wanted.phone, first.request_id))
}

/// Shows the form again with what was wrong, under the status and the wait of the error. A failure of Latchkey's own gets a
/// page of its own.
fn again(
    error: ApiError,
    page: impl FnOnce(String) -> Result<Response, Refused>,
) -> Result<Response, Refused> {
    if error.status().is_server_error() {
        return Err(error.into());
    }
    let mut response = page(in_words(&error))?;
    let refusal = error.into_response();
    *response.status_mut() = refusal.status();
    if let Some(wait) = refusal.headers().get(http::header::RETRY_AFTER) {
        response.headers_mut().insert(http::header::RETRY_AFTER, wait.clone());
    }
    Ok(response)
}

/// Checks the code: counted and fenced as a login's is. It starts a session of the console if the phone is of staff.
pub(crate) async fn check_code(
    State(app): State<App>,
    caller: Caller,
    VisitForm { visit, form }: VisitForm,
) -> Result<Response, Refused> {
    let next = own_page(form.text("next")).unwrap_or("/console");
    let session = Secret::new();
    match redeem(&app, &caller, &form, &session).await {
        Ok(ConsoleOutcome::SignedIn) => Ok(open(next, &session)),
        Ok(ConsoleOutcome::PasswordAwaited) => {
            let next = url::form_urlencoded::byte_serialize(next.as_bytes()).collect::<String>();
            Ok(open(&format!("/console/login/password?next={next}"), &session))
        }
        Ok(ConsoleOutcome::NotStaff) => Ok(not_allowed()),
        Err(error) => again(error, |error| {
            html(&CodePage {
                frame: Frame::of_stranger("Enter the code", visit.form_token(&app)),
                next: own_page(form.text("next")).unwrap_or_default(),
                phone_number: form.text("phone_number"),
                request_id: form.text("request_id"),
                length: app.config.otp.length,
                error: Some(error),
            })
        }),
    }
}

/// Leads on with the session's cookie. The cookie of the visit ends: its forms are done.
fn open(next: &str, session: &Secret) -> Response {
    let mut response = Redirect::to(next).into_response();
    response.headers_mut().append(SET_COOKIE, session.cookie(SESSION));
    response.headers_mut().append(SET_COOKIE, no_cookie(VISIT));
    response
}

/// The answer to a right code of a phone that is not of staff, whatever the reason.
fn not_allowed() -> Response {
    let mut response = http::StatusCode::FORBIDDEN.into_response();
    response.extensions_mut().insert(Explained {
        title: "This number may not use the console".to_owned(),
        detail:
            "The code was right, but the number is not one of staff. An owner can grant a role."
                .to_owned(),
    });
    response
}

async fn redeem(
    app: &App,
    caller: &Caller,
    form: &Form,
    session: &Secret,
) -> Result<ConsoleOutcome, ApiError> {
    let length = app.config.otp.length;
    let digits: String = form.text("otp").chars().filter(|c| !c.is_whitespace()).collect();
    validate::one_time_code(&digits, usize::from(length))
        .map_err(|fault| ApiError::field("otp", fault.code, fault.detail))?;
    let code = Code::parse(&digits, length)
        .ok_or_else(|| ApiError::field("otp", "invalid", "This is not a code."))?;
    // The form has always held it; the code may be of another request for the same phone.
    let request_id: Option<RequestId> = form.text("request_id").parse().ok();
    if app.config.strict_binding && request_id.is_none() {
        return Err(ApiError::field("request_id", "required", "Ask for the code anew."));
    }
    let claimed = ClaimedPhone::new(app, app.phone(form.text("phone_number"))?, None);
    let scope = Scope::Login;
    let check = CodeCheck { app, claimed: &claimed, scope, code: &code, request_id, device: None };
    let redeemed = check
        .redeem(caller, async |matched| exchange(app, caller, &claimed, session, matched).await)
        .await;
    let outcome = trace_refused(redeemed, AttemptKind::Code, &claimed.key, caller)?;
    count_check(if outcome == ConsoleOutcome::NotStaff { "not_staff" } else { "right" });
    app.outbox_filled.notify_one();
    Ok(outcome)
}

/// Exchanges the code for a session of the console, in the database.
async fn exchange(
    app: &App,
    caller: &Caller,
    claimed: &ClaimedPhone,
    session: &Secret,
    matched: &MatchedCode,
) -> Result<Result<Redeemed<ConsoleOutcome>, Denied>, ApiError> {
    let hash = session.hash();
    let sign_in = ConsoleSignIn {
        claimant: claimed.claimant(),
        code: UsedCode { id: matched.code.code_id, expires_at: matched.code.expires_at },
        request_id: matched.answered(),
        limits: app.attempt_limits(),
        session: new_session(caller, &hash),
        traceparent: caller.traceparent.as_deref(),
        now: matched.code.now,
    };
    let outcome = app.console_sessions.sign_in(sign_in).await?;
    Ok(outcome.map(|outcome| {
        let let_in = outcome != ConsoleOutcome::NotStaff;
        Redeemed { outcome, verified: matched.answered().filter(|_| let_in) }
    }))
}

/// A session for the caller's browser.
fn new_session<'a>(caller: &'a Caller, hash: &'a str) -> NewConsoleSession<'a> {
    let (device, ip) = caller.place();
    NewConsoleSession { id_hash: hash, device, ip, max_secs: MAX_SECS }
}

/// Ends the session, at the server too.
pub(crate) async fn sign_out(
    State(app): State<App>,
    StaffForm { staff, .. }: StaffForm,
) -> Result<Response, Refused> {
    let now = app.engines.clock.now();
    app.console_sessions.end(&staff.session, staff.user.id, now).await?;
    let mut response = Redirect::to("/console/login").into_response();
    response.headers_mut().append(SET_COOKIE, no_cookie(SESSION));
    Ok(response)
}
