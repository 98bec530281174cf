//! A login that is repeated with its `Idempotency-Key` because its answer was lost: it gets an equivalent pair of the
//! same session (P9; contract, rulings 10 and 32).

use std::time::Duration;

use accounts::{LiveSession, LoginKey, LoginReplay};
use domain::vocabulary::Limit;

use crate::app::App;
use crate::codes::caller::Caller;
use crate::codes::claimed_phone::ClaimedPhone;
use crate::codes::refusals::limited;
use crate::http::error::ApiError;

const POLLS: u32 = 5;
const POLL_EVERY: Duration = Duration::from_millis(200);

/// A login with an `Idempotency-Key`: perhaps a retry, perhaps one of several at the same time.
pub(crate) struct RepeatedLogin<'a> {
    app: &'a App,
    caller: &'a Caller,
    key_hash: String,
    body_hash: String,
    /// The name of the known device, as its failures are counted.
    device: Option<&'a str>,
}

impl<'a> RepeatedLogin<'a> {
    /// `None` without a key. `body` is what a retry must match.
    pub fn of(
        app: &'a App,
        caller: &'a Caller,
        claimed: &'a ClaimedPhone,
        body: &str,
    ) -> Option<Self> {
        let key = caller.idempotency.as_ref()?;
        let keys = &app.engines.keys;
        let key_hash = keys.index("login", &format!("{} {}", claimed.key, key.as_str()));
        let device = claimed.claimant().known_device.map(|device| device.key);
        let body_hash = keys.index("login body", body);
        Some(Self { app, caller, key_hash, body_hash, device })
    }

    /// The session of the first login with this key, or else the one that `sign_in` starts under it.
    pub async fn session(
        &self,
        sign_in: impl AsyncFnOnce(LoginKey<'_>) -> Result<LiveSession, ApiError>,
    ) -> Result<LiveSession, ApiError> {
        if let Some(first) = self.first().await? {
            self.caller.count_login(self.app, self.device.is_some()).await?;
            if let Some(live) = self.session_of(first).await? {
                return Ok(live);
            }
        }
        let key = LoginKey { key_hash: &self.key_hash, body_hash: &self.body_hash };
        let (refused, polls) = match sign_in(key).await {
            Err(refused @ ApiError::OtpIncorrect { .. }) => (refused, 0),
            // The winning login may not have committed yet: poll for one second.
            Err(refused @ ApiError::OtpAttemptsExhausted { .. }) => (refused, POLLS),
            signed_in => return signed_in,
        };
        // Of concurrent logins with this key one was admitted and used the code, so the others are retries of it. Their
        // address was counted with the code check.
        match self.poll_for_first(polls).await? {
            Some(first) => self.session_of(first).await?.ok_or(refused),
            None => Err(refused),
        }
    }

    async fn poll_for_first(&self, polls: u32) -> Result<Option<LoginReplay>, ApiError> {
        let mut first = self.first().await?;
        for _ in 0..polls {
            if first.is_some() {
                break;
            }
            tokio::time::sleep(POLL_EVERY).await;
            first = self.first().await?;
        }
        Ok(first)
    }

    /// What an earlier login left under this key.
    async fn first(&self) -> Result<Option<LoginReplay>, ApiError> {
        // By the clock that dated the first login: ours may be wrong.
        let now = self.app.engines.store.now().await?;
        Ok(self.app.accounts.login_replay(&self.key_hash, now).await?)
    }

    /// The first login's session, unless it was refreshed or has ended since.
    ///
    /// Clients choose the key, and some choose one that others can guess. So a retry is counted like an attempt before
    /// its code is compared; otherwise 30 seconds of answers would reveal the code (P4). The same body counts once, and a
    /// known device apart: else five bodies under its key would take its repetition away (contract, ruling 39).
    async fn session_of(&self, first: LoginReplay) -> Result<Option<LiveSession>, ApiError> {
        let Self { app, key_hash, body_hash, device, .. } = self;
        let tried = format!("{key_hash} {} {}", first.body_hash, device.unwrap_or_default());
        let tried = app.engines.keys.index("login repeated", &tried);
        if !app.limits.count_distinct(&tried, body_hash, app.config.otp.attempts).await? {
            return Err(limited(Limit::Attempts, store::DISTINCT_KEPT_SECS));
        }
        if first.body_hash != *body_hash {
            return Err(ApiError::IdempotencyKeyReused);
        }
        Ok(first.session)
    }
}
