//! Finding the primary: at the address in `REDIS_URL`, or where the Sentinels say that it is.

use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use deadpool_redis::redis::aio::MultiplexedConnection;
use deadpool_redis::redis::{
    self, AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, ErrorKind,
    IntoConnectionInfo as _, RedisError, RedisResult,
};
use deadpool_redis::{Config, Pool, PoolConfig, Runtime};
use futures::StreamExt as _;
use futures::future::{join_all, select_ok};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::Notify;
use tokio::time::timeout;
use url::Url;

use super::{CONNECT_WITHIN, ENGINE, LANES};
use domain::engine_error::EngineError;
use domain::engine_hosts::{one_each, watched};
use domain::rng;

/// Where a Sentinel tells that another server is the primary now.
const SWITCHED: &str = "+switch-master";

/// About how long one listens to a Sentinel by one connection: that of one that vanished looks like an idle one.
const RENEWED: Duration = Duration::from_mins(2);

#[derive(Clone)]
pub(super) enum Primary {
    /// At one address. A failover moves the address.
    At {
        pool: Pool,
        client: Arc<Client>,
    },
    Watched(Arc<Sentinels>),
}

fn not_an_address() -> EngineError {
    EngineError::broken(ENGINE, anyhow!("REDIS_URL is not a Redis address"))
}

impl Primary {
    pub fn of(url: &SecretString) -> Result<Self, EngineError> {
        if let Some((scheme, _)) = url.expose_secret().split_once("+sentinel://") {
            let sentinels = Sentinels::parse(url.expose_secret(), scheme);
            return Ok(Self::Watched(Arc::new(sentinels.ok_or_else(not_an_address)?)));
        }
        let mut config = Config::from_url(url.expose_secret());
        config.pool = Some(PoolConfig::new(LANES));
        let pool = config
            .builder()
            .map_err(|_| not_an_address())?
            .create_timeout(Some(CONNECT_WITHIN))
            .wait_timeout(Some(CONNECT_WITHIN))
            .recycle_timeout(Some(CONNECT_WITHIN))
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|e| EngineError::broken(ENGINE, e))?;
        let client = Client::open(url.expose_secret()).map_err(|_| not_an_address())?;
        Ok(Self::At { pool, client: Arc::new(client) })
    }

    /// Opens a connection to the primary.
    pub async fn connect(&self) -> Result<MultiplexedConnection, EngineError> {
        let connecting = async {
            match self {
                // Taken out of the pool: whoever has it drops it when it breaks.
                Self::At { pool, .. } => match pool.get().await {
                    Ok(pooled) => Ok(deadpool_redis::Connection::take(pooled)),
                    Err(error) => Err(anyhow!("connect: {error}")),
                },
                Self::Watched(sentinels) => match sentinels.primary().await {
                    Ok((_, connection)) => Ok(connection),
                    Err(error) => Err(anyhow!("find the primary by the Sentinels: {error}")),
                },
            }
        };
        timeout(CONNECT_WITHIN, connecting)
            .await
            .unwrap_or_else(|_| Err(anyhow!("no connection in time")))
            .map_err(|cause| EngineError::away(ENGINE, cause))
    }

    /// Tells each time a Sentinel names another primary. An address tells nothing.
    pub async fn watch(&self, moved: &Notify) {
        if let Self::Watched(sentinels) = self {
            let each = sentinels.addresses.iter();
            join_all(each.map(|sentinel| sentinels.listen_to(sentinel, moved))).await;
        }
    }

    /// A client of the primary, as long as it stays the primary.
    pub async fn client(&self) -> RedisResult<Client> {
        match self {
            Self::At { client, .. } => Ok(Client::clone(client)),
            Self::Watched(sentinels) => Ok(sentinels.primary().await?.0),
        }
    }
}

/// The Sentinels of `redis+sentinel://user:password@one:26379,two:26379/name/0`. User and password are for the primary;
/// `?sentinel_username=` and `?sentinel_password=` for the Sentinels.
pub(super) struct Sentinels {
    addresses: Vec<Client>,
    /// What they call the servers that they watch.
    name: String,
    /// How the primary is reached; the host is a Sentinel's.
    primary: ConnectionInfo,
}

impl Sentinels {
    /// `None` if the URL is malformed. `scheme` is that of the servers.
    fn parse(url: &str, scheme: &str) -> Option<Self> {
        if !matches!(scheme, "redis" | "rediss") {
            return None;
        }
        let (mut addresses, mut found) = (Vec::new(), None);
        for each in one_each(url) {
            let url = Url::parse(each.expose_secret()).ok()?;
            let (host, port) = (url.host_str()?, url.port().unwrap_or(26379));
            let (name, database) = watched(&url)?;
            let of = |user: &str, password: &str, database: u16| {
                let mut address =
                    Url::parse(&format!("{scheme}://{host}:{port}/{database}")).ok()?;
                address.set_username(user).ok()?;
                let password = Some(password).filter(|password| !password.is_empty());
                address.set_password(password).ok()?;
                if url.fragment() == Some("insecure") {
                    address.set_fragment(Some("insecure"));
                }
                address.into_connection_info().ok()
            };
            let own = |key: &str| {
                let value =
                    url.query_pairs().find_map(|(name, value)| (name == key).then_some(value));
                // A literal percent sign must outlive the decoding of the address below.
                value.unwrap_or_default().replace('%', "%25")
            };
            let (user, password) = (own("sentinel_username"), own("sentinel_password"));
            addresses.push(Client::open(of(&user, &password, 0)?).ok()?);
            let primary = of(url.username(), url.password().unwrap_or_default(), database)?;
            found = Some((name.to_owned(), primary));
        }
        let (name, primary) = found?;
        Some(Self { addresses, name, primary })
    }

    /// Connects to the primary. All Sentinels are asked at once: one of them may be away together with the former
    /// primary. The first whose server says itself that it is a primary counts.
    async fn primary(&self) -> RedisResult<(Client, MultiplexedConnection)> {
        let each = self.addresses.iter().map(|sentinel| Box::pin(self.named_by(sentinel)));
        Ok(select_ok(each).await?.0)
    }

    async fn listen_to(&self, sentinel: &Client, moved: &Notify) {
        loop {
            // One that is away or refuses is tried again. Until then the others tell.
            let _ = timeout(
                RENEWED.mul_f64(0.5 + rng::spread_fraction()),
                self.listen(sentinel, moved),
            )
            .await;
            tokio::time::sleep(CONNECT_WITHIN).await;
        }
    }

    async fn listen(&self, sentinel: &Client, moved: &Notify) -> RedisResult<()> {
        let mut subscription = sentinel.get_async_pubsub().await?;
        subscription.subscribe(SWITCHED).await?;
        let mut messages = subscription.on_message();
        while let Some(message) = messages.next().await {
            // `name old-host old-port new-host new-port`
            let told: String = message.get_payload()?;
            if told.split(' ').next() == Some(&self.name) {
                moved.notify_one();
            }
        }
        Ok(())
    }

    async fn named_by(&self, sentinel: &Client) -> RedisResult<(Client, MultiplexedConnection)> {
        let mut question = redis::cmd("SENTINEL");
        question.arg("GET-MASTER-ADDR-BY-NAME").arg(&self.name);
        let mut asking = connect(sentinel).await?;
        let named: Option<(String, u16)> = question.query_async(&mut asking).await?;
        let unknown = (ErrorKind::InvalidClientConfig, "a Sentinel does not know this name");
        let (host, port) = named.ok_or_else(|| RedisError::from(unknown))?;
        let address = match self.primary.addr() {
            ConnectionAddr::TcpTls { insecure, tls_params, .. } => ConnectionAddr::TcpTls {
                host,
                port,
                insecure: *insecure,
                tls_params: tls_params.clone(),
            },
            _ => ConnectionAddr::Tcp(host, port),
        };
        let client = Client::open(self.primary.clone().set_addr(address))?;
        let mut connection = connect(&client).await?;
        // Not ROLE: the services' logins have INFO already.
        let mut asking = redis::cmd("INFO");
        let told: String = asking.arg("replication").query_async(&mut connection).await?;
        if told.lines().any(|line| line.trim_end() == "role:master") {
            return Ok((client, connection));
        }
        let early = "the server that a Sentinel names is not a primary yet";
        Err((ErrorKind::InvalidClientConfig, early).into())
    }
}

async fn connect(client: &Client) -> RedisResult<MultiplexedConnection> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_WITHIN))
        .set_response_timeout(Some(CONNECT_WITHIN));
    client.get_multiplexed_async_connection_with_config(&config).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(url: &str) -> Option<Sentinels> {
        Sentinels::parse(url, url.split_once("+sentinel://")?.0)
    }

    #[test]
    fn a_url_of_sentinels_names_them_what_they_watch_and_how_to_reach_it() {
        let url = "redis+sentinel://app:p%2Fw@one:7000,two/primary/3?sentinel_password=s%26%2541";
        let sentinels = parsed(url).unwrap();
        let addresses =
            sentinels.addresses.iter().map(|client| client.get_connection_info().addr());
        let of = |host: &str, port| ConnectionAddr::Tcp(host.to_owned(), port);
        assert_eq!(addresses.cloned().collect::<Vec<_>>(), [of("one", 7000), of("two", 26379)]);
        assert_eq!(sentinels.name, "primary");
        let primary = sentinels.primary.redis_settings();
        assert_eq!((primary.username(), primary.password()), (Some("app"), Some("p/w")));
        assert_eq!(primary.db(), 3);
        let own = sentinels.addresses[0].get_connection_info().redis_settings();
        assert_eq!((own.username(), own.password(), own.db()), (None, Some("s&%41"), 0));

        let tls = parsed("rediss+sentinel://:p@one/primary").unwrap();
        assert!(matches!(tls.primary.addr(), ConnectionAddr::TcpTls { insecure: false, .. }));
        assert_eq!(tls.primary.redis_settings().db(), 0);
    }

    #[test]
    fn malformed_urls_of_sentinels_are_refused() {
        for wrong in ["redis+sentinel://one", "redis+sentinel://one,/m", "http+sentinel://one/m"] {
            let url = SecretString::from(wrong);
            assert!(Primary::of(&url).is_err_and(|error| !error.is_away()), "{wrong}");
        }
    }
}
