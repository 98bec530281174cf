//! `latchkey`: all three services in one process, and the operator's commands.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use common::config::{Config, Role};
use common::service;

mod all_in_one;
mod commands;

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
    Migrate(commands::migrate::Arguments),
    /// Prints the settings in effect with secrets masked, or the mistakes that would prevent a start.
    Config(commands::config::Arguments),
    /// Prints the limits in effect, under the names that refusals use.
    Limits {
        #[arg(long, help = "Print JSON")]
        json: bool,
    },
    /// Checks through the ops port whether the running process is ready: exit status 0 or 1.
    Health(commands::health::Arguments),
    /// Manages the keys that sign access tokens, and derives key bundles for separate services.
    #[command(subcommand)]
    Keys(commands::keys::Command),
    /// Lists, shows, replays or drops dead letters: messages that could not be processed.
    #[command(subcommand)]
    Dead(commands::dead::Command),
    /// Blocks code requests for a phone, prefix, address range or country, at run time.
    #[command(subcommand)]
    Block(commands::block::Command),
    /// Shows what the pumping guard blocks, and what another rule would have blocked.
    #[command(subcommand)]
    Guard(commands::guard::Command),
    /// Shows which providers send to which numbers.
    #[command(subcommand)]
    Routes(commands::routes::Command),
    /// Checks the message wordings, their encodings and their segments.
    #[command(subcommand)]
    Texts(commands::texts::Command),
    /// Grants and revokes the roles that allow access to other users' accounts.
    #[command(subcommand)]
    Staff(commands::staff::Command),
    /// Finds, shows, creates, blocks, unlocks, imports, exports and deletes accounts.
    #[command(subcommand)]
    Users(commands::users::Command),
}

fn main() -> ExitCode {
    service::install_crypto();
    service::exit_code("latchkey", run(Latchkey::parse().command))
}

fn run(command: Option<Command>) -> anyhow::Result<()> {
    match command {
        None => service::block_on(all_in_one::run(Config::load(Role::AllInOne)?)),
        Some(Command::Migrate(arguments)) => service::block_on(commands::migrate::run(&arguments)),
        Some(Command::Config(arguments)) => commands::config::run(&arguments),
        Some(Command::Limits { json }) => commands::limits::run(json),
        Some(Command::Health(arguments)) => service::block_on(commands::health::run(&arguments)),
        Some(Command::Keys(command)) => service::block_on(commands::keys::run(command)),
        Some(Command::Dead(command)) => service::block_on(commands::dead::run(command)),
        Some(Command::Block(command)) => service::block_on(commands::block::run(command)),
        Some(Command::Guard(command)) => service::block_on(commands::guard::run(command)),
        Some(Command::Routes(command)) => commands::routes::run(&command),
        Some(Command::Texts(command)) => commands::texts::run(&command),
        Some(Command::Staff(command)) => service::block_on(commands::staff::run(command)),
        Some(Command::Users(command)) => service::block_on(commands::users::run(command)),
    }
}
