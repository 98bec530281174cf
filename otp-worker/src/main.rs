//! `otp-worker`: the standalone service, on RabbitMQ, Redis and PostgreSQL.

use std::process::ExitCode;

use config::Role;
use service::start;

fn main() -> ExitCode {
    start::main("otp-worker", Role::OtpWorker, async |start| {
        otp_worker::run(start.config, start.engines, start.stop).await
    })
}
