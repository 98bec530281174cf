//! `latchkey migrate`.

use serde_json::json;

use super::operator::Operator;
use super::progress::Progress;
use super::terminal::OutputArgs;

pub(crate) async fn run(output: OutputArgs) -> anyhow::Result<()> {
    let progress = Progress::waiting("migrating the database");
    let operator = Operator::connect().await?;
    drop(progress);
    let version = env!("CARGO_PKG_VERSION");
    operator.note("migrated", "schema", &json!({ "version": version })).await?;
    let text = format!("the database schema is at version {version}");
    output.say(&json!({ "version": version }), &text)
}
