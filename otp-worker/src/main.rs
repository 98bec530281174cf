//! `otp-worker`: the standalone service, on RabbitMQ, Redis and PostgreSQL.

use std::process::ExitCode;

use common::config::Role;
use common::service;

fn main() -> ExitCode {
    service::main("otp-worker", Role::OtpWorker, async |start| {
        otp_worker::run(start.config, start.engines, start.stop).await
    })
}
