//! `latchkey staff`: roles are granted here and never over HTTP.

use accounts::StaffRole;
use anyhow::{Context as _, ensure};
use clap::Subcommand;
use serde_json::json;

use super::operator::{ACTOR, Operator, confirm, print_json, print_table, say};
use super::users::{find, shown};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Grants a role to an account.
    Grant {
        /// The account's ID or phone number.
        user: String,
        /// admin or support.
        role: String,
        #[arg(long, help = "Print JSON")]
        json: bool,
    },
    /// Revokes the role of an account.
    Revoke {
        /// The account's ID or phone number.
        user: String,
        #[arg(long, help = "Do not ask for confirmation")]
        yes: bool,
        #[arg(long, help = "Print JSON")]
        json: bool,
    },
    /// Lists the accounts that have a role.
    List {
        #[arg(long, help = "Print JSON")]
        json: bool,
    },
}

pub(crate) async fn run(command: Command) -> anyhow::Result<()> {
    let operator = Operator::connect().await?;
    let now = operator.clock.now();
    match command {
        Command::Grant { user, role, json } => {
            let role: StaffRole = role.parse().ok().context("ROLE must be admin or support")?;
            let user = find(&operator, &user).await?;
            ensure!(
                operator.accounts().grant_role(user.id, role, ACTOR, now).await?,
                "the account no longer exists"
            );
            say(
                json,
                &json!({ "user_id": user.id, "role": role.as_str() }),
                &format!("{} is now {}", user.id, role.as_str()),
            )
        }
        Command::Revoke { user, yes, json } => {
            let user = find(&operator, &user).await?;
            confirm(yes, &format!("revoke the role of {}", user.id))?;
            ensure!(
                operator.accounts().revoke_role(user.id, ACTOR, now).await?,
                "{} has no role",
                user.id
            );
            say(
                json,
                &json!({ "user_id": user.id, "role": null }),
                &format!("{} now has no role", user.id),
            )
        }
        Command::List { json } => {
            let staff = operator.accounts().staff().await?;
            operator.note("staff_read", "all", &json!({})).await?;
            if json {
                return print_json(&staff.iter().map(shown).collect());
            }
            let rows: Vec<Vec<String>> = staff
                .iter()
                .map(|user| {
                    vec![
                        user.id.to_string(),
                        user.role.clone().unwrap_or_default(),
                        user.phone_number.expose().to_owned(),
                    ]
                })
                .collect();
            print_table(&["ID", "ROLE", "PHONE"], &rows)
        }
    }
}
