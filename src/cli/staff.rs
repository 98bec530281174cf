//! `latchkey staff`: roles by a command. The first owner is made here; owners grant the others at the console too.

use accounts::{StaffRole, User};
use anyhow::{Context as _, ensure};
use clap::Subcommand;
use serde_json::json;

use super::operator::{Operator, actor};
use super::terminal::{ConfirmArgs, OutputArgs};
use super::users::account::{UserArgs, shown};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Grants a role to an account.
    Grant {
        #[command(flatten)]
        user: UserArgs,
        /// viewer, support, operator or owner.
        role: String,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Revokes the role of an account.
    Revoke {
        #[command(flatten)]
        user: UserArgs,
        #[command(flatten)]
        confirm: ConfirmArgs,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Lists the accounts that have a role.
    List(OutputArgs),
}

pub(crate) async fn run(command: Command) -> anyhow::Result<()> {
    let operator = Operator::connect().await?;
    let now = operator.clock.now();
    match command {
        Command::Grant { user, role, output } => {
            let role = StaffRole::named(&role)
                .context("ROLE must be viewer, support, operator or owner")?;
            let user = user.find(&operator).await?;
            ensure!(
                operator.accounts.grant_role(user.id, role, actor(), now).await?,
                "the account no longer exists"
            );
            output.say(
                &json!({ "user_id": user.id, "role": role.as_str() }),
                &format!("{} is now {}", user.id, role.as_str()),
            )
        }
        Command::Revoke { user, confirm, output } => {
            let user = user.find(&operator).await?;
            confirm.ask(&format!("revoke the role of {}", user.id))?;
            ensure!(
                operator.accounts.revoke_role(user.id, actor(), now).await?,
                "{} has no role",
                user.id
            );
            output.say(
                &json!({ "user_id": user.id, "role": null }),
                &format!("{} now has no role", user.id),
            )
        }
        Command::List(output) => {
            let staff = operator.accounts.staff().await?;
            operator.note("staff_read", "all", &json!({})).await?;
            let row = |user: &User| {
                let role = user.role.clone().unwrap_or_default();
                vec![user.id.to_string(), role, user.phone_number.expose().to_owned()]
            };
            let rows: Vec<_> = staff.iter().map(row).collect();
            let values = staff.iter().map(shown).collect();
            output.table(&values, &["ID", "ROLE", "PHONE"], &rows)
        }
    }
}
