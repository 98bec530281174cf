//! A phone that a client claims to own, and the keys that its attempts are counted under.

use accounts::{AttemptKind, Claimant, KnownDevice};
use domain::engine_error::EngineError;
use domain::ids::{CodeId, SessionId, UserId};
use domain::keys::PhoneKey;
use domain::phone::Phone;
use domain::timestamp::Timestamp;

use crate::app::App;
use crate::tokens::device_token;

pub(crate) struct ClaimedPhone {
    pub phone: Phone,
    pub key: PhoneKey,
    /// As in [`Claimant`].
    pub former_key: Option<PhoneKey>,
    device: Option<Device>,
}

/// As [`KnownDevice`].
pub(crate) struct Device {
    pub user: UserId,
    pub key: String,
}

impl Device {
    /// The device of a token that is good for this phone; a wrong or old token counts as none. Asks no database, so a
    /// token that was ended counts as good.
    pub fn by_signature(app: &App, phone: &Phone, token: Option<&str>) -> Option<Self> {
        Self::signed(app, phone, token).map(|(device, _)| device)
    }

    /// The same, but a token that was ended counts as none, too (contract, ruling 39).
    ///
    /// # Errors
    /// If the database is away.
    pub async fn by_token(
        app: &App,
        phone: &Phone,
        token: Option<&str>,
    ) -> Result<Option<Self>, EngineError> {
        let Some((device, at)) = Self::signed(app, phone, token) else { return Ok(None) };
        let ended = app.sessions.device_is_ended(device.user, at).await?;
        Ok((!ended).then_some(device))
    }

    /// The device, and the time of the sign-in that made its token.
    fn signed(app: &App, phone: &Phone, token: Option<&str>) -> Option<(Self, Timestamp)> {
        let (token, now) = (token?, app.engines.clock.now());
        let (user, at) = device_token::check(&app.engines.keys, token, phone, now)?;
        Some((Self { user, key: device_token::counted_as(token) }, at))
    }

    /// The device of a live session of the phone's account.
    pub fn by_session(user: UserId, session: SessionId) -> Self {
        Self { user, key: device_token::counted_as(&session.to_string()) }
    }
}

impl ClaimedPhone {
    pub fn new(app: &App, phone: Phone, device: Option<Device>) -> Self {
        let keys = &app.engines.keys;
        let (key, former_key) = (keys.phone_key(phone.e164()), keys.former_phone_key(phone.e164()));
        Self { phone, key, former_key, device }
    }

    /// The user of the known device, whatever is left of its budgets.
    pub fn known_user(&self) -> Option<UserId> {
        self.device.as_ref().map(|device| device.user)
    }

    pub fn claimant(&self) -> Claimant<'_> {
        Claimant {
            phone_number: self.phone.e164(),
            phone_key: &self.key,
            former_key: self.former_key.as_ref(),
            known_device: self.device.as_ref().map(|d| KnownDevice { user: d.user, key: &d.key }),
        }
    }

    /// The name of the known device that an attempt is counted for, while it has a budget left (contract, ruling 39);
    /// `code` as in [`accounts::Attempts::is_by_known_device`].
    pub async fn counted_device(
        &self,
        app: &App,
        kind: AttemptKind,
        code: Option<CodeId>,
        now: Timestamp,
    ) -> Result<Option<&str>, EngineError> {
        let (claimant, limits) = (self.claimant(), app.attempt_limits());
        let counted = app.attempts.is_by_known_device(claimant, kind, code, limits, now).await?;
        Ok(self.device.as_ref().filter(|_| counted).map(|device| device.key.as_str()))
    }
}
