//! `latchkey openapi`: the OpenAPI document.

use clap::Args;

use super::terminal::{OutputArgs, print_json};

#[derive(Args)]
pub(crate) struct Arguments {
    // The document is JSON with and without it.
    #[command(flatten)]
    _output: OutputArgs,
    #[arg(long, help = "Also describe what is served in development only: the inbox")]
    development: bool,
}

/// Prints the OpenAPI document (3.1) of the public port, as every gateway serves it under `/openapi.json`. Without
/// `development` it is the document of a gateway in production, which docs/openapi.json is. Needs no settings.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    print_json(&gateway::openapi_document(arguments.development))
}
