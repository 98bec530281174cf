//! The `gateway` binary: the service on its own, on RabbitMQ, Redis and PostgreSQL.

use std::process::ExitCode;

use config::Role;
use service::start;

fn main() -> ExitCode {
    start::main("gateway", Role::Gateway, async |start| {
        gateway::run(start.config, start.engines, start.stop).await
    })
}
