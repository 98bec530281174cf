//! The end of an account, the same whoever asks for it: its user, or staff.

use anyhow::Context as _;

use accounts::{Accounts, User, former_phone};
use domain::engine_error::EngineError;
use domain::keys::Keys;
use domain::phone::{E164, Phone};
use domain::timestamp::Timestamp;
use store::OtpStore;

/// An account that is to go.
pub struct Deletion<'a> {
    pub user: &'a User,
    /// The numbers that it had before, while they are kept: they lead to it as well.
    former: Vec<Phone>,
    keys: &'a Keys,
}

impl<'a> Deletion<'a> {
    /// Looks up what belongs to the account beside its row. Changes nothing yet.
    pub async fn of(
        user: &'a User,
        accounts: &Accounts,
        keys: &'a Keys,
        now: Timestamp,
    ) -> Result<Self, EngineError> {
        let replaced = accounts.replaced_phones(user.id, now).await?;
        // One that cannot be opened any more, as its key is gone, names nobody.
        let former = replaced.iter().filter_map(|one| former_phone::open(keys, user.id, one).ok());
        Ok(Self { user, former: former.collect(), keys })
    }

    /// Deletes the account, its sessions and its numbers in the ledger, in one transaction with the event and the audit,
    /// which names it by a pseudonym from then on. `actor` is who asked for it. Says whether it was still there.
    pub async fn from_database(
        &self,
        accounts: &Accounts,
        actor: &str,
        now: Timestamp,
    ) -> Result<bool, EngineError> {
        let id = self.user.id;
        let pseudonym = self.keys.index("deleted user", &id.to_string());
        let former: Vec<E164> = self.former.iter().map(|phone| phone.e164().clone()).collect();
        accounts.delete(id, &pseudonym, &former, actor, now).await
    }

    /// Forgets what the store of codes holds under its numbers: after the database, for what is lost here ends by itself
    /// within a day, and an outage must not undo a deletion.
    pub async fn from_store(&self, otps: &OtpStore) -> anyhow::Result<()> {
        let now = Phone::from(self.user.phone_number.clone());
        for phone in self.former.iter().chain([&now]) {
            let keys = [Some(self.keys.phone_key(phone)), self.keys.former_phone_key(phone)];
            for key in keys.iter().flatten() {
                otps.forget(key, self.user.id).await.context("forget a phone")?;
            }
        }
        Ok(())
    }
}
