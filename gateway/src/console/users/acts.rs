//! What staff do to an account: each act is a form of its own, needs its role, and is in the audit with whoever did it.

use accounts::{Claimant, User};
use axum::extract::{FromRequestParts, Path, State};
use axum::response::{IntoResponse as _, Redirect, Response};
use domain::event::OtpRequested;
use domain::ids::{SessionId, UserId};
use domain::phone::Phone;
use domain::timestamp::Timestamp;
use domain::vocabulary::Channel;
use http::request::Parts;
use serde_json::json;
use store::Scope;
use texts::Notice;

use super::{PATH, one};
use crate::app::App;
use crate::codes::caller::Caller;
use crate::codes::request::{NewCodeRequest, place_code_request};
use crate::console::form::{Form, StaffForm};
use crate::console::params::PageId;
use crate::console::refused::Refused;
use crate::console::rights::Act;
use crate::console::session::Staff;
use crate::http::error::ApiError;

/// What an act did, as the page that follows tells it.
pub(super) struct Done;

impl Done {
    pub fn words(name: &str) -> Option<&'static str> {
        Some(match name {
            "created" => "The user was created, and can sign in by code now.",
            "blocked" => "The account is blocked, and its sessions have ended.",
            "unblocked" => "The account is no longer blocked.",
            "unlocked" => "The count of wrong attempts is reset: the next attempt is judged.",
            "password" => "The password was removed, and the sessions that it started have ended.",
            "session" => "The session has ended: its next refresh is refused.",
            "sessions" => "All sessions have ended: their next refresh is refused.",
            "nothing" => "Nothing had to be done: it was so already.",
            _ => return None,
        })
    }
}

/// One act on one account.
struct Deed<'a> {
    app: &'a App,
    staff: &'a Staff,
    form: &'a Form,
    user: User,
    now: Timestamp,
}

/// The account and the act in an address.
pub(crate) struct PathParts(UserId, String);

impl<S: Send + Sync> FromRequestParts<S> for PathParts {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        let read = Path::<(String, String)>::from_request_parts(parts, state).await;
        let Path((id, act)) = read.map_err(|_| ApiError::NotFound)?;
        Ok(Self(id.parse().map_err(|_| ApiError::NotFound)?, act))
    }
}

/// `POST /console/users/{id}/{act}`.
pub(crate) async fn act(
    State(app): State<App>,
    caller: Caller,
    PathParts(id, act): PathParts,
    StaffForm { staff, form }: StaffForm,
) -> Result<Response, Refused> {
    let user = app.accounts.get(id).await?.ok_or(ApiError::NotFound)?;
    let now = app.engines.clock.now();
    let deed = Deed { app: &app, staff: &staff, form: &form, user, now };
    let done = match act.as_str() {
        "block" => deed.block().await?,
        "unblock" => deed.unblock().await?,
        "unlock" => deed.unlock().await?,
        "clear-password" => deed.clear_password().await?,
        "end-sessions" => deed.end_sessions().await?,
        "resend" => return deed.resend(&caller).await,
        _ => return Err(ApiError::NotFound.into()),
    };
    app.outbox_filled.notify_one();
    Ok(Redirect::to(&format!("{PATH}/{id}?done={done}")).into_response())
}

impl Deed<'_> {
    async fn block(&self) -> Result<&'static str, Refused> {
        self.staff.may_on(Act::BlockUser, &self.user)?;
        let (reason, actor) = (self.form.reason()?, self.staff.actor());
        let done = self.app.accounts.block(self.user.id, reason, &actor, self.now).await?;
        Ok(if done { "blocked" } else { "nothing" })
    }

    async fn unblock(&self) -> Result<&'static str, Refused> {
        self.staff.may_on(Act::BlockUser, &self.user)?;
        let actor = self.staff.actor();
        let done = self.app.accounts.unblock(self.user.id, &actor, self.now).await?;
        Ok(if done { "unblocked" } else { "nothing" })
    }

    async fn unlock(&self) -> Result<&'static str, Refused> {
        self.staff.may_on(Act::OpenLock, &self.user)?;
        let (number, keys) = (&self.user.phone_number, &self.app.engines.keys);
        let (key, former) = (keys.phone_key(number), keys.former_phone_key(number));
        let claimant = Claimant {
            phone_number: number,
            phone_key: &key,
            former_key: former.as_ref(),
            known_device: None,
        };
        let (limits, actor) = (self.app.attempt_limits(), self.staff.actor());
        let done = self.app.attempts.reset_failures(claimant, limits, &actor, self.now).await?;
        Ok(if done { "unlocked" } else { "nothing" })
    }

    async fn clear_password(&self) -> Result<&'static str, Refused> {
        self.staff.may_on(Act::ClearPassword, &self.user)?;
        let notice = self.app.notice(&self.user, Notice::PasswordChanged)?;
        let (id, actor) = (self.user.id, self.staff.actor());
        let cleared = self.app.accounts.clear_password(id, notice.as_ref(), &actor, self.now);
        Ok(if cleared.await? { "password" } else { "nothing" })
    }

    async fn end_sessions(&self) -> Result<&'static str, Refused> {
        self.staff.may_on(Act::EndSessions, &self.user)?;
        let (id, actor) = (self.user.id, self.staff.actor());
        let only = match self.form.text("session") {
            "" => None,
            one => Some(one.parse::<SessionId>().map_err(|_| ApiError::NotFound)?),
        };
        let ended = self.app.sessions.end_by_staff(id, only, &actor, self.now).await?;
        Ok(match (ended, only) {
            (0, _) => "nothing",
            (_, Some(_)) => "session",
            (_, None) => "sessions",
        })
    }

    /// Sends a code, within the limits that hold for everybody.
    async fn resend(&self, caller: &Caller) -> Result<Response, Refused> {
        self.staff.may(Act::Resend)?;
        let channel = match self.form.text("channel") {
            "voice" if self.app.config.sms.voice => Channel::Voice,
            _ => Channel::Sms,
        };
        let wanted = NewCodeRequest {
            phone: Phone::from(self.user.phone_number.clone()),
            scope: Scope::Login,
            route: "otp",
            profile: None,
            locale: Some(self.user.locale.clone()),
            channel,
            known_device: None,
        };
        let first = place_code_request::<OtpRequested>(self.app, caller, &wanted).await?;
        let detail = json!({ "request": first.request_id, "channel": channel.as_str() });
        let (actor, subject) = (self.staff.actor(), self.user.id.to_string());
        let audit = &self.app.audit;
        audit.add(self.now, &actor, "code_requested_by_staff", &subject, &detail).await?;
        let address = format!("/console/requests/{}", first.request_id);
        Ok(Redirect::to(&address).into_response())
    }
}

/// `POST /console/users/{id}/reveal`: the page with the whole number, once. The audit has it before the page does.
pub(crate) async fn reveal(
    State(app): State<App>,
    PageId(id): PageId<UserId>,
    StaffForm { staff, form }: StaffForm,
) -> Result<Response, Refused> {
    staff.may(Act::Reveal)?;
    let reason = form.reason()?;
    app.accounts.get(id).await?.ok_or(ApiError::NotFound)?;
    let now = app.engines.clock.now();
    let detail = json!({ "reason": reason });
    app.audit.add(now, &staff.actor(), "phone_revealed", &id.to_string(), &detail).await?;
    one::page(&app, &staff, id, None, true).await
}
