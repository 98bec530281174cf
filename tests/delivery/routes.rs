//! `latchkey routes check`.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use testkit::folder::Folder;
use testkit::process::{Binary, run};

/// Runs the command with these settings and those of a Twilio account; returns its output as text and as JSON.
fn check(routes: &str, further: &[(&str, &str)]) -> (String, Value) {
    let home = Folder::new("routes");
    let data = home.join("data").display().to_string();
    let mut env: BTreeMap<String, String> = [
        ("LATCHKEY_DATA_DIR", &*data),
        ("LATCHKEY_SMS_ROUTES", routes),
        ("TWILIO_ACCOUNT_SID", "AC00000000000000000000000000000000"),
        ("TWILIO_AUTH_TOKEN", "11111111111111111111111111111111"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    env.extend(further.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())));
    let say = |args: &[&str]| run(Binary::Latchkey, args, home.path(), &env);
    let json = say(&["routes", "check", "--json"]);
    (say(&["routes", "check"]), serde_json::from_str(&json).unwrap())
}

#[test]
fn routes_check_reports_where_calls_are_impossible() {
    let service = ("TWILIO_MESSAGING_SERVICE_SID", "MG00000000000000000000000000000000");
    let (text, told) = check("default=twilio;98=console,twilio", &[service]);
    assert!(text.contains("TWILIO_FROM"), "{text}");
    let routes = json!([
        { "to": "+98", "providers": "console, twilio", "voice": true },
        { "to": "default", "providers": "twilio", "voice": false },
    ]);
    assert_eq!(told["routes"], routes);
    let (text, told) = check("default=twilio", &[service, ("TWILIO_FROM", "+15005550006")]);
    assert!(!text.contains("TWILIO_FROM"), "{text}");
    assert_eq!(told["routes"][0]["voice"], true);
}
