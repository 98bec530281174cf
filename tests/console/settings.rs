//! Keys and settings: what is in force, from where, and no secret.

use accounts::StaffRole;
use config::EngineSettings;
use gateway::key_dir;
use gateway::signing_key::Algorithm;
use secrecy::ExposeSecret as _;
use testkit::PATIENCE;
use testkit::http::{INBOX_TOKEN, new_phone};
use testkit::system::Side;

use super::browser::{Console, Page};
use crate::accounts::in_process::InProcessLatchkey;

testkit::both_sides!(
    settings_are_shown_with_their_source_and_no_secret_of_them,
    the_keys_are_shown_with_their_state_and_the_next_step_of_a_rotation,
    a_refusal_is_counted_beside_the_limit_that_gave_it,
);

/// A mark in every secret that a process may be given beside its engines.
const SECRETS: [(&str, &str); 7] = [
    ("LATCHKEY_SECRET", "7h3-m4rk3d-m4573r-53cr37-kv7tq2m9xw4r8ys3"),
    ("LATCHKEY_SECRET_PREVIOUS", "7h3-m4rk3d-f0rm3r-53cr37-xw4r8ys3kv7tq2m9"),
    ("LATCHKEY_INBOX_TOKEN", INBOX_TOKEN),
    ("LATCHKEY_TEST_NUMBERS", "+12125550177=735128@2099-01-01"),
    ("TWILIO_AUTH_TOKEN", "m4rk3d0fea48c1b7735dd09ab12ce4f6"),
    ("TWILIO_API_SECRET", "m4rk3d-4p1-53cr37"),
    ("LATCHKEY_HTTP_PROVIDER_SECRET", "m4rk3d-pr0v1d3r-53cr37-kv7tq2m9"),
];
const OTHERS: [(&str, &str); 3] = [
    ("TWILIO_ACCOUNT_SID", "AC0123456789abcdef0123456789abcdef"),
    ("TWILIO_API_KEY", "SK0123456789abcdef0123456789abcdef"),
    ("LATCHKEY_HTTP_PROVIDER_URL", "https://sms.example.test/hook?key=m4rk3d-qu3ry"),
];

async fn settings_are_shown_with_their_source_and_no_secret_of_them(side: Side) {
    let given = [&SECRETS[..], &OTHERS].concat();
    let console = Console::on(InProcessLatchkey::start_with(side, 1, &given).await);
    let config = console.latchkey.config();
    let mut marks: Vec<String> = SECRETS.iter().map(|(_, mark)| (*mark).to_owned()).collect();
    marks.extend(["735128", "+12125550177", "m4rk3d"].map(str::to_owned));
    if let EngineSettings::Services { database_url, redis_url, amqp_url } = &config.engines {
        let urls = [database_url, redis_url, amqp_url].map(|url| url.expose_secret().to_owned());
        let passwords = urls.iter().filter_map(|url| {
            url::Url::parse(url).unwrap().password().filter(|it| *it != "guest").map(str::to_owned)
        });
        marks.extend(passwords.collect::<Vec<_>>());
        marks.extend(urls);
    }
    // No secret setting is left out of this test; separate services have their bundle in the place of the secret.
    for shown in config.shown().iter().filter(|shown| shown.secret) {
        let is_marked = SECRETS.iter().any(|(name, _)| *name == shown.variable)
            || ["DATABASE_URL", "REDIS_URL", "AMQP_URL", "LATCHKEY_SERVICE_KEYS"]
                .contains(&shown.variable);
        assert!(is_marked, "{}", shown.variable);
    }
    let mut viewer = console.member(StaffRole::Viewer).await;
    let page = viewer.browser.get("/console/settings").await.expect(200);
    for mark in &marks {
        page.hides(mark);
    }
    for variable in config.shown().iter().map(|shown| shown.variable) {
        page.shows(&format!("<code>{variable}</code>"));
    }
    page.shows("https://sms.example.test/hook?***");
    assert!(cell(&page, "LATCHKEY_ISSUER").contains("http://latchkey.test"));
    assert!(cell(&page, "LATCHKEY_ISSUER").contains("environment"));
    assert!(cell(&page, "LATCHKEY_OTP_TTL_SECS").contains("300"));
    assert!(cell(&page, "LATCHKEY_OTP_TTL_SECS").contains("default"));
    assert!(cell(&page, "TWILIO_AUTH_TOKEN").contains("***"));
    // What production refuses, and what deserves a look.
    page.shows("LATCHKEY_SENDS_GLOBAL_DAY</code>: it is not set");
    page.shows("LATCHKEY_RESEND_COOLDOWN_SECS</code>: this limit is off");
    assert!(page.text.len() < 50_000, "{}", page.text.len());
    let page = viewer.browser.get("/console/settings?source=default").await.expect(200);
    page.shows("<code>LATCHKEY_OTP_TTL_SECS</code><br>");
    page.hides("<code>LATCHKEY_ISSUER</code><br>");
    viewer.browser.get("/console/settings?source=%3Cscript%3E").await.expect(200).hides("<script>");
}

/// The row of a setting.
fn cell<'a>(page: &'a Page, variable: &str) -> &'a str {
    let from = page.text.find(&format!("<code>{variable}</code><br>")).unwrap();
    let rest = &page.text[from..];
    &rest[..rest.find("</tr>").unwrap()]
}

async fn the_keys_are_shown_with_their_state_and_the_next_step_of_a_rotation(side: Side) {
    let console = Console::start(side).await;
    let mut viewer = console.member(StaffRole::Viewer).await;
    let folder = console.latchkey.config().jwt_keys_dir.clone().unwrap();
    let first = key_dir::list(&folder, None).unwrap().remove(0).kid;
    let page = viewer.browser.get("/console/settings").await.expect(200);
    page.shows(&format!("<code>{first}</code>"));
    page.shows("It signs new tokens.");
    page.hides("does not sign yet.</span>");
    let second = key_dir::generate(&folder, Algorithm::EdDsa, Some("the-second")).unwrap();
    let mut shows = async |text: String| {
        testkit::eventually(&text, PATIENCE, async || {
            let page = viewer.browser.get("/console/settings").await.expect(200);
            page.text.contains(&text).then_some(page)
        })
        .await
    };
    let page = shows(format!("<code>latchkey keys activate {second}</code>")).await;
    page.shows("EdDSA");
    page.hides("PRIVATE KEY");
    key_dir::activate(&folder, &second).unwrap();
    shows(format!("<code>latchkey keys retire {first}</code>")).await.shows("It signs no more.");
    key_dir::retire(&folder, &first, None).unwrap();
    let page = shows("<code>latchkey keys retire KID</code>".to_owned()).await;
    page.hides(&first);
}

async fn a_refusal_is_counted_beside_the_limit_that_gave_it(side: Side) {
    let limit = [("LATCHKEY_SENDS_PER_PHONE_HOUR", "2")];
    let console = Console::on(InProcessLatchkey::start_with(side, 1, &limit).await);
    let mut viewer = console.member(StaffRole::Viewer).await;
    let mut count = async || {
        let page = viewer.browser.get("/console/settings").await.expect(200);
        let row = cell(&page, "LATCHKEY_SENDS_PER_PHONE_HOUR");
        let before = &row[..row.find(" refused").unwrap()];
        before[before.rfind('>').unwrap() + 1..].parse::<u64>().unwrap()
    };
    // Other tests of this process count as well: it only grows.
    let before = count().await;
    let (api, phone) = (console.latchkey.api(), new_phone());
    api.otp(&phone).await.expect(202);
    api.otp(&phone).await.expect(202);
    assert_eq!(api.otp(&phone).await.problem(429, "too_many_requests")["limit"], "phone_hour");
    assert!(count().await > before);
}
