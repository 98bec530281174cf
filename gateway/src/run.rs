//! Runs the service: binds, migrates, serves, and runs the background tasks.

use std::sync::Arc;
use std::time::Duration;

use accounts::Sweeper;
use anyhow::Context as _;
use config::Config;
use service::connections::Connections;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::app::{App, connection_limits};
use crate::background::outbox;
use crate::http::{layers, server};
use crate::router;

const SWEEP_EVERY: Duration = Duration::from_mins(1);

/// Runs the HTTP edge until `stop`: requests in progress are then answered, and no new ones are accepted.
///
/// # Errors
/// If the address is in use, the keys are not usable or the startup fails otherwise.
pub async fn run(
    config: Arc<Config>,
    engines: Connections,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let listener = TcpListener::bind(config.listen)
        .await
        .with_context(|| format!("LATCHKEY_LISTEN: cannot listen on {}", config.listen))?;
    serve(config, engines, listener, stop).await
}

/// Like [`run`], on an existing listener.
pub async fn serve(
    config: Arc<Config>,
    engines: Connections,
    listener: TcpListener,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let address = listener.local_addr().context("read the bound address")?;
    Box::pin(engines.migrate(&stop)).await.context("migrate the database")?;

    let app = Box::pin(App::build(&config, engines.clone(), address, stop.clone())).await?;
    domain::phone::warm_up(config.default_region.as_deref());
    let public = layers::finish(router::routes(app.clone()), app.middleware_settings())?;

    for net in app.trusted_proxies().wide() {
        tracing::warn!(%net, "LATCHKEY_TRUSTED_PROXIES: every client in this wide network can name its own address");
    }
    tracing::info!(url = %app.public_url, address = %address, "listening");
    engines.health.ready("gateway");
    let (limits, proxies) = (connection_limits(&config), app.trusted_proxies());
    let serve = server::serve(listener, public, limits, proxies, stop.clone());
    let publish = outbox::run(engines.clone(), app.outbox_filled.clone(), stop.clone());
    let guard =
        service::guard_report::run(engines.clone(), config.pumping_guard, "gateway", stop.clone());
    let blocks = app.blocks.clone().follow(engines.clone(), stop.clone());
    let keys = app.token_keys.watch(stop.clone());
    let sweep = sweep(app.clone(), stop.clone());
    // Boxed, so that the stack of the main thread holds none of them.
    tokio::join!(
        Box::pin(serve),
        Box::pin(publish),
        Box::pin(blocks),
        Box::pin(keys),
        Box::pin(sweep),
        Box::pin(guard)
    );
    Ok(())
}

/// Deletes expired rows, a batch at a time.
async fn sweep(app: App, stop: CancellationToken) {
    while stop.run_until_cancelled(tokio::time::sleep(SWEEP_EVERY)).await.is_some() {
        let now = app.engines.clock.now();
        while !stop.is_cancelled() {
            match Sweeper::new(&app.engines.sql).sweep(app.attempt_limits(), now).await {
                Ok(swept) if swept.more => {}
                Ok(_) => break,
                Err(error) => {
                    tracing::warn!(error = format!("{error:#}"), "cannot delete expired rows");
                    break;
                }
            }
        }
    }
}
