//! `latchkey`: all three services in one process, each service on its own, and the operator's commands.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use config::{Config, Role};
use domain::keys::Service;
use service::standalone::Standalone;
use service::start;

mod all_in_one;
mod cli;

/// Self-hosted sign-in by phone number: sends a code, checks it, and returns tokens.
///
/// Without a command, it runs the gateway and both workers in one process; the commands `gateway`, `otp-worker` and
/// `sms-worker` run one of them. If DATABASE_URL, REDIS_URL and AMQP_URL
/// are unset, it runs embedded: accounts in a SQLite file, codes and messages in memory. Otherwise it uses those
/// engines. Every setting is an environment variable: `latchkey config` shows the settings in effect, and
/// `latchkey config --markdown` explains all of them.
#[derive(Parser)]
#[command(name = "latchkey", version, propagate_version = true)]
struct Latchkey {
    /// Your name in the audit, for the operator's commands; by default the login name of the shell.
    #[arg(long = "as", value_name = "NAME", global = true)]
    acting_as: Option<String>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Runs only the gateway, on the engines that DATABASE_URL, REDIS_URL and AMQP_URL name, until SIGTERM.
    Gateway(Standalone),
    /// Runs only the worker that issues codes, on the same engines.
    OtpWorker(Standalone),
    /// Runs only the worker that sends messages, on the same engines.
    SmsWorker(Standalone),
    /// Migrates the database schema to this version. Safe to run repeatedly and concurrently.
    Migrate(cli::OutputArgs),
    /// Prints the settings in effect with secrets masked, or the mistakes that would prevent a start.
    Config(cli::config::Arguments),
    /// Prints the limits in effect, under the names that refusals use.
    Limits(cli::OutputArgs),
    /// Prints the OpenAPI document of the API, for tools that make clients: `latchkey openapi > openapi.json`.
    Openapi(cli::openapi::Arguments),
    /// Prints the codes of refusals, and what an app does about each.
    Errors(cli::errors::Arguments),
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
    /// Makes, lists and revokes the keys by which programs call the admin API.
    #[command(subcommand)]
    AdminKeys(cli::admin_keys::Command),
    /// Finds, shows, creates, blocks, unlocks, imports, exports and deletes accounts.
    #[command(subcommand)]
    Users(cli::users::Command),
    /// Prints a script that completes these commands in your shell.
    Completions(cli::manual::Completions),
    /// Prints the manual page, or writes one for each command.
    Man(cli::manual::Manual),
}

fn main() -> ExitCode {
    start::install_crypto();
    let arguments = by_name(std::env::args_os().collect());
    let matches = taught().get_matches_from(arguments);
    let Latchkey { acting_as, command } =
        Latchkey::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    start::exit_code("latchkey", cli::act_as(acting_as).and_then(|()| run(command)))
}

/// The commands with their examples.
fn taught() -> clap::Command {
    cli::examples::added_to(Latchkey::command())
}

/// Under the name of a service (the image has such links for its former programs), it is the command of that name.
fn by_name(mut arguments: Vec<OsString>) -> Vec<OsString> {
    let called = arguments.first().and_then(|program| Path::new(program).file_name()?.to_str());
    if let Some(service) = called.and_then(|name| name.parse::<Service>().ok()) {
        arguments.splice(..1, ["latchkey", service.as_str()].map(OsString::from));
    }
    arguments
}

fn run(command: Option<Command>) -> anyhow::Result<()> {
    let Some(command) = command else {
        let config = Config::load(Role::AllInOne)?;
        return start::block_on_threads(config.threads, all_in_one::run(config));
    };
    match command {
        Command::Gateway(own) => own.run(Role::Gateway, async |start| {
            gateway::run(start.config, start.engines, start.stop).await
        }),
        Command::OtpWorker(own) => own.run(Role::OtpWorker, async |start| {
            otp_worker::run(start.config, start.engines, start.stop).await
        }),
        Command::SmsWorker(own) => own.run(Role::SmsWorker, async |start| {
            sms_worker::run(start.config, start.engines.for_delivery(), start.stop).await
        }),
        Command::Migrate(output) => start::block_on(cli::migrate::run(output)),
        Command::Config(arguments) => cli::config::run(&arguments),
        Command::Limits(output) => cli::limits::run(output),
        Command::Openapi(arguments) => cli::openapi::run(&arguments),
        Command::Errors(arguments) => cli::errors::run(&arguments),
        Command::Health(arguments) => start::block_on(cli::health::run(&arguments)),
        Command::Keys(command) => start::block_on(cli::keys::run(command)),
        Command::Dead(command) => start::block_on(cli::dead::run(command)),
        Command::Block(command) => start::block_on(cli::block::run(command)),
        Command::Guard(command) => start::block_on(cli::guard::run(command)),
        Command::Routes(command) => cli::routes::run(&command),
        Command::Texts(command) => cli::texts::run(&command),
        Command::Staff(command) => start::block_on(cli::staff::run(command)),
        Command::AdminKeys(command) => start::block_on(cli::admin_keys::run(command)),
        Command::Users(command) => start::block_on(cli::users::run(command)),
        Command::Completions(completions) => completions.run(taught()),
        Command::Man(manual) => manual.run(taught()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_are_consistent() {
        taught().debug_assert();
    }

    #[test]
    fn a_link_named_after_a_service_is_the_command_of_that_name() {
        let called = |words: &[&str]| {
            let arguments = by_name(words.iter().map(OsString::from).collect());
            Latchkey::try_parse_from(arguments).map(|latchkey| latchkey.command)
        };
        assert!(matches!(called(&["/usr/local/bin/gateway"]), Ok(Some(Command::Gateway(_)))));
        assert!(matches!(called(&["otp-worker", "health"]), Ok(Some(Command::OtpWorker(_)))));
        assert!(matches!(called(&["latchkey", "sms-worker"]), Ok(Some(Command::SmsWorker(_)))));
        assert!(matches!(called(&["./latchkey"]), Ok(None)));
        assert!(called(&["sms-worker", "limits"]).is_err());
    }
}
