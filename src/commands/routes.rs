//! `latchkey routes`: which provider sends to where.

use clap::Subcommand;
use common::clock::Clock;
use common::config::{Config, ProviderName};
use common::phone::Served;
use serde_json::json;

use super::operator::{print_json, print_table};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Shows the routes in effect and, for a number, the providers in the order in which they are tried.
    Check {
        phone_number: Option<String>,
        #[arg(long, help = "Print JSON")]
        json: bool,
    },
}

pub(crate) fn run(command: &Command) -> anyhow::Result<()> {
    let Command::Check { phone_number, json } = command;
    let config = Config::load_as_found()?;
    let routes = &config.sms.routes;
    let mut rows: Vec<(String, String)> = routes
        .by_prefix
        .iter()
        .map(|(prefix, names)| (format!("+{prefix}"), names_of(names)))
        .collect();
    rows.push(("default".to_owned(), names_of(&routes.default)));
    let picked = match phone_number {
        None => None,
        Some(writing) => {
            let phone = Served::of(&config)
                .parse(writing, Clock::system().now())
                .map_err(|_| anyhow::anyhow!("not a mobile number that this deployment serves"))?;
            Some((phone.to_string(), names_of(routes.of(&phone.e164()[1..]))))
        }
    };
    if *json {
        let routes: Vec<_> =
            rows.iter().map(|(to, by)| json!({ "to": to, "providers": by })).collect();
        let number = picked.map(|(phone, by)| json!({ "phone_number": phone, "providers": by }));
        return print_json(&json!({ "routes": routes, "number": number }));
    }
    rows.extend(picked);
    let rows: Vec<Vec<String>> = rows.into_iter().map(|(to, by)| vec![to, by]).collect();
    print_table(&["TO", "PROVIDERS"], &rows)
}

fn names_of(names: &[ProviderName]) -> String {
    names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ")
}
