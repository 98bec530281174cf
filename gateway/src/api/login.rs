//! `POST /v1/login`: exchanges a phone number and its code for a session and tokens.

use accounts::{
    AttemptKind, Denied, LiveSession, LoginKey, LoginOutcome, Method, SignIn, UsedCode,
};
use axum::Json;
use axum::extract::State;
use domain::code::Code;
use domain::ids::{RequestId, UserId};
use domain::phone::Phone;
use domain::vocabulary::Channel;
use serde::Serialize;
use store::Scope;

use crate::api::me::profile::UserView;
use crate::app::App;
use crate::codes::caller::Caller;
use crate::codes::check::{CodeCheck, Redeemed};
use crate::codes::claimed_phone::{ClaimedPhone, Device};
use crate::codes::matched_code::MatchedCode;
use crate::codes::refusals::{count_check, trace_refused};
use crate::codes::repeated_login::RepeatedLogin;
use crate::dpop::header::ProvenKey;
use crate::http::body::JsonBody;
use crate::http::error::ApiError;
use crate::http::fields::Fields;
use crate::http::validate;
use crate::openapi::params::{IdempotencyKey, Proof};
use crate::openapi::refusals::refusals;
use crate::openapi::words;
use crate::tokens::device_token;
use crate::tokens::pair::TokenPair;
use utoipa::ToSchema;

/// The body of a login.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Login, examples(json!({
    "phone_number": "+14155552671",
    "otp": "123456",
    "request_id": "019c2b7e-8f00-7a31-9d2c-5b1f0e6c4a11",
})))]
#[expect(dead_code, reason = "it only describes the body, which is read field by field")]
pub(crate) struct LoginBody {
    #[schema(value_type = words::AnyPhoneNumber)]
    phone_number: String,
    #[schema(value_type = words::Code)]
    otp: String,
    /// The request that the code belongs to. Required where the server binds codes strictly.
    #[schema(value_type = uuid::Uuid, required = false)]
    request_id: Option<String>,
    #[schema(value_type = words::DeviceToken, required = false)]
    device_token: Option<String>,
}

refusals!(LoginRefused: Body, InvalidPhoneNumber, PhoneNumberNotSupported, OtpIncorrect, ProofNotValid, AccountBlocked,
    IdempotencyKeyReused, TooManyRequests, OtpAttemptsExhausted);

/// The tokens of a new session, and whose it is.
#[derive(Serialize, ToSchema)]
#[schema(as = SignedIn, examples(json!({
    "access": "eyJ…the-access-token",
    "refresh": "eyJ…the-refresh-token",
    "token_type": "Bearer",
    "expires_in": 600,
    "refresh_expires_in": 2_592_000,
    "user": {
        "id": "019c2b7f-02a8-7c55-8f1e-2a6d9b7c1e43",
        "phone_number": "+14155552671",
        "first_name": "Ada",
        "last_name": "Lovelace",
        "locale": "en-GB",
        "created_at": "2026-11-30T10:15:20.117Z",
    },
    "device_token": "dt2.example-of-a-device-token",
})))]
pub(crate) struct LoginView {
    #[serde(flatten)]
    tokens: TokenPair,
    user: UserView,
    /// Keep it on the device: with it, later sign-ins on this device are not locked out by strangers. It is no
    /// credential.
    device_token: String,
}

/// A login request.
struct Login {
    claimed: ClaimedPhone,
    code: Code,
    request_id: Option<RequestId>,
    /// As it was sent.
    device_token: Option<String>,
    /// The thumbprint of the key to bind the session to (RFC 9449).
    jkt: Option<String>,
}

#[utoipa::path(
    post, path = "/v1/login", tag = "sign-in", operation_id = "logIn",
    summary = "Sign in by code",
    description = "Exchanges a code for a session. The first login of a number makes its account. With the header \
        `DPoP` the session is bound to the key of the proof.",
    params(IdempotencyKey, Proof),
    request_body(content = LoginBody, description = "The number and its code."),
    responses((status = 200, description = "Signed in.", body = LoginView), LoginRefused),
)]
pub(crate) async fn login(
    State(app): State<App>,
    caller: Caller,
    ProvenKey(jkt): ProvenKey,
    JsonBody(fields): JsonBody,
) -> Result<Json<LoginView>, ApiError> {
    let login = Login::read(&app, fields, jkt).await?;
    let repeated = RepeatedLogin::of(&app, &caller, &login.claimed, &login.body());
    let live = match repeated {
        Some(repeated) => {
            repeated.session(async |key| login.sign_in(&app, &caller, Some(key)).await).await
        }
        None => login.sign_in(&app, &caller, None).await,
    };
    let live = trace_refused(live, AttemptKind::Code, &login.claimed.key, &caller)?;
    answer(&app, &login.claimed.phone, live).map(Json)
}

impl Login {
    async fn read(app: &App, mut fields: Fields, jkt: Option<String>) -> Result<Self, ApiError> {
        let writing = fields.string("phone_number");
        let length = app.config.otp.length;
        let digits =
            fields.checked("otp", |text| validate::one_time_code(text, usize::from(length)));
        let request_id = fields.optional_parsed(
            "request_id",
            "Send the request_id from the answer to a code request.",
        );
        let device_token = fields.optional_string("device_token");
        if app.config.strict_binding && request_id.is_none() {
            fields.refuse("request_id", "required", "Send the request_id of the code request.");
        }
        fields.finish()?;
        let phone = app.phone(&writing)?;
        let code = Code::parse(&digits, length)
            .ok_or_else(|| ApiError::field("otp", "invalid", "This is not a code."))?;
        let device = Device::by_token(app, &phone, device_token.as_deref()).await?;
        let claimed = ClaimedPhone::new(app, phone, device);
        Ok(Self { claimed, code, request_id, device_token, jkt })
    }

    /// What a retry must match. With another key, or without one, it is a different login.
    fn body(&self) -> String {
        let said = (self.claimed.phone.e164().expose(), self.code.expose(), self.request_id);
        // Without a device token the text is the same as before device tokens counted: gateways of both versions agree
        // on it during the rollout.
        match (&self.jkt, &self.device_token) {
            (None, None) => format!("{said:?}"),
            (Some(jkt), None) => format!("{:?}", (said, jkt)),
            (jkt, Some(token)) => format!("{:?}", (said, jkt, token)),
        }
    }

    async fn sign_in(
        &self,
        app: &App,
        caller: &Caller,
        key: Option<LoginKey<'_>>,
    ) -> Result<LiveSession, ApiError> {
        let Self { claimed, code, request_id, .. } = self;
        let now = app.engines.clock.now();
        let device = claimed.counted_device(app, AttemptKind::Code, None, now).await?;
        let scope = Scope::Login;
        let check = CodeCheck { app, claimed, scope, code, request_id: *request_id, device };
        let outcome = check
            .redeem(caller, async |matched| self.exchange(app, caller, key, matched).await)
            .await?;
        match outcome {
            LoginOutcome::SignedIn { user, session, .. } => {
                count_check("right");
                Ok(LiveSession { session, user })
            }
            LoginOutcome::Blocked => {
                count_check("blocked");
                Err(ApiError::AccountBlocked)
            }
        }
    }

    /// Exchanges the code for a session, in the database.
    async fn exchange(
        &self,
        app: &App,
        caller: &Caller,
        key: Option<LoginKey<'_>>,
        matched: &MatchedCode,
    ) -> Result<Result<Redeemed<LoginOutcome>, Denied>, ApiError> {
        let profile = matched.profile(app);
        let sign_in = SignIn {
            claimant: self.claimed.claimant(),
            code: UsedCode { id: matched.code.code_id, expires_at: matched.code.expires_at },
            request_id: matched.answered(),
            limits: app.attempt_limits(),
            new_user: UserId::new(&app.engines.clock),
            profile: profile.as_ref().map(|p| (p.first_name.as_str(), p.last_name.as_str())),
            locale: &matched.locale(),
            country: self.claimed.phone.region(),
            session: caller.new_session(app, method(matched.code.channel), self.jkt.as_deref()),
            key,
            traceparent: caller.traceparent.as_deref(),
            now: matched.code.now,
        };
        let outcome = app.accounts.sign_in(sign_in).await?;
        Ok(outcome.map(|outcome| {
            let let_in = matches!(outcome, LoginOutcome::SignedIn { .. });
            Redeemed { outcome, verified: matched.answered().filter(|_| let_in) }
        }))
    }
}

/// RFC 8176 has `sms` for a text but no value for a spoken code; `call` is the contract's own.
fn method(channel: Channel) -> Method {
    match channel {
        Channel::Sms => Method::Sms,
        Channel::Voice => Method::Call,
    }
}

fn answer(app: &App, phone: &Phone, live: LiveSession) -> Result<LoginView, ApiError> {
    let LiveSession { session, user } = live;
    // One login makes one device, however often it is answered: each has a budget of its own.
    let device_token = device_token::issue(&app.engines.keys, user.id, phone, session.created_at)?;
    let tokens = app.pair(&session)?;
    Ok(LoginView { tokens, user: UserView::of(user, phone.e164().clone()), device_token })
}
