//! Sessions of staff at the console: started by a code, and by the account's password where it has one (contract, rulings 20
//! and 65). They are no sessions of the app: no token belongs to them.

use super::lock_marks;
use super::outbox::Prepared;
use super::redeem::{Denied, UsedCode, redeem};
use super::staff::StaffRole;
use super::throttle::{self, Attempt, AttemptKind, AttemptLimits, Claimant, Throttle};
use super::users::{self, User, select_users, user_columns};
use super::{ConsoleSessions, audit};
use domain::engine_error::EngineError;
use domain::event::OtpVerified;
use domain::ids::{RequestId, UserId};
use domain::timestamp::Timestamp;
use domain::vocabulary::Purpose;
use sql::{Row, Work, args};

/// For this long a password may follow its code: as long as the longest-lived code.
const AWAITED_MS: i64 = 600_000;
/// A session's last use is written down once in this time: reading a page writes next to nothing.
const SEEN_EVERY_MS: i64 = 60_000;

/// A live session at the console, with its account as it is now.
#[derive(Clone, Debug)]
pub struct ConsoleSession {
    pub user: User,
    /// The account's role now, whatever it was at the sign-in.
    pub role: StaffRole,
    /// The code was right, and the account's password is still to come: the session opens nothing yet.
    pub awaits_password: bool,
    /// When it was signed in: with the password, if the account has one.
    pub created_at: Timestamp,
    pub last_seen_at: Timestamp,
    pub expires_at: Timestamp,
}

/// A live session at the console, as a list of staff shows it.
#[derive(Clone, Debug)]
pub struct ShownConsoleSession {
    pub user_id: UserId,
    /// The browser's own name.
    pub device: String,
    /// Cut to its network.
    pub ip: String,
    pub created_at: Timestamp,
    pub last_seen_at: Timestamp,
    pub expires_at: Timestamp,
}

/// The session that a sign-in at the console starts.
#[derive(Clone, Copy)]
pub struct NewConsoleSession<'a> {
    /// A digest of the cookie's value, which is stored nowhere.
    pub id_hash: &'a str,
    /// The browser's own name, already truncated.
    pub device: &'a str,
    /// Already truncated.
    pub ip: &'a str,
    pub max_secs: i64,
}

/// A sign-in at the console with a correct code.
#[derive(Clone, Copy)]
pub struct ConsoleSignIn<'a> {
    pub claimant: Claimant<'a>,
    pub code: UsedCode,
    pub request_id: Option<RequestId>,
    pub limits: AttemptLimits,
    pub session: NewConsoleSession<'a>,
    pub traceparent: Option<&'a str>,
    pub now: Timestamp,
}

/// A correct password after a correct code.
#[derive(Clone, Copy)]
pub struct PasswordProof<'a> {
    pub claimant: Claimant<'a>,
    pub limits: AttemptLimits,
    /// The session that awaits the password, by its digest.
    pub awaiting: &'a str,
    pub user_id: UserId,
    /// The hash that the password was compared with: if it was changed meanwhile, nothing is proven.
    pub hash: &'a str,
    /// Takes the place of the one that awaits: whoever saw that one's cookie gains nothing.
    pub session: NewConsoleSession<'a>,
    pub now: Timestamp,
}

/// What a redeemed code opens at the console.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConsoleOutcome {
    SignedIn,
    /// The account has a password: it must follow.
    PasswordAwaited,
    /// The phone's account has no role, is blocked, or does not exist. The code is used; nothing was created.
    NotStaff,
}

/// Why a correct password opened nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConsoleDenied {
    /// The caller must not reveal that the password was correct.
    Throttled(Throttle),
    /// The session is over, its account is no longer staff, or the password was changed since the comparison.
    Over,
}

impl ConsoleSessions {
    /// Exchanges a correct code for a session at the console, all or nothing: the phone's waits and lock, the code's own
    /// attempts and the fence (P3, P4), then the account and its role. No account is created.
    pub async fn sign_in(
        &self,
        sign_in: ConsoleSignIn<'_>,
    ) -> Result<Result<ConsoleOutcome, Denied>, EngineError> {
        let now = sign_in.now;
        let attempt = Attempt::new(sign_in.claimant, AttemptKind::Code, sign_in.limits, now);
        self.pool
            .transaction("sign in at the console", async |work| {
                let judged = match redeem(work, &attempt, sign_in.code).await? {
                    Ok(judged) => judged,
                    Err(denied) => {
                        work.undo().await?;
                        return Ok(Err(denied));
                    }
                };
                let Some((user, has_password)) = account(work, &sign_in).await? else {
                    return Ok(Ok(ConsoleOutcome::NotStaff));
                };
                let name = user.id.to_string();
                let Some(role) = user.staff_role().filter(|_| !user.blocked) else {
                    audit::write(work, now, &name, "console_refused", &name, "{}").await?;
                    return Ok(Ok(ConsoleOutcome::NotStaff));
                };
                lock_marks::reset(work, &attempt, judged.opened).await?;
                insert(work, &user, role, has_password, sign_in.session, now).await?;
                let verified = OtpVerified {
                    request_id: sign_in.request_id,
                    purpose: Purpose::Login,
                    user_id: user.id,
                    country: user.country.clone(),
                    verified_at: now,
                };
                Prepared::of(now, sign_in.traceparent, verified)?.write(work, now).await?;
                if has_password {
                    return Ok(Ok(ConsoleOutcome::PasswordAwaited));
                }
                note_sign_in(work, &user, role, now).await?;
                Ok(Ok(ConsoleOutcome::SignedIn))
            })
            .await
    }

    /// Opens the session that awaited its password.
    pub async fn prove_password(
        &self,
        proof: PasswordProof<'_>,
    ) -> Result<Result<(), ConsoleDenied>, EngineError> {
        let now = proof.now;
        let attempt = Attempt::new(proof.claimant, AttemptKind::Password, proof.limits, now);
        self.pool
            .transaction("prove a password at the console", async |work| {
                let judged = match throttle::check_locked(work, &attempt).await? {
                    Ok(judged) => judged,
                    Err(throttle) => {
                        work.undo().await?;
                        return Ok(Err(ConsoleDenied::Throttled(throttle)));
                    }
                };
                // The account first, like everything that ends its sessions.
                let sql = locking!(
                    work,
                    select_users!(
                        "WHERE u.id = $1 AND u.password_hash = $2 AND u.phone_number = $3"
                    ),
                    " FOR UPDATE",
                    ""
                );
                let number = proof.claimant.phone_number;
                let row = work.optional(sql, args![proof.user_id, proof.hash, number]).await?;
                let sql = "DELETE FROM console_sessions
                     WHERE id_hash = $1 AND user_id = $2 AND awaits_password AND expires_at > $3";
                let awaited = work.run(sql, args![proof.awaiting, proof.user_id, now]).await?;
                let user = row.as_ref().map(users::user).transpose()?;
                let staff = user.and_then(|user| {
                    let role = user.staff_role().filter(|_| !user.blocked && awaited == 1)?;
                    Some((user, role))
                });
                let Some((user, role)) = staff else {
                    work.undo().await?;
                    return Ok(Err(ConsoleDenied::Over));
                };
                lock_marks::reset(work, &attempt, judged.opened).await?;
                insert(work, &user, role, false, proof.session, now).await?;
                note_sign_in(work, &user, role, now).await?;
                Ok(Ok(()))
            })
            .await
    }

    /// The session of this digest, if it is live, its account has a role at this moment and is not blocked. A session that
    /// was not used for `idle_secs` is over.
    pub async fn live(
        &self,
        id_hash: &str,
        idle_secs: i64,
        now: Timestamp,
    ) -> Result<Option<ConsoleSession>, EngineError> {
        let sql = concat!(
            "SELECT c.awaits_password, c.created_at, c.last_seen_at, c.expires_at, ",
            user_columns!(),
            " FROM console_sessions c JOIN users u ON u.id = c.user_id
              WHERE c.id_hash = $1 AND c.expires_at > $2 AND c.last_seen_at > $3
                AND u.role IS NOT NULL AND u.blocked_at IS NULL"
        );
        let args = args![id_hash, now, now.plus_secs(-idle_secs)];
        let found = self.pool.optional("read a console session", sql, args, session).await?;
        Ok(found.flatten())
    }

    /// The live sessions of all staff, the last begun first; 1,000 at most.
    pub async fn all_live(
        &self,
        idle_secs: i64,
        now: Timestamp,
    ) -> Result<Vec<ShownConsoleSession>, EngineError> {
        let sql = "SELECT c.user_id, c.device, c.ip, c.created_at, c.last_seen_at, c.expires_at
             FROM console_sessions c JOIN users u ON u.id = c.user_id
             WHERE c.expires_at > $1 AND c.last_seen_at > $2 AND NOT c.awaits_password
               AND u.role IS NOT NULL AND u.blocked_at IS NULL
             ORDER BY c.created_at DESC, c.id_hash LIMIT 1000";
        let shown = |row: &Row| {
            Ok(ShownConsoleSession {
                user_id: UserId::from_uuid(row.get("user_id")?),
                device: row.get("device")?,
                ip: row.get("ip")?,
                created_at: row.time("created_at")?,
                last_seen_at: row.time("last_seen_at")?,
                expires_at: row.time("expires_at")?,
            })
        };
        let args = args![now, now.plus_secs(-idle_secs)];
        self.pool.rows("list console sessions", sql, args, shown).await
    }

    /// Notes that the session was used, at most once a minute.
    pub async fn touch(
        &self,
        id_hash: &str,
        last_seen_at: Timestamp,
        now: Timestamp,
    ) -> Result<(), EngineError> {
        if now < last_seen_at.plus_ms(SEEN_EVERY_MS) {
            return Ok(());
        }
        let sql = "UPDATE console_sessions SET last_seen_at = $2 WHERE id_hash = $1 AND last_seen_at < $2";
        self.pool.run("note the use of a console session", sql, args![id_hash, now]).await.map(drop)
    }

    /// Ends the session of this account: a sign-out.
    pub async fn end(
        &self,
        id_hash: &str,
        user: UserId,
        now: Timestamp,
    ) -> Result<(), EngineError> {
        self.pool
            .transaction("end a console session", async |work| {
                let sql = "DELETE FROM console_sessions WHERE id_hash = $1 AND user_id = $2";
                if work.run(sql, args![id_hash, user]).await? > 0 {
                    let name = user.to_string();
                    audit::write(work, now, &name, "console_signed_out", &name, "{}").await?;
                }
                Ok(())
            })
            .await
    }
}

/// The account of the phone, locked until the transaction's end, and whether it has a password.
async fn account(
    work: &mut Work,
    sign_in: &ConsoleSignIn<'_>,
) -> Result<Option<(User, bool)>, sqlx::Error> {
    let sql = locking!(
        work,
        concat!(
            "SELECT u.password_hash IS NOT NULL AS has_password, ",
            user_columns!(),
            " FROM users u WHERE u.phone_number = $1"
        ),
        " FOR UPDATE",
        ""
    );
    let row = work.optional(sql, args![sign_in.claimant.phone_number]).await?;
    row.map(|row| Ok((users::user(&row)?, row.get("has_password")?))).transpose()
}

async fn insert(
    work: &mut Work,
    user: &User,
    role: StaffRole,
    awaits_password: bool,
    session: NewConsoleSession<'_>,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    let ends =
        if awaits_password { now.plus_ms(AWAITED_MS) } else { now.plus_secs(session.max_secs) };
    let sql = "INSERT INTO console_sessions
             (id_hash, user_id, role, awaits_password, device, ip, created_at, last_seen_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $7, $8)";
    let args = args![
        session.id_hash,
        user.id,
        role.as_str(),
        awaits_password,
        session.device,
        session.ip,
        now,
        ends
    ];
    work.run(sql, args).await.map(drop)
}

async fn note_sign_in(
    work: &mut Work,
    user: &User,
    role: StaffRole,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    let name = user.id.to_string();
    let detail = serde_json::json!({ "role": role.as_str() }).to_string();
    audit::write(work, now, &name, "console_signed_in", &name, &detail).await
}

fn session(row: &Row) -> Result<Option<ConsoleSession>, sqlx::Error> {
    let user = users::user(row)?;
    let Some(role) = user.staff_role() else { return Ok(None) };
    Ok(Some(ConsoleSession {
        user,
        role,
        awaits_password: row.get("awaits_password")?,
        created_at: row.time("created_at")?,
        last_seen_at: row.time("last_seen_at")?,
        expires_at: row.time("expires_at")?,
    }))
}
