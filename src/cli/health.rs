//! `latchkey health`: what a probe of the running process is answered.

use clap::Args;
use config::Config;
use serde_json::json;
use service::start;

use super::operator::{print_json, say};

#[derive(Args)]
pub(crate) struct Arguments {
    #[arg(long, help = "Print JSON, also when it is not ready")]
    json: bool,
}

/// # Errors
/// When the process is not ready, or nobody answers: a script sees it by the exit status.
pub(crate) async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let asked = start::health(&Config::load_as_found()?).await;
    if let Err(error) = &asked
        && arguments.json
    {
        print_json(&json!({ "ready": false, "reason": format!("{error:#}") }))?;
    }
    asked?;
    say(arguments.json, &json!({ "ready": true }), "ready")
}
