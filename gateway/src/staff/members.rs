//! Who has which role, where they are signed in at the console, and what each role may do.

use accounts::{AuditFilter, RoleChange, RoleChanged, ShownConsoleSession, StaffRole, User};
use domain::ids::UserId;
use domain::timestamp::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::App;
use crate::console::session::IDLE_SECS;
use crate::http::error::ApiError;
use crate::openapi::words;
use crate::staff::rights::Act;

/// A page of the accounts that have a role.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = StaffList, examples(json!({
    "items": [{
        "id": "019c2b7f-02a9-7d10-a3c4-6e8f1b2d3c54",
        "name": "Ada Lovelace",
        "phone_number": "+1415***71",
        "role": "operator",
        "blocked": false,
        "last_sign_in": "2026-11-30T08:10:00.000Z",
        "sessions": [{
            "device": "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
            "ip": "203.0.113.0",
            "began_at": "2026-11-30T08:10:00.000Z",
            "last_seen_at": "2026-11-30T10:23:00.000Z",
            "expires_at": "2026-11-30T20:10:00.000Z",
        }],
    }],
    "next": null,
    "as_of": "2026-11-30T10:24:10.000Z",
    "rights": [{ "words": "look at what staff see", "least": "viewer" }],
})))]
pub(crate) struct StaffView {
    /// In the order of their ids.
    pub items: Vec<MemberView>,
    /// The `before` of the next page, or null.
    #[schema(required = true)]
    pub next: Option<String>,
    #[schema(value_type = words::Time)]
    pub as_of: Timestamp,
    /// Every act of staff, with the least role for it.
    pub rights: Vec<RightView>,
}

/// An account with a role.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = StaffMember)]
pub(crate) struct MemberView {
    #[schema(value_type = uuid::Uuid)]
    pub id: String,
    /// Empty if the account has none.
    pub name: String,
    /// Masked.
    pub phone_number: String,
    /// `viewer`, `support`, `operator` or `owner`. A role that this version does not know opens nothing.
    pub role: String,
    /// A blocked account opens nothing, whatever its role.
    pub blocked: bool,
    /// The last sign-in at the console that the audit knows.
    #[schema(value_type = Option<words::Time>, required = true)]
    pub last_sign_in: Option<Timestamp>,
    /// Its live sessions at the console, the last begun first.
    pub sessions: Vec<MemberSession>,
}

/// A live session at the console.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = StaffSession)]
pub(crate) struct MemberSession {
    /// The browser's own name for itself.
    pub device: String,
    /// Cut to its network.
    pub ip: String,
    #[schema(value_type = words::Time)]
    pub began_at: Timestamp,
    /// Written once a minute.
    #[schema(value_type = words::Time)]
    pub last_seen_at: Timestamp,
    /// It ends then in any case.
    #[schema(value_type = words::Time)]
    pub expires_at: Timestamp,
}

/// What staff do, and who may.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = StaffRight)]
pub(crate) struct RightView {
    /// What it is, after "may".
    pub words: &'static str,
    /// The least role; each role above may do it as well.
    pub least: &'static str,
}

/// The accounts with a role after this one, `rows` at most.
pub(crate) async fn read(
    app: &App,
    after: Option<UserId>,
    rows: u32,
) -> Result<StaffView, ApiError> {
    let now = app.engines.clock.now();
    let mut users = app.accounts.staff_page(after, rows + 1).await?;
    let has_more = users.len() > rows as usize;
    users.truncate(rows as usize);
    let live = app.console_sessions.all_live(IDLE_SECS, now).await?;
    let next = users.last().filter(|_| has_more).map(|user| user.id.to_string());
    let mut members = Vec::with_capacity(users.len());
    for user in users {
        let last_sign_in = last_sign_in(app, user.id).await?;
        members.push(member(&user, last_sign_in, &live));
    }
    let right = |act: &Act| RightView { words: act.words(), least: act.least().as_str() };
    Ok(StaffView { items: members, next, as_of: now, rights: Act::ALL.iter().map(right).collect() })
}

async fn last_sign_in(app: &App, user: UserId) -> Result<Option<Timestamp>, ApiError> {
    let actor = user.to_string();
    let filter =
        AuditFilter { actor: Some(&actor), act: Some("console_signed_in"), ..Default::default() };
    Ok(app.audit.search(filter, None, 1).await?.first().map(|entry| entry.at))
}

fn member(
    user: &User,
    last_sign_in: Option<Timestamp>,
    live: &[ShownConsoleSession],
) -> MemberView {
    let own = live.iter().filter(|session| session.user_id == user.id);
    let session = |session: &ShownConsoleSession| MemberSession {
        device: session.device.clone(),
        ip: session.ip.clone(),
        began_at: session.created_at,
        last_seen_at: session.last_seen_at,
        expires_at: session.expires_at,
    };
    MemberView {
        id: user.id.to_string(),
        name: format!("{} {}", user.first_name, user.last_name).trim().to_owned(),
        phone_number: user.phone_number.to_string(),
        role: user
            .staff_role()
            .map_or_else(|| user.role.clone().unwrap_or_default(), |role| role.as_str().to_owned()),
        blocked: user.blocked,
        last_sign_in,
        sessions: own.map(session).collect(),
    }
}

/// Gives an account a role, or removes it with `None`, in the name of an owner. Written to the audit with the reason.
///
/// # Errors
/// 404 without such an account. 400 if it is the owner's own account, or the owner is none any more.
pub(crate) async fn change_role(
    app: &App,
    owner: UserId,
    user: UserId,
    role: Option<StaffRole>,
    reason: &str,
) -> Result<bool, ApiError> {
    let change = RoleChange { by: owner, user, role, reason };
    let now = app.engines.clock.now();
    let refuse = |detail: &str| Err(ApiError::field("user", "not_allowed", detail));
    match app.accounts.change_role(change, now).await? {
        RoleChanged::Done => Ok(true),
        RoleChanged::Unchanged => Ok(false),
        RoleChanged::Unknown => Err(ApiError::NotFound),
        RoleChanged::Own => refuse(
            "Nobody changes their own role: so the last owner stays. Another owner can change it, or an operator of \
             the server: latchkey staff.",
        ),
        RoleChanged::NotOwner => refuse("Only an owner changes roles, and you are none any more."),
    }
}
