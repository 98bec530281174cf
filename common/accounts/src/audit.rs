//! Who did what to whom. Append-only: triggers refuse change and removal on both engines. A deletion may change only
//! the name of the account that it deletes, and takes the text of notes about it.

use super::Audit;
use domain::engine_error::EngineError;
use domain::timestamp::Timestamp;
use sql::{Row, Work, args};

/// One audit entry.
#[derive(Clone, Debug)]
pub struct AuditEntry {
    pub id: i64,
    pub at: Timestamp,
    /// A user's id, or the name of whoever ran a command.
    pub actor: String,
    /// A past fact in snake case: `signed_in`.
    pub act: String,
    /// A user's id, a phone's key, or the pseudonym of a deleted account. Never a number or a name.
    pub subject: String,
    /// A JSON object.
    pub detail: String,
}

/// Which entries a search finds; `None` finds all.
#[derive(Clone, Copy, Debug, Default)]
pub struct AuditFilter<'a> {
    pub subject: Option<&'a str>,
    pub actor: Option<&'a str>,
    pub act: Option<&'a str>,
    pub since: Option<Timestamp>,
    /// Not included.
    pub until: Option<Timestamp>,
}

/// The acts of every day: the newest entries hold some of each, so they have no index of their own (`audit_rare_act`).
const EVERYDAY: [&str; 4] = ["signed_in", "signed_up", "session_ended", "profile_changed"];

/// A clock that is wrong by half of this, or a transaction that takes as long, puts no entry out of reach of a search.
const OUT_OF_ORDER_MS: i64 = 60 * 60 * 1000;

/// A search whose first condition, if it has one, names the index to go by.
macro_rules! search {
    ($first:literal) => {
        concat!(
            "SELECT id, at, actor, act, subject, detail FROM audit WHERE ",
            $first,
            "id < $1 AND id >= $8 AND ($3 IS NULL OR subject = $3) AND ($4 IS NULL OR actor = $4)
               AND ($5 IS NULL OR act = $5) AND ($6 IS NULL OR at >= $6) AND ($7 IS NULL OR at < $7)
             ORDER BY id DESC LIMIT $2"
        )
    };
}

/// Writes an entry in the transaction of the change that it records.
pub(super) async fn write(
    work: &mut Work,
    now: Timestamp,
    actor: &str,
    act: &str,
    subject: &str,
    detail: &str,
) -> Result<(), sqlx::Error> {
    let sql = "INSERT INTO audit (at, actor, act, subject, detail) VALUES ($1, $2, $3, $4, $5)";
    work.run(sql, args![now, actor, act, subject, detail]).await.map(drop)
}

/// Replaces a deleted account's id by a pseudonym in every entry, and takes the text of notes about it: the only changes
/// that the triggers allow. For SQLite; PostgreSQL has a function and a trigger.
pub(super) async fn rename(
    work: &mut Work,
    name: &str,
    pseudonym: &str,
) -> Result<(), sqlx::Error> {
    let sql = "INSERT INTO audit_renames (name, pseudonym) VALUES ($1, $2)";
    work.run(sql, args![name, pseudonym]).await?;
    let sql = "UPDATE audit SET actor = CASE WHEN actor = $1 THEN $2 ELSE actor END,
             subject = CASE WHEN subject = $1 THEN $2 ELSE subject END,
             detail = CASE WHEN subject = $1 AND act = 'note_added' THEN '{}' ELSE detail END
         WHERE actor = $1 OR subject = $1";
    work.run(sql, args![name, pseudonym]).await?;
    let sql = "DELETE FROM audit_renames WHERE name = $1";
    work.run(sql, args![name]).await.map(drop)
}

impl Audit {
    /// Writes an entry about something outside the database, for example a command that replayed a dead letter.
    pub async fn add(
        &self,
        now: Timestamp,
        actor: &str,
        act: &str,
        subject: &str,
        detail: &serde_json::Value,
    ) -> Result<(), EngineError> {
        let detail = detail.to_string();
        self.pool
            .statement("write the audit", async |work| {
                write(work, now, actor, act, subject, &detail).await
            })
            .await
    }

    /// Entries that the filter lets through, newest first, older than entry `before` if given.
    pub async fn search(
        &self,
        filter: AuditFilter<'_>,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<AuditEntry>, EngineError> {
        let AuditFilter { subject, actor, act, since, until } = filter;
        let sql = match filter {
            // An account can change its profile so often that the other entries would be found too late.
            AuditFilter { subject: Some(_), act: Some(act), .. } if act != "profile_changed" => {
                search!("subject = $3 AND act <> 'profile_changed' AND ")
            }
            AuditFilter { subject: Some(_), .. } => search!("subject = $3 AND "),
            AuditFilter { actor: Some(_), .. } => search!("actor = $4 AND "),
            AuditFilter { act: Some(act), .. } if !EVERYDAY.contains(&act) => search!(
                "act = $5 AND act NOT IN ('signed_in', 'signed_up', 'session_ended', 'profile_changed') AND "
            ),
            _ => search!(""),
        };
        // Entries come in the order of time, but for the clocks of several gateways and for transactions that took a while.
        let first = match since {
            Some(since) => self.first_at(since.plus_ms(-OUT_OF_ORDER_MS)).await?,
            None => 0,
        };
        let mut before = before.unwrap_or(i64::MAX);
        if let Some(until) = until {
            before = before.min(self.first_at(until.plus_ms(OUT_OF_ORDER_MS)).await?);
        }
        let args = args![before, limit, subject, actor, act, since, until, first];
        self.pool.rows("search the audit", sql, args, entry).await
    }

    /// The id of the first entry that was written at this time or later; beyond every id if there is none. Found by halves:
    /// an index of times would cost every sign-in.
    async fn first_at(&self, at: Timestamp) -> Result<i64, EngineError> {
        self.pool
            .read("find a time in the audit", async |work| {
                let ends =
                    "SELECT COALESCE(MIN(id), 0) AS least, COALESCE(MAX(id), 0) AS most FROM audit";
                let ends = work.one(ends, &[]).await?;
                let (mut low, mut high) = (ends.get::<i64>("least")?, ends.get::<i64>("most")? + 1);
                while low < high {
                    let middle = low + (high - low) / 2;
                    // Ids have gaps.
                    let sql = "SELECT id, at FROM audit WHERE id >= $1 ORDER BY id LIMIT 1";
                    match work.optional(sql, args![middle]).await? {
                        Some(row) if row.time("at")? < at => low = row.get::<i64>("id")? + 1,
                        _ => high = middle,
                    }
                }
                Ok(low)
            })
            .await
    }

    /// Entries of one subject or of all, newest first, older than entry `before` if given.
    pub async fn page(
        &self,
        subject: Option<&str>,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<AuditEntry>, EngineError> {
        let act = "read the audit";
        let before = before.unwrap_or(i64::MAX);
        if let Some(subject) = subject {
            let sql = "SELECT id, at, actor, act, subject, detail FROM audit
                 WHERE subject = $1 AND id < $2 ORDER BY id DESC LIMIT $3";
            self.pool.rows(act, sql, args![subject, before, limit], entry).await
        } else {
            let sql = "SELECT id, at, actor, act, subject, detail FROM audit
                 WHERE id < $1 ORDER BY id DESC LIMIT $2";
            self.pool.rows(act, sql, args![before, limit], entry).await
        }
    }
}

fn entry(row: &Row) -> Result<AuditEntry, sqlx::Error> {
    Ok(AuditEntry {
        id: row.get("id")?,
        at: row.time("at")?,
        actor: row.get("actor")?,
        act: row.get("act")?,
        subject: row.get("subject")?,
        detail: row.get("detail")?,
    })
}
