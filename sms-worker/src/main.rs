//! `sms-worker`: the service on its own, on RabbitMQ, Redis and PostgreSQL. The same as `latchkey sms-worker`.

use std::process::ExitCode;

use config::Role;
use service::standalone;

fn main() -> ExitCode {
    standalone::main(Role::SmsWorker, async |start| {
        sms_worker::run(start.config, start.engines.for_delivery(), start.stop).await
    })
}
