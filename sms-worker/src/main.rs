//! `sms-worker`: the standalone service, on RabbitMQ, Redis and PostgreSQL.

use std::process::ExitCode;

use config::Role;
use service::start;

fn main() -> ExitCode {
    start::main("sms-worker", Role::SmsWorker, async |start| {
        sms_worker::run(start.config, start.engines.for_delivery(), start.stop).await
    })
}
