//! `POST /v1/me/phone` and `…/confirm`: changes the phone number, once the new one is proven.

use accounts::{PhoneChange, PhoneChangeOutcome, Prepared, Throttle, Undo, UsedCode, former_phone};
use axum::Json;
use axum::extract::State;
use axum::response::Response;
use domain::code::Code;
use domain::event::{Envelope, OtpRequested, SmsRequested, Text};
use domain::ids::{EventId, MessageId};
use domain::phone::{E164, Phone};
use domain::seal::Sealed;
use domain::timestamp::Timestamp;
use domain::vocabulary::Channel;
use store::{Closing, Refund, Scope};

use crate::api::me::profile::{SignedIn, UserView};
use crate::app::App;
use crate::codes::check::CodeCheck;
use crate::codes::request::{Caller, Wanted, code_request};
use crate::http::body::JsonBody;
use crate::http::error::ApiError;
use crate::http::validate;

/// How old a sign-in may be for a change of phone (contract, section 3; ASVS 7.5.1).
const FRESH_SECS: i64 = 600;
/// How long the notice to the old number is worth sending.
const NOTICE_SECS: i64 = 600;

/// Requests a code for the new number. Only a caller that proves the number learns whether it already has an account.
pub(crate) async fn request(
    State(app): State<App>,
    signed_in: SignedIn,
    caller: Caller,
    JsonBody(mut fields): JsonBody,
) -> Result<Response, ApiError> {
    let writing = fields.string("phone_number");
    fields.finish()?;
    let now = app.engines.clock.now();
    if signed_in.auth_time.plus_secs(FRESH_SECS) < now {
        return Err(ApiError::FreshSignInRequired);
    }
    let phone = app.phone(&writing)?;
    let user = signed_in.user.id;
    let sealed = app
        .engines
        .keys
        .event
        .seal(phone.e164(), &["phone change", &user.to_string()])?;
    let wanted = Wanted {
        phone,
        scope: Scope::PhoneChange(user),
        route: "phone",
        profile: None,
        locale: Some(signed_in.user.locale.clone()),
        channel: Channel::Sms,
    };
    let accepted = code_request::<OtpRequested>(&app, &caller, wanted).await?;
    app.engines.store.note_change(user, sealed.as_str(), app.config.otp.ttl_secs * 1000).await?;
    Ok(accepted)
}

/// Checks the new number's code. If it is right, the number replaces the old one, the other sessions end and the old
/// number is notified.
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
    let user = signed_in.user.id;
    // Without a code request, the code is checked against the current number: no code was ever issued for it, so the
    // answer is the same as for a wrong code.
    let phone = wanted_phone(&app, &signed_in).await?;
    let phone_key = app.engines.keys.phone_key(&phone);
    let former_key = app.engines.keys.former_phone_key(&phone);
    let attempt = CodeCheck {
        phone: &phone,
        phone_key: &phone_key,
        former_key: former_key.as_ref(),
        scope: Scope::PhoneChange(user),
        code: &code,
        request_id: None,
        known_device: None,
    };
    let right = attempt.judge(&app, &caller).await?;
    let notice = notice_to_old(&app, &signed_in, right.now)?;
    let old = Phone::from(signed_in.user.phone_number.clone());
    let (old_sealed, until) = former_phone::seal(&app.engines.keys, user, &old, right.now)?;
    // Changing to the current number is no change.
    let undo = (old != phone).then(|| Undo { old_sealed: old_sealed.as_str(), until });
    let change = PhoneChange {
        user_id: user,
        claimant: attempt.claimant(),
        country: phone.region(),
        code: UsedCode { id: right.code_id, expires_at: right.expires_at },
        request_id: right.answered(None),
        limits: app.attempt_limits(),
        keep: signed_in.session.id,
        notice: undo.is_some().then_some(&notice),
        undo,
        now: right.now,
    };
    let code = right.code_id;
    match app.accounts.change_phone(change).await {
        Ok(PhoneChangeOutcome::Changed(user)) => {
            // The old number is notified at once: if its owner did not do this, every second counts.
            app.outbox_filled.notify_one();
            attempt.close(&app, code, Closing::Used(right.answered(None))).await;
            Ok(Json(user.into()))
        }
        Ok(PhoneChangeOutcome::Taken) => {
            attempt.close(&app, code, Closing::Used(right.answered(None))).await;
            Err(ApiError::PhoneNumberTaken)
        }
        Ok(PhoneChangeOutcome::CodeUsed) => Err(attempt.refused(&app, &right).await),
        Ok(PhoneChangeOutcome::Gone) => Err(ApiError::SessionRevoked),
        Ok(PhoneChangeOutcome::Wait { until }) => Err(attempt
            .unjudged(&app, Refund::Unused(code), Throttle::Wait { until }, right.now)
            .await),
        Ok(PhoneChangeOutcome::Locked { until }) => Err(attempt
            .unjudged(&app, Refund::Unused(code), Throttle::Locked { until }, right.now)
            .await),
        // It may have been committed anyway.
        Err(error) => Err(attempt.unanswered(&app, Refund::CodeCheck(code), error).await),
    }
}

async fn wanted_phone(app: &App, signed_in: &SignedIn) -> Result<Phone, ApiError> {
    let user = signed_in.user.id;
    let e164: E164 = match app.engines.store.noted_change(user).await? {
        Some(sealed) => app
            .engines
            .keys
            .event
            .open(&Sealed::from_text(sealed), &["phone change", &user.to_string()])?,
        None => signed_in.user.phone_number.clone(),
    };
    Ok(e164.into())
}

/// The text to the old number, as an event that is written with the change: it is sent if and only if the change is
/// committed. It names neither number (ASVS 6.3.7: users are notified of changes to their credentials).
fn notice_to_old(app: &App, signed_in: &SignedIn, now: Timestamp) -> anyhow::Result<Prepared> {
    let engines = &app.engines;
    let old = Phone::from(signed_in.user.phone_number.clone());
    let (event_id, message_id) = (EventId::new(&engines.clock), MessageId::new(&engines.clock));
    // By the store's time, which sms-worker uses too.
    let not_after = now.plus_secs(NOTICE_SECS);
    let text = app.texts.phone_changed(Some(&signed_in.user.locale));
    let text = Text { phone_number: old.e164().clone(), text };
    let sealed =
        SmsRequested::seal(&engines.keys.event, event_id, message_id, None, not_after, &text)?;
    let requested = SmsRequested {
        message_id,
        request_id: None,
        channel: Channel::Sms,
        country: old.region().to_owned(),
        not_after,
        requested_at: None,
        sealed,
    };
    Prepared::new(&Envelope::with_id(event_id, engines.clock.now(), "gateway", None, requested))
}
