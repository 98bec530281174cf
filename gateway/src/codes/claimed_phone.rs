//! A phone that a client claims to own, and the keys that its attempts are counted under.

use accounts::Claimant;
use domain::ids::UserId;
use domain::keys::PhoneKey;
use domain::phone::Phone;

use crate::app::App;

pub(crate) struct ClaimedPhone {
    pub phone: Phone,
    pub key: PhoneKey,
    /// As in [`Claimant`].
    pub former_key: Option<PhoneKey>,
    /// As in [`Claimant`].
    pub known_device: Option<UserId>,
}

impl ClaimedPhone {
    pub fn new(app: &App, phone: Phone, known_device: Option<UserId>) -> Self {
        let keys = &app.engines.keys;
        let (key, former_key) = (keys.phone_key(&phone), keys.former_phone_key(&phone));
        Self { phone, key, former_key, known_device }
    }

    pub fn claimant(&self) -> Claimant<'_> {
        Claimant {
            phone_number: self.phone.e164(),
            phone_key: &self.key,
            former_key: self.former_key.as_ref(),
            known_device: self.known_device,
        }
    }
}
