//! Shared by signup, otp and phone change: admits the code request, publishes its event with a confirm, answers 202.

use anyhow::Context as _;
use axum::Json;
use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse as _, Response};
use bus::PublishError;
use domain::event::{CarriesCodeRequest, CodeRequest, Envelope, Profile, Recipient};
use domain::ids::{CodeId, EventId, RequestId};
use domain::phone::{E164, Phone};
use domain::timestamp::Timestamp;
use domain::trace_context::TraceContext;
use domain::vocabulary::{Channel, Limit};
use serde::Serialize;
use store::{Admission, Admit, Idempotency, Replay, Scope};
use tokio::time::Instant;

use crate::app::App;
use crate::http::client_ip::ClientIp;
use crate::http::error::ApiError;
use crate::http::idempotency_key::IdempotencyKey;
use crate::http::request_timeout::ANSWER_WITHIN;

/// The caller, as described by the request's head.
pub(crate) struct Caller {
    pub ip: ClientIp,
    pub user_agent: String,
    pub idempotency: Option<IdempotencyKey>,
    pub traceparent: Option<String>,
}

impl FromRequestParts<App> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, ApiError> {
        let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
        let ip =
            parts.extensions.get::<ClientIp>().copied().context("find the client's address")?;
        Ok(Self {
            ip,
            user_agent: header("user-agent").unwrap_or_default().to_owned(),
            idempotency: IdempotencyKey::from_headers(&parts.headers)?,
            traceparent: parts.extensions.get().map(TraceContext::to_header),
        })
    }
}

impl Caller {
    /// The device's own name for itself, cut to a length that a list can show.
    pub fn device(&self) -> String {
        self.user_agent.chars().filter(|c| !c.is_control()).take(120).collect()
    }
}

/// A code request before admission.
pub(crate) struct Wanted {
    pub phone: Phone,
    pub scope: Scope,
    pub route: &'static str,
    pub profile: Option<Profile>,
    pub locale: Option<String>,
    pub channel: Channel,
}

/// The answer to an accepted code request: `request` in the contract.
#[derive(Serialize)]
struct RequestView<'a> {
    request_id: RequestId,
    phone_number: &'a E164,
    expires_at: Timestamp,
    expires_in: u64,
    resend_in: u64,
    code_length: u8,
    channel: Channel,
}

/// Admits the code request and publishes it as an `E`. It looks up no account, so the answer cannot reveal one (P6).
pub(crate) async fn code_request<E: CarriesCodeRequest>(
    app: &App,
    caller: &Caller,
    wanted: Wanted,
) -> Result<Response, ApiError> {
    let deadline = Instant::now() + ANSWER_WITHIN;
    let keys = &app.engines.keys;
    if let Some(until) =
        app.blocks.covers(&wanted.phone, Some(caller.ip.ip()), app.engines.clock.now())
    {
        return Err(limited(Limit::Blocked, until.secs_from(app.engines.clock.now()).max(1)));
    }
    let phone_key = keys.phone_key(&wanted.phone);
    let ip_key = app.ip_key(caller.ip, app.config.limits.sends_per_ip_hour);
    let admit = Admit {
        request_id: RequestId::new(&app.engines.clock),
        new_code_id: CodeId::new(&app.engines.clock),
        only_code: None,
        phone: &phone_key,
        scope: wanted.scope,
        ttl_ms: app.config.otp.ttl_secs * 1000,
        attempts: app.config.otp.attempts,
        route: wanted.route,
        idempotency: caller.idempotency.as_ref().map(|key| Idempotency {
            key: keys.index("idempotency", key.as_str()),
            body: keys.index("body", &wanted.canonical()),
        }),
        ip_key: &ip_key,
        country: wanted.phone.region(),
        operator_prefix: wanted.phone.operator_prefix(),
        channel: wanted.channel,
        locale: wanted.locale.as_deref(),
        limits: &app.config.limits,
        unlimited: app.phones.test_code(&wanted.phone, app.engines.clock.now()).is_some(),
        guard: app.config.pumping_guard,
    };

    let admission = app.engines.store.admit(&admit).await.inspect_err(|_| count("unavailable"))?;
    let admitted_now = matches!(admission, Admission::Admitted { .. });
    let first = match admission {
        Admission::Admitted { code_id, now, expires_at, resend_at } => Replay {
            request_id: admit.request_id,
            code_id,
            channel: wanted.channel,
            now,
            expires_at,
            resend_at,
            published: false,
        },
        Admission::Replayed(replay) => replay,
        Admission::Gone => {
            return Err(
                anyhow::anyhow!("a request that names no code was refused for its code").into()
            );
        }
        Admission::KeyReused => return Err(ApiError::IdempotencyKeyReused),
        Admission::Limited { limit, retry_after } => {
            return Err(limited(limit, retry_after.max(1)));
        }
        Admission::Exhausted { retry_after } => {
            count("exhausted");
            return Err(ApiError::OtpAttemptsExhausted { retry_after: retry_after.max(1) });
        }
    };
    if !first.published {
        let envelope = seal::<E>(app, caller, &wanted, &first).context("seal the request")?;
        if let Err(refused) = publish(app, &admit, &first, &envelope, deadline).await {
            // It was not published: the client may retry at once. An unknown outcome keeps its slot (W2), and so does a
            // request that an earlier call with this key may have published.
            if admitted_now && !matches!(refused, PublishError::Unknown(_)) {
                let withdrawn = app.engines.store.withdraw(&admit);
                let _ = tokio::time::timeout_at(deadline, withdrawn).await;
            }
            return Err(ApiError::unavailable(
                anyhow::Error::from(refused).context("publish the request"),
            ));
        }
    }
    count("accepted");
    Ok(accepted(app, &wanted.phone, &first))
}

impl Wanted {
    /// The body as parsed: the same number written differently is the same body.
    fn canonical(&self) -> String {
        let profile = self.profile.as_ref().map(|p| (&p.first_name, &p.last_name));
        format!(
            "{:?}",
            (
                self.route,
                self.phone.e164().expose(),
                self.scope.to_string(),
                profile,
                &self.locale,
                self.channel
            )
        )
    }
}

async fn publish<E: CarriesCodeRequest>(
    app: &App,
    admit: &Admit<'_>,
    first: &Replay,
    envelope: &Envelope<E>,
    deadline: Instant,
) -> Result<(), PublishError> {
    let outcome = tokio::time::timeout_at(deadline, app.engines.bus.publish(envelope)).await;
    let refused = match outcome {
        Ok(Ok(())) => {
            if admit.idempotency.is_some() {
                // If this is lost, a replay publishes the same request again, which sends no second text.
                let note = Admit { request_id: first.request_id, ..admit.clone() };
                let noted = app.engines.store.published(&note);
                let _ = tokio::time::timeout_at(deadline, noted).await;
            }
            return Ok(());
        }
        Ok(Err(error)) => error,
        Err(_) => PublishError::Unknown(anyhow::anyhow!("no confirm in time")),
    };
    count("unpublished");
    Err(refused)
}

fn seal<E: CarriesCodeRequest>(
    app: &App,
    caller: &Caller,
    wanted: &Wanted,
    first: &Replay,
) -> anyhow::Result<Envelope<E>> {
    let event_id = EventId::new(&app.engines.clock);
    let recipient = Recipient {
        phone_number: wanted.phone.e164().clone(),
        user_id: match wanted.scope {
            Scope::Login => None,
            Scope::PhoneChange(user) => Some(user),
        },
        profile: wanted.profile.clone(),
    };
    let seal = &app.engines.keys.event;
    let code_request = CodeRequest {
        request_id: first.request_id,
        code_id: first.code_id,
        purpose: wanted.scope.purpose(),
        channel: wanted.channel,
        locale: wanted.locale.clone(),
        country: wanted.phone.region().to_owned(),
        requested_at: first.now,
        expires_at: first.expires_at,
        sealed: CodeRequest::seal(
            seal,
            E::TYPE,
            event_id,
            first.request_id,
            first.expires_at,
            &recipient,
        )?,
    };
    Ok(Envelope::with_id(
        event_id,
        app.engines.clock.now(),
        "gateway",
        caller.traceparent.clone(),
        E::of(code_request),
    ))
}

fn accepted(app: &App, phone: &Phone, first: &Replay) -> Response {
    let view = RequestView {
        request_id: first.request_id,
        phone_number: phone.e164(),
        expires_at: first.expires_at,
        expires_in: first.expires_at.secs_from(first.now),
        resend_in: first.resend_at.secs_from(first.now),
        code_length: app.config.otp.length,
        channel: first.channel,
    };
    (StatusCode::ACCEPTED, Json(view)).into_response()
}

pub(crate) fn limited(limit: Limit, retry_after: u64) -> ApiError {
    metrics::counter!("latchkey_limited_total", "limit" => limit.as_str()).increment(1);
    match limit {
        Limit::Cooldown => ApiError::ResendTooSoon { retry_after },
        _ => ApiError::TooManyRequests { limit, retry_after: Some(retry_after) },
    }
}

fn count(outcome: &'static str) {
    metrics::counter!("latchkey_otp_requests_total", "outcome" => outcome).increment(1);
}
