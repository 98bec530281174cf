//! The end of an account, whoever ends it: its user, or staff at the console and by a key.

use accounts::{Deleter, User};
use service::deletion::Deletion;
use texts::Notice;

use crate::app::App;
use crate::http::error::ApiError;

/// Deletes the account, its sessions and every trace of its phone, and tells the number's owner. Returns whether it did:
/// `false` if the account is gone, or `by` may not delete it any more.
pub(crate) async fn delete(app: &App, user: &User, by: Deleter<'_>) -> Result<bool, ApiError> {
    let (engines, now) = (&app.engines, app.engines.clock.now());
    let deletion = Deletion::of(user, &app.accounts, &engines.keys, now).await?;
    let notice = app.notice(user, Notice::AccountDeleted)?;
    if !deletion.from_database(&app.accounts, notice.as_ref(), by, now).await? {
        return Ok(false);
    }
    if let Err(error) = deletion.from_store(&app.codes).await {
        tracing::warn!(
            error = format!("{error:#}"),
            "cannot remove a deleted account from Redis, its data expires"
        );
    }
    app.outbox_filled.notify_one();
    Ok(true)
}
