//! Shared by signup, otp and phone change: admits the code request, publishes its event with a confirm, answers 202.

use anyhow::Context as _;
use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use bus::PublishError;
use config::UnknownPhone;
use domain::event::{CarriesCodeRequest, CodeRequest, Envelope, Profile, Recipient};
use domain::ids::{CodeId, RequestId};
use domain::keys::PhoneKey;
use domain::limits::Limits;
use domain::phone::{E164, Phone};
use domain::seal::Sealed;
use domain::timestamp::Timestamp;
use domain::vocabulary::{Channel, Limit, PumpingGuard};
use serde::Serialize;
use store::{AddressLimit, Admission, Admit, Admitted, Idempotency, Scope};
use tokio::time::Instant;

use crate::app::App;
use crate::codes::caller::Caller;
use crate::codes::claimed_phone::Device;
use crate::codes::funnel;
use crate::codes::refusals::limited;
use crate::http::error::ApiError;
use crate::http::fields::Fields;
use crate::http::request_timeout::ANSWER_WITHIN;
use crate::openapi::words;
use utoipa::ToSchema;

/// A code request before admission.
pub(crate) struct NewCodeRequest {
    pub phone: Phone,
    pub scope: Scope,
    pub route: &'static str,
    pub profile: Option<Profile>,
    pub locale: Option<String>,
    pub channel: Channel,
    /// The known device that asks (contract, ruling 39).
    pub known_device: Option<Device>,
}

/// Reads `channel`, and refuses a call where the operator has switched calls off (contract, ruling 58).
pub(crate) fn read_channel(app: &App, fields: &mut Fields) -> Channel {
    let channel = fields.optional_parsed("channel", "Send `sms` or `voice`.");
    if channel == Some(Channel::Voice) && !app.config.sms.voice {
        let detail = "This service makes no calls: send `sms`, or leave the field out.";
        fields.refuse("channel", "not_offered", detail);
    }
    channel.unwrap_or(Channel::Sms)
}

/// An accepted code request.
// `request` in the contract.
#[derive(Serialize, ToSchema)]
#[schema(as = CodeRequest, examples(json!({
    "request_id": "019c2b7e-8f00-7a31-9d2c-5b1f0e6c4a11",
    "phone_number": "+14155552671",
    "expires_at": "2026-11-30T10:20:00.000Z",
    "expires_in": 300,
    "resend_in": 30,
    "code_length": 6,
    "channel": "sms",
})))]
pub(crate) struct RequestView<'a> {
    /// Keep it: it shows the status, and a login may name it.
    #[schema(value_type = uuid::Uuid)]
    request_id: RequestId,
    #[schema(value_type = words::PhoneNumber)]
    phone_number: &'a E164,
    /// When the code expires. Asking again does not move it.
    #[schema(value_type = words::Time)]
    expires_at: Timestamp,
    /// The same, in seconds from now.
    expires_in: u64,
    /// Seconds from now until the code may be asked for again.
    resend_in: u64,
    /// How many digits the code has.
    #[schema(minimum = 4, maximum = 10)]
    code_length: u8,
    #[schema(value_type = words::Channel)]
    channel: Channel,
}

/// Requests a code as [`place_code_request`] does, and answers as the API.
pub(crate) async fn request_code<E: CarriesCodeRequest>(
    app: &App,
    caller: &Caller,
    wanted: NewCodeRequest,
) -> Result<Response, ApiError> {
    let first = place_code_request::<E>(app, caller, &wanted).await?;
    Ok(accepted(app, &wanted.phone, &first))
}

/// Admits the code request and publishes it as an `E`. It looks up no account, so the answer cannot reveal one (P6).
pub(crate) async fn place_code_request<E: CarriesCodeRequest>(
    app: &App,
    caller: &Caller,
    wanted: &NewCodeRequest,
) -> Result<Admitted, ApiError> {
    let deadline = Instant::now() + ANSWER_WITHIN;
    refuse_if_blocked(app, caller, &wanted.phone)?;
    let phone_key = app.engines.keys.phone_key(wanted.phone.e164());
    let addresses = app.addresses(caller.ip, app.config.limits.sends_per_ip_hour);
    let asker = caller.asker(app, wanted.known_device.as_ref().map(|device| device.user));
    let admit = wanted.admit(app, caller, &phone_key, &addresses, &asker);
    let (first, is_new) = admitted(app, &admit).await?;
    if !first.published {
        let envelope = seal::<E>(app, caller, wanted, &first).context("seal the request")?;
        if let Err(unpublished) = publish(app, &admit, &first, &envelope, deadline).await {
            if is_new {
                withdraw(app, &admit, &unpublished, deadline).await;
            }
            let cause = anyhow::Error::from(unpublished).context("publish the request");
            return Err(ApiError::unavailable(cause));
        }
    }
    count("accepted");
    app.addresses_seen.note(caller.ip);
    funnel::requested(app, &wanted.phone);
    Ok(first)
}

fn refuse_if_blocked(app: &App, caller: &Caller, phone: &Phone) -> Result<(), ApiError> {
    let clock = &app.engines.clock;
    match app.blocks.covers(phone.e164(), phone.region(), Some(caller.ip.ip()), clock.now()) {
        Some(until) => Err(limited(Limit::Blocked, until.secs_from(clock.now()).max(1))),
        None => Ok(()),
    }
}

impl NewCodeRequest {
    fn admit<'a>(
        &'a self,
        app: &'a App,
        caller: &Caller,
        phone_key: &'a PhoneKey,
        addresses: &'a [AddressLimit],
        asker: &'a str,
    ) -> Admit<'a> {
        let (config, engines) = (&app.config, &app.engines);
        let is_test = app.phones.test_code(self.phone.e164(), engines.clock.now()).is_some();
        Admit {
            request_id: RequestId::new(&engines.clock),
            new_code_id: CodeId::new(&engines.clock),
            only_code: None,
            phone: phone_key,
            scope: self.scope,
            ttl_ms: config.otp.ttl_secs * 1000,
            attempts: config.otp.attempts,
            route: self.route,
            idempotency: caller.idempotency.as_ref().map(|key| Idempotency {
                key: engines.keys.index("idempotency", key.as_str()),
                body: engines.keys.index("body", &self.canonical()),
            }),
            addresses,
            country: self.phone.region(),
            operator_prefix: self.phone.e164().operator_prefix(),
            channel: self.channel,
            locale: self.locale.as_deref(),
            limits: if is_test { &Limits::OF_A_TEST_NUMBER } else { &config.limits },
            guard: if is_test { PumpingGuard::Off } else { config.pumping_guard },
            asker,
            known_device: self.known_device.as_ref().map(|device| device.user),
            device: self.known_device.as_ref().map(|device| device.key.as_str()),
            // In silent mode it would tell who has an account (P6).
            proven_passes: config.unknown_phone != UnknownPhone::Silent,
        }
    }

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

/// Admits the request. Returns the answer that it gets, and whether the answer is new: a repeated `Idempotency-Key`
/// gets the first one again.
async fn admitted(app: &App, admit: &Admit<'_>) -> Result<(Admitted, bool), ApiError> {
    match app.codes.admit(admit).await.inspect_err(|_| count("unavailable"))? {
        Admission::Admitted(first) => Ok((first, true)),
        Admission::Replayed(first) => Ok((first, false)),
        Admission::Gone => {
            Err(anyhow::anyhow!("a request that names no code was refused for its code").into())
        }
        Admission::KeyReused => Err(ApiError::IdempotencyKeyReused),
        Admission::Limited { limit, retry_after } => Err(limited(limit, retry_after.max(1))),
        Admission::Exhausted { retry_after } => {
            count("exhausted");
            Err(ApiError::OtpAttemptsExhausted { retry_after: retry_after.max(1) })
        }
    }
}

/// Withdraws a new request that was not published, so that the client may retry at once. An unknown outcome keeps its
/// slot (W2). So does a request that is not new: an earlier call with its key may have published it.
async fn withdraw(app: &App, admit: &Admit<'_>, unpublished: &PublishError, deadline: Instant) {
    if !matches!(unpublished, PublishError::Unknown(_)) {
        let withdrawn = app.codes.withdraw(admit);
        let _ = tokio::time::timeout_at(deadline, withdrawn).await;
    }
}

async fn publish<E: CarriesCodeRequest>(
    app: &App,
    admit: &Admit<'_>,
    first: &Admitted,
    envelope: &Envelope<E>,
    deadline: Instant,
) -> Result<(), PublishError> {
    let outcome = tokio::time::timeout_at(deadline, app.engines.bus.publish(envelope)).await;
    let refused = match outcome {
        Ok(Ok(())) => {
            if admit.idempotency.is_some() {
                // If this is lost, a replay publishes the same request again, which sends no second text.
                let note = Admit { request_id: first.request_id, ..admit.clone() };
                let noted = app.codes.published(&note);
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
    wanted: &NewCodeRequest,
    first: &Admitted,
) -> anyhow::Result<Envelope<E>> {
    let recipient = Recipient {
        phone_number: wanted.phone.e164().clone(),
        user_id: match wanted.scope {
            Scope::Login => None,
            Scope::PhoneChange(user) => Some(user),
        },
        profile: wanted.profile.clone(),
    };
    let code_request = CodeRequest {
        request_id: first.request_id,
        code_id: first.code_id,
        purpose: wanted.scope.purpose(),
        channel: wanted.channel,
        locale: wanted.locale.clone(),
        country: wanted.phone.region().to_owned(),
        requested_at: first.now,
        expires_at: first.expires_at,
        sealed: Sealed::none(),
    };
    let (engines, trace) = (&app.engines, caller.traceparent.clone());
    let (keys, clock) = (&engines.keys, &engines.clock);
    Envelope::<E>::sealing(keys, clock, "gateway", trace, code_request, &recipient)
}

fn accepted(app: &App, phone: &Phone, first: &Admitted) -> Response {
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

fn count(outcome: &'static str) {
    metrics::counter!("latchkey_otp_requests_total", "outcome" => outcome).increment(1);
}
