//! `/console/login/password`: the second factor of staff whose account has a password. Judged and counted as a sign-in by
//! password is (P4).

use accounts::{AttemptKind, ConsoleDenied, ConsoleSession, PasswordProof};
use askama::Template;
use axum::extract::{FromRequest, Request, State};
use axum::response::Response;
use domain::phone::Phone;
use http::HeaderMap;
use passwords::{Password, PasswordCheck};

use super::{again, new_session, open};
use crate::api::password_sign_in::{failed, refuse_if_closed};
use crate::app::App;
use crate::codes::caller::Caller;
use crate::codes::claimed_phone::ClaimedPhone;
use crate::codes::failed_attempts::note_failure;
use crate::codes::refusals::{throttled, trace_refused};
use crate::console::form::{self, Form};
use crate::console::page::{Frame, html};
use crate::console::params::Params;
use crate::console::refused::Refused;
use crate::console::secret::{SESSION, Secret};
use crate::console::session::{live, own_page};
use crate::http::error::ApiError;

#[derive(Template)]
#[template(path = "console/sign_in/password.html")]
struct PasswordPage<'a> {
    frame: Frame,
    next: &'a str,
    error: Option<String>,
}

/// A form of a browser whose code was right and whose password is still to come.
pub(crate) struct AwaitedForm {
    secret: Secret,
    awaiting: ConsoleSession,
    form: Form,
}

impl FromRequest<App> for AwaitedForm {
    type Rejection = Refused;

    async fn from_request(request: Request, app: &App) -> Result<Self, Refused> {
        let secret = form::sender(app, request.headers(), SESSION)?;
        let awaiting = awaiting(app, &secret).await?;
        let form = form::read(app, request, &secret).await?;
        Ok(Self { secret, awaiting, form })
    }
}

async fn awaiting(app: &App, secret: &Secret) -> Result<ConsoleSession, Refused> {
    let found = live(app, &secret.hash()).await?.filter(|session| session.awaits_password);
    found.ok_or(Refused::SignIn { next: None })
}

pub(crate) async fn show(
    State(app): State<App>,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, Refused> {
    let secret = Secret::of(&headers, SESSION).ok_or(Refused::SignIn { next: None })?;
    awaiting(&app, &secret).await?;
    html(&PasswordPage {
        frame: Frame::of_stranger("Enter your password", secret.form_token(&app)),
        next: own_page(params.shown("next")).unwrap_or_default(),
        error: None,
    })
}

pub(crate) async fn check(
    State(app): State<App>,
    caller: Caller,
    AwaitedForm { secret, awaiting, form }: AwaitedForm,
) -> Result<Response, Refused> {
    let phone = Phone::from(awaiting.user.phone_number.clone());
    let claimed = ClaimedPhone::new(&app, phone, None);
    let session = Secret::new();
    let password = Password::new(form.exact("password").to_owned());
    let proof = Proof { app: &app, caller: &caller, claimed: &claimed, awaiting: &awaiting };
    let proven = proof.judge(&secret, &session, password).await;
    let next = own_page(form.text("next"));
    match trace_refused(proven, AttemptKind::Password, &claimed.key, &caller) {
        Ok(true) => Ok(open(next.unwrap_or("/console"), &session)),
        Ok(false) => Err(Refused::SignIn { next: next.map(str::to_owned) }),
        Err(error) => again(error, |error| {
            html(&PasswordPage {
                frame: Frame::of_stranger("Enter your password", secret.form_token(&app)),
                next: next.unwrap_or_default(),
                error: Some(error),
            })
        }),
    }
}

struct Proof<'a> {
    app: &'a App,
    caller: &'a Caller,
    claimed: &'a ClaimedPhone,
    awaiting: &'a ConsoleSession,
}

impl Proof<'_> {
    /// Judges the password, and opens `session` in the place of the one that awaited it. `false` if that is over.
    async fn judge(
        &self,
        awaiting: &Secret,
        session: &Secret,
        password: Password,
    ) -> Result<bool, ApiError> {
        let Self { app, caller, claimed, .. } = *self;
        let (user_id, claimant) = (self.awaiting.user.id, claimed.claimant());
        caller.count_login(app, false).await?;
        let now = app.engines.clock.now();
        refuse_if_closed(app, claimant, now).await?;
        let Some(hash) = app.accounts.password_hash(user_id).await? else { return Ok(false) };
        let requester = caller.requester(None);
        let verdict = app.passwords.verify(requester, password, Some(hash.clone()), 0).await?;
        if verdict == PasswordCheck::Wrong {
            let refused = failed(app, claimant, now).await;
            note_failure(app, caller, &claimed.key, &refused).await;
            return Err(refused);
        }
        let (awaiting, session) = (awaiting.hash(), session.hash());
        let proof = PasswordProof {
            claimant,
            limits: app.attempt_limits(),
            awaiting: &awaiting,
            user_id,
            hash: &hash,
            session: new_session(caller, &session),
            now,
        };
        match app.console_sessions.prove_password(proof).await? {
            Ok(()) => Ok(true),
            Err(ConsoleDenied::Throttled(throttle)) => Err(throttled(throttle, now)),
            Err(ConsoleDenied::Over) => Ok(false),
        }
    }
}
