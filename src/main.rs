//! `latchkey`: the three services in one process, and the operator's commands.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use config::{Config, Role};
use service::start;

mod all_in_one;
mod cli;

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
    Migrate(cli::migrate::Arguments),
    /// Prints the settings in effect, secrets masked, and refuses what a start would refuse.
    Config(cli::config::Arguments),
    /// Prints the limits in effect, by the names that refusals carry.
    Limits {
        #[arg(long, help = "Print JSON")]
        json: bool,
    },
    /// Asks the running process's ops port whether it is ready: exit 0 or 1.
    Health(cli::health::Arguments),
    /// Signing keys of access tokens, and the bundles of derived keys for services apart.
    #[command(subcommand)]
    Keys(cli::keys::Command),
    /// Messages that no try could handle: look at them, replay them, drop them.
    #[command(subcommand)]
    Dead(cli::dead::Command),
    /// Stops asks from a phone, prefix, address range or country, at run time.
    #[command(subcommand)]
    Block(cli::block::Command),
    /// The pumping guard: what it holds back, and what another rule would have done.
    #[command(subcommand)]
    Guard(cli::guard::Command),
    /// Which provider sends to where.
    #[command(subcommand)]
    Routes(cli::routes::Command),
    /// The texts, their segments and encodings.
    #[command(subcommand)]
    Texts(cli::texts::Command),
    /// Who may work with other people's accounts.
    #[command(subcommand)]
    Staff(cli::staff::Command),
    /// Accounts: find, look at, create, block, open.
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
