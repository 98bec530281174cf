//! Refresh tokens by generation: rotation, the grace period for a lost response, and reuse, which ends the session
//! (P9).

use super::refresh_batch::{REFRESH, Refresh};
use super::sessions::{self, Ending, Session, session_columns};
use super::{Sessions, audit};
use domain::engine_error::EngineError;
use domain::ids::SessionId;
use domain::timestamp::Timestamp;
use sql::{Row, Work, args};

/// A refresh token's content, and the key whose holder presents it.
#[derive(Clone, Copy, Debug)]
pub struct Presented<'a> {
    pub session: SessionId,
    pub generation: i64,
    /// The thumbprint of the key that the client proved to hold. An unbound session needs none.
    pub jkt: Option<&'a str>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RefreshOutcome {
    /// The token was the current one; the session holds the new generation.
    Rotated(Session),
    /// A repeat of the last refresh within the grace period: the session as that refresh left it.
    Repeated(Session),
    /// An older token: it has leaked. The session has now ended.
    Reused,
    /// The session ended before, expired, or never existed.
    Ended,
    /// The session is bound to a key that was not proven. Nothing changed, whatever the token's age: without the key,
    /// the holder of a copy can neither use the token nor end the session by it.
    Unproven,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlacklistOutcome {
    /// Ended by its current or previous token: a logout.
    Ended,
    /// Ended by an older token: it has leaked.
    Reused,
    /// The session ended before, expired, or never existed.
    Gone,
    /// As for [`RefreshOutcome::Unproven`].
    Unproven,
}

impl Presented<'_> {
    /// Whether the session is unbound, or bound to the key that was proven.
    fn proves(&self, session: &Session) -> bool {
        session.jkt.is_none() || session.jkt.as_deref() == self.jkt
    }
}

impl Sessions {
    /// Advances the presented generation to the next: one statement, shared with the others that wait, if the token is
    /// the current one.
    ///
    /// The idle time restarts; the absolute end stays. Of concurrent refreshes with one token, one rotates and the
    /// others are its repeats, while they are within `grace_secs` of the rotation.
    pub async fn refresh(
        &self,
        presented: Presented<'_>,
        grace_secs: i64,
        idle_secs: i64,
        now: Timestamp,
    ) -> Result<RefreshOutcome, EngineError> {
        let rotated = self.refreshes.write(Refresh::of(presented, idle_secs, now)).await?;
        match rotated.map_err(|cause| self.pool.error(REFRESH, cause))? {
            Some(session) => Ok(RefreshOutcome::Rotated(session)),
            None => {
                let steps =
                    async |work: &mut Work| not_current(work, presented, grace_secs, now).await;
                self.pool.transaction(REFRESH, steps).await
            }
        }
    }

    /// Ends the session of a refresh token (contract, ruling 14).
    pub async fn blacklist(
        &self,
        presented: Presented<'_>,
        now: Timestamp,
    ) -> Result<BlacklistOutcome, EngineError> {
        self.pool
            .transaction("end a session by its token", async |work| {
                let Some(row) = lock_live(work, presented.session, now).await? else {
                    work.undo().await?;
                    return Ok(BlacklistOutcome::Gone);
                };
                let session = sessions::session(&row)?;
                if !presented.proves(&session) {
                    work.undo().await?;
                    return Ok(BlacklistOutcome::Unproven);
                }
                let older = presented.generation < session.generation - 1;
                end_for(work, &session, if older { REUSED } else { "logout" }, now).await?;
                Ok(if older { BlacklistOutcome::Reused } else { BlacklistOutcome::Ended })
            })
            .await
    }
}

/// What a refresh token is that is not the current one of a live session.
async fn not_current(
    work: &mut Work,
    presented: Presented<'_>,
    grace_secs: i64,
    now: Timestamp,
) -> Result<RefreshOutcome, sqlx::Error> {
    let Some(row) = lock_live(work, presented.session, now).await? else {
        work.undo().await?;
        return Ok(RefreshOutcome::Ended);
    };
    let session = sessions::session(&row)?;
    if !presented.proves(&session) {
        work.undo().await?;
        return Ok(RefreshOutcome::Unproven);
    }
    let presented = presented.generation;
    let in_grace = now < row.time("rotated_at")?.plus_secs(grace_secs);
    if presented == session.generation - 1 && in_grace {
        work.undo().await?;
        return Ok(RefreshOutcome::Repeated(session));
    }
    let reason = if presented < session.generation { REUSED } else { FROM_THE_FUTURE };
    end_for(work, &session, reason, now).await?;
    Ok(if reason == REUSED { RefreshOutcome::Reused } else { RefreshOutcome::Ended })
}

const REUSED: &str = "refresh_reused";
/// The token is newer than its session: the database was restored from a backup. Tokens used since then would be valid
/// again, so the session ends.
const FROM_THE_FUTURE: &str = "refresh_unknown";

/// Locks a live session until the transaction's end.
async fn lock_live(
    work: &mut Work,
    id: SessionId,
    now: Timestamp,
) -> Result<Option<Row>, sqlx::Error> {
    let sql = locking!(
        work,
        concat!(
            "SELECT s.rotated_at, ",
            session_columns!(),
            " FROM sessions s
             WHERE s.id = $1 AND s.ended_at IS NULL AND s.expires_at > $2"
        ),
        " FOR UPDATE",
        ""
    );
    work.optional(sql, args![id, now]).await
}

async fn end_for(
    work: &mut Work,
    session: &Session,
    reason: &'static str,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    let ending = Ending::one(session.id, reason);
    sessions::end(work, session.user_id, ending, None, now).await?;
    if reason == REUSED {
        let user = session.user_id.to_string();
        let detail = serde_json::json!({ "session": session.id }).to_string();
        audit::write(work, now, &user, "refresh_reused", &user, &detail).await?;
    }
    Ok(())
}
