//! `POST /v1/me/phone` and `…/confirm`: a new number, proven before it replaces the old.

use accounts::{Closed, PhoneChange, PhoneChangeOutcome, Prepared, Undo, UsedCode, former_phone};
use axum::Json;
use axum::extract::State;
use axum::response::Response;
use domain::code::Code;
use domain::event::{Envelope, OtpRequested, SmsRequested, Text};
use domain::ids::{EventId, MessageId};
use domain::phone::Phone;
use domain::seal::Sealed;
use domain::timestamp::Timestamp;
use domain::vocabulary::Channel;
use store::{Closing, Refund, Scope};

use crate::api::me::profile::{SignedIn, UserView};
use crate::app::App;
use crate::codes::check::Guess;
use crate::codes::request::{Caller, Wanted, ask};
use crate::http::body::JsonBody;
use crate::http::error::ApiError;
use crate::http::validate;

/// How old a sign-in may be for a change of phone (design, section 3; ASVS 7.5.1).
const FRESH_SECS: i64 = 600;
/// How long the notice to the old number is worth sending.
const NOTICE_SECS: i64 = 600;

/// Asks for a code at the new number. Whether it has an account already is told only to who proves it is his.
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
        .seal(&phone.e164().to_owned(), &["phone change", &user.to_string()])?;
    let wanted = Wanted {
        phone,
        scope: Scope::PhoneChange(user),
        route: "phone",
        profile: None,
        locale: Some(signed_in.user.locale.clone()),
        channel: Channel::Sms,
    };
    let accepted = ask::<OtpRequested>(&app, &caller, wanted).await?;
    app.engines.store.note_change(user, sealed.as_str(), app.config.otp.ttl_secs * 1000).await?;
    Ok(accepted)
}

/// Proves the new number by its code; then it replaces the old one, the other sessions end and the old number is told.
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
        .ok_or_else(|| ApiError::field("otp", "invalid", "Not a code."))?;
    let user = signed_in.user.id;
    // Without an ask the guess is judged at the number that is there: no code was ever issued for it, and the answer
    // is the same as for a wrong one.
    let phone = wanted_phone(&app, &signed_in).await?;
    let phone_key = app.engines.keys.phone_key(&phone);
    let former_key = app.engines.keys.former_phone_key(&phone);
    let guess = Guess {
        phone: &phone,
        phone_key: &phone_key,
        former_key: former_key.as_ref(),
        scope: Scope::PhoneChange(user),
        code: &code,
        request_id: None,
        known_device: None,
    };
    let right = guess.judge(&app, &caller).await?;
    let notice = notice_to_old(&app, &signed_in, right.now)?;
    let old = Phone::trusted(&signed_in.user.phone_number)?;
    let (old_sealed, until) = former_phone::seal(&app.engines.keys, user, &old, right.now)?;
    // To the number that it has already is no change.
    let undo = (old != phone).then(|| Undo { old_sealed: old_sealed.as_str(), until });
    let change = PhoneChange {
        user_id: user,
        guesser: guess.guesser(),
        country: phone.region(),
        code: UsedCode { id: right.code_id, expires_at: right.expires_at },
        request_id: right.answered(None),
        limits: app.guess_limits(),
        keep: signed_in.session.id,
        notice: undo.is_some().then_some(&notice),
        undo,
        now: right.now,
    };
    let code = right.code_id;
    match app.accounts.change_phone(change).await {
        Ok(PhoneChangeOutcome::Changed(user)) => {
            // The old number is told at once: if it was not its owner who did this, each second counts.
            app.outbox_filled.notify_one();
            guess.close(&app, code, Closing::Used(right.answered(None))).await;
            Ok(Json(user.into()))
        }
        Ok(PhoneChangeOutcome::Taken) => {
            guess.close(&app, code, Closing::Used(right.answered(None))).await;
            Err(ApiError::PhoneNumberTaken)
        }
        Ok(PhoneChangeOutcome::CodeUsed) => Err(guess.refused(&app, &right).await),
        Ok(PhoneChangeOutcome::Gone) => Err(ApiError::SessionRevoked),
        Ok(PhoneChangeOutcome::Wait { until }) => {
            Err(guess.unjudged(&app, Refund::Unused(code), Closed::Wait { until }, right.now).await)
        }
        Ok(PhoneChangeOutcome::Locked { until }) => Err(guess
            .unjudged(&app, Refund::Unused(code), Closed::Locked { until }, right.now)
            .await),
        // It may have been committed all the same.
        Err(error) => Err(guess.unanswered(&app, Refund::Guess(code), error).await),
    }
}

async fn wanted_phone(app: &App, signed_in: &SignedIn) -> Result<Phone, ApiError> {
    let user = signed_in.user.id;
    let e164 = match app.engines.store.noted_change(user).await? {
        Some(sealed) => app
            .engines
            .keys
            .event
            .open(&Sealed::from_text(sealed), &["phone change", &user.to_string()])?,
        None => signed_in.user.phone_number.clone(),
    };
    Ok(Phone::trusted(&e164)?)
}

/// The text to the old number, as an event that is written with the change: it goes out if and only if the change did.
/// It names neither number (ASVS 6.3.7: users are told of changes to their credentials).
fn notice_to_old(app: &App, signed_in: &SignedIn, now: Timestamp) -> anyhow::Result<Prepared> {
    let engines = &app.engines;
    let old = Phone::trusted(&signed_in.user.phone_number)?;
    let (event_id, message_id) = (EventId::new(&engines.clock), MessageId::new(&engines.clock));
    // By the store's time, by which sms-worker judges it.
    let not_after = now.plus_secs(NOTICE_SECS);
    let text = app.texts.phone_changed(Some(&signed_in.user.locale));
    let text = Text { phone_number: old.e164().to_owned(), text };
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
