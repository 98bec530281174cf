//! `sms-worker`: the standalone service, on RabbitMQ, Redis and PostgreSQL.

use std::process::ExitCode;

use common::config::Role;
use common::service;

fn main() -> ExitCode {
    service::main("sms-worker", Role::SmsWorker, async |start| {
        sms_worker::run(start.config, start.engines, start.stop).await
    })
}
