//! What staff do to an account: each act is a form of its own, and needs its role.

use accounts::User;
use anyhow::Context as _;
use axum::extract::State;
use axum::response::{IntoResponse as _, Redirect, Response};
use domain::ids::{SessionId, UserId};
use domain::vocabulary::Channel;

use super::{DELETED, PATH, one};
use crate::app::App;
use crate::codes::caller::Caller;
use crate::console::form::{Form, StaffForm};
use crate::console::page::{JSON, download};
use crate::console::params::{PageId, PagePair};
use crate::console::refused::Refused;
use crate::console::session::Staff;
use crate::http::error::ApiError;
use crate::staff;
use crate::staff::rights::Act;
use crate::staff::users::{acts, export, notes};

/// How many of the phone's last digits confirm a deletion.
const TYPED: usize = 4;

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
            "noted" => "The note is written. Staff see it, and the account's owner does not.",
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
}

/// `POST /console/users/{id}/{act}`.
pub(crate) async fn act(
    State(app): State<App>,
    caller: Caller,
    PagePair(id, act): PagePair<UserId, String>,
    StaffForm { staff, form }: StaffForm,
) -> Result<Response, Refused> {
    let user = app.accounts.get(id).await?.ok_or(ApiError::NotFound)?;
    let deed = Deed { app: &app, staff: &staff, form: &form, user };
    let done = match act.as_str() {
        "block" => deed.block().await?,
        "unblock" => deed.unblock().await?,
        "unlock" => deed.unlock().await?,
        "clear-password" => deed.clear_password().await?,
        "end-sessions" => deed.end_sessions().await?,
        "note" => deed.note().await?,
        "resend" => return deed.resend(&caller).await,
        "export" => return deed.export().await,
        "delete" => return deed.delete().await,
        _ => return Err(ApiError::NotFound.into()),
    };
    Ok(Redirect::to(&format!("{PATH}/{id}?done={done}")).into_response())
}

impl Deed<'_> {
    async fn block(&self) -> Result<&'static str, Refused> {
        self.staff.may_on(Act::BlockUser, &self.user)?;
        let reason = self.form.reason()?;
        let done = acts::block(self.app, &self.staff.actor(), &self.user, reason).await?;
        Ok(if done { "blocked" } else { "nothing" })
    }

    async fn unblock(&self) -> Result<&'static str, Refused> {
        self.staff.may_on(Act::BlockUser, &self.user)?;
        let done = acts::unblock(self.app, &self.staff.actor(), &self.user).await?;
        Ok(if done { "unblocked" } else { "nothing" })
    }

    async fn unlock(&self) -> Result<&'static str, Refused> {
        self.staff.may_on(Act::OpenLock, &self.user)?;
        let done = acts::unlock(self.app, &self.staff.actor(), &self.user).await?;
        Ok(if done { "unlocked" } else { "nothing" })
    }

    async fn clear_password(&self) -> Result<&'static str, Refused> {
        self.staff.may_on(Act::ClearPassword, &self.user)?;
        let done = acts::clear_password(self.app, &self.staff.actor(), &self.user).await?;
        Ok(if done { "password" } else { "nothing" })
    }

    async fn end_sessions(&self) -> Result<&'static str, Refused> {
        self.staff.may_on(Act::EndSessions, &self.user)?;
        let only = match self.form.text("session") {
            "" => None,
            one => Some(one.parse::<SessionId>().map_err(|_| ApiError::NotFound)?),
        };
        let ended = acts::end_sessions(self.app, &self.staff.actor(), &self.user, only).await?;
        Ok(match (ended, only) {
            (0, _) => "nothing",
            (_, Some(_)) => "session",
            (_, None) => "sessions",
        })
    }

    async fn note(&self) -> Result<&'static str, Refused> {
        self.staff.may_on(Act::AddNote, &self.user)?;
        let note = staff::note(self.form.text("note"))?;
        notes::add(self.app, &self.staff.actor(), self.user.id, note).await?;
        Ok("noted")
    }

    /// All that is stored about the account, as a file.
    async fn export(&self) -> Result<Response, Refused> {
        self.staff.may_on(Act::ExportUser, &self.user)?;
        let (id, reason) = (self.user.id, self.form.reason()?);
        let export = export::export(self.app, &self.staff.actor(), id, reason).await?;
        let json = serde_json::to_string_pretty(&export).context("write an export")?;
        Ok(download(&format!("account-{id}.json"), JSON, json))
    }

    /// Deletes the account, if the last digits of its phone are typed: a slip on another page deletes nobody.
    async fn delete(&self) -> Result<Response, Refused> {
        self.staff.may_on(Act::DeleteUser, &self.user)?;
        let (reason, typed) = (self.form.reason()?, self.form.text("digits"));
        if typed.len() != TYPED || !self.user.phone_number.expose().ends_with(typed) {
            let detail = "These are not the last four digits of the phone. Nothing was deleted.";
            return Err(ApiError::field("digits", "invalid", detail).into());
        }
        acts::delete(self.app, &self.staff.actor(), &self.user, reason).await?;
        Ok(Redirect::to(&format!("{PATH}?done={DELETED}")).into_response())
    }

    async fn resend(&self, caller: &Caller) -> Result<Response, Refused> {
        self.staff.may(Act::Resend)?;
        let channel = match self.form.text("channel") {
            "voice" if self.app.config.sms.voice => Channel::Voice,
            _ => Channel::Sms,
        };
        let actor = self.staff.actor();
        let request = acts::send_code(self.app, &actor, &self.user, channel, caller).await?;
        Ok(Redirect::to(&format!("/console/requests/{request}")).into_response())
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
    let user = app.accounts.get(id).await?.ok_or(ApiError::NotFound)?;
    let number = acts::reveal(&app, &staff.actor(), &user, reason).await?;
    one::page(&app, &staff, id, None, Some(number)).await
}
