//! Runs the service: binds, migrates, serves, and runs the background tasks.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use accounts::Sweeper;
use anyhow::Context as _;
use config::Config;
use futures::future::OptionFuture;
use service::connections::Connections;
use tokio::net::{TcpListener, TcpSocket};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::admin;
use crate::app::{self, App, connection_limits};
use crate::background::{figures, gauges, load, outbox};
use crate::http::accept_queue::AcceptQueue;
use crate::http::browser::Callers;
use crate::http::connection_limits::Limits;
use crate::http::layers::{self, Settings};
use crate::http::load_shedding::Shedding;
use crate::http::server;
use crate::http::starting::Starting;
use crate::router;

/// Open at once on the admin port. Each waits for a database that has fewer connections.
const ADMIN_CONNECTIONS: usize = 64;
/// The most connections that wait to be accepted: beyond it, a client hears nothing and tries again after a second, two, four.
/// As many as Linux allows by default (`net.core.somaxconn`).
const WAITING_CONNECTIONS: u32 = 4096;
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
    let listeners = Listeners::bind(&config)?;
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
    pub fn bind(config: &Config) -> anyhow::Result<Self> {
        let admin = match config.admin_listen {
            Some(address) => Some(bind("LATCHKEY_ADMIN_LISTEN", address)?),
            None => None,
        };
        Ok(Self { public: bind("LATCHKEY_LISTEN", config.listen)?, admin })
    }
}

impl From<TcpListener> for Listeners {
    /// The public port alone.
    fn from(public: TcpListener) -> Self {
        Self { public, admin: None }
    }
}

fn bind(setting: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    listen(address).with_context(|| format!("{setting}: cannot listen on {address}"))
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(WAITING_CONNECTIONS)
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
    let shedding = Shedding::default();
    let settings = app::layer_settings(&config, address, engines.clock.clone(), shedding.clone());
    let (limits, proxies) = (connection_limits(&config), settings.trusted_proxies.clone());
    let starting = Starting::default();
    let (service, queue) = (starting.service(settings.clone())?, shedding.port.clone());
    let serve = server::serve(listener, service, queue, limits, proxies, stop.clone());
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
    let gauges = gauges::run(app.clone(), shedding.limit.clone(), stop.clone());
    let load = load::run(engines.store.loads(), shedding, stop.clone());
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
        Box::pin(load),
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
        shedding: None,
        ..settings
    };
    let service = layers::finish(admin::routes(app.clone()), settings)?;
    let address = listener.local_addr().context("read the bound address of the admin API")?;
    tracing::info!(%address, "the admin API listens");
    let usual = connection_limits(&app.config);
    let connections = usual.connections.min(ADMIN_CONNECTIONS);
    let limits = Limits { connections, connections_of_one: connections, ..usual };
    let queue = AcceptQueue::default();
    Ok(server::serve(listener, service, queue, limits, app.trusted_proxies(), stop))
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
