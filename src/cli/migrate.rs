//! `latchkey migrate`.

use clap::Args;
use serde_json::json;

use super::operator::{Operator, say};

#[derive(Args)]
pub(crate) struct Arguments {
    #[arg(long, help = "Print JSON")]
    json: bool,
}

pub(crate) async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let operator = Operator::connect().await?;
    let version = env!("CARGO_PKG_VERSION");
    operator.note("migrated", "schema", &json!({ "version": version })).await?;
    let text = format!("the database schema is at version {version}");
    say(arguments.json, &json!({ "version": version }), &text)
}
