//! The three services in one process: embedded by default, or on the real engines.

use std::sync::Arc;

use anyhow::Context as _;
use config;
use config::Config;
use service::start;
use service::start::Start;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub(crate) async fn run(config: Config) -> anyhow::Result<()> {
    start::serve("latchkey", config, start).await
}

async fn start(start: Start) -> anyhow::Result<()> {
    let Start { config, engines, stop } = start;
    let listener = TcpListener::bind(config.listen)
        .await
        .with_context(|| format!("LATCHKEY_LISTEN: cannot listen on {}", config.listen))?;
    if matches!(config.engines, config::Engines::Embedded { .. }) {
        tracing::warn!(
            "embedded: accounts and sessions are kept, but codes and messages end with this process"
        );
        welcome(&listener.local_addr()?.to_string());
    }
    // Before the workers look at the tables: they would wait for them, and say so.
    engines.migrate(&stop).await.context("migrate the database")?;
    let mut parts = JoinSet::new();
    parts.spawn(gateway::serve(Arc::clone(&config), engines.clone(), listener, stop.clone()));
    parts.spawn(otp_worker::run(Arc::clone(&config), engines.clone(), stop.clone()));
    parts.spawn(sms_worker::run(config, engines, stop.clone()));
    wait_for_all(parts, &stop).await
}

/// A part that ends before it was told to takes the others down with it: half a system would accept asks and send
/// nothing (P12).
async fn wait_for_all(
    mut parts: JoinSet<anyhow::Result<()>>,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let mut outcome = Ok(());
    while let Some(ended) = parts.join_next().await {
        let ended = ended.context("a part panicked").and_then(|ended| ended);
        let early = !stop.is_cancelled();
        stop.cancel();
        if outcome.is_ok() {
            outcome = match ended {
                Ok(()) if early => Err(anyhow::anyhow!("a part ended by itself")),
                other => other,
            };
        }
    }
    outcome
}

fn welcome(address: &str) {
    println!(
        "\nLatchkey listens on http://{address}. Sign in with three calls (any mobile number will do; texts stay here):\n\n\
         \x20 curl -s http://{address}/v1/signup -H 'content-type: application/json' -d '{{\"phone_number\":\"+14155552671\",\"first_name\":\"Ada\",\"last_name\":\"Lovelace\"}}'\n\
         \x20 curl -s 'http://{address}/inbox/messages?phone_number=%2B14155552671'\n\
         \x20 curl -s http://{address}/v1/login -H 'content-type: application/json' -d '{{\"phone_number\":\"+14155552671\",\"otp\":\"<code>\"}}'\n"
    );
}
