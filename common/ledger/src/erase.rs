//! The number of a deleted account, wherever else it stands.

use sql::{Work, args};

/// Takes a phone number out of the tables that other parts of the product keep, in the deletion's own transaction.
/// A table that holds numbers has its line here.
pub async fn phone(work: &mut Work, phone_number: &str) -> Result<(), sqlx::Error> {
    work.run(
        "UPDATE sms_ledger SET phone_number = NULL WHERE phone_number = $1",
        args![phone_number],
    )
    .await?;
    Ok(())
}
