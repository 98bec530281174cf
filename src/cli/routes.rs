//! `latchkey routes`: which providers send to which numbers.

use clap::Subcommand;
use config::{Config, ProviderName, Served};
use domain::clock::Clock;
use serde_json::json;

use super::terminal::{OutputArgs, print_json, print_table};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Shows the routes in effect and, for a phone number, the providers in the order in which they are tried.
    Check {
        /// A phone number whose route to show, such as +989123456789.
        phone_number: Option<String>,
        #[command(flatten)]
        output: OutputArgs,
    },
}

pub(crate) fn run(command: &Command) -> anyhow::Result<()> {
    let Command::Check { phone_number, output } = command;
    let config = Config::load_as_found()?;
    let routes = &config.sms.routes;
    let mut rows: Vec<(String, &[ProviderName])> = routes
        .by_prefix
        .iter()
        .map(|(prefix, names)| (format!("+{prefix}"), names.as_slice()))
        .collect();
    rows.push(("default".to_owned(), &routes.default));
    let picked = match phone_number {
        None => None,
        Some(writing) => {
            let phone = Served::of(&config)
                .parse(writing, Clock::system().now())
                .map_err(|_| anyhow::anyhow!("not a mobile number that this deployment serves"))?;
            Some((phone.to_string(), routes.of(&phone.e164()[1..])))
        }
    };
    if output.json {
        let of = |key: &str, (to, by): &(String, &[ProviderName])| json!({ key: to, "providers": names_of(by), "voice": config.sms.can_call(by) });
        let routes: Vec<_> = rows.iter().map(|row| of("to", row)).collect();
        let number = picked.map(|row| of("phone_number", &row));
        return print_json(&json!({ "routes": routes, "number": number }));
    }
    rows.extend(picked);
    let no_voice = rows.iter().any(|(_, by)| !config.sms.can_call(by));
    let rows: Vec<Vec<String>> = rows
        .into_iter()
        .map(|(to, by)| {
            let voice = if config.sms.can_call(by) { "yes" } else { "no" };
            vec![to, names_of(by), voice.to_owned()]
        })
        .collect();
    print_table(&["TO", "PROVIDERS", "VOICE"], &rows)?;
    if no_voice {
        println!("No voice: Twilio calls from the number in TWILIO_FROM, which is not set.");
    }
    Ok(())
}

fn names_of(names: &[ProviderName]) -> String {
    names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ")
}
