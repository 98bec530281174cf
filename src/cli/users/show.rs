//! `users find`, `users show` and `users sessions`.

use accounts::User;
use anyhow::Context as _;
use clap::Args;
use serde_json::{Value, json};

use super::account::{UserArgs, find, shown};
use crate::cli::operator::Operator;
use crate::cli::terminal::OutputArgs;

#[derive(Args)]
pub(crate) struct Find {
    /// The phone number, such as +989123456789.
    phone_number: String,
    #[command(flatten)]
    output: OutputArgs,
}

impl Find {
    pub async fn run(self, operator: &Operator) -> anyhow::Result<()> {
        show(operator, &find(operator, &self.phone_number).await?, self.output).await
    }
}

#[derive(Args)]
pub(crate) struct Show {
    #[command(flatten)]
    user: UserArgs,
    #[command(flatten)]
    output: OutputArgs,
}

impl Show {
    pub async fn run(self, operator: &Operator) -> anyhow::Result<()> {
        show(operator, &self.user.find(operator).await?, self.output).await
    }
}

async fn show(operator: &Operator, user: &User, output: OutputArgs) -> anyhow::Result<()> {
    operator.note("user_read", &user.id.to_string(), &json!({})).await?;
    let value = shown(user);
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let rows: Vec<_> = value
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| vec![name.clone(), text(value)])
        .collect();
    output.table(&value, &["FIELD", "VALUE"], &rows)
}

#[derive(Args)]
pub(crate) struct Sessions {
    #[command(flatten)]
    user: UserArgs,
    #[command(flatten)]
    output: OutputArgs,
}

impl Sessions {
    pub async fn run(self, operator: &Operator) -> anyhow::Result<()> {
        let user = self.user.find(operator).await?;
        let sessions = sessions(operator, &user).await?;
        operator.note("sessions_read", &user.id.to_string(), &json!({})).await?;
        let row = |session: &Value| {
            ["id", "created_at", "last_seen_at", "ip", "device"]
                .map(|name| session[name].as_str().unwrap_or_default().to_owned())
                .to_vec()
        };
        let rows: Vec<_> = sessions.iter().map(row).collect();
        let heading = ["ID", "CREATED", "LAST SEEN", "IP", "DEVICE"];
        self.output.table(&sessions.into(), &heading, &rows)
    }
}

/// Reads the live sessions of an account.
pub(super) async fn sessions(operator: &Operator, user: &User) -> anyhow::Result<Vec<Value>> {
    let sessions = operator
        .sessions
        .of_user(user.id, operator.clock.now())
        .await
        .context("read the sessions")?;
    Ok(sessions
        .iter()
        .map(|s| {
            json!({
                "id": s.id, "device": s.device, "ip": s.ip, "created_at": s.created_at, "last_seen_at": s.last_seen_at,
            })
        })
        .collect())
}
