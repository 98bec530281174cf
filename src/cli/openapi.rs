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
    #[arg(
        long,
        conflicts_with = "development",
        help = "The admin API's document instead of the public one"
    )]
    admin: bool,
}

/// Prints the OpenAPI document (3.1) of the public port, as every gateway serves it under `/openapi.json`. Without
/// `development` it is the document of a gateway in production, which docs/openapi.json is; with `admin` it is
/// docs/openapi-admin.json, the document of the admin port. Needs no settings.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    if arguments.admin {
        return print_json(&gateway::admin_openapi_document());
    }
    print_json(&gateway::openapi_document(arguments.development))
}
