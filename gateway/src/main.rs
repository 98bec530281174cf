//! `gateway`: the service on its own, on RabbitMQ, Redis and PostgreSQL. The same as `latchkey gateway`.

use std::process::ExitCode;

use config::Role;
use service::standalone;

fn main() -> ExitCode {
    standalone::main(Role::Gateway, async |start| {
        gateway::run(start.config, start.engines, start.stop).await
    })
}
