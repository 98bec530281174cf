//! `latchkey health`: the readiness of the running process.

use clap::Args;
use config::Config;
use serde_json::json;
use service::start;

use super::terminal::{OutputArgs, print_json};

#[derive(Args)]
pub(crate) struct Arguments {
    #[arg(long, help = "Print JSON, even if it is not ready")]
    json: bool,
}

/// # Errors
/// If the process is not ready or does not answer: scripts rely on the exit status.
pub(crate) async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let answer = start::health(&Config::load_as_found()?).await;
    if let Err(error) = &answer
        && arguments.json
    {
        print_json(&json!({ "ready": false, "reason": format!("{error:#}") }))?;
    }
    answer?;
    OutputArgs { json: arguments.json }.say(&json!({ "ready": true }), "ready")
}
