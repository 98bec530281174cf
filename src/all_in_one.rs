//! All three services in one process: embedded by default, or with real engines.

use std::sync::Arc;

use anyhow::Context as _;
use config::Config;
use service::start;
use service::start::Start;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub(crate) async fn run(config: Config) -> anyhow::Result<()> {
    start::serve(config, start).await
}

async fn start(start: Start) -> anyhow::Result<()> {
    let Start { config, engines, stop } = start;
    let listeners = gateway::Listeners::bind(&config)?;
    if matches!(config.engines, config::EngineSettings::Embedded { .. }) {
        tracing::warn!(
            "running embedded: accounts and sessions are kept, but codes and messages are lost when this process ends"
        );
        welcome(&listeners.public.local_addr()?.to_string());
    }
    // Before the workers start: without the tables they would wait and log it.
    engines.migrate(&stop).await.context("migrate the database")?;
    let mut parts = JoinSet::new();
    parts.spawn(gateway::serve(Arc::clone(&config), engines.clone(), listeners, stop.clone()));
    parts.spawn(otp_worker::run(Arc::clone(&config), engines.clone(), stop.clone()));
    parts.spawn(sms_worker::run(config, engines.for_delivery(), stop.clone()));
    wait_for_all(parts, &stop).await
}

/// Waits for all services. If one ends early, the others stop too: half a system would accept code requests and send
/// nothing (P12).
async fn wait_for_all(
    mut parts: JoinSet<anyhow::Result<()>>,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let mut outcome = Ok(());
    while let Some(ended) = parts.join_next().await {
        let ended = ended.context("a service panicked").and_then(|ended| ended);
        let early = !stop.is_cancelled();
        stop.cancel();
        if outcome.is_ok() {
            outcome = match ended {
                Ok(()) if early => Err(anyhow::anyhow!("a service ended unexpectedly")),
                other => other,
            };
        }
    }
    outcome
}

fn welcome(address: &str) {
    println!(
        "\nLatchkey listens on http://{address}. Sign in with three calls (use any mobile number; no message leaves this machine):\n\n\
         \x20 curl -s http://{address}/v1/signup -H 'content-type: application/json' -d '{{\"phone_number\":\"+14155552671\",\"first_name\":\"Ada\",\"last_name\":\"Lovelace\"}}'\n\
         \x20 curl -s 'http://{address}/inbox/messages?phone_number=%2B14155552671'\n\
         \x20 curl -s http://{address}/v1/login -H 'content-type: application/json' -d '{{\"phone_number\":\"+14155552671\",\"otp\":\"<code>\"}}'\n\n\
         Or in a browser:\n\n\
         \x20 start    http://{address}/\n\
         \x20 sign in  http://{address}/try\n\
         \x20 inbox    http://{address}/inbox\n\
         \x20 docs     http://{address}/docs  (OpenAPI: /openapi.json)\n\
         \x20 console  http://{address}/console\n"
    );
}
