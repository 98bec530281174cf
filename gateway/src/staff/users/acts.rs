//! What staff do to an account: each act is in the audit with whoever did it, in the transaction that does it.

use accounts::{Claimant, Deleter, User};
use domain::event::OtpRequested;
use domain::ids::{RequestId, SessionId};
use domain::phone::Phone;
use domain::vocabulary::Channel;
use serde_json::json;
use store::Scope;
use texts::Notice;

use crate::app::App;
use crate::codes::caller::Caller;
use crate::codes::request::{NewCodeRequest, place_code_request};
use crate::deletion;
use crate::http::error::ApiError;

/// Blocks an account and ends its sessions. Returns whether it was not blocked before.
pub(crate) async fn block(
    app: &App,
    actor: &str,
    user: &User,
    reason: &str,
) -> Result<bool, ApiError> {
    let done = app.accounts.block(user.id, reason, actor, app.engines.clock.now()).await?;
    app.outbox_filled.notify_one();
    Ok(done)
}

/// Returns whether the account was blocked.
pub(crate) async fn unblock(app: &App, actor: &str, user: &User) -> Result<bool, ApiError> {
    Ok(app.accounts.unblock(user.id, actor, app.engines.clock.now()).await?)
}

/// Resets the count of wrong attempts. Returns whether there were any.
pub(crate) async fn unlock(app: &App, actor: &str, user: &User) -> Result<bool, ApiError> {
    let (number, keys) = (&user.phone_number, &app.engines.keys);
    let (key, former) = (keys.phone_key(number), keys.former_phone_key(number));
    let claimant = Claimant {
        phone_number: number,
        phone_key: &key,
        former_key: former.as_ref(),
        known_device: None,
    };
    let (limits, now) = (app.attempt_limits(), app.engines.clock.now());
    Ok(app.attempts.reset_failures(claimant, limits, actor, now).await?)
}

/// Removes the password, ends the sessions that it started and tells the owner. Returns whether there was one.
pub(crate) async fn clear_password(app: &App, actor: &str, user: &User) -> Result<bool, ApiError> {
    let notice = app.notice(user, Notice::PasswordChanged)?;
    let now = app.engines.clock.now();
    let done = app.accounts.clear_password(user.id, notice.as_ref(), actor, now).await?;
    app.outbox_filled.notify_one();
    Ok(done)
}

/// Ends one session of the account, or all. Returns how many were live.
pub(crate) async fn end_sessions(
    app: &App,
    actor: &str,
    user: &User,
    only: Option<SessionId>,
) -> Result<u64, ApiError> {
    let ended = app.sessions.end_by_staff(user.id, only, actor, app.engines.clock.now()).await?;
    app.outbox_filled.notify_one();
    Ok(ended)
}

/// Sends a code, within the limits that hold for everybody: those of the number, and of the caller's address.
pub(crate) async fn send_code(
    app: &App,
    actor: &str,
    user: &User,
    channel: Channel,
    caller: &Caller,
) -> Result<RequestId, ApiError> {
    let wanted = NewCodeRequest {
        phone: Phone::from(user.phone_number.clone()),
        scope: Scope::Login,
        route: "otp",
        profile: None,
        locale: Some(user.locale.clone()),
        channel,
        known_device: None,
    };
    let first = place_code_request::<OtpRequested>(app, caller, &wanted).await?;
    let detail = json!({ "request": first.request_id, "channel": channel.as_str() });
    let (now, subject) = (app.engines.clock.now(), user.id.to_string());
    app.audit.add(now, actor, "code_requested_by_staff", &subject, &detail).await?;
    Ok(first.request_id)
}

/// Writes to the audit that somebody sees the whole number: before anybody does.
pub(crate) async fn reveal<'a>(
    app: &App,
    actor: &str,
    user: &'a User,
    reason: &str,
) -> Result<&'a str, ApiError> {
    let (now, detail) = (app.engines.clock.now(), json!({ "reason": reason }));
    app.audit.add(now, actor, "phone_revealed", &user.id.to_string(), &detail).await?;
    Ok(user.phone_number.expose())
}

/// Deletes the account and every trace of its phone, and tells its owner.
///
/// # Errors
/// 400 if it is the actor's own account: so nobody ends it by a slip. 404 if it is gone.
pub(crate) async fn delete(
    app: &App,
    actor: &str,
    user: &User,
    reason: &str,
) -> Result<(), ApiError> {
    if actor == user.id.to_string() {
        let detail = "Nobody deletes their own account here: the app does that, or somebody else.";
        return Err(ApiError::field("user", "not_allowed", detail));
    }
    let done = deletion::delete(app, user, Deleter::StaffFor { actor, reason }).await?;
    if done { Ok(()) } else { Err(ApiError::NotFound) }
}
