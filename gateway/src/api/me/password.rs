//! `PUT` and `DELETE /v1/me/password`, `POST /v1/token`: passwords, an alternative to codes.

use accounts::{
    AttemptKind, Claimant, Method, NewSession, PasswordChange, PasswordChangeDenied, PasswordLook,
    PasswordOutcome, PasswordSignIn,
};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use domain::ids::{SessionId, UserId};
use domain::phone::Phone;
use domain::timestamp::Timestamp;
use passwords::rules::{self, Known};
use passwords::{Password, PasswordCheck, Requester};
use texts::Notice;

use crate::api::me::signed_in::SignedIn;
use crate::app::App;
use crate::codes::caller::Caller;
use crate::codes::claimed_phone::{ClaimedPhone, Device};
use crate::codes::failed_attempts::note_failure;
use crate::codes::lock_notice::tell_of_lock;
use crate::codes::refusals::{throttled, trace_refused};
use crate::dpop::header::ProvenKey;
use crate::http::body::{JsonBody, OptionalJsonBody};
use crate::http::error::ApiError;
use crate::tokens::pair::TokenPair;

/// Sets the password. It takes a fresh sign-in by code, or the current password if there is one (contract, ruling 37);
/// the other sessions end.
pub(crate) async fn set(
    State(app): State<App>,
    signed_in: SignedIn,
    caller: Caller,
    JsonBody(mut fields): JsonBody,
) -> Result<StatusCode, ApiError> {
    let known = known(&app, &signed_in);
    let minimum = app.config.password_min;
    let rule = |text: &str| Ok(rules::check(text, minimum, &known)?);
    let password = fields.checked("password", rule);
    let current = fields.optional_string("current_password");
    fields.finish()?;
    let change = Change::new(&app, &signed_in, &caller, current);
    let kept = change.kept().await?;
    // What neither a sign-in nor a password allows costs no hashing and is not counted (contract, ruling 44).
    signed_in.count_password_write(&app, &caller).await?;
    if let Some(breaches) = &app.breaches
        && breaches.know(&password).await
    {
        let detail = "This password is known from a data breach; choose another.";
        return Err(ApiError::field("password", "breached", detail));
    }
    // Hash before comparing the current password: a right one and a wrong one must take the same time, because a right
    // one may have to wait too (P4).
    let hash =
        app.passwords.hash_new(change.requester.clone(), Password::new(password), known).await?;
    let hash = hash.map_err(|weak| ApiError::field("password", weak.code, weak.detail))?;
    let made = change.make(kept, Some(&hash)).await;
    trace_refused(made, AttemptKind::Password, &change.claimed.key, &caller)
}

/// What a password of this account must not consist of.
fn known(app: &App, signed_in: &SignedIn) -> Known {
    let user = &signed_in.user;
    Known {
        national_number: user.phone_number.national_number().to_owned(),
        names: [user.first_name.clone(), user.last_name.clone()],
        app_name: app.config.texts.app_name.clone(),
    }
}

/// Removes the password, like [`set`]. An account without one stays as it is.
pub(crate) async fn remove(
    State(app): State<App>,
    signed_in: SignedIn,
    caller: Caller,
    OptionalJsonBody(mut fields): OptionalJsonBody,
) -> Result<StatusCode, ApiError> {
    let current = fields.optional_string("current_password");
    fields.finish()?;
    let change = Change::new(&app, &signed_in, &caller, current);
    let kept = change.kept().await?;
    signed_in.count_password_write(&app, &caller).await?;
    let made = change.make(kept, None).await;
    trace_refused(made, AttemptKind::Password, &change.claimed.key, &caller)
}

/// A change of the password by a signed-in user, and what shows that it is the owner.
struct Change<'a> {
    app: &'a App,
    signed_in: &'a SignedIn,
    claimed: ClaimedPhone,
    /// The current password, if it was sent: it is then judged, however fresh the sign-in.
    current: Option<Password>,
    /// The session counts as a known device, as it does for `current_password`.
    requester: Requester,
    now: Timestamp,
}

impl<'a> Change<'a> {
    fn new(
        app: &'a App,
        signed_in: &'a SignedIn,
        caller: &Caller,
        current: Option<String>,
    ) -> Self {
        let phone = Phone::from(signed_in.user.phone_number.clone());
        let device = Device::by_session(signed_in.user.id, signed_in.session.id);
        let claimed = ClaimedPhone::new(app, phone, Some(device));
        let (current, now) = (current.map(Password::new), app.engines.clock.now());
        let requester = caller.requester(claimed.known_user());
        Self { app, signed_in, claimed, current, requester, now }
    }

    /// The hash to replace.
    ///
    /// # Errors
    /// 403 if neither the sign-in nor a current password allows the change; 429 while no password is judged.
    async fn kept(&self) -> Result<Option<String>, ApiError> {
        let kept = self.app.accounts.password_hash(self.signed_in.user.id).await?;
        if !self.signed_in.is_fresh(self.now) && (kept.is_none() || self.current.is_none()) {
            return Err(ApiError::FreshSignInRequired { or_password: kept.is_some() });
        }
        if kept.is_some() && self.current.is_some() {
            refuse_if_closed(self.app, self.claimed.claimant(), self.now).await?;
        }
        Ok(kept)
    }

    /// Replaces the password by the one of `hash`, or removes it.
    async fn make(&self, kept: Option<String>, hash: Option<&str>) -> Result<StatusCode, ApiError> {
        if self.replace(kept, hash).await? {
            return Ok(StatusCode::NO_CONTENT);
        }
        // The hash changed since it was read. If a sign-in rehashed an imported password, the current password is
        // still right; if the password was changed, it is not.
        let kept = self.kept().await?;
        let set = self.replace(kept, hash).await?;
        if set { Ok(StatusCode::NO_CONTENT) } else { Err(ApiError::InvalidCredentials) }
    }

    /// Returns whether it was done: `kept`, the hash to replace, may be outdated.
    async fn replace(&self, kept: Option<String>, hash: Option<&str>) -> Result<bool, ApiError> {
        let Self { app, ref requester, now, .. } = *self;
        if kept.is_none() && hash.is_none() {
            return Ok(true);
        }
        let claimant = self.claimed.claimant();
        let proof = kept.clone().zip(self.current.clone());
        if let Some((kept, current)) = proof.clone()
            && app.passwords.verify(requester.clone(), current, Some(kept), 0).await?
                == PasswordCheck::Wrong
        {
            return Err(failed(app, claimant, now).await);
        }
        let notice = self.signed_in.notice(app, Notice::PasswordChanged)?;
        let change = PasswordChange {
            user_id: self.signed_in.user.id,
            was: kept.as_deref(),
            hash,
            attempt: proof.is_some().then(|| (claimant, app.attempt_limits())),
            keep: self.signed_in.session.id,
            notice: notice.as_ref(),
            now,
        };
        let set = app.accounts.set_password(change).await?;
        // The owner is told at once: if someone else did this, every second counts.
        app.outbox_filled.notify_one();
        set.map_err(|denied| match denied {
            PasswordChangeDenied::Throttled(throttle) => throttled(throttle, now),
            PasswordChangeDenied::SessionEnded => ApiError::SessionRevoked,
        })
    }
}

/// Exchanges a phone number and password for tokens. A phone without an account, or without a password, costs the same
/// work and gets the same answer as a wrong password (P6).
pub(crate) async fn sign_in(
    State(app): State<App>,
    caller: Caller,
    ProvenKey(jkt): ProvenKey,
    JsonBody(mut fields): JsonBody,
) -> Result<Json<TokenPair>, ApiError> {
    let writing = fields.string("phone_number");
    let password = fields.string("password");
    let device_token = fields.optional_string("device_token");
    fields.finish()?;
    let phone = app.phone(&writing)?;
    let device = Device::by_token(&app, &phone, device_token.as_deref()).await?;
    let claimed = ClaimedPhone::new(&app, phone, device);
    let password = Password::new(password);
    let signed_in = sign_in_as(&app, &caller, &claimed, password, jkt.as_deref()).await;
    trace_refused(signed_in, AttemptKind::Password, &claimed.key, &caller).map(Json)
}

async fn sign_in_as(
    app: &App,
    caller: &Caller,
    claimed: &ClaimedPhone,
    password: Password,
    jkt: Option<&str>,
) -> Result<TokenPair, ApiError> {
    caller.count_login(app, claimed.known_user().is_some()).await?;
    let claimant = claimed.claimant();
    let now = app.engines.clock.now();
    refuse_if_closed(app, claimant, now).await?;

    let attempt = Attempt {
        caller,
        claimant,
        requester: caller.requester(claimed.known_user()),
        password,
        session: caller.new_session(app, Method::Pwd, jkt),
        traceparent: caller.traceparent.as_deref(),
        now,
    };
    if let Some(pair) = attempt.make(app).await? {
        return Ok(pair);
    }
    // The hash changed during the comparison. If a concurrent sign-in rehashed an imported password, the password is
    // still right. If it was changed, it is now wrong and counted as wrong.
    attempt.make(app).await?.ok_or(ApiError::InvalidCredentials)
}

/// A sign-in attempt by password.
struct Attempt<'a> {
    caller: &'a Caller,
    claimant: Claimant<'a>,
    requester: Requester,
    password: Password,
    session: NewSession<'a>,
    traceparent: Option<&'a str>,
    now: Timestamp,
}

impl Attempt<'_> {
    /// Returns `None` if the hash changed during the comparison.
    async fn make(&self, app: &App) -> Result<Option<TokenPair>, ApiError> {
        let Attempt { caller, claimant, ref requester, ref password, .. } = *self;
        let Attempt { session, traceparent, now, .. } = *self;
        let PasswordLook { stored, imported_iterations } =
            app.accounts.password_of(claimant.phone_number).await?;
        let hash = stored.as_ref().map(|stored| stored.hash.clone());
        let verdict = app
            .passwords
            .verify(requester.clone(), password.clone(), hash, imported_iterations)
            .await?;
        let Some(stored) = stored.filter(|_| verdict != PasswordCheck::Wrong) else {
            let refused = failed(app, claimant, now).await;
            note_failure(app, caller, claimant.phone_key, &refused).await;
            return Err(refused);
        };
        let sign_in = PasswordSignIn {
            claimant,
            user_id: stored.user_id,
            hash: &stored.hash,
            limits: app.attempt_limits(),
            session,
            traceparent,
            now,
        };
        let outcome = app.accounts.start_password_session(sign_in).await?;
        match outcome.map_err(|throttle| throttled(throttle, now))? {
            PasswordOutcome::SignedIn { session, user } => {
                if verdict == PasswordCheck::RightButOld {
                    let (requester, password) = (requester.clone(), password.clone());
                    rehash(app, requester, (user.id, &stored.hash), password, session.id).await;
                }
                Ok(Some(app.pair(&session)?))
            }
            PasswordOutcome::Blocked => Err(ApiError::AccountBlocked),
            PasswordOutcome::Changed => Ok(None),
        }
    }
}

/// Rehashes an imported password at its first use.
async fn rehash(
    app: &App,
    requester: Requester,
    (user, was): (UserId, &str),
    password: Password,
    keep: SessionId,
) {
    let now = app.engines.clock.now();
    let done = async {
        let hash = app
            .passwords
            .hash(requester, password)
            .await
            .map_err(|_| anyhow::anyhow!("hash the password"))?;
        anyhow::Ok(app.accounts.rehash_password(user, was, &hash, now).await?)
    };
    if let Err(error) = done.await {
        tracing::warn!(session.id = %keep, error = format!("{error:#}"), "cannot rehash an imported password, it keeps its old hash");
    }
}

async fn refuse_if_closed(
    app: &App,
    claimant: Claimant<'_>,
    now: Timestamp,
) -> Result<(), ApiError> {
    match app.attempts.throttle(claimant, AttemptKind::Password, app.attempt_limits(), now).await? {
        Some(throttle) => Err(throttled(throttle, now)),
        None => Ok(()),
    }
}

async fn failed(app: &App, claimant: Claimant<'_>, now: Timestamp) -> ApiError {
    match app
        .attempts
        .record_failure(claimant, AttemptKind::Password, None, app.attempt_limits(), now)
        .await
    {
        Ok(Ok(counted)) => {
            if counted.locked {
                tell_of_lock(app, claimant);
            }
            ApiError::InvalidCredentials
        }
        Ok(Err(throttle)) => throttled(throttle, now),
        Err(error) => error.into(),
    }
}
