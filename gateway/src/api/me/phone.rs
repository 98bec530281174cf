//! `POST /v1/me/phone` and `…/confirm`: changes the phone number, once the new one is proven.

use accounts::{
    AttemptKind, Denied, PhoneChange, PhoneChangeOutcome, Undo, UsedCode, former_phone,
};
use axum::Json;
use axum::extract::State;
use axum::response::Response;
use domain::code::Code;
use domain::event::OtpRequested;
use domain::ids::RequestId;
use domain::phone::{E164, Phone};
use domain::seal::Sealed;
use domain::vocabulary::Channel;
use store::Scope;
use texts::Notice;

use crate::api::me::profile::UserView;
use crate::api::me::signed_in::SignedIn;
use crate::app::App;
use crate::codes::caller::Caller;
use crate::codes::check::{CodeCheck, Redeemed};
use crate::codes::claimed_phone::ClaimedPhone;
use crate::codes::matched_code::MatchedCode;
use crate::codes::refusals::trace_refused;
use crate::codes::request::RequestView;
use crate::codes::request::{NewCodeRequest, request_code};
use crate::http::body::JsonBody;
use crate::http::error::ApiError;
use crate::http::validate;
use crate::openapi::params::{IdempotencyKey, Proof};
use crate::openapi::refusals::refusals;
use crate::openapi::words;
use utoipa::ToSchema;

/// The body of a request to change the phone.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({ "phone_number": "+14155552672" })))]
#[expect(dead_code, reason = "it only describes the body, which is read field by field")]
pub(crate) struct NewPhone {
    /// The new number.
    #[schema(value_type = words::AnyPhoneNumber)]
    phone_number: String,
}

/// The body of a confirmation.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({ "otp": "123456" })))]
#[expect(dead_code, reason = "it only describes the body, which is read field by field")]
pub(crate) struct PhoneProof {
    #[schema(value_type = words::Code)]
    otp: String,
}

refusals!(PhoneRefused: WritingBody, InvalidPhoneNumber, PhoneNumberNotSupported, FreshSignInRequired,
    IdempotencyKeyReused, ResendTooSoon, OtpAttemptsExhausted);
refusals!(ConfirmRefused: WritingBody, OtpIncorrect, PhoneNumberTaken, OtpAttemptsExhausted);

/// Requests a code for the new number. Only a caller that proves the number learns whether it already has an account.
#[utoipa::path(
    post, path = "/v1/me/phone", tag = "account", operation_id = "requestPhoneChange",
    summary = "Change the phone",
    description = "Sends a code to the new number, which replaces the old one once it is proven. It takes a sign-in \
        by code in the last 10 minutes.",
    params(IdempotencyKey, Proof),
    request_body(content = NewPhone, description = "The new number."),
    responses(
        (status = 202, description = "The request is accepted and kept: it reaches a final status.", body = RequestView),
        PhoneRefused,
    ),
    security(("bearer" = []), ("dpop" = [])),
)]
pub(crate) async fn request(
    State(app): State<App>,
    signed_in: SignedIn,
    caller: Caller,
    JsonBody(mut fields): JsonBody,
) -> Result<Response, ApiError> {
    let writing = fields.string("phone_number");
    fields.finish()?;
    signed_in.require_fresh(app.engines.clock.now())?;
    let phone = app.phone(&writing)?;
    let user = signed_in.user.id;
    let sealed = app.engines.keys.event.seal(phone.e164(), &["phone change", &user.to_string()])?;
    let wanted = NewCodeRequest {
        phone,
        scope: Scope::PhoneChange(user),
        route: "phone",
        profile: None,
        locale: Some(signed_in.user.locale.clone()),
        channel: Channel::Sms,
        known_device: None,
    };
    let accepted = request_code::<OtpRequested>(&app, &caller, wanted).await?;
    let ttl_ms = app.config.otp.ttl_secs * 1000;
    app.phone_changes.note(user, signed_in.session.id, sealed.as_str(), ttl_ms).await?;
    Ok(accepted)
}

/// Checks the new number's code, for the session that requested it. If it is right, the number replaces the old one, the other sessions end and the old
/// number is notified.
#[utoipa::path(
    post, path = "/v1/me/phone/confirm", tag = "account", operation_id = "confirmPhoneChange",
    summary = "Prove the new phone",
    description = "Checks the code of the new number, for the session that requested it. If it is right, the number \
        replaces the old one, the other sessions end and a text tells the old number.",
    params(Proof),
    request_body(content = PhoneProof, description = "The code that the new number got."),
    responses((status = 200, description = "The user.", body = UserView), ConfirmRefused),
    security(("bearer" = []), ("dpop" = [])),
)]
pub(crate) async fn confirm(
    State(app): State<App>,
    signed_in: SignedIn,
    caller: Caller,
    JsonBody(mut fields): JsonBody,
) -> Result<Json<UserView>, ApiError> {
    let length = app.config.otp.length;
    let digits = fields.checked("otp", |text| validate::one_time_code(text, usize::from(length)));
    fields.finish()?;
    let code = Code::parse(&digits, length)
        .ok_or_else(|| ApiError::field("otp", "invalid", "This is not a code."))?;
    // A session that requested no change gets the answer of an attempt that names a foreign request: it could never be
    // right, so it costs neither a code nor a phone anything, least of all what another session requested (contract,
    // rulings 40 and 44).
    let (phone, foreign) = match wanted_phone(&app, &signed_in).await? {
        Some(phone) => (phone, None),
        None => {
            let current = signed_in.user.phone_number.clone().into();
            (current, Some(RequestId::new(&app.engines.clock)))
        }
    };
    let claimed = ClaimedPhone::new(&app, phone, None);
    let check = CodeCheck {
        app: &app,
        claimed: &claimed,
        scope: Scope::PhoneChange(signed_in.user.id),
        code: &code,
        request_id: foreign,
        device: None,
    };
    let outcome = check
        .redeem(&caller, async |matched| change(&app, &signed_in, &claimed, matched).await)
        .await;
    let outcome = trace_refused(outcome, AttemptKind::Code, &claimed.key, &caller)?;
    match outcome {
        PhoneChangeOutcome::Changed(user) => Ok(Json(user.into())),
        PhoneChangeOutcome::Taken => Err(ApiError::PhoneNumberTaken),
    }
}

/// Exchanges the code for the change, in the database.
async fn change(
    app: &App,
    signed_in: &SignedIn,
    claimed: &ClaimedPhone,
    matched: &MatchedCode,
) -> Result<Result<Redeemed<PhoneChangeOutcome>, Denied>, ApiError> {
    let (user_id, now) = (signed_in.user.id, matched.code.now);
    let notice = signed_in.notice(app, Notice::PhoneChanged)?;
    let old = &signed_in.user.phone_number;
    let (old_sealed, until) = former_phone::seal(&app.engines.keys, user_id, old, now)?;
    // Changing to the current number is no change.
    let undo =
        (old != claimed.phone.e164()).then(|| Undo { old_sealed: old_sealed.as_str(), until });
    let change = PhoneChange {
        user_id,
        claimant: claimed.claimant(),
        country: claimed.phone.region(),
        code: UsedCode { id: matched.code.code_id, expires_at: matched.code.expires_at },
        request_id: matched.answered(),
        limits: app.attempt_limits(),
        keep: signed_in.session.id,
        notice: notice.as_ref().filter(|_| undo.is_some()),
        undo,
        now,
    };
    let outcome = app.accounts.change_phone(change).await?;
    if let Ok(PhoneChangeOutcome::Changed(_)) = outcome {
        // The old number is notified at once: if its owner did not do this, every second counts.
        app.outbox_filled.notify_one();
    }
    Ok(outcome.map(|outcome| Redeemed { outcome, verified: matched.answered() }))
}

/// The number that this session requested to change to, if no other session of the account requested one since.
async fn wanted_phone(app: &App, signed_in: &SignedIn) -> Result<Option<Phone>, ApiError> {
    let user = signed_in.user.id;
    let noted = app.phone_changes.noted(user).await?;
    let Some(noted) = noted.filter(|noted| noted.is_by(signed_in.session.id)) else {
        return Ok(None);
    };
    let sealed = Sealed::<E164>::from_text(noted.sealed);
    let e164 = app.engines.keys.event.open(&sealed, &["phone change", &user.to_string()])?;
    Ok(Some(e164.into()))
}
