//! `/console/users/{id}`: one account. First, why its owner cannot sign in now.

use accounts::{AuditFilter, KeptSession, Person};
use askama::Template;
use axum::extract::State;
use axum::response::Response;
use domain::ids::UserId;
use domain::timestamp::Timestamp;
use ledger::MessageFilter;

use super::PATH;
use super::acts::Done;
use super::standing::{self, Standing};
use crate::app::App;
use crate::console::audit::lines::{self, Line};
use crate::console::page::{Frame, html, name_of};
use crate::console::params::{PageId, Params};
use crate::console::refused::Refused;
use crate::console::requests::Row as Text;
use crate::console::rights::{Act, may_touch};
use crate::console::session::Staff;
use crate::console::time::Moment;
use crate::http::error::ApiError;

/// How many rows of each list the page shows; the lists themselves have all.
const SESSIONS: u32 = 20;
const TEXTS: u32 = 5;
const EVENTS: u32 = 25;

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
    block: bool,
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
    page(&app, &staff, id, done, false).await
}

/// The page of an account; with its whole number if that was revealed just now.
pub(super) async fn page(
    app: &App,
    staff: &Staff,
    id: UserId,
    done: Option<&'static str>,
    is_revealed: bool,
) -> Result<Response, Refused> {
    let now = app.engines.clock.now();
    let person = app.accounts.person(id, now).await?.ok_or(ApiError::NotFound)?;
    let filter =
        MessageFilter { phone_number: Some(&person.user.phone_number), ..Default::default() };
    let texts = app.ledger.page(filter, None, TEXTS).await?;
    let standing = standing::of(app, &person, &texts, now).await?;
    let kept = app.sessions.kept(id, SESSIONS).await?;
    let sessions: Vec<_> = kept.into_iter().map(|kept| session(app, kept, now)).collect();
    let subject = id.to_string();
    let filter = AuditFilter { subject: Some(&subject), ..Default::default() };
    let entries = app.audit.search(filter, None, EVENTS).await?;
    let live_sessions = sessions.iter().filter(|session| session.ended.is_none()).count();
    html(&UserPage {
        frame: Frame::new(staff, PATH, name_of(&person.user)),
        phone: if is_revealed {
            person.user.phone_number.expose().to_owned()
        } else {
            person.user.phone_number.to_string()
        },
        is_revealed,
        name: name_of(&person.user),
        may: May::of(app, staff, &person),
        id: subject,
        created: Moment::of(person.user.created_at, now),
        last_seen: Moment::of(person.last_seen, now),
        has_password: person.has_password,
        is_blocked: person.user.blocked,
        locale: person.user.locale,
        country: person.user.country,
        role: person.user.role,
        standing,
        sessions,
        live_sessions,
        texts: texts.iter().map(|text| Text::of(text, now)).collect(),
        events: lines::of(app, entries, now).await?,
        done,
    })
}

impl May {
    fn of(app: &App, staff: &Staff, person: &Person) -> Self {
        let on = |act| staff.can(act) && may_touch(staff.role, &person.user);
        Self {
            reveal: staff.can(Act::Reveal),
            sessions: on(Act::EndSessions),
            unlock: on(Act::OpenLock),
            resend: staff.can(Act::Resend),
            call: app.config.sms.voice,
            clear_password: on(Act::ClearPassword) && person.has_password,
            block: on(Act::BlockUser),
        }
    }
}

fn session(app: &App, kept: KeptSession, now: Timestamp) -> Session {
    let KeptSession { session, ended } = kept;
    // One whose time is over ends with the next sweep; it is refused since then.
    let over = (session.expires_at <= now).then(|| (session.expires_at, "expired".to_owned()));
    let access_secs = app.config.tokens.access_ttl_secs;
    let ended = ended.or(over).map(|(at, why)| {
        let until = at.plus_secs(access_secs);
        (Moment::of(at, now), why, (until > now).then(|| Moment::of(until, now)))
    });
    Session {
        id: session.id.to_string(),
        method: match session.method {
            accounts::Method::Sms => "text",
            accounts::Method::Call => "call",
            accounts::Method::Pwd => "password",
        },
        is_bound: session.jkt.is_some(),
        began: Moment::of(session.created_at, now),
        last_seen: Moment::of(session.last_seen_at, now),
        device: session.device,
        ip: session.ip,
        ended,
    }
}
