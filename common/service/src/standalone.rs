//! The command line of one service on its own: of its own program, and of a role of `latchkey`.

use std::future::Future;
use std::process::ExitCode;

use clap::{Args, FromArgMatches as _, Subcommand};
use config::{Config, Role};

use crate::start::{self, Start};

/// What one service can be told: nothing, and it runs, or a command.
#[derive(Args)]
pub struct Standalone {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Checks through the ops port whether the running service is ready: exit status 0 or 1.
    Health,
}

impl Standalone {
    /// Runs the service, or the command.
    ///
    /// # Errors
    /// When the settings are wrong, the service fails, or it is not ready.
    pub fn run<F>(self, role: Role, service: impl FnOnce(Start) -> F) -> anyhow::Result<()>
    where
        F: Future<Output = anyhow::Result<()>>,
    {
        let config = Config::load(role)?;
        match self.command {
            None => start::block_on_threads(config.threads, start::serve(config, service)),
            Some(Command::Health) => {
                start::block_on(start::health(&config))?;
                println!("ready");
                Ok(())
            }
        }
    }
}

/// The whole `main` of a service's own program. Wrong arguments end it with status 2.
pub fn main<F>(role: Role, service: impl FnOnce(Start) -> F) -> ExitCode
where
    F: Future<Output = anyhow::Result<()>>,
{
    start::install_crypto();
    let matches = Standalone::augment_args(clap::Command::new(role.as_str()))
        .version(env!("CARGO_PKG_VERSION"))
        .about("Runs the service on the engines that DATABASE_URL, REDIS_URL and AMQP_URL name, until SIGTERM")
        .after_help("Every setting is an environment variable: `latchkey config` explains them.")
        .get_matches();
    let arguments = Standalone::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    start::exit_code(role.as_str(), arguments.run(role, service))
}
