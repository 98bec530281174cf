//! Erases a deleted account's number from other tables.

use domain::phone::E164;
use sql::{Work, args};

/// Erases a phone number from the tables of other parts of the product, in the deletion's own transaction. Every table
/// that holds numbers needs a statement here.
pub async fn phone(work: &mut Work, phone_number: &E164) -> Result<(), sqlx::Error> {
    let sql = "UPDATE sms_ledger SET phone_number = NULL WHERE phone_number = $1";
    work.run(sql, args![phone_number]).await.map(drop)
}
