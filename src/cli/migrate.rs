//! `latchkey migrate`.

use serde_json::json;

use super::operator::Operator;
use super::terminal::OutputArgs;

pub(crate) async fn run(output: OutputArgs) -> anyhow::Result<()> {
    let operator = Operator::connect().await?;
    let version = env!("CARGO_PKG_VERSION");
    operator.note("migrated", "schema", &json!({ "version": version })).await?;
    let text = format!("the database schema is at version {version}");
    output.say(&json!({ "version": version }), &text)
}
