//! `PUT /v1/me/password` and `POST /v1/token`: passwords, an option beside codes.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use common::db::{
    Closed, GuessKind, GuessOutcome, Guesser, Method, NewSession, PasswordLook, PasswordOutcome,
    PasswordSignIn,
};
use common::ids::SessionId;
use common::phone::Phone;
use common::timestamp::Timestamp;
use common::vocabulary::Limit;

use crate::app::App;
use crate::ask::{Caller, limited};
use crate::body::JsonBody;
use crate::dpop::ProvenKey;
use crate::error::ApiError;
use crate::guess::not_yet;
use crate::me::SignedIn;
use crate::password::{Password, Verdict};
use crate::password_rules;
use crate::tokens::TokenPair;

/// Sets the password. One that is there already must be shown (ASVS 6.2.3); the other sessions end.
pub(crate) async fn set(
    State(app): State<App>,
    signed_in: SignedIn,
    JsonBody(mut fields): JsonBody,
) -> Result<StatusCode, ApiError> {
    let phone = Phone::trusted(&signed_in.user.phone_number)?;
    let minimum = app.config.password_min;
    let password = fields
        .checked("password", |text| password_rules::check(text, minimum, phone.national_number()));
    let current = fields.optional_string("current_password");
    let was = app.engines.db.password_hash(signed_in.user.id).await?;
    if was.is_some() && current.is_none() {
        fields.refuse("current_password", "required", "Show the password that is to be replaced.");
    }
    fields.finish()?;

    let now = app.engines.clock.now();
    if let (Some(was), Some(current)) = (&was, current) {
        let phone_key = app.engines.keys.phone_key(&phone);
        let guesser = Guesser {
            phone_number: phone.e164(),
            phone_key: &phone_key,
            known_device: Some(signed_in.user.id),
        };
        refuse_if_closed(&app, guesser, now).await?;
        if app.passwords.verify(Password::new(current), Some(was.clone()), 0).await?
            == Verdict::Wrong
        {
            return Err(failed(&app, guesser, now).await);
        }
    }
    let hash = app.passwords.hash(Password::new(password)).await?;
    let set = app
        .engines
        .db
        .set_password(signed_in.user.id, was.as_deref(), &hash, signed_in.session.id, now)
        .await?;
    // Somebody else changed it between our look and this: what was shown is no longer the password.
    if set { Ok(StatusCode::NO_CONTENT) } else { Err(ApiError::InvalidCredentials) }
}

/// Phone and password for tokens. A phone without an account, or without a password, costs the same work and gets the
/// same answer as a wrong one (P6).
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
    let keys = &app.engines.keys;
    let per_ip = app.config.limits.logins_per_ip_minute;
    let ip_key = app.ip_key(caller.ip, per_ip);
    if let Some(wait) = app.engines.otps.count_login(&ip_key, per_ip).await? {
        return Err(limited(Limit::LoginsIp, wait.max(1)));
    }
    let phone_key = keys.phone_key(&phone);
    let guesser = Guesser { phone_number: phone.e164(), phone_key: &phone_key, known_device: None };
    let now = app.engines.clock.now();
    refuse_if_closed(&app, guesser, now).await?;

    let PasswordLook { stored, imported_iterations } =
        app.engines.db.password_of(phone.e164()).await?;
    let password = Password::new(password);
    let hash = stored.as_ref().map(|stored| stored.hash.clone());
    let verdict = app.passwords.verify(password.clone(), hash, imported_iterations).await?;
    let Some(stored) = stored.filter(|_| verdict != Verdict::Wrong) else {
        return Err(failed(&app, guesser, now).await);
    };
    let device = caller.device();
    let sign_in = PasswordSignIn {
        guesser,
        user_id: stored.user_id,
        hash: &stored.hash,
        limits: app.guess_limits(),
        session: NewSession {
            id: SessionId::new(&app.engines.clock),
            method: Method::Pwd,
            device: &device,
            ip: &caller.ip.cut(),
            idle_secs: app.config.tokens.refresh_idle_secs,
            max_secs: app.config.tokens.refresh_max_secs,
            jkt: jkt.as_deref(),
        },
        traceparent: caller.traceparent.as_deref(),
        now,
    };
    match app.engines.db.start_password_session(sign_in).await? {
        PasswordOutcome::SignedIn { session, user } => {
            if verdict == Verdict::RightButOld {
                rehash(&app, user.id, &stored.hash, password, session.id).await;
            }
            Ok(Json(app.pair(&session)?))
        }
        PasswordOutcome::Blocked => Err(ApiError::AccountBlocked),
        PasswordOutcome::Changed => Err(ApiError::InvalidCredentials),
        PasswordOutcome::Wait { until } => Err(not_yet(Closed::Wait { until }, now)),
        PasswordOutcome::Locked { until } => Err(not_yet(Closed::Locked { until }, now)),
    }
}

/// A password that came with an import is hashed our way at its first use.
async fn rehash(
    app: &App,
    user: common::ids::UserId,
    was: &str,
    password: Password,
    keep: SessionId,
) {
    let now = app.engines.clock.now();
    let done = async {
        let hash = app.passwords.hash(password).await.map_err(|_| anyhow::anyhow!("hash it"))?;
        anyhow::Ok(app.engines.db.rehash_password(user, was, &hash, now).await?)
    };
    if let Err(error) = done.await {
        tracing::warn!(session.id = %keep, error = format!("{error:#}"), "an imported password keeps its old hash for now");
    }
}

async fn refuse_if_closed(app: &App, guesser: Guesser<'_>, now: Timestamp) -> Result<(), ApiError> {
    match app.engines.db.guess_gate(guesser, GuessKind::Password, app.guess_limits(), now).await? {
        Some(closed) => Err(not_yet(closed, now)),
        None => Ok(()),
    }
}

async fn failed(app: &App, guesser: Guesser<'_>, now: Timestamp) -> ApiError {
    match app
        .engines
        .db
        .guess_failed(guesser, GuessKind::Password, None, app.guess_limits(), now)
        .await
    {
        Ok(GuessOutcome::Counted { .. }) => ApiError::InvalidCredentials,
        Ok(GuessOutcome::Wait { until }) => not_yet(Closed::Wait { until }, now),
        Ok(GuessOutcome::Locked { until }) => not_yet(Closed::Locked { until }, now),
        Err(error) => error.into(),
    }
}
