//! `latchkey`: all three services in one process, and the operator's commands.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use config::{Config, Role};
use service::start;

mod all_in_one;
mod cli;

/// Self-hosted sign-in by phone number: sends a code, checks it, and returns tokens.
///
/// Without a command, it runs the gateway and both workers in one process. If DATABASE_URL, REDIS_URL and AMQP_URL
/// are unset, it runs embedded: accounts in a SQLite file, codes and messages in memory. Otherwise it uses those
/// engines. Every setting is an environment variable: `latchkey config` shows the settings in effect, and
/// `latchkey config --markdown` explains all of them.
#[derive(Parser)]
#[command(name = "latchkey", version)]
struct Latchkey {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Migrates the database schema to this version. Safe to run repeatedly and concurrently.
    Migrate(cli::migrate::Arguments),
    /// Prints the settings in effect with secrets masked, or the mistakes that would prevent a start.
    Config(cli::config::Arguments),
    /// Prints the limits in effect, under the names that refusals use.
    Limits {
        #[arg(long, help = "Print JSON")]
        json: bool,
    },
    /// Checks through the ops port whether the running process is ready: exit status 0 or 1.
    Health(cli::health::Arguments),
    /// Manages the keys that sign access tokens, and derives key bundles for separate services.
    #[command(subcommand)]
    Keys(cli::keys::Command),
    /// Lists, shows, replays or drops dead letters: messages that could not be processed.
    #[command(subcommand)]
    Dead(cli::dead::Command),
    /// Blocks code requests for a phone, prefix, address range or country, at run time.
    #[command(subcommand)]
    Block(cli::block::Command),
    /// Shows what the pumping guard blocks, and what another rule would have blocked.
    #[command(subcommand)]
    Guard(cli::guard::Command),
    /// Shows which providers send to which numbers.
    #[command(subcommand)]
    Routes(cli::routes::Command),
    /// Checks the message wordings, their encodings and their segments.
    #[command(subcommand)]
    Texts(cli::texts::Command),
    /// Grants and revokes the roles that allow access to other users' accounts.
    #[command(subcommand)]
    Staff(cli::staff::Command),
    /// Finds, shows, creates, blocks, unlocks, imports, exports and deletes accounts.
    #[command(subcommand)]
    Users(cli::users::Command),
}

fn main() -> ExitCode {
    start::install_crypto();
    start::exit_code("latchkey", run(Latchkey::parse().command))
}

fn run(command: Option<Command>) -> anyhow::Result<()> {
    match command {
        None => start::block_on(all_in_one::run(Config::load(Role::AllInOne)?)),
        Some(Command::Migrate(arguments)) => start::block_on(cli::migrate::run(&arguments)),
        Some(Command::Config(arguments)) => cli::config::run(&arguments),
        Some(Command::Limits { json }) => cli::limits::run(json),
        Some(Command::Health(arguments)) => start::block_on(cli::health::run(&arguments)),
        Some(Command::Keys(command)) => start::block_on(cli::keys::run(command)),
        Some(Command::Dead(command)) => start::block_on(cli::dead::run(command)),
        Some(Command::Block(command)) => start::block_on(cli::block::run(command)),
        Some(Command::Guard(command)) => start::block_on(cli::guard::run(command)),
        Some(Command::Routes(command)) => cli::routes::run(&command),
        Some(Command::Texts(command)) => cli::texts::run(&command),
        Some(Command::Staff(command)) => start::block_on(cli::staff::run(command)),
        Some(Command::Users(command)) => start::block_on(cli::users::run(command)),
    }
}
