//! Deletion of an account, the same for its user and for staff.

use anyhow::Context as _;

use accounts::notice::OwnerNotice;
use accounts::{Accounts, Deleter, User, former_phone};
use domain::engine_error::EngineError;
use domain::keys::Keys;
use domain::phone::E164;
use domain::timestamp::Timestamp;
use store::Codes;

/// An account to delete.
pub struct Deletion<'a> {
    pub user: &'a User,
    /// The former numbers that are still kept: they lead to the account as well.
    former: Vec<E164>,
    keys: &'a Keys,
}

impl<'a> Deletion<'a> {
    /// Looks up the data that belongs to the account besides its row. Changes nothing.
    pub async fn of(
        user: &'a User,
        accounts: &Accounts,
        keys: &'a Keys,
        now: Timestamp,
    ) -> Result<Self, EngineError> {
        let replaced = accounts.replaced_phones(user.id, now).await?;
        // A number whose key is gone cannot be opened and identifies no one.
        let former = replaced.iter().filter_map(|one| former_phone::open(keys, user.id, one).ok());
        Ok(Self { user, former: former.collect(), keys })
    }

    /// Deletes the account, its sessions and its numbers in the ledger, in one transaction with the event and the
    /// audit, which then names it by a pseudonym. `notice` tells the number's owner. Returns whether the account still
    /// existed and `by` might delete it.
    pub async fn from_database(
        &self,
        accounts: &Accounts,
        notice: Option<&OwnerNotice>,
        by: Deleter<'_>,
        now: Timestamp,
    ) -> Result<bool, EngineError> {
        let id = self.user.id;
        let pseudonym = self.keys.index("deleted user", &id.to_string());
        accounts.delete(by, id, &pseudonym, &self.former, notice, now).await
    }

    /// Deletes what the code store holds under its numbers. It runs after the database: anything left here expires
    /// within a day, and an outage must not undo a deletion.
    pub async fn from_store(&self, codes: &Codes) -> anyhow::Result<()> {
        for phone in self.former.iter().chain([&self.user.phone_number]) {
            let keys = [Some(self.keys.phone_key(phone)), self.keys.former_phone_key(phone)];
            for key in keys.iter().flatten() {
                codes
                    .forget(key, self.user.id)
                    .await
                    .context("delete a phone from the code store")?;
            }
        }
        Ok(())
    }
}
