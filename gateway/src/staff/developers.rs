//! What whoever builds against this server needs: its addresses, the documented lines of each language with this server's
//! values, the Postman files. The lines are those of `docs/clients` and `docs/first-hour.md`: there is no second copy.

use domain::timestamp::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::App;

/// The address that the documents are written with.
const DOCUMENTED: &str = "http://127.0.0.1:8080";
/// The Postman collection, as it is.
pub(crate) const COLLECTION: &str =
    include_str!("../../../docs/postman/latchkey.postman_collection.json");
const ENVIRONMENT: &str = include_str!("../../../docs/postman/latchkey.postman_environment.json");
const FIRST_HOUR: &str = include_str!("../../../docs/first-hour.md");
/// The part of it that calls the API by hand.
const BY_HAND: &str = "Tokens by hand";

/// A language: its name in addresses, its name, and its page.
type Language = (&'static str, &'static str, &'static str);

/// The languages that are documented.
pub(crate) const LANGUAGES: [Language; 6] = [
    ("curl", "curl", FIRST_HOUR),
    ("typescript", "TypeScript", include_str!("../../../docs/clients/typescript.md")),
    ("python", "Python", include_str!("../../../docs/clients/python.md")),
    ("kotlin", "Kotlin", include_str!("../../../docs/clients/kotlin.md")),
    ("swift", "Swift", include_str!("../../../docs/clients/swift.md")),
    ("flutter", "Flutter", include_str!("../../../docs/clients/flutter.md")),
];

/// What an app of this server needs to know, with its client in one language.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DevelopersView {
    /// Where clients reach it, without a trailing slash.
    pub base_url: String,
    /// The `iss` of its tokens.
    pub issuer: String,
    /// The `aud` of its tokens.
    pub audience: String,
    /// The algorithm that the signing key uses now.
    pub algorithm: &'static str,
    pub jwks_url: String,
    pub openapi_url: String,
    pub docs_url: String,
    /// Where texts are read; in development only, and where the provider `inbox` has a route.
    pub inbox_url: Option<String>,
    /// A complete sign-in to try; in development only.
    pub try_url: Option<String>,
    /// Where Twilio posts its receipts, with the attempt's id at the end; absent if no route names Twilio.
    pub webhook_url: Option<String>,
    /// Phones with a fixed code.
    pub test_numbers: Vec<TestNumberView>,
    /// The language of the snippets.
    pub language: &'static str,
    /// Its documented lines, in their order.
    pub snippets: Vec<Snippet>,
    /// How an API of its own verifies access tokens with `jose`.
    pub verify: String,
}

/// A phone with a fixed code.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TestNumberView {
    /// Whole in development, masked in production.
    pub phone_number: String,
    /// In development only.
    pub code: Option<String>,
    /// From then on it is a phone like any other; absent if never.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub until: Option<Timestamp>,
}

/// Lines of a documented client.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Snippet {
    /// The heading that they stand under.
    pub heading: String,
    /// Their language: `js`, `sh`.
    pub language: String,
    pub text: String,
}

/// What an app needs, with the client in this language; an unknown one is the first.
pub(crate) fn read(app: &App, language: &str) -> DevelopersView {
    let (base, config) = (app.public_url.to_string(), &app.config);
    let (name, _, page) =
        LANGUAGES.iter().find(|(name, ..)| *name == language).unwrap_or(&LANGUAGES[0]);
    let at = |path: &str| format!("{base}{path}");
    let is_development = app.is_development();
    let mut snippets = snippets(page, &base);
    if *name == "curl" {
        snippets.retain(|it| it.heading.contains(BY_HAND));
        // Elsewhere the code comes by text.
        snippets.retain(|it| app.has_inbox() || !it.text.contains("/inbox/"));
    }
    let issuer = config.issuer.clone().unwrap_or_else(|| base.clone());
    let algorithm = app.token_keys.table().active().algorithm().as_str();
    let jwks_url = at("/.well-known/jwks.json");
    DevelopersView {
        verify: verify(&jwks_url, &issuer, &config.audience, algorithm),
        issuer,
        audience: config.audience.clone(),
        algorithm,
        jwks_url,
        openapi_url: at("/openapi.json"),
        docs_url: at("/docs"),
        inbox_url: app.has_inbox().then(|| at("/inbox")),
        try_url: is_development.then(|| at("/try")),
        webhook_url: config
            .sms
            .routes
            .names(config::ProviderName::Twilio)
            .then(|| at("/webhooks/twilio/status/")),
        test_numbers: config
            .test_numbers
            .iter()
            .map(|it| test_number(it, is_development))
            .collect(),
        language: name,
        snippets,
        base_url: base,
    }
}

fn test_number(number: &config::TestNumber, is_development: bool) -> TestNumberView {
    let phone = &number.phone_number;
    TestNumberView {
        phone_number: if is_development { phone.expose().to_owned() } else { phone.to_string() },
        code: is_development.then(|| number.code.expose().to_owned()),
        until: number.until,
    }
}

/// The Postman environment of this server.
pub(crate) fn postman_environment(app: &App) -> String {
    ENVIRONMENT.replace(DOCUMENTED, &app.public_url)
}

/// The fenced blocks of a page, with this address in the place of the documented one.
fn snippets(page: &str, base: &str) -> Vec<Snippet> {
    let (mut found, mut heading, mut open) = (Vec::new(), "", None::<Snippet>);
    for line in page.lines() {
        match (line.trim_start().strip_prefix("```"), &mut open) {
            (Some(language), None) => {
                let (heading, language) = (heading.to_owned(), language.trim().to_owned());
                open = Some(Snippet { heading, language, text: String::new() });
            }
            (Some(_), Some(_)) => found.extend(open.take()),
            (None, Some(block)) => {
                block.text.push_str(&line.replace(DOCUMENTED, base));
                block.text.push('\n');
            }
            (None, None) => {
                if let Some(title) = line.strip_prefix('#') {
                    heading = title.trim_start_matches('#').trim();
                }
            }
        }
    }
    found
}

/// The documented call that verifies a token, with this server's values.
fn verify(jwks: &str, issuer: &str, audience: &str, algorithm: &str) -> String {
    let page = LANGUAGES[1].2;
    let call = page.split('`').find(|part| part.starts_with("jwtVerify(")).unwrap_or_default();
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    call.replace("new URL(jwks)", &format!("new URL({})", quoted(jwks)))
        .replace("{ issuer,", &format!("{{ issuer: {},", quoted(issuer)))
        .replace("\"latchkey\"", &quoted(audience))
        .replace("ES256", algorithm)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_language_has_its_documented_lines_and_no_other_servers_address() {
        let base = "https://id.example.com";
        for (name, _, page) in LANGUAGES {
            let found = snippets(page, base);
            assert!(!found.is_empty(), "{name}");
            let lines: usize = found.iter().map(|it| it.text.lines().count()).sum();
            assert!(lines > 20, "{name}: {lines}");
            for snippet in &found {
                assert!(!snippet.text.contains(DOCUMENTED), "{name}: {}", snippet.text);
                assert!(page.replace(DOCUMENTED, base).contains(&snippet.text) || name == "curl");
            }
        }
        let python = snippets(LANGUAGES[2].2, base);
        assert!(python.iter().any(|it| it.text.contains("Latchkey(\"https://id.example.com\")")));
        let curl = snippets(LANGUAGES[0].2, base);
        assert!(
            curl.iter().any(|it| it.heading.contains(BY_HAND) && it.text.contains("API=https"))
        );
        assert!(ENVIRONMENT.contains(DOCUMENTED));
    }

    #[test]
    fn the_documented_check_of_a_token_gets_this_servers_values() {
        let call = verify("https://id.test/jwks", "an \"issuer\"", "the-app", "EdDSA");
        for part in [
            "new URL(\"https://id.test/jwks\")",
            "issuer: \"an \\\"issuer\\\"\"",
            "audience: \"the-app\"",
            "algorithms: [\"EdDSA\"]",
        ] {
            assert!(call.contains(part), "{part}: {call}");
        }
    }
}
