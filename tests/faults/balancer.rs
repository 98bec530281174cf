//! A load balancer as they are usual: new connections go in turn to the gateways whose `/readyz` is 200. One that is
//! refused goes to the next gateway; what was sent to one is sent to no other.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use reqwest::{Client, StatusCode};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use testkit::eventually;
use testkit::process::Process;

/// Between two looks at `/readyz`.
const LOOKS_EVERY: Duration = Duration::from_millis(100);

#[derive(Debug)]
struct Gateway {
    at: SocketAddr,
    readyz: String,
    is_ready: bool,
}

#[derive(Debug, Clone, Default)]
struct Gateways(Arc<Mutex<Vec<Gateway>>>);

impl Gateways {
    fn all(&self) -> MutexGuard<'_, Vec<Gateway>> {
        self.0.lock().expect("no panic while held")
    }

    /// The ready ones, beginning with another one at each turn.
    fn ready(&self, turn: usize) -> Vec<SocketAddr> {
        let mut ready: Vec<_> =
            self.all().iter().filter(|it| it.is_ready).map(|it| it.at).collect();
        let first = turn % ready.len().max(1);
        ready.rotate_left(first);
        ready
    }
}

/// Runs in the runtime that made it and ends when dropped.
#[derive(Debug)]
pub(super) struct Balancer {
    pub url: String,
    gateways: Gateways,
    _tasks: JoinSet<()>,
}

impl Balancer {
    pub async fn before(processes: impl IntoIterator<Item = &Process>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind a port");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let gateways = Gateways::default();
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, gateways.clone()));
        tasks.spawn(look(gateways.clone()));
        let balancer = Self { url, gateways, _tasks: tasks };
        for process in processes {
            balancer.add(process).await;
        }
        balancer
    }

    /// Adds a gateway; returns once it gets connections.
    pub async fn add(&self, process: &Process) {
        let (at, readyz) = (address(process), format!("{}/readyz", process.ops_url));
        self.gateways.all().push(Gateway { at, readyz, is_ready: false });
        eventually("the balancer to see the gateway ready", testkit::PATIENCE, async || {
            self.gateways.all().iter().any(|it| it.at == at && it.is_ready).then_some(())
        })
        .await;
    }

    /// A gateway gets no more connections. Those that it has stay.
    pub fn remove(&self, process: &Process) {
        let at = address(process);
        self.gateways.all().retain(|it| it.at != at);
    }
}

fn address(gateway: &Process) -> SocketAddr {
    let url = gateway.url.as_deref().expect("a gateway has an address");
    url.trim_start_matches("http://").parse().expect("its address is numbers")
}

async fn accept(listener: TcpListener, gateways: Gateways) {
    let mut connections = JoinSet::new();
    for turn in 0.. {
        let (client, _) = listener.accept().await.expect("accept a connection");
        connections.spawn(carry(client, gateways.ready(turn)));
        while connections.try_join_next().is_some() {}
    }
}

async fn carry(mut client: TcpStream, gateways: Vec<SocketAddr>) {
    for at in gateways {
        if let Ok(mut gateway) = TcpStream::connect(at).await {
            // Waiting to fill a packet would add an unwanted delay.
            let _ = (client.set_nodelay(true), gateway.set_nodelay(true));
            // A connection that the gateway breaks is broken for its client as well.
            let _ = copy_bidirectional(&mut client, &mut gateway).await;
            return;
        }
    }
}

async fn look(gateways: Gateways) {
    let client = Client::builder().no_proxy().timeout(testkit::PATIENCE).build();
    let client = client.expect("make a client");
    loop {
        let pages: Vec<_> = gateways.all().iter().map(|it| it.readyz.clone()).collect();
        for page in pages {
            let answer = client.get(&page).send().await;
            let is_ready = answer.is_ok_and(|answer| answer.status() == StatusCode::OK);
            for gateway in gateways.all().iter_mut().filter(|it| it.readyz == page) {
                gateway.is_ready = is_ready;
            }
        }
        tokio::time::sleep(LOOKS_EVERY).await;
    }
}
