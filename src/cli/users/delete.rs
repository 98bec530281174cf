//! `users delete`.

use accounts::Deleter;
use anyhow::ensure;
use clap::Args;
use config::EngineSettings;
use serde_json::json;
use service::deletion::Deletion;
use store::Store;
use texts::Notice;

use super::account::UserArgs;
use crate::cli::operator::{Operator, actor};
use crate::cli::terminal::{ConfirmArgs, OutputArgs};

#[derive(Args)]
pub(crate) struct Delete {
    #[command(flatten)]
    user: UserArgs,
    #[command(flatten)]
    confirm: ConfirmArgs,
    #[command(flatten)]
    output: OutputArgs,
}

impl Delete {
    /// Deletes an account as `DELETE /v1/me` does. The embedded code store is the memory of the running process, which
    /// a command cannot reach: it contains no numbers or names, and its entries expire.
    pub async fn run(self, operator: &Operator) -> anyhow::Result<()> {
        let user = self.user.find(operator).await?;
        self.confirm.ask(&format!("delete {} and all data about its phone", user.id))?;
        let Operator { config, accounts, keys, clock, .. } = operator;
        let deletion = Deletion::of(&user, accounts, keys, clock.now()).await?;
        let notice = operator.notice(&user, Notice::AccountDeleted)?;
        let staff = Deleter::Staff(actor());
        ensure!(
            deletion.from_database(accounts, notice.as_ref(), staff, clock.now()).await?,
            "the account no longer exists"
        );
        let forgotten = match &config.engines {
            EngineSettings::Embedded { .. } => None,
            EngineSettings::Services { redis_url, .. } => {
                let forget = async {
                    let otps = Store::connect_redis(redis_url, clock.clone()).await?;
                    deletion.from_store(&otps.codes()).await
                };
                Some(forget.await)
            }
        };
        let mut text = format!("deleted {}", user.id);
        if let Some(Err(error)) = &forgotten {
            text = format!(
                "{text}; its data in Redis could not be deleted and expires within a day: {error:#}"
            );
        }
        let forgotten = forgotten.map(|outcome| outcome.is_ok());
        let report = json!({ "user_id": user.id, "deleted": true, "codes_forgotten": forgotten });
        self.output.say(&report, &text)
    }
}
