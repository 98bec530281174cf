//! The export of spans, as the settings want it (contract, ruling 73).

use anyhow::Context as _;
use config::{Config, Role, TracesSampler};
use traces::{Sampling, Settings};

use crate::presence::{INSTANCE, VERSION};

/// Starts the export of spans, if a collector is configured.
///
/// # Errors
/// If no client for the collector can be made.
pub(crate) fn export(config: &Config) -> anyhow::Result<()> {
    let Some(endpoint) = &config.otlp_endpoint else { return Ok(()) };
    if config.traces_sampler == TracesSampler::Nothing {
        return Ok(());
    }
    let settings = Settings {
        endpoint: endpoint.to_string(),
        sampling: sampling(config.traces_sampler, config.traces_share),
        service: service(config.role).to_owned(),
        version: VERSION,
        instance: INSTANCE.to_string(),
    };
    traces::export(&settings).context("OTEL_EXPORTER_OTLP_ENDPOINT: cannot export traces")
}

/// Exports what waits. The runtime goes on meanwhile.
pub(crate) async fn finish() {
    if traces::is_on() {
        // A panic there has been logged, and the process is over.
        let _ = tokio::task::spawn_blocking(traces::finish).await;
    }
}

const fn service(role: Role) -> &'static str {
    match role {
        Role::AllInOne => "latchkey",
        Role::Gateway => "latchkey-gateway",
        Role::OtpWorker => "latchkey-otp-worker",
        Role::SmsWorker => "latchkey-sms-worker",
    }
}

const fn sampling(sampler: TracesSampler, share: f64) -> Sampling {
    let (parent_based, share) = match sampler {
        TracesSampler::All => (false, 1.0),
        TracesSampler::Nothing => (false, 0.0),
        TracesSampler::Share => (false, share),
        TracesSampler::ParentBasedAll => (true, 1.0),
        TracesSampler::ParentBasedNothing => (true, 0.0),
        TracesSampler::ParentBasedShare => (true, share),
    };
    Sampling { parent_based, share }
}
