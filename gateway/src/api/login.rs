//! `POST /v1/login`: exchanges a phone number and its code for a session and tokens.

use std::time::Duration;

use accounts::{
    Accounts, LoginKey, LoginOutcome, LoginReplay, Method, NewSession, Session, SignIn, Throttle,
    UsedCode, User,
};
use axum::Json;
use axum::extract::State;
use domain::code::Code;
use domain::ids::{RequestId, SessionId, UserId};
use domain::keys::PhoneKey;
use domain::phone::Phone;
use domain::vocabulary::{Channel, Limit};
use serde::Serialize;
use store::{Closing, Refund, Scope};

use crate::api::me::profile::UserView;
use crate::app::App;
use crate::codes::check::{CodeCheck, MatchedCode, count};
use crate::codes::request::{Caller, limited};
use crate::dpop::header::ProvenKey;
use crate::http::body::JsonBody;
use crate::http::error::ApiError;
use crate::http::validate;
use crate::tokens::device_token;
use crate::tokens::pair::TokenPair;

/// The answer to a login.
#[derive(Serialize)]
pub(crate) struct LoginView {
    #[serde(flatten)]
    tokens: TokenPair,
    user: UserView,
    device_token: String,
}

/// A login request.
struct Login {
    phone: Phone,
    code: Code,
    request_id: Option<RequestId>,
    known_device: Option<UserId>,
    /// As it was sent.
    device_token: Option<String>,
    /// The thumbprint of the key to bind the session to (RFC 9449).
    jkt: Option<String>,
}

impl Login {
    /// What a retry must match. With another key, or without one, it is a different login.
    fn body(&self) -> String {
        let said = (self.phone.e164().expose(), self.code.expose(), self.request_id);
        // Without a device token the text is the same as before device tokens counted: gateways of both versions agree
        // on it during the rollout.
        match (&self.jkt, &self.device_token) {
            (None, None) => format!("{said:?}"),
            (Some(jkt), None) => format!("{:?}", (said, jkt)),
            (jkt, Some(token)) => format!("{:?}", (said, jkt, token)),
        }
    }
}

pub(crate) async fn login(
    State(app): State<App>,
    caller: Caller,
    ProvenKey(jkt): ProvenKey,
    JsonBody(mut fields): JsonBody,
) -> Result<Json<LoginView>, ApiError> {
    let writing = fields.string("phone_number");
    let length = app.config.otp.length;
    let digits = fields.checked("otp", |text| validate::one_time_code(text, usize::from(length)));
    let request_id = fields
        .optional_parsed("request_id", "Send the request_id from the answer to a code request.");
    let device = fields.optional_string("device_token");
    if app.config.strict_binding && request_id.is_none() {
        fields.refuse("request_id", "required", "Send the request_id of the code request.");
    }
    fields.finish()?;
    let phone = app.phone(&writing)?;
    let code = Code::parse(&digits, length)
        .ok_or_else(|| ApiError::field("otp", "invalid", "This is not a code."))?;
    let phone_key = app.engines.keys.phone_key(&phone);
    let now = app.engines.clock.now();
    let known_device = device
        .as_ref()
        .and_then(|token| device_token::check(&app.engines.keys, token, &phone, now));
    let login = Login { phone, code, request_id, known_device, device_token: device, jkt };

    let key = caller
        .idempotency
        .as_ref()
        .map(|key| app.engines.keys.index("login", &format!("{phone_key} {}", key.as_str())));
    let body = app.engines.keys.index("login body", &login.body());
    let Some(key_hash) = &key else {
        return sign_in(&app, &caller, &login, &phone_key, None).await.map(Json);
    };
    let key = LoginKey { key_hash, body_hash: &body };
    let repetition = Repetition { app: &app, login: &login, key };
    if let Some(first) = repetition.first().await? {
        count_login(&app, &caller).await?;
        if let Some(answer) = repetition.answer(first).await? {
            return Ok(Json(answer));
        }
    }
    let refused = match sign_in(&app, &caller, &login, &phone_key, Some(key)).await {
        Err(refused @ (ApiError::OtpIncorrect { .. } | ApiError::OtpAttemptsExhausted { .. })) => {
            refused
        }
        answer => return answer.map(Json),
    };
    // Of concurrent logins with this key one was admitted and used the code, so the others are retries of it (P9).
    // Their address was counted with the code check.
    let spent = matches!(refused, ApiError::OtpAttemptsExhausted { .. });
    match repetition.first_beside(spent).await? {
        Some(first) => repetition.answer(first).await?.map(Json).ok_or(refused),
        None => Err(refused),
    }
}

/// Counts the login against the caller's address.
async fn count_login(app: &App, caller: &Caller) -> Result<(), ApiError> {
    let per_ip = app.config.limits.logins_per_ip_minute;
    match app.engines.store.count_login(&app.ip_key(caller.ip, per_ip), per_ip).await? {
        Some(wait) => Err(limited(Limit::LoginsIp, wait.max(1))),
        None => Ok(()),
    }
}

const LOOKS_BESIDE: u32 = 5;
const LOOK_BESIDE_EVERY: Duration = Duration::from_millis(200);

/// A retry of a login whose answer was lost: it gets an equivalent pair of the same session (P9; contract, ruling 32).
struct Repetition<'a> {
    app: &'a App,
    login: &'a Login,
    key: LoginKey<'a>,
}

impl Repetition<'_> {
    /// What a concurrent login left under the same key. If the attempts are exhausted, the winning login may not have
    /// committed yet: poll for one second.
    async fn first_beside(&self, spent: bool) -> Result<Option<LoginReplay>, ApiError> {
        let mut first = self.first().await?;
        for _ in 0..if spent { LOOKS_BESIDE } else { 0 } {
            if first.is_some() {
                break;
            }
            tokio::time::sleep(LOOK_BESIDE_EVERY).await;
            first = self.first().await?;
        }
        Ok(first)
    }

    /// What an earlier login left under this key.
    async fn first(&self) -> Result<Option<LoginReplay>, ApiError> {
        let engines = &self.app.engines;
        // By the clock that dated the first login: ours may be wrong.
        let now = engines.store.now().await?;
        Ok(Accounts::new(&engines.sql).login_replay(self.key.key_hash, now).await?)
    }

    /// Answers with the first login's session, unless it was refreshed or has ended since.
    ///
    /// Clients choose the key, and some choose one that others can guess. So a retry is counted like an attempt before
    /// its code is compared; otherwise 30 seconds of answers would reveal the code (P4). The same body counts once.
    async fn answer(&self, first: LoginReplay) -> Result<Option<LoginView>, ApiError> {
        let (app, LoginKey { key_hash, body_hash }) = (self.app, self.key);
        let tried = format!("{key_hash} {}", first.body_hash);
        let tried = app.engines.keys.index("login repeated", &tried);
        if !app.engines.store.count_distinct(&tried, body_hash, app.config.otp.attempts).await? {
            return Err(limited(Limit::Attempts, store::DISTINCT_KEPT_SECS));
        }
        if first.body_hash != body_hash {
            return Err(ApiError::IdempotencyKeyReused);
        }
        let Some(live) = first.session else { return Ok(None) };
        answer(app, &self.login.phone, live.user, &live.session).map(Some)
    }
}

async fn sign_in(
    app: &App,
    caller: &Caller,
    login: &Login,
    phone_key: &PhoneKey,
    key: Option<LoginKey<'_>>,
) -> Result<LoginView, ApiError> {
    let former_key = app.engines.keys.former_phone_key(&login.phone);
    let attempt = CodeCheck {
        phone: &login.phone,
        phone_key,
        former_key: former_key.as_ref(),
        scope: Scope::Login,
        code: &login.code,
        request_id: login.request_id,
        known_device: login.known_device,
    };
    let right = attempt.judge(app, caller).await?;
    let profile = right.profile(app, login.request_id);
    let device = caller.device();
    let sign_in = SignIn {
        claimant: attempt.claimant(),
        code: UsedCode { id: right.code_id, expires_at: right.expires_at },
        request_id: right.answered(login.request_id),
        limits: app.attempt_limits(),
        new_user: UserId::new(&app.engines.clock),
        profile: profile.as_ref().map(|p| (p.first_name.as_str(), p.last_name.as_str())),
        locale: &right.locale(login.request_id),
        country: login.phone.region(),
        session: NewSession {
            id: SessionId::new(&app.engines.clock),
            method: method(&right),
            device: &device,
            ip: &caller.ip.cut(),
            idle_secs: app.config.tokens.refresh_idle_secs,
            max_secs: app.config.tokens.refresh_max_secs,
            jkt: login.jkt.as_deref(),
        },
        key,
        traceparent: caller.traceparent.as_deref(),
        now: right.now,
    };
    let code = right.code_id;
    match app.accounts.sign_in(sign_in).await {
        Ok(LoginOutcome::SignedIn { user, session, .. }) => {
            attempt.close(app, code, Closing::Used(right.answered(login.request_id))).await;
            count("right");
            answer(app, &login.phone, user, &session)
        }
        Ok(LoginOutcome::Blocked) => {
            attempt.close(app, code, Closing::Used(None)).await;
            count("blocked");
            Err(ApiError::AccountBlocked)
        }
        Ok(LoginOutcome::CodeUsed) => Err(attempt.refused(app, &right).await),
        Ok(LoginOutcome::Wait { until }) => Err(attempt
            .unjudged(app, Refund::Unused(code), Throttle::Wait { until }, right.now)
            .await),
        Ok(LoginOutcome::Locked { until }) => Err(attempt
            .unjudged(app, Refund::Unused(code), Throttle::Locked { until }, right.now)
            .await),
        // It may have been committed anyway.
        Err(error) => Err(attempt.unanswered(app, Refund::CodeCheck(code), error).await),
    }
}

/// RFC 8176 has `sms` for a text but no value for a spoken code; `call` is the contract's own.
fn method(right: &MatchedCode) -> Method {
    match right.channel {
        Channel::Sms => Method::Sms,
        Channel::Voice => Method::Call,
    }
}

fn answer(app: &App, phone: &Phone, user: User, session: &Session) -> Result<LoginView, ApiError> {
    let now = app.engines.clock.now();
    let device_token = device_token::issue(&app.engines.keys, user.id, phone, now)?;
    let tokens = app.pair(session)?;
    Ok(LoginView { tokens, user: UserView::of(user, phone.e164().clone()), device_token })
}
