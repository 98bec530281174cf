//! `POST /v1/token`: exchanges a phone number and its password for tokens, an alternative to codes.

use accounts::{
    AttemptKind, Claimant, Method, NewSession, PasswordLook, PasswordOutcome, PasswordSignIn,
};
use axum::Json;
use axum::extract::State;
use domain::ids::{SessionId, UserId};
use domain::timestamp::Timestamp;
use passwords::{Password, PasswordCheck, Requester};
use utoipa::ToSchema;

use crate::app::App;
use crate::codes::caller::Caller;
use crate::codes::claimed_phone::{ClaimedPhone, Device};
use crate::codes::failed_attempts::note_failure;
use crate::codes::lock_notice::tell_of_lock;
use crate::codes::refusals::{throttled, trace_refused};
use crate::dpop::header::ProvenKey;
use crate::http::body::JsonBody;
use crate::http::error::ApiError;
use crate::openapi::params::Proof;
use crate::openapi::refusals::refusals;
use crate::openapi::words;
use crate::tokens::pair::TokenPair;

/// The body of a sign-in by password.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({ "phone_number": "+14155552671", "password": "correct horse battery staple" })))]
#[expect(dead_code, reason = "it only describes the body, which is read field by field")]
pub(crate) struct PasswordSignInBody {
    #[schema(value_type = words::AnyPhoneNumber)]
    phone_number: String,
    #[schema(format = Password)]
    password: String,
    #[schema(value_type = words::DeviceToken, required = false)]
    device_token: Option<String>,
}

refusals!(PasswordSignInRefused: Body, InvalidPhoneNumber, PhoneNumberNotSupported, InvalidCredentials, ProofNotValid,
    AccountBlocked, TooManyRequests);

/// Exchanges a phone number and password for tokens. A phone without an account, or without a password, costs the same
/// work and gets the same answer as a wrong password (P6).
#[utoipa::path(
    post, path = "/v1/token", tag = "sign-in", operation_id = "logInByPassword",
    summary = "Sign in by password",
    description = "Exchanges a number and its password for a session. A number without an account, or without a \
        password, is answered like a wrong password. With the header `DPoP` the session is bound to the key of the \
        proof.",
    params(Proof),
    request_body(content = PasswordSignInBody, description = "The number and its password."),
    responses((status = 200, description = "The tokens.", body = TokenPair), PasswordSignInRefused),
)]
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

/// # Errors
/// 429 while no password of this phone is judged.
pub(crate) async fn refuse_if_closed(
    app: &App,
    claimant: Claimant<'_>,
    now: Timestamp,
) -> Result<(), ApiError> {
    match app.attempts.throttle(claimant, AttemptKind::Password, app.attempt_limits(), now).await? {
        Some(throttle) => Err(throttled(throttle, now)),
        None => Ok(()),
    }
}

/// Counts a wrong password; returns its answer.
pub(crate) async fn failed(app: &App, claimant: Claimant<'_>, now: Timestamp) -> ApiError {
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
