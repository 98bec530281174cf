//! `otp-worker`: the service on its own, on RabbitMQ, Redis and PostgreSQL. The same as `latchkey otp-worker`.

use std::process::ExitCode;

use config::Role;
use service::standalone;

fn main() -> ExitCode {
    standalone::main(Role::OtpWorker, async |start| {
        otp_worker::run(start.config, start.engines, start.stop).await
    })
}
