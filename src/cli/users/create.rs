//! `users create`, and the rules for the profile of an account that staff create.

use accounts::{Creation, NewUser};
use anyhow::{Context as _, bail};
use clap::Args;
use config::Served;
use domain::ids::UserId;
use gateway::validate;

use super::account::shown;
use crate::cli::operator::{Operator, actor};
use crate::cli::terminal::OutputArgs;

#[derive(Args)]
pub(crate) struct Create {
    /// The phone number, such as +989123456789.
    phone_number: String,
    #[arg(long, default_value = "")]
    first_name: String,
    #[arg(long, default_value = "")]
    last_name: String,
    /// The BCP 47 language of messages.
    #[arg(long, default_value = "en")]
    locale: String,
    #[command(flatten)]
    output: OutputArgs,
}

impl Create {
    pub async fn run(self, operator: &Operator) -> anyhow::Result<()> {
        let Self { phone_number, first_name, last_name, locale, output } = self;
        let now = operator.clock.now();
        let phone = Served::of(&operator.config)
            .parse(&phone_number, now)
            .map_err(|_| anyhow::anyhow!("not a mobile number that this deployment serves"))?;
        check_profile(&first_name, &last_name, &locale).map_err(anyhow::Error::msg)?;
        let new = NewUser {
            id: UserId::new(&operator.clock),
            phone_number: phone.e164(),
            first_name: &first_name,
            last_name: &last_name,
            locale: &locale,
            country: phone.region(),
            password_hash: None,
            created_at: now,
            block_reason: None,
        };
        match operator.accounts.create(new, actor(), now).await.context("create the account")? {
            Creation::Created(user) => output.say(&shown(&user), &format!("created {}", user.id)),
            Creation::Exists => bail!("the number already has an account"),
        }
    }
}

/// Checks the names, which may be empty, and the locale of an account that staff create.
pub(super) fn check_profile(first_name: &str, last_name: &str, locale: &str) -> Result<(), String> {
    for (field, name) in [("first_name", first_name), ("last_name", last_name)] {
        if !name.is_empty() {
            validate::name(name).map_err(|fault| format!("{field}: {}", fault.detail))?;
        }
    }
    validate::locale(locale).map_err(|fault| format!("locale: {}", fault.detail))
}
