//! The caller of `/v1/me` and below: signed in, within what one session may do (contract, ruling 44), and for some acts
//! signed in a moment ago (ruling 37).

use accounts::notice::OwnerNotice;
use accounts::{Method, Session, User};
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use config::{PASSWORD_WRITES_PER_SESSION_MINUTE, WRITES_PER_SESSION_MINUTE};
use domain::timestamp::Timestamp;
use domain::vocabulary::Limit;
use texts::Notice;
use uuid::Uuid;

use crate::app::App;
use crate::codes::caller::Caller;
use crate::codes::refusals::limited;
use crate::dpop::header;
use crate::http::error::ApiError;
use crate::tokens::bearer::SentToken;

/// How old a sign-in by code may be for what could take an account from its owner (contract, ruling 37; ASVS 7.5.1).
const FRESH_SECS: i64 = 600;

/// A caller with a valid access token of a live session. The database is queried on every call, so that an ended
/// session is refused at once (W4).
pub(crate) struct SignedIn {
    pub user: User,
    pub session: Session,
    pub auth_time: Timestamp,
}

impl FromRequestParts<App> for SignedIn {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let token = SentToken::from_headers(&parts.headers)?;
        let now = app.engines.clock.now();
        let claims = app.tokens.access(token.expose())?;
        let proof = header::for_token(parts, app, &token, claims.jkt.as_deref())?;
        let live =
            app.sessions.live(claims.session_id, now).await?.ok_or(ApiError::SessionRevoked)?;
        if live.user.id != claims.user_id || live.session.jkt != claims.jkt {
            return Err(ApiError::TokenNotValid);
        }
        if let Some(proof) = proof {
            header::use_up(app, &proof).await?;
        }
        let signed_in = Self {
            user: live.user,
            session: live.session,
            auth_time: Timestamp::from_ms(0).plus_secs(claims.auth_time_secs),
        };
        if !parts.method.is_safe() {
            let session = signed_in.session.id.uuid();
            count_write(app, session, "all", WRITES_PER_SESSION_MINUTE).await?;
        }
        Ok(signed_in)
    }
}

impl SignedIn {
    /// Whether the session was started by a code a moment ago: what only the holder of the phone can do. A refresh is
    /// not a sign-in, and neither a stolen token nor a password that a thief set makes one.
    pub fn is_fresh(&self, now: Timestamp) -> bool {
        self.session.method != Method::Pwd && now <= self.auth_time.plus_secs(FRESH_SECS)
    }

    /// # Errors
    /// 403 unless the sign-in [is fresh](Self::is_fresh).
    pub fn require_fresh(&self, now: Timestamp) -> Result<(), ApiError> {
        if self.is_fresh(now) {
            Ok(())
        } else {
            Err(ApiError::FreshSignInRequired { or_password: false })
        }
    }

    /// A text that tells the account's number of this, to be written with the change. `None` if notices are off, or no
    /// text reaches the number.
    pub fn notice(&self, app: &App, what: Notice) -> anyhow::Result<Option<OwnerNotice>> {
        app.notice(&self.user, what)
    }

    /// Counts a change of the account's password: each costs hashing and may be an attempt at the current one. It
    /// counts as a login of the caller's address as well.
    ///
    /// # Errors
    /// 429 if the session or the address made too many in this minute, 503 while Redis is away.
    pub async fn count_password_write(&self, app: &App, caller: &Caller) -> Result<(), ApiError> {
        let session = self.session.id.uuid();
        count_write(app, session, "password", PASSWORD_WRITES_PER_SESSION_MINUTE).await?;
        // The session counts as a known device.
        caller.count_login(app, true).await
    }

    /// Counts a change of the profile. All sessions of the account without a fresh sign-in share one count, because a
    /// password starts any number of sessions; a freshly signed-in one has only its own, which no thief can use up.
    ///
    /// # Errors
    /// 429 if those sessions made too many in this minute, 503 while Redis is away.
    pub async fn count_profile_write(&self, app: &App, now: Timestamp) -> Result<(), ApiError> {
        if self.is_fresh(now) {
            return Ok(());
        }
        count_write(app, self.user.id.uuid(), "profile", WRITES_PER_SESSION_MINUTE).await
    }
}

async fn count_write(app: &App, writer: Uuid, kind: &str, most: u64) -> Result<(), ApiError> {
    match app.limits.count_write(writer, kind, most).await? {
        Some(wait) => Err(limited(Limit::Account, wait.max(1))),
        None => Ok(()),
    }
}
