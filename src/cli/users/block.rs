//! `users block`, `users unblock`, `users unlock` and `users clear-password`.

use accounts::{AttemptLimits, Claimant};
use anyhow::ensure;
use clap::Args;
use serde_json::json;
use texts::Notice;

use super::account::{UserArgs, phone};
use crate::cli::operator::{Operator, actor};
use crate::cli::terminal::{ConfirmArgs, OutputArgs};

#[derive(Args)]
pub(crate) struct Block {
    #[command(flatten)]
    user: UserArgs,
    /// The reason, for the audit.
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    confirm: ConfirmArgs,
    #[command(flatten)]
    output: OutputArgs,
}

impl Block {
    pub async fn run(self, operator: &Operator) -> anyhow::Result<()> {
        ensure!(!self.reason.trim().is_empty(), "--reason must not be empty");
        let id = self.user.find(operator).await?.id;
        self.confirm.ask(&format!("block {id} and end its sessions"))?;
        ensure!(
            operator.accounts.block(id, &self.reason, actor(), operator.clock.now()).await?,
            "the account is already blocked or no longer exists"
        );
        self.output.say(&json!({ "user_id": id, "blocked": true }), &format!("blocked {id}"))
    }
}

#[derive(Args)]
pub(crate) struct Unblock {
    #[command(flatten)]
    user: UserArgs,
    #[command(flatten)]
    output: OutputArgs,
}

impl Unblock {
    pub async fn run(self, operator: &Operator) -> anyhow::Result<()> {
        let id = self.user.find(operator).await?.id;
        ensure!(
            operator.accounts.unblock(id, actor(), operator.clock.now()).await?,
            "the account is not blocked"
        );
        self.output.say(&json!({ "user_id": id, "blocked": false }), &format!("unblocked {id}"))
    }
}

#[derive(Args)]
pub(crate) struct Unlock {
    /// The phone number, such as +989123456789.
    phone_number: String,
    #[command(flatten)]
    output: OutputArgs,
}

impl Unlock {
    pub async fn run(self, operator: &Operator) -> anyhow::Result<()> {
        let phone = phone(operator, &self.phone_number)?;
        let Operator { attempts, keys, clock, config, .. } = operator;
        let (key, former) = (keys.phone_key(phone.e164()), keys.former_phone_key(phone.e164()));
        let claimant = Claimant {
            phone_number: phone.e164(),
            phone_key: &key,
            former_key: former.as_ref(),
            known_device: None,
        };
        let otp = &config.otp;
        let limits = AttemptLimits {
            attempts: otp.attempts,
            max_failures: otp.max_failures,
            failure_reset_secs: otp.failure_reset_secs,
        };
        let had = attempts.reset_failures(claimant, limits, actor(), clock.now()).await?;
        let text = if had {
            "unlocked: the count of failed attempts is reset"
        } else {
            "the phone had no failed attempts"
        };
        self.output.say(&json!({ "phone_number": phone.to_string(), "had_failures": had }), text)
    }
}

#[derive(Args)]
pub(crate) struct ClearPassword {
    #[command(flatten)]
    user: UserArgs,
    #[command(flatten)]
    confirm: ConfirmArgs,
    #[command(flatten)]
    output: OutputArgs,
}

impl ClearPassword {
    pub async fn run(self, operator: &Operator) -> anyhow::Result<()> {
        let user = self.user.find(operator).await?;
        let id = user.id;
        self.confirm
            .ask(&format!("remove the password of {id} and end the sessions it started"))?;
        let notice = operator.notice(&user, Notice::PasswordChanged)?;
        let now = operator.clock.now();
        ensure!(
            operator.accounts.clear_password(id, notice.as_ref(), actor(), now).await?,
            "the account has no password"
        );
        let report = json!({ "user_id": id, "password": false });
        self.output.say(&report, &format!("{id} has no password now"))
    }
}
