//! `/console/users/{id}`: one account. First, why its owner cannot sign in now.

use accounts::User;
use askama::Template;
use axum::extract::State;
use axum::response::Response;
use domain::ids::UserId;
use domain::timestamp::Timestamp;

use super::PATH;
use super::acts::Done;
use super::standing::Standing;
use crate::app::App;
use crate::console::audit::lines::{self, Line, Named};
use crate::console::ids::linked;
use crate::console::page::{Frame, html};
use crate::console::params::{PageId, Params};
use crate::console::refused::Refused;
use crate::console::requests::Row as Text;
use crate::console::session::Staff;
use crate::console::time::Moment;
use crate::http::error::ApiError;
use crate::http::validate;
use crate::staff::audit::AuditRow;
use crate::staff::rights::{Act, may_touch};
use crate::staff::users::notes::{self, UserNote};
use crate::staff::users::one::{self, SessionRow};

#[derive(Template)]
#[template(path = "console/users/one.html")]
struct UserPage {
    frame: Frame,
    id: String,
    /// Masked, unless it was revealed just now.
    phone: String,
    is_revealed: bool,
    name: String,
    locale: String,
    country: String,
    role: Option<String>,
    created: Moment,
    last_seen: Moment,
    has_password: bool,
    is_blocked: bool,
    standing: Standing,
    sessions: Vec<Session>,
    live_sessions: usize,
    texts: Vec<Text>,
    notes: Vec<Note>,
    events: Vec<Line>,
    done: Option<&'static str>,
    may: May,
}

/// What the page offers to whoever looks at it.
#[expect(clippy::struct_excessive_bools, reason = "each is one act, on its own")]
struct May {
    reveal: bool,
    sessions: bool,
    unlock: bool,
    resend: bool,
    /// By a call as well.
    call: bool,
    clear_password: bool,
    note: bool,
    block: bool,
    export: bool,
    delete: bool,
}

struct Note {
    at: Moment,
    actor: Named,
    text: String,
}

impl Note {
    /// The text as a part of the page.
    fn html(&self) -> String {
        linked(&self.text)
    }
}

struct Session {
    id: String,
    device: String,
    ip: String,
    method: &'static str,
    is_bound: bool,
    began: Moment,
    last_seen: Moment,
    /// When it ended, why, and until when others may accept its access token.
    ended: Option<(Moment, String, Option<Moment>)>,
}

pub(crate) async fn show(
    State(app): State<App>,
    staff: Staff,
    PageId(id): PageId<UserId>,
    params: Params,
) -> Result<Response, Refused> {
    staff.may(Act::See)?;
    let done = params.get("done").and_then(Done::words);
    page(&app, &staff, id, done, None).await
}

/// The page of an account; with its whole number if that was revealed just now.
pub(super) async fn page(
    app: &App,
    staff: &Staff,
    id: UserId,
    done: Option<&'static str>,
    revealed: Option<&str>,
) -> Result<Response, Refused> {
    let account = app.accounts.get(id).await?.ok_or(ApiError::NotFound)?;
    let view = one::read(app, id).await?;
    let now = view.as_of;
    let sessions: Vec<_> = view.sessions.into_iter().map(|it| session(it, now)).collect();
    let live_sessions = sessions.iter().filter(|session| session.ended.is_none()).count();
    let name = super::name_of(&view.user);
    html(&UserPage {
        frame: Frame::new(staff, PATH, name.clone()),
        is_revealed: revealed.is_some(),
        phone: revealed.map_or(view.user.phone_number, str::to_owned),
        name,
        may: May::of(app, staff, &account, view.user.has_password),
        id: id.to_string(),
        created: Moment::of(view.user.created_at, now),
        last_seen: Moment::of(view.user.last_seen_at, now),
        has_password: view.user.has_password,
        is_blocked: view.block.is_some(),
        locale: view.user.locale,
        country: view.user.country,
        role: view.user.role,
        standing: Standing::of(view.standing, now),
        sessions,
        live_sessions,
        texts: view.texts.iter().map(|text| Text::of(text, now)).collect(),
        notes: view.notes.into_iter().map(|it| note(it, now)).collect(),
        events: lines::of(view.events.into_iter().map(without_note).collect(), now),
        done,
    })
}

impl May {
    fn of(app: &App, staff: &Staff, account: &User, has_password: bool) -> Self {
        let on = |act| staff.can(act) && may_touch(staff.role, account);
        Self {
            reveal: staff.can(Act::Reveal),
            sessions: on(Act::EndSessions),
            unlock: on(Act::OpenLock),
            resend: staff.can(Act::Resend),
            call: app.config.sms.voice,
            clear_password: on(Act::ClearPassword) && has_password,
            note: on(Act::AddNote),
            block: on(Act::BlockUser),
            export: on(Act::ExportUser),
            delete: on(Act::DeleteUser) && staff.user.id != account.id,
        }
    }
}

fn note(note: UserNote, now: Timestamp) -> Note {
    Note {
        at: Moment::of(note.at, now),
        actor: lines::actor(note.actor, note.actor_kind, note.actor_name),
        text: validate::visible(&note.note),
    }
}

/// Notes have a list of their own: a page that has each twice weighs too much.
fn without_note(mut event: AuditRow) -> AuditRow {
    if event.act == notes::ACT {
        event.detail.clear();
    }
    event
}

fn session(session: SessionRow, now: Timestamp) -> Session {
    let access = Moment::maybe(session.access_ends_at, now);
    let why = session.ended_reason.unwrap_or_default();
    Session {
        id: session.id.to_string(),
        method: match session.method {
            "call" => "call",
            "pwd" => "password",
            _ => "text",
        },
        is_bound: session.is_bound,
        began: Moment::of(session.created_at, now),
        last_seen: Moment::of(session.last_seen_at, now),
        device: session.device,
        ip: session.ip,
        ended: session.ended_at.map(|at| (Moment::of(at, now), why, access)),
    }
}
