//! The steps of `sign_in.postgres.sql` on SQLite, in the same order, for all sign-ins of a batch at once.
//!
//! Each statement is a switch to SQLite's thread and back, which costs more than the statement: so a step is one
//! statement for all, which takes its rows from a JSON array. The batch holds the file's only write lock from its
//! beginning, so what it reads first stays true until it has written, and one that is denied has written nothing. Two
//! sign-ins of a batch have neither a phone nor an account in common; a code they might, so that is looked at.

use std::collections::{HashMap, HashSet};

use serde::Serialize;

use super::lock_marks::{self, Mark};
use super::outbox::CutEvent;
use super::redeem::{Denied, UsedCode};
use super::sessions::{self, MAX_PER_USER, Session};
use super::sign_in::LoginOutcome;
use super::sign_in_document::Document;
use super::throttle::{self, Attempt, Judged, known_device};
use super::users::{self, User, user_returning};
use domain::ids::{SessionId, UserId};
use domain::phone::E164;
use domain::timestamp::Timestamp;
use sql::{Row, Work, args};

/// All that decides, for each attempt at a code.
const READ: &str = concat!(
    "SELECT j.nr, g.failures, g.last_judged_at, EXISTS (SELECT 1 ",
    known_device!(
        "j.known_device",
        "j.phone_number",
        "j.device_key",
        "j.devices_key",
        "j.kind",
        "j.now",
        "j.device_failures",
        "j.devices_failures",
        "j.code",
        "j.code_devices"
    ),
    ") AS by_device,
        EXISTS (SELECT 1 FROM code_guesses WHERE code_id = j.code_id AND failures >= j.code_attempts) AS spent,
        EXISTS (SELECT 1 FROM device_guesses WHERE device = j.device_key AND scope = j.code
            AND failures >= j.code_attempts) AS spent_by_device,
        EXISTS (SELECT 1 FROM used_codes WHERE code_id = j.code_id) AS used,
        (SELECT count(*) FROM sessions WHERE ended_at IS NULL AND expires_at > j.now
            AND user_id = (SELECT id FROM users WHERE phone_number = j.phone_number)) AS sessions
     FROM (SELECT key AS nr, value ->> 'phone_number' AS phone_number, value ->> 'phone_key' AS phone_key,
            value ->> 'kind' AS kind, value ->> 'now' AS now, unhex(value ->> 'known_device', '-') AS known_device,
            value ->> 'known_device' AS devices_key, value ->> 'device_key' AS device_key,
            value ->> 'device_failures' AS device_failures, value ->> 'devices_failures' AS devices_failures,
            value ->> 'code_devices' AS code_devices, value ->> 'code_attempts' AS code_attempts,
            value ->> 'code_id' AS code, unhex(value ->> 'code_id', '-') AS code_id
        FROM json_each($1)) AS j
     LEFT JOIN guesses g ON g.phone_key = j.phone_key AND g.kind = j.kind"
);

/// The fence, which no code passes twice, and the accounts, created if missing.
const REDEEM: &str = concat!(
    "INSERT INTO used_codes (code_id, used_at, expires_at)
        SELECT unhex(value ->> 'code_id', '-'), value ->> 'now', value ->> 'code_expires_at' FROM json_each($1);
     INSERT INTO users (id, phone_number, first_name, last_name, locale, country, created_at, updated_at, last_seen_at)
        SELECT unhex(value ->> 'new_user', '-'), value ->> 'phone_number', value ->> 'first_name',
            value ->> 'last_name', value ->> 'locale', value ->> 'country', value ->> 'now', value ->> 'now',
            value ->> 'now'
        FROM json_each($1) WHERE true
        ON CONFLICT (phone_number) DO UPDATE SET last_seen_at =
            CASE WHEN users.blocked_at IS NULL THEN excluded.last_seen_at ELSE users.last_seen_at END
        RETURNING ",
    user_returning!()
);

/// The sessions with what belongs to them, the events, the audit.
const WRITE: &str = "INSERT INTO sessions (id, user_id, method, generation, rotated_at, device, ip, created_at,
            last_seen_at, expires_at, absolute_expires_at, jkt, sweep_at)
        SELECT unhex(value ->> 'id', '-'), unhex(value ->> 'user_id', '-'), value ->> 'method', 1, value ->> 'now',
            value ->> 'device', value ->> 'ip', value ->> 'now', value ->> 'now', value ->> 'expires_at',
            value ->> 'absolute_expires_at', value ->> 'jkt', value ->> 'expires_at'
        FROM json_each($1);
     INSERT INTO login_keys (key_hash, body_hash, session_id, expires_at)
        SELECT value ->> 'key_hash', value ->> 'body_hash', unhex(value ->> 'id', '-'), value ->> 'key_expires_at'
        FROM json_each($1) WHERE value ->> 'key_hash' IS NOT NULL
        ON CONFLICT (key_hash) DO UPDATE SET body_hash = excluded.body_hash, session_id = excluded.session_id,
            expires_at = excluded.expires_at;
     DELETE FROM guesses WHERE (phone_key, kind) IN
        (SELECT value ->> 'phone_key', value ->> 'kind' FROM json_each($1));
     INSERT INTO outbox_entries (events, joined_by, created_at)
        SELECT value ->> 'events', value ->> 'joined_by', value ->> 'now' FROM json_each($2);
     INSERT INTO audit (at, actor, act, subject, detail)
        SELECT value ->> 'now', value ->> 'user', value ->> 'act', value ->> 'user', value ->> 'detail'
        FROM json_each($3)";

/// In a transaction.
pub(super) async fn sign_in_sqlite(
    work: &mut Work,
    documents: &[Document<'_>],
    sessions: &[Session],
) -> Result<Vec<Result<LoginOutcome, Denied>>, sqlx::Error> {
    let judged = judge(work, documents).await?;
    let let_through = documents.iter().zip(&judged).filter(|(_, judged)| judged.is_ok());
    let let_through: Vec<_> = let_through.map(|(document, _)| document).collect();
    if let_through.is_empty() {
        work.undo().await?;
        return Ok(judged.into_iter().filter_map(|it| it.err().map(Err)).collect());
    }
    let mut users = redeem(work, &let_through).await?;
    let mut written = Written::default();
    let mut outcomes = Vec::with_capacity(documents.len());
    for ((document, session), judged) in documents.iter().zip(sessions).zip(judged) {
        outcomes.push(match judged {
            Err(denied) => Err(denied),
            Ok(passed) => {
                let user = users.remove(document.attempt.phone_number);
                let user = user.ok_or(sqlx::Error::RowNotFound)?;
                Ok(sign_in_one(work, &mut written, document, session, passed, user).await?)
            }
        });
    }
    written.write(work).await?;
    Ok(outcomes)
}

/// An attempt that the code was accepted for.
struct Passed {
    judged: Judged,
    /// Whether the account has as many sessions as it may have.
    is_full: bool,
}

/// Whether each may have its session: its phone's waits and lock, its code's own attempts, the fence.
async fn judge(
    work: &mut Work,
    documents: &[Document<'_>],
) -> Result<Vec<Result<Passed, Denied>>, sqlx::Error> {
    #[derive(Serialize)]
    struct Asked<'a> {
        #[serde(flatten)]
        attempt: &'a Attempt<'a>,
        #[serde(flatten)]
        code: UsedCode,
    }
    let asked = documents.iter().map(|it| Asked { attempt: &it.attempt, code: it.code });
    let rows = work.rows(READ, args![&json(&asked.collect::<Vec<_>>())?]).await?;
    let mut found = HashMap::with_capacity(rows.len());
    for row in &rows {
        found.insert(usize::try_from(row.get::<i64>("nr")?).unwrap_or(usize::MAX), row);
    }
    let mut used = HashSet::new();
    let mut judged = Vec::with_capacity(documents.len());
    for (nr, document) in documents.iter().enumerate() {
        let row = found.get(&nr).ok_or(sqlx::Error::RowNotFound)?;
        let passed = judge_one(row, &document.attempt)?;
        // The one before it in this batch has not written the fence yet.
        judged.push(passed.and_then(|passed| {
            if used.insert(document.code.id) { Ok(passed) } else { Err(Denied::CodeUsed) }
        }));
    }
    Ok(judged)
}

fn judge_one(row: &Row, attempt: &Attempt<'_>) -> Result<Result<Passed, Denied>, sqlx::Error> {
    let past = match row.get::<Option<i64>>("failures")? {
        Some(_) => Some(throttle::past(row)?),
        None => None,
    };
    let judged = match throttle::judge(past, row.get("by_device")?, attempt) {
        Ok(judged) => judged,
        Err(throttle) => return Ok(Err(Denied::Throttled(throttle))),
    };
    let spent = if judged.by_device { "spent_by_device" } else { "spent" };
    if row.get(spent)? || row.get("used")? {
        return Ok(Err(Denied::CodeUsed));
    }
    let is_full = row.get::<i64>("sessions")? >= i64::from(MAX_PER_USER);
    Ok(Ok(Passed { judged, is_full }))
}

/// Puts the codes behind the fence. Returns the accounts by their numbers.
async fn redeem(
    work: &mut Work,
    documents: &[&Document<'_>],
) -> Result<HashMap<String, User>, sqlx::Error> {
    #[derive(Serialize)]
    struct Redeemed<'a> {
        #[serde(flatten)]
        code: UsedCode,
        now: i64,
        new_user: UserId,
        phone_number: &'a str,
        first_name: &'a str,
        last_name: &'a str,
        locale: &'a str,
        country: &'a str,
    }
    let redeemed = documents.iter().map(|document| Redeemed {
        code: document.code,
        now: document.attempt.now.ms(),
        new_user: document.new_user,
        phone_number: document.attempt.phone_number,
        first_name: document.first_name,
        last_name: document.last_name,
        locale: document.locale,
        country: document.country,
    });
    let rows = work.rows(REDEEM, args![&json(&redeemed.collect::<Vec<_>>())?]).await?;
    let named = |user: User| (E164::expose(&user.phone_number).to_owned(), user);
    rows.iter().map(|row| users::user(row).map(named)).collect()
}

/// The rest of one sign-in: what nearly every one writes is collected, and the rest written at once.
async fn sign_in_one<'a>(
    work: &mut Work,
    written: &mut Written<'a>,
    document: &'a Document<'_>,
    session: &'a Session,
    passed: Passed,
    user: User,
) -> Result<LoginOutcome, sqlx::Error> {
    let attempt = &document.attempt;
    let now = attempt.now;
    let created = user.id == document.new_user;
    if user.blocked {
        written.audit(now, user.id, "sign_in_refused_blocked", "{}");
        return Ok(LoginOutcome::Blocked);
    }
    if passed.is_full {
        sessions::make_room(work, user.id, now).await?;
    }
    if let Some(opened) = passed.judged.opened {
        lock_marks::write(work, attempt, Mark::Unlocked(opened)).await?;
    }
    written.started.push(Started {
        id: session.id,
        user_id: user.id,
        method: session.method.as_str(),
        device: &session.device,
        ip: &session.ip,
        jkt: session.jkt.as_deref(),
        now: now.ms(),
        expires_at: session.expires_at.ms(),
        absolute_expires_at: session.absolute_expires_at.ms(),
        key_hash: document.key_hash,
        body_hash: document.body_hash,
        key_expires_at: document.key_expires_at,
        phone_key: attempt.phone_key,
        kind: attempt.kind,
    });
    let events = document.events_of(created);
    written.told.push(Told { events, joined_by: user.id, now: now.ms() });
    written.audit(now, user.id, if created { "signed_up" } else { "signed_in" }, &document.detail);
    let session = Session { user_id: user.id, ..session.clone() };
    Ok(LoginOutcome::SignedIn { user, created, session })
}

/// The rows that a batch writes.
#[derive(Default)]
struct Written<'a> {
    started: Vec<Started<'a>>,
    told: Vec<Told<'a>>,
    audit: Vec<Audited<'a>>,
}

#[derive(Serialize)]
struct Started<'a> {
    id: SessionId,
    user_id: UserId,
    method: &'static str,
    device: &'a str,
    ip: &'a str,
    jkt: Option<&'a str>,
    now: i64,
    expires_at: i64,
    absolute_expires_at: i64,
    key_hash: Option<&'a str>,
    body_hash: Option<&'a str>,
    key_expires_at: i64,
    phone_key: &'a str,
    kind: &'static str,
}

#[derive(Serialize)]
struct Told<'a> {
    events: &'a [CutEvent],
    joined_by: UserId,
    now: i64,
}

#[derive(Serialize)]
struct Audited<'a> {
    now: i64,
    user: UserId,
    act: &'static str,
    detail: &'a str,
}

impl<'a> Written<'a> {
    fn audit(&mut self, now: Timestamp, user: UserId, act: &'static str, detail: &'a str) {
        self.audit.push(Audited { now: now.ms(), user, act, detail });
    }

    async fn write(&self, work: &mut Work) -> Result<(), sqlx::Error> {
        let Self { started, told, audit } = self;
        work.run(WRITE, args![&json(started)?, &json(told)?, &json(audit)?]).await.map(drop)
    }
}

fn json(rows: &impl Serialize) -> Result<String, sqlx::Error> {
    super::document::text(rows)
}
