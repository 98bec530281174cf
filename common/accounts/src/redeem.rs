//! The fence: a code is redeemed once, whatever another store says (P3), and only if its attempt may be judged (P4).

use serde::Serialize;

use super::document;
use super::throttle::{self, Attempt, Judged, Throttle};
use domain::ids::CodeId;
use domain::timestamp::Timestamp;
use sql::{Work, args};

/// A correct code, and its expiry.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct UsedCode {
    #[serde(rename = "code_id")]
    pub id: CodeId,
    #[serde(rename = "code_expires_at", serialize_with = "document::ms")]
    pub expires_at: Timestamp,
}

/// Why a correct code was not redeemed. Nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// The caller must not reveal that the code was correct.
    Throttled(Throttle),
    /// The code was used before, or its attempts are exhausted in the database.
    CodeUsed,
    /// The session that changes its account's phone has ended, or the account is gone or blocked.
    SessionEnded,
}

/// Judges an attempt with a correct code and passes the code through the fence, once. If denied, the caller undoes the
/// transaction.
pub(super) async fn redeem(
    work: &mut Work,
    attempt: &Attempt<'_>,
    code: UsedCode,
) -> Result<Result<Judged, Denied>, sqlx::Error> {
    let attempt = &attempt.at_code(Some(code.id));
    let judged = match throttle::check_locked(work, attempt).await? {
        Ok(judged) => judged,
        Err(throttle) => return Ok(Err(Denied::Throttled(throttle))),
    };
    let device = attempt.device_key.filter(|_| judged.by_device);
    if throttle::code_is_exhausted(work, code.id, attempt.code_attempts, device).await? {
        return Ok(Err(Denied::CodeUsed));
    }
    let sql = "INSERT INTO used_codes (code_id, used_at, expires_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
    let passed = work.run(sql, args![code.id, attempt.now, code.expires_at]).await?;
    Ok(if passed == 1 { Ok(judged) } else { Err(Denied::CodeUsed) })
}
