//! Latchkey in the test's own process, so that the test can move its clock.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use config::{Config, Environment, Role};
use domain::clock::Clock;
use gateway::signing_key::Algorithm;
use gateway::{Listeners, key_dir};
use service::connections::Connections;
use service::health::Health;
use service::presence;
use service::start;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use testkit::engines::Engines as Servers;
use testkit::eventually;
use testkit::folder::Folder;
use testkit::http::Api;
use testkit::system::{NO_LIMITS, Side};

/// Gateways and both workers, all on one clock. Dropping it ends them.
pub(crate) struct InProcessLatchkey {
    pub clock: Clock,
    pub engines: Connections,
    config: Arc<Config>,
    stop: CancellationToken,
    urls: Vec<String>,
    /// The admin API of the first gateway, if a setting has it listen.
    admin_url: Option<String>,
    tasks: JoinSet<anyhow::Result<()>>,
    _home: Folder,
}

impl InProcessLatchkey {
    /// Starts this many gateways; on the engines each has its own connections.
    pub async fn start(side: Side, gateways: usize) -> Self {
        Self::start_with(side, gateways, &[]).await
    }

    /// Like [`InProcessLatchkey::start`]; `more` settings override the others.
    pub async fn start_with(side: Side, gateways: usize, more: &[(&str, &str)]) -> Self {
        start::install_crypto();
        let home = Folder::new("in-process");
        let data = home.join("data").display().to_string();
        let given = [
            ("LATCHKEY_ENV", "development"),
            ("LATCHKEY_LISTEN", "127.0.0.1:0"),
            ("LATCHKEY_DATA_DIR", &data),
            ("LATCHKEY_ISSUER", "http://latchkey.test"),
        ];
        let mut settings: BTreeMap<String, String> = given
            .into_iter()
            .chain(NO_LIMITS)
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        if side == Side::Engines {
            settings.remove("LATCHKEY_DATA_DIR");
            settings.extend(Servers::shared().fresh().await.env());
            settings.insert("LATCHKEY_SECRET".into(), "kv7tq2m9xw4r8ys3bn6c1zd5hj0plaeg".into());
            settings.insert("LATCHKEY_SMS_ROUTES".into(), "default=inbox".into());
            let keys = home.join("keys");
            fs::create_dir(&keys).unwrap();
            key_dir::generate(&keys, Algorithm::Es256, None).unwrap();
            settings.insert("LATCHKEY_JWT_KEYS_DIR".into(), keys.display().to_string());
        }
        settings.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let config = Arc::new(Config::from_map(Role::AllInOne, &settings).unwrap());
        let (clock, stop) = (Clock::manual(), CancellationToken::new());
        let connect = async || {
            let health = Health::default();
            Connections::connect(&config, "latchkey", clock.clone(), health, &stop).await.unwrap()
        };
        let engines = connect().await;
        engines.migrate(&stop).await.unwrap();
        let (mut tasks, mut urls, mut admin_url) = (JoinSet::new(), Vec::new(), None);
        for number in 0..gateways {
            let own = number > 0 && side == Side::Engines;
            let engines = if own { connect().await } else { engines.clone() };
            let mut listeners = Listeners::bind(&config).unwrap();
            let url = |listener: &TcpListener| format!("http://{}", listener.local_addr().unwrap());
            urls.push(url(&listeners.public));
            listeners.admin = listeners.admin.filter(|_| number == 0);
            admin_url = admin_url.or(listeners.admin.as_ref().map(url));
            tasks.spawn(gateway::serve(config.clone(), engines, listeners, stop.clone()));
        }
        tasks.spawn(otp_worker::run(config.clone(), engines.clone(), stop.clone()));
        tasks.spawn(sms_worker::run(config.clone(), engines.for_delivery(), stop.clone()));
        let (sql, told) = (engines.sql.clone(), engines.presence.clone());
        let (its_clock, its_stop) = (clock.clone(), stop.clone());
        tasks.spawn(async move {
            let instance = domain::rng::id_v4();
            presence::run(sql, its_clock, told, "all-in-one", instance, its_stop).await;
            Ok(())
        });
        let latchkey = Self { clock, engines, config, stop, urls, admin_url, tasks, _home: home };
        for number in 0..gateways {
            latchkey.answers(number).await;
        }
        latchkey
    }

    /// Adds a gateway on the same engines with another clock; returns its number.
    pub async fn add_with_clock(&mut self, clock: Clock) -> usize {
        let engines = Connections { clock, ..self.engines.clone() };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        self.urls.push(format!("http://{}", listener.local_addr().unwrap()));
        let stop = self.stop.clone();
        self.tasks.spawn(gateway::serve(self.config.clone(), engines, listener, stop));
        let number = self.urls.len() - 1;
        self.answers(number).await;
        number
    }

    /// Adds a gateway on the same engines in production; returns its number.
    pub async fn add_in_production(&mut self) -> usize {
        let mut config = (*self.config).clone();
        config.environment = Environment::Production;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        self.urls.push(format!("http://{}", listener.local_addr().unwrap()));
        let (engines, stop) = (self.engines.clone(), self.stop.clone());
        self.tasks.spawn(gateway::serve(Arc::new(config), engines, listener, stop));
        let number = self.urls.len() - 1;
        self.answers(number).await;
        number
    }

    async fn answers(&self, number: usize) {
        let url = format!("{}/.well-known/jwks.json", self.api_of(number).url);
        eventually("a gateway", testkit::PATIENCE, async || {
            testkit::http::status_of(&url).await.filter(|status| *status == 200)
        })
        .await;
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    pub fn api(&self) -> Api {
        self.api_of(0)
    }

    pub fn api_of(&self, gateway: usize) -> Api {
        Api::new(&self.urls[gateway])
    }

    /// A client of the admin API; `LATCHKEY_ADMIN_LISTEN` must be set.
    pub fn admin_api(&self) -> Api {
        Api::new(self.admin_url.as_deref().expect("the admin API listens"))
    }

    pub fn advance(&self, secs: u64) {
        self.clock.advance(Duration::from_secs(secs));
    }
}
