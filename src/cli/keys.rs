//! `latchkey keys`: the keys that sign access tokens, and the bundles of derived keys for separate services.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::{Subcommand, ValueEnum};
use config::{Config, Secrets};
use domain::keys::{Service, derive_bundle};
use gateway::key_dir;
use gateway::signing_key::Algorithm;
use secrecy::ExposeSecret as _;
use serde_json::json;

use super::operator::Audit;
use super::terminal::{ConfirmArgs, OutputArgs};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Lists the keys in LATCHKEY_JWT_KEYS_DIR and shows which one signs and which only verify.
    List(OutputArgs),
    /// Generates a key. The first key in the folder signs at once. Activate a later key after every service has read it
    /// (300 s).
    Generate {
        /// The signature algorithm.
        #[arg(long, value_enum, default_value_t = Kind::Es256)]
        algorithm: Kind,
        /// The key ID in tokens; by default the key's thumbprint (RFC 7638).
        #[arg(long)]
        kid: Option<String>,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Makes a key sign new tokens. Running gateways follow within 10 s.
    Activate {
        /// The key ID, from `keys list`.
        kid: String,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Retires a key: its tokens are refused. The file moves to `retired/`.
    Retire {
        /// The key ID, from `keys list`.
        kid: String,
        #[command(flatten)]
        confirm: ConfirmArgs,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Prints the bundle of keys that a service needs as LATCHKEY_SERVICE_KEYS. The bundle is a secret.
    Derive {
        /// gateway, otp-worker or sms-worker.
        service: String,
        #[command(flatten)]
        output: OutputArgs,
    },
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Kind {
    Es256,
    Eddsa,
    /// For services that support neither of the others; signing is thirty times slower.
    Rs256,
}

pub(crate) async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Derive { service, output } => derive(&service, output).await,
        other => on_folder(other).await,
    }
}

async fn on_folder(command: Command) -> anyhow::Result<()> {
    let config = Config::load_as_found()?;
    let dir = folder(&config)?;
    let active = config.jwt_active_kid.as_deref();
    match command {
        Command::List(output) => list(&dir, active, output),
        Command::Generate { algorithm, kid, output } => {
            let algorithm = match algorithm {
                Kind::Es256 => Algorithm::Es256,
                Kind::Eddsa => Algorithm::EdDsa,
                Kind::Rs256 => Algorithm::Rs256,
            };
            let audit = Audit::open(&config.engines).await?;
            let kid = key_dir::generate(&dir, algorithm, kid.as_deref())?;
            audit.note("key_generated", &kid, &json!({ "algorithm": algorithm.as_str() })).await?;
            output.say(&json!({ "kid": kid }), &format!("generated {kid}"))
        }
        Command::Activate { kid, output } => {
            if active.is_some() {
                bail!(
                    "LATCHKEY_JWT_ACTIVE_KID selects the signing key: change that setting instead"
                );
            }
            let audit = Audit::open(&config.engines).await?;
            key_dir::activate(&dir, &kid)?;
            audit.note("key_activated", &kid, &json!({})).await?;
            output.say(&json!({ "kid": kid, "active": true }), &format!("activated {kid}"))
        }
        Command::Retire { kid, confirm, output } => {
            confirm.ask(&format!("retire {kid} and refuse every token that it signed"))?;
            let audit = Audit::open(&config.engines).await?;
            key_dir::retire(&dir, &kid, active)?;
            audit.note("key_retired", &kid, &json!({})).await?;
            output.say(&json!({ "kid": kid, "retired": true }), &format!("retired {kid}"))
        }
        Command::Derive { .. } => Ok(()),
    }
}

fn folder(config: &Config) -> anyhow::Result<PathBuf> {
    config
        .jwt_keys_dir
        .clone()
        .context("set LATCHKEY_JWT_KEYS_DIR to the folder of the signing keys")
}

fn list(dir: &Path, active: Option<&str>, output: OutputArgs) -> anyhow::Result<()> {
    let keys = key_dir::list(dir, active)?;
    let values = serde_json::to_value(&keys)?;
    let rows: Vec<Vec<String>> = keys
        .into_iter()
        .map(|key| {
            let state = key
                .fault
                .unwrap_or_else(|| if key.active { "signs" } else { "verifies" }.to_owned());
            vec![key.kid, key.algorithm.unwrap_or("-").to_owned(), state]
        })
        .collect();
    output.table(&values, &["KID", "ALGORITHM", "STATE"], &rows)
}

/// Deriving bundles needs no database and no setting but the secret. With complete settings, the action is recorded in
/// the audit.
async fn derive(service: &str, output: OutputArgs) -> anyhow::Result<()> {
    let service: Service =
        service.parse().ok().context("the services are gateway, otp-worker and sms-worker")?;
    let Secrets::Master { current, previous } = Config::load_secrets()? else {
        bail!("set LATCHKEY_SECRET: bundles are derived from it");
    };
    let previous = previous.as_ref().map(|secret| secret.expose_secret().as_bytes());
    let audit = match Config::load_as_found() {
        Ok(config) => Audit::open(&config.engines).await?,
        Err(_) => Audit::none(),
    };
    let bundle = derive_bundle(current.expose_secret().as_bytes(), previous, service)?;
    audit.note("keys_derived", service.as_str(), &json!({})).await?;
    output.say(&json!({ "service": service.as_str(), "keys": bundle.as_str() }), &bundle)
}
