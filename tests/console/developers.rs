//! For developers: this server's values, the documented lines, the files; nothing secret in production.

use accounts::StaffRole;
use testkit::system::Side;

use super::browser::Console;
use crate::accounts::in_process::InProcessLatchkey;
use crate::pages;

testkit::both_sides!(
    each_language_has_its_documented_lines_with_this_servers_address,
    the_postman_files_are_the_documented_ones_with_this_servers_address,
    the_codes_of_test_numbers_are_shown_in_development_only,
);

const PAGES: [(&str, &str); 5] = [
    ("typescript", "docs/clients/typescript.md"),
    ("python", "docs/clients/python.md"),
    ("kotlin", "docs/clients/kotlin.md"),
    ("swift", "docs/clients/swift.md"),
    ("flutter", "docs/clients/flutter.md"),
];

/// A text as a page shows it.
fn escaped(text: &str) -> String {
    let escape = |c: char| match c {
        '<' => "&#60;".to_owned(),
        '>' => "&#62;".to_owned(),
        '&' => "&#38;".to_owned(),
        '"' => "&#34;".to_owned(),
        '\'' => "&#39;".to_owned(),
        c => c.to_string(),
    };
    text.chars().map(escape).collect()
}

async fn each_language_has_its_documented_lines_with_this_servers_address(side: Side) {
    let console = Console::start(side).await;
    let mut viewer = console.member(StaffRole::Viewer).await;
    let url = console.latchkey.api().url;
    for (language, file) in PAGES {
        let path = format!("/console/developers?language={language}");
        let page = viewer.browser.get(&path).await.expect(200);
        for block in pages::blocks(&pages::text(file)) {
            page.shows(&escaped(&block.text.replace("http://127.0.0.1:8080", &url)));
        }
        assert!(page.text.len() < 48_000, "{language}: {}", page.text.len());
        page.hides("127.0.0.1:8080");
    }
    let page = viewer.browser.get("/console/developers?language=%3Cscript%3E").await.expect(200);
    page.hides("<script>");
    page.shows(&format!("API={url}"));
    page.shows(&format!("{url}/.well-known/jwks.json"));
    page.shows(&escaped("issuer: \"http://latchkey.test\""));
    for link in ["/docs", "/openapi.json", "/.well-known/jwks.json", "/inbox", "/try"] {
        page.shows(&format!("href=\"{link}\""));
        assert_ne!(viewer.browser.get(link).await.status, 404, "{link}");
    }
    page.hides("Receipts of Twilio");
}

async fn the_postman_files_are_the_documented_ones_with_this_servers_address(side: Side) {
    let console = Console::start(side).await;
    let mut viewer = console.member(StaffRole::Viewer).await;
    let file = "/console/developers/latchkey.postman_collection.json";
    let collection = viewer.browser.get(file).await.expect(200);
    assert_eq!(collection.text, pages::text("docs/postman/latchkey.postman_collection.json"));
    assert!(collection.header("content-disposition").starts_with("attachment"));
    let file = "/console/developers/latchkey.postman_environment.json";
    let environment = viewer.browser.get(file).await.expect(200);
    let environment: serde_json::Value = serde_json::from_str(&environment.text).unwrap();
    let values = environment["values"].as_array().unwrap();
    let base = values.iter().find(|value| value["key"] == "base_url").unwrap();
    assert_eq!(base["value"], console.latchkey.api().url);
}

async fn the_codes_of_test_numbers_are_shown_in_development_only(side: Side) {
    let settings = [
        ("LATCHKEY_TEST_NUMBERS", "+12125550177=735128@2099-01-01,+12125550178=735129"),
        ("TWILIO_ACCOUNT_SID", "AC0123456789abcdef0123456789abcdef"),
        ("TWILIO_AUTH_TOKEN", "m4rk3d0fea48c1b7735dd09ab12ce4f6"),
        ("TWILIO_FROM", "+12125550100"),
        ("LATCHKEY_SMS_ROUTES", "default=inbox;44=twilio"),
    ];
    let mut latchkey = InProcessLatchkey::start_with(side, 1, &settings).await;
    let production = latchkey.add_in_production().await;
    let console = Console::on(latchkey);
    let mut viewer = console.member(StaffRole::Viewer).await;
    let page = viewer.browser.get("/console/developers").await.expect(200);
    for shown in ["+12125550177", "735128", "735129", "/webhooks/twilio/status/"] {
        page.shows(shown);
    }
    // The same session at a gateway in production.
    viewer.browser.api = console.latchkey.api_of(production);
    let page = viewer.browser.get("/console/developers").await.expect(200);
    page.shows("not shown in production");
    for hidden in
        ["735128", "735129", "+12125550177", "href=\"/inbox\"", "href=\"/try\"", "/inbox/"]
    {
        page.hides(hidden);
    }
    page.hides("m4rk3d0fea48c1b7735dd09ab12ce4f6");
}
