//! Tells an account's owner that sign-in is locked (contract, ruling 42).

use accounts::Claimant;
use texts::Notice;

use crate::app::App;

/// In a task of its own: the answer must not take longer where there is an account (P6). If the process dies before it is
/// written, the owner is told of the next lock.
pub(crate) fn tell_of_lock(app: &App, claimant: Claimant<'_>) {
    let (app, number, key) =
        (app.clone(), claimant.phone_number.clone(), claimant.phone_key.clone());
    tokio::spawn(async move {
        let told = async {
            let Some(user) = app.accounts.by_phone(&number).await? else { return Ok(()) };
            let Some(notice) = app.notice(&user, Notice::SignInLocked)? else { return Ok(()) };
            let now = app.engines.clock.now();
            app.accounts.tell_of_lock(user.id, &key, &notice, now).await?;
            app.outbox_filled.notify_one();
            anyhow::Ok(())
        };
        if let Err(error) = told.await {
            tracing::warn!(error = format!("{error:#}"), "cannot tell an owner of a lock");
        }
    });
}
