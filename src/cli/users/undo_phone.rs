//! `users undo-phone`.

use accounts::{UndoOutcome, former_phone};
use anyhow::{Context as _, bail};
use clap::Args;

use domain::phone::Phone;

use super::account::{UserArgs, shown};
use crate::cli::operator::{Operator, actor};
use crate::cli::terminal::{ConfirmArgs, OutputArgs};

#[derive(Args)]
pub(crate) struct UndoPhone {
    #[command(flatten)]
    user: UserArgs,
    #[command(flatten)]
    confirm: ConfirmArgs,
    #[command(flatten)]
    output: OutputArgs,
}

impl UndoPhone {
    pub async fn run(self, operator: &Operator) -> anyhow::Result<()> {
        let (accounts, now) = (&operator.accounts, operator.clock.now());
        let id = self.user.find(operator).await?.id;
        let replaced = accounts.replaced_phones(id, now).await?;
        let last =
            replaced.first().context("there is no change of phone that can still be undone")?;
        let old: Phone = former_phone::open(&operator.keys, id, last)
            .context("unseal the former number")?
            .into();
        let number = old.e164().expose();
        self.confirm.ask(&format!("change the number of {id} back to {number}"))?;
        match accounts.undo_phone(id, last.id, (old.e164(), old.region()), actor(), now).await? {
            UndoOutcome::Undone(user) => self.output.say(
                &shown(&user),
                &format!("{id} has the number {number} again and is signed out everywhere"),
            ),
            UndoOutcome::Taken => bail!("another account now has the former number"),
            UndoOutcome::Gone => bail!("the change can no longer be undone"),
        }
    }
}
