//! The keys that sign access tokens, and the settings in effect, each with where it comes from. No secret is in it.

use config::{Origin, Shown};
use domain::timestamp::Timestamp;
use serde::Serialize;
use service::telemetry::refused;
use utoipa::ToSchema;

use crate::app::App;
use crate::openapi::words;

/// For how long a verifier may keep the JWKS (contract, ruling 24), in seconds.
pub(crate) const JWKS_CACHE_SECS: i64 = 300;

/// The keys and settings of the gateway that answers.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Settings, examples(json!({
    "read_as": "gateway",
    "environment": "production",
    "started_at": "2026-11-30T08:00:00.000Z",
    "keys": [{
        "kid": "k1",
        "algorithm": "ES256",
        "state": "signing",
        "written_at": "2026-11-01T08:00:00.000Z",
    }],
    "key_is_pinned": false,
    "jwks_cache_secs": 300,
    "access_ttl_secs": 900,
    "settings": [{
        "variable": "LATCHKEY_SENDS_PER_PHONE_HOUR",
        "value": "5",
        "source": "default",
        "file": null,
        "secret": false,
        "group": "Limits",
        "doc": "Messages to one phone per hour.",
        "refused": 12,
    }],
    "refused_in_production": [],
    "warnings": [],
})))]
pub(crate) struct SettingsView {
    /// As which program it read its settings: `latchkey` (all in one) or `gateway`.
    pub read_as: &'static str,
    /// `development` or `production`.
    pub environment: &'static str,
    /// When this gateway began to serve: its counts of refusals begin there.
    #[schema(value_type = words::Time)]
    pub started_at: Timestamp,
    /// The keys in its folder, oldest first.
    pub keys: Vec<SigningKey>,
    /// Whether a setting says which key signs: then no command changes it.
    pub key_is_pinned: bool,
    /// For how long others may keep the public keys, in seconds.
    pub jwks_cache_secs: i64,
    /// The life of an access token, in seconds: an old key is needed for as long.
    pub access_ttl_secs: i64,
    /// Every setting, in the order of docs/configuration.md.
    pub settings: Vec<SettingView>,
    /// What production would refuse in them; empty in production, which does not start with such settings.
    pub refused_in_production: Vec<SettingNote>,
    /// What is allowed and deserves a look.
    pub warnings: Vec<SettingNote>,
}

/// A key that signs access tokens, or verifies them: never the key itself.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SigningKey {
    pub kid: String,
    /// Of its tokens; null if the file could not be read as a key.
    #[schema(required = true)]
    pub algorithm: Option<&'static str>,
    #[schema(value_type = words::SigningKeyState)]
    pub state: &'static str,
    /// When its file was written, by the folder.
    #[schema(value_type = Option<words::Time>, required = true)]
    pub written_at: Option<Timestamp>,
}

/// A setting in effect.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Setting)]
pub(crate) struct SettingView {
    /// The environment variable.
    pub variable: &'static str,
    /// `***` for a secret that is set; null if there is neither a value nor a default.
    #[schema(required = true)]
    pub value: Option<String>,
    #[schema(value_type = words::SettingSource)]
    pub source: &'static str,
    /// The file that it was read from.
    #[schema(required = true)]
    pub file: Option<String>,
    pub secret: bool,
    /// The group that it stands in.
    pub group: &'static str,
    /// What it does, in Markdown.
    pub doc: &'static str,
    /// Of a limit: how many requests it refused in this gateway since it started. Others have counts of their own.
    #[schema(required = true)]
    pub refused: Option<u64>,
}

/// A sentence about one setting. Never the value of a secret.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SettingNote {
    /// The variable; with its place in a file if it is there.
    pub setting: String,
    pub text: String,
}

/// The keys and settings of this gateway.
pub(crate) fn read(app: &App) -> SettingsView {
    let config = &app.config;
    let limits = config.shown_limits();
    let refused_by = |variable: &str| {
        let limit = limits.iter().find(|limit| limit.variable == Some(variable))?;
        Some(refused(limit.limit))
    };
    let keys = app.token_keys.known().into_iter().map(|key| SigningKey {
        kid: key.kid,
        algorithm: key.algorithm,
        state: key.state.as_str(),
        written_at: key.written_at,
    });
    SettingsView {
        read_as: config.role.as_str(),
        environment: config.environment.as_str(),
        started_at: app.started_at,
        keys: keys.collect(),
        key_is_pinned: app.token_keys.is_pinned(),
        jwks_cache_secs: JWKS_CACHE_SECS,
        access_ttl_secs: config.tokens.access_ttl_secs,
        settings: config.shown().into_iter().map(|shown| view(shown, &refused_by)).collect(),
        refused_in_production: config
            .refused_in_production()
            .iter()
            .map(|it| SettingNote { setting: it.name.clone(), text: it.text.clone() })
            .collect(),
        warnings: config
            .warnings()
            .iter()
            .map(|it| SettingNote { setting: it.variable.to_owned(), text: it.text.clone() })
            .collect(),
    }
}

fn view(shown: Shown, refused_by: &impl Fn(&str) -> Option<u64>) -> SettingView {
    let (source, file) = source(shown.origin.as_ref());
    SettingView {
        variable: shown.variable,
        value: shown.value,
        source,
        file,
        secret: shown.secret,
        group: shown.group,
        doc: shown.doc,
        refused: refused_by(shown.variable),
    }
}

/// Where a value comes from, in a word, and the file if it is one.
pub(super) fn source(origin: Option<&Origin>) -> (&'static str, Option<String>) {
    match origin {
        None => ("default", None),
        Some(Origin::Environment) => ("environment", None),
        Some(Origin::File(path) | Origin::SecretFile(path)) => {
            ("file", Some(path.display().to_string()))
        }
    }
}
