//! The `gateway` binary: the service on its own, on RabbitMQ, Redis and PostgreSQL.

use std::process::ExitCode;

use common::config::Role;
use common::service;

fn main() -> ExitCode {
    service::main("gateway", Role::Gateway, async |start| {
        gateway::run(start.config, start.engines, start.stop).await
    })
}
