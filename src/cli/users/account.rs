//! One account, as staff name it and as they see it.

use accounts::User;
use anyhow::Context as _;
use clap::Args;
use config::Served;
use domain::ids::UserId;
use domain::phone::Phone;
use gateway::ExportedUser;
use serde_json::{Value, json};

use crate::cli::operator::Operator;

/// The account that a command is about.
#[derive(Args)]
pub(crate) struct UserArgs {
    /// The account's ID or phone number.
    user: String,
}

impl UserArgs {
    /// Finds the account.
    ///
    /// # Errors
    /// If there is none.
    pub async fn find(&self, operator: &Operator) -> anyhow::Result<User> {
        find(operator, &self.user).await
    }
}

/// Finds an account by ID or phone number.
pub(super) async fn find(operator: &Operator, who: &str) -> anyhow::Result<User> {
    let found = match who.parse::<UserId>() {
        Ok(id) => operator.accounts.get(id).await,
        Err(_) => operator.accounts.by_phone(phone(operator, who)?.e164()).await,
    };
    found.context("look up the account")?.context("there is no such account")
}

pub(super) fn phone(operator: &Operator, writing: &str) -> anyhow::Result<Phone> {
    // The account may belong to a country that is no longer served.
    let served = Served::of(&operator.config).everywhere();
    served
        .parse(writing, operator.clock.now())
        .map_err(|_| anyhow::anyhow!("not an account ID or a mobile number"))
}

/// Returns an account as staff see it.
pub(in crate::cli) fn shown(user: &User) -> Value {
    json!(ExportedUser::of(user))
}
