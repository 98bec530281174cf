//! Runs the service: binds, migrates, serves, and runs the background tasks.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use accounts::Sweeper;
use anyhow::Context as _;
use config::Config;
use futures::future::OptionFuture;
use service::connections::Connections;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::admin;
use crate::app::{self, App, connection_limits};
use crate::background::{figures, gauges, outbox};
use crate::http::browser::Callers;
use crate::http::concurrency_limit::ConcurrencyLimit;
use crate::http::connection_limits::Limits;
use crate::http::layers::{self, Settings};
use crate::http::server;
use crate::http::starting::Starting;
use crate::router;

/// Open at once on the admin port. Each waits for a database that has fewer connections.
const ADMIN_CONNECTIONS: usize = 64;
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
    let listeners = Listeners::bind(&config).await?;
    serve(config, engines, listeners, stop).await
}

/// The ports of a gateway.
#[derive(Debug)]
pub struct Listeners {
    pub public: TcpListener,
    /// `None`: the admin API is off.
    pub admin: Option<TcpListener>,
}

impl Listeners {
    /// Binds the addresses of the settings.
    ///
    /// # Errors
    /// If an address is in use: the error names its setting.
    pub async fn bind(config: &Config) -> anyhow::Result<Self> {
        let admin = match config.admin_listen {
            Some(address) => Some(bind("LATCHKEY_ADMIN_LISTEN", address).await?),
            None => None,
        };
        Ok(Self { public: bind("LATCHKEY_LISTEN", config.listen).await?, admin })
    }
}

impl From<TcpListener> for Listeners {
    /// The public port alone.
    fn from(public: TcpListener) -> Self {
        Self { public, admin: None }
    }
}

async fn bind(setting: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    let bound = TcpListener::bind(address).await;
    bound.with_context(|| format!("{setting}: cannot listen on {address}"))
}

/// Like [`run`], on existing listeners.
pub async fn serve(
    config: Arc<Config>,
    engines: Connections,
    listeners: impl Into<Listeners>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let Listeners { public: listener, admin } = listeners.into();
    let address = listener.local_addr().context("read the bound address")?;
    let limit = ConcurrencyLimit::default();
    let settings = app::layer_settings(&config, address, engines.clock.clone(), limit.clone());
    let (limits, proxies) = (connection_limits(&config), settings.trusted_proxies.clone());
    let starting = Starting::default();
    let serve =
        server::serve(listener, starting.service(settings.clone())?, limits, proxies, stop.clone());
    let serve = AbortOnDropHandle::new(tokio::spawn(serve));
    Box::pin(engines.migrate(&stop)).await.context("migrate the database")?;

    let app = Box::pin(App::build(&config, engines.clone(), address, stop.clone())).await?;
    domain::phone::warm_up(config.default_region.as_deref());
    let public = layers::finish(router::routes(app.clone()), settings.clone())?;

    for net in app.trusted_proxies().wide() {
        tracing::warn!(%net, "LATCHKEY_TRUSTED_PROXIES: every client in this wide network can name its own address");
    }
    tracing::info!(url = %app.public_url, address = %address, "listening");
    let admin =
        admin.map(|listener| serve_admin(&app, settings, listener, stop.clone())).transpose()?;
    starting.ready(public);
    engines.health.ready("gateway");
    let publish = outbox::run(engines.clone(), app.outbox_filled.clone(), stop.clone());
    let guard =
        service::guard_report::run(engines.clone(), config.pumping_guard, "gateway", stop.clone());
    let blocks = app.blocks.clone().follow(engines.clone(), stop.clone());
    let keys = app.token_keys.watch(stop.clone());
    let sweep = sweep(app.clone(), stop.clone());
    let figures = figures::run(engines.clone(), stop.clone());
    let gauges = gauges::run(app.clone(), limit, stop.clone());
    // Boxed, so that the stack of the main thread holds none of them.
    let (served, ..) = tokio::join!(
        serve,
        Box::pin(OptionFuture::from(admin)),
        Box::pin(publish),
        Box::pin(blocks),
        Box::pin(keys),
        Box::pin(sweep),
        Box::pin(figures),
        Box::pin(gauges),
        Box::pin(guard)
    );
    served.context("serve the public port")
}

/// The admin API, with the limits of the public port and fewer connections: its callers are few, and what they hold is not
/// taken from everybody else.
fn serve_admin(
    app: &App,
    settings: Settings,
    listener: TcpListener,
    stop: CancellationToken,
) -> anyhow::Result<impl Future<Output = ()> + use<>> {
    let settings = Settings {
        https: false,
        cors_origins: Vec::new(),
        callers: Callers::Programs,
        limit: None,
        ..settings
    };
    let service = layers::finish(admin::routes(app.clone()), settings)?;
    let address = listener.local_addr().context("read the bound address of the admin API")?;
    tracing::info!(%address, "the admin API listens");
    let usual = connection_limits(&app.config);
    let connections = usual.connections.min(ADMIN_CONNECTIONS);
    let limits = Limits { connections, connections_of_one: connections, ..usual };
    Ok(server::serve(listener, service, limits, app.trusted_proxies(), stop))
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
