//! Who did what to whom. Append-only: triggers refuse change and removal on both engines. A deletion may change only
//! the name of the account that it deletes.

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

/// Replaces a deleted account's id by a pseudonym in every entry: the only change that the triggers allow. For SQLite;
/// PostgreSQL has a function.
pub(super) async fn rename(
    work: &mut Work,
    name: &str,
    pseudonym: &str,
) -> Result<(), sqlx::Error> {
    let sql = "INSERT INTO audit_renames (name, pseudonym) VALUES ($1, $2)";
    work.run(sql, args![name, pseudonym]).await?;
    let sql = "UPDATE audit SET actor = CASE WHEN actor = $1 THEN $2 ELSE actor END,
             subject = CASE WHEN subject = $1 THEN $2 ELSE subject END
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
