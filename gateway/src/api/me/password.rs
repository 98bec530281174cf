//! `PUT /v1/me/password` and `POST /v1/token`: passwords, an alternative to codes.

use accounts::{
    AttemptKind, Claimant, Method, NewSession, PasswordChange, PasswordLook, PasswordOutcome,
    PasswordSignIn,
};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use domain::ids::{SessionId, UserId};
use domain::phone::Phone;
use domain::timestamp::Timestamp;
use passwords::{Password, PasswordCheck, rules};

use crate::api::me::profile::SignedIn;
use crate::app::App;
use crate::codes::caller::Caller;
use crate::codes::claimed_phone::ClaimedPhone;
use crate::codes::refusals::throttled;
use crate::dpop::header::ProvenKey;
use crate::http::body::JsonBody;
use crate::http::error::ApiError;
use crate::tokens::pair::TokenPair;

/// Sets the password. An existing one must be sent along (ASVS 6.2.3); the other sessions end.
pub(crate) async fn set(
    State(app): State<App>,
    signed_in: SignedIn,
    JsonBody(mut fields): JsonBody,
) -> Result<StatusCode, ApiError> {
    let phone = Phone::from(signed_in.user.phone_number.clone());
    let minimum = app.config.password_min;
    let rule = |text: &str| Ok(rules::check(text, minimum, phone.national_number())?);
    let password = fields.checked("password", rule);
    let current = fields.optional_string("current_password");
    let kept = app.accounts.password_hash(signed_in.user.id).await?;
    if kept.is_some() && current.is_none() {
        fields.refuse("current_password", "required", "Send the current password as well.");
    }
    fields.finish()?;

    let new = NewPassword {
        claimed: ClaimedPhone::new(&app, phone, Some(signed_in.user.id)),
        current: current.map(Password::new),
    };
    let now = app.engines.clock.now();
    if kept.is_some() {
        refuse_if_closed(&app, new.claimed.claimant(), now).await?;
    }
    // Hash before comparing the current password: a right one and a wrong one must take the same time, because a right
    // one may have to wait too (P4).
    let hash = app.passwords.hash(Password::new(password)).await?;
    if new.replace(&app, &signed_in, kept, &hash, now).await? {
        return Ok(StatusCode::NO_CONTENT);
    }
    // The hash changed since it was read. If a sign-in rehashed an imported password, the current password is still
    // right; if the password was changed, it is not.
    let kept = app.accounts.password_hash(signed_in.user.id).await?;
    let set = new.replace(&app, &signed_in, kept, &hash, now).await?;
    if set { Ok(StatusCode::NO_CONTENT) } else { Err(ApiError::InvalidCredentials) }
}

/// A new password, and the current one that it replaces.
struct NewPassword {
    claimed: ClaimedPhone,
    current: Option<Password>,
}

impl NewPassword {
    /// Returns whether the password was set: `kept`, the hash to replace, may be outdated.
    async fn replace(
        &self,
        app: &App,
        signed_in: &SignedIn,
        kept: Option<String>,
        hash: &str,
        now: Timestamp,
    ) -> Result<bool, ApiError> {
        let claimant = self.claimed.claimant();
        if let Some(kept) = &kept {
            let Some(current) = self.current.clone() else { return Ok(false) };
            if app.passwords.verify(current, Some(kept.clone()), 0).await? == PasswordCheck::Wrong {
                return Err(failed(app, claimant, now).await);
            }
        }
        let change = PasswordChange {
            user_id: signed_in.user.id,
            was: kept.as_deref(),
            hash,
            attempt: kept.is_some().then(|| (claimant, app.attempt_limits())),
            keep: signed_in.session.id,
            now,
        };
        let set = app.accounts.set_password(change).await?;
        set.map_err(|throttle| throttled(throttle, now))
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
    fields.finish()?;
    let phone = app.phone(&writing)?;
    caller.count_login(&app).await?;
    let claimed = ClaimedPhone::new(&app, phone, None);
    let claimant = claimed.claimant();
    let now = app.engines.clock.now();
    refuse_if_closed(&app, claimant, now).await?;

    let attempt = Attempt {
        claimant,
        password: Password::new(password),
        session: caller.new_session(&app, Method::Pwd, jkt.as_deref()),
        traceparent: caller.traceparent.as_deref(),
        now,
    };
    if let Some(pair) = attempt.make(&app).await? {
        return Ok(Json(pair));
    }
    // The hash changed during the comparison. If a concurrent sign-in rehashed an imported password, the password is
    // still right. If it was changed, it is now wrong and counted as wrong.
    attempt.make(&app).await?.map(Json).ok_or(ApiError::InvalidCredentials)
}

/// A sign-in attempt by password.
struct Attempt<'a> {
    claimant: Claimant<'a>,
    password: Password,
    session: NewSession<'a>,
    traceparent: Option<&'a str>,
    now: Timestamp,
}

impl Attempt<'_> {
    /// Returns `None` if the hash changed during the comparison.
    async fn make(&self, app: &App) -> Result<Option<TokenPair>, ApiError> {
        let Attempt { claimant, ref password, session, traceparent, now } = *self;
        let PasswordLook { stored, imported_iterations } =
            app.accounts.password_of(claimant.phone_number).await?;
        let hash = stored.as_ref().map(|stored| stored.hash.clone());
        let verdict = app.passwords.verify(password.clone(), hash, imported_iterations).await?;
        let Some(stored) = stored.filter(|_| verdict != PasswordCheck::Wrong) else {
            return Err(failed(app, claimant, now).await);
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
                    rehash(app, user.id, &stored.hash, password.clone(), session.id).await;
                }
                Ok(Some(app.pair(&session)?))
            }
            PasswordOutcome::Blocked => Err(ApiError::AccountBlocked),
            PasswordOutcome::Changed => Ok(None),
        }
    }
}

/// Rehashes an imported password at its first use.
async fn rehash(app: &App, user: UserId, was: &str, password: Password, keep: SessionId) {
    let now = app.engines.clock.now();
    let done = async {
        let hash =
            app.passwords.hash(password).await.map_err(|_| anyhow::anyhow!("hash the password"))?;
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
        Ok(Ok(_)) => ApiError::InvalidCredentials,
        Ok(Err(throttle)) => throttled(throttle, now),
        Err(error) => error.into(),
    }
}
