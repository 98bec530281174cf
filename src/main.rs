//! `latchkey`: the three services in one process, and the operator's commands.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use common::config::{Config, Role};
use common::service;

mod all_in_one;
mod commands;

/// Phone sign-in that you run yourself: texts a code, checks it, answers with tokens.
///
/// Without a command it runs the gateway and both workers in this one process: embedded when DATABASE_URL, REDIS_URL
/// and AMQP_URL are unset (accounts in a SQLite file, codes and messages in memory), else on those engines.
/// Every setting is an environment variable; `latchkey config` shows them all with their meaning.
#[derive(Parser)]
#[command(name = "latchkey", version)]
struct Latchkey {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Brings the database's schema up to this version. Safe to run twice and side by side.
    Migrate(commands::migrate::Arguments),
    /// Prints the settings in effect, secrets masked, and refuses what a start would refuse.
    Config(commands::config::Arguments),
    /// Prints the limits in effect, by the names that refusals carry.
    Limits {
        #[arg(long, help = "Print JSON")]
        json: bool,
    },
    /// Asks the running process's ops port whether it is ready: exit 0 or 1.
    Health(commands::health::Arguments),
    /// Signing keys of access tokens, and the bundles of derived keys for services apart.
    #[command(subcommand)]
    Keys(commands::keys::Command),
    /// Messages that no try could handle: look at them, replay them, drop them.
    #[command(subcommand)]
    Dead(commands::dead::Command),
    /// Stops asks from a phone, prefix, address range or country, at run time.
    #[command(subcommand)]
    Block(commands::block::Command),
    /// The pumping guard: what it holds back, and what another rule would have done.
    #[command(subcommand)]
    Guard(commands::guard::Command),
    /// Which provider sends to where.
    #[command(subcommand)]
    Routes(commands::routes::Command),
    /// The texts, their segments and encodings.
    #[command(subcommand)]
    Texts(commands::texts::Command),
    /// Who may work with other people's accounts.
    #[command(subcommand)]
    Staff(commands::staff::Command),
    /// Accounts: find, look at, create, block, open.
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
