//! A TCP proxy that breaks the connection to an engine: slow, cut, half open, refused.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::folder::free_port;

/// What happens to bytes and connections, both open and new ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    None,
    /// In each direction, for every piece.
    Latency(Duration),
    /// Connections stay open and are accepted; what the client sends is swallowed.
    SwallowRequests,
    /// The engine executes requests; its answers are swallowed.
    SwallowAnswers,
    /// AMQP: consumer acks never reach the broker. Publishes and their confirms pass.
    SwallowAcks,
    /// AMQP: publishes never reach the broker, nor what their connection sends after them. Consumers go on.
    SwallowPublishes,
    /// AMQP: publishes reach the broker, and their confirms do not come back. Consumers go on.
    SwallowConfirms,
    /// AMQP: the broker takes a new consumer, and the client never hears of it, nor of anything that its connection gets
    /// after that.
    SwallowConsumers,
    /// Open connections are cut and the port is closed.
    Refuse,
}

#[derive(Debug, Clone, Copy)]
enum Way {
    ToEngine,
    ToClient,
}

#[derive(Debug, Clone, Copy)]
struct State {
    /// Where new connections lead.
    target: SocketAddr,
    fault: Fault,
    /// Incremented to cut open connections.
    cuts: u32,
}

/// Runs in the runtime that made it and ends when dropped.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    state: watch::Sender<State>,
    listening: watch::Receiver<bool>,
    _tasks: JoinSet<()>,
}

impl Proxy {
    /// Starts a proxy in front of `host:port`, without a fault.
    pub async fn before(target: &str) -> Self {
        let target = resolve(target).await;
        let port = free_port();
        let (state, watching) = watch::channel(State { target, fault: Fault::None, cuts: 0 });
        let (listens, mut listening) = watch::channel(false);
        let mut tasks = JoinSet::new();
        tasks.spawn(listen(port, watching, listens));
        listening.wait_for(|on| *on).await.expect("the proxy listens");
        Self { port, state, listening, _tasks: tasks }
    }

    /// Starts a proxy in front of an engine; returns it, and the engine's URL with the proxy's host and port.
    pub async fn before_url(url: &str) -> (Self, String) {
        let (scheme, rest) = url.split_once("://").expect("a URL");
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, target) =
            authority.rsplit_once('@').map_or(("", authority), |(user, host)| (user, host));
        let proxy = Self::before(target).await;
        let at = if user.is_empty() { "" } else { "@" };
        let url = format!("{scheme}://{user}{at}127.0.0.1:{}/{path}", proxy.port);
        (proxy, url)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Sets the fault for all connections; returns once the port is open or closed accordingly.
    pub async fn set(&mut self, fault: Fault) {
        self.state.send_modify(|state| {
            state.fault = fault;
            state.cuts += u32::from(fault == Fault::Refuse);
        });
        let open = fault != Fault::Refuse;
        self.listening
            .wait_for(|on| *on == open)
            .await
            .expect("the proxy runs as long as its handle");
    }

    /// Leads new connections to another `host:port`: an address that follows a failover. Open ones stay.
    pub async fn aim(&self, target: &str) {
        let target = resolve(target).await;
        self.state.send_modify(|state| state.target = target);
    }

    /// Cuts open connections; new ones are served.
    pub fn cut_all(&self) {
        self.state.send_modify(|state| state.cuts += 1);
    }
}

async fn resolve(target: &str) -> SocketAddr {
    let mut found = tokio::net::lookup_host(target).await.expect("resolve the target");
    found.next().expect("an address")
}

async fn listen(port: u16, mut state: watch::Receiver<State>, listens: watch::Sender<bool>) {
    let (mut connections, served) = (JoinSet::new(), state.clone());
    loop {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("bind the proxy's port");
        listens.send_replace(true);
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    let (client, _) = accepted.expect("accept a connection");
                    connections.spawn(serve(client, served.clone()));
                }
                refuse = state.wait_for(|state| state.fault == Fault::Refuse) => {
                    if refuse.is_err() { return }
                    break;
                }
            }
        }
        drop(listener);
        listens.send_replace(false);
        if state.wait_for(|state| state.fault != Fault::Refuse).await.is_err() {
            return;
        }
    }
}

async fn serve(client: TcpStream, state: watch::Receiver<State>) {
    let State { target, cuts, .. } = *state.borrow();
    let Ok(engine) = TcpStream::connect(target).await else { return };
    // Waiting to fill a packet would add an unwanted delay.
    let _ = (client.set_nodelay(true), engine.set_nodelay(true));
    let ((from_client, to_client), (from_engine, to_engine)) =
        (client.into_split(), engine.into_split());
    let mut cut = state.clone();
    tokio::select! {
        () = pump(from_client, to_engine, Way::ToEngine, state.clone()) => {}
        () = pump(from_engine, to_client, Way::ToClient, state) => {}
        _ = cut.wait_for(|state| state.cuts != cuts) => {}
    }
}

/// Whether a piece holds a `basic.ack` frame: its size of 13 bytes, class 60 and method 80 (AMQP 0-9-1). Our texts have
/// no zero bytes, so nothing else looks like it. From a client it is a consumer's ack, from the broker a confirm.
fn has_ack(piece: &[u8]) -> bool {
    const ACK: [u8; 8] = [0, 0, 0, 13, 0, 60, 0, 80];
    piece.windows(ACK.len()).any(|window| window == ACK)
}

/// Whether a piece holds a `basic.publish`: a method frame's 1, its channel and size, class 60 and method 40.
fn has_publish(piece: &[u8]) -> bool {
    const METHOD_FRAME: u8 = 1;
    const PUBLISH: [u8; 4] = [0, 60, 0, 40];
    piece.windows(11).any(|window| window[0] == METHOD_FRAME && window[7..] == PUBLISH)
}

/// Whether a piece begins a consumer: its channel's `basic.consume-ok`, class 60 and method 21.
fn has_consumer(piece: &[u8]) -> bool {
    const METHOD_FRAME: u8 = 1;
    const CONSUME_OK: [u8; 4] = [0, 60, 0, 21];
    piece.windows(11).any(|window| window[0] == METHOD_FRAME && window[7..] == CONSUME_OK)
}

/// Carries one direction until it ends. Reader and writer are separate, so that latency delays but does not throttle.
async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    way: Way,
    state: watch::Receiver<State>,
) {
    let (pieces, mut due) = mpsc::channel::<(Instant, Vec<u8>)>(1024);
    let read = async move {
        let mut piece = vec![0; 16 * 1024];
        // What follows a swallowed publish or consumer may be the rest of it.
        let mut broken_off = false;
        while let Ok(length @ 1..) = from.read(&mut piece).await {
            let piece = &piece[..length];
            let delay = match (state.borrow().fault, way) {
                (Fault::SwallowRequests, Way::ToEngine)
                | (Fault::SwallowAnswers, Way::ToClient) => continue,
                (Fault::SwallowAcks, Way::ToEngine) | (Fault::SwallowConfirms, Way::ToClient)
                    if has_ack(piece) =>
                {
                    continue;
                }
                (Fault::SwallowPublishes, Way::ToEngine) if broken_off || has_publish(piece) => {
                    broken_off = true;
                    continue;
                }
                (Fault::SwallowConsumers, Way::ToClient) if broken_off || has_consumer(piece) => {
                    broken_off = true;
                    continue;
                }
                (Fault::Latency(delay), _) => delay,
                _ => Duration::ZERO,
            };
            if pieces.send((Instant::now() + delay, piece.to_vec())).await.is_err() {
                return;
            }
        }
    };
    let write = async move {
        while let Some((when, piece)) = due.recv().await {
            sleep_until(when).await;
            if to.write_all(&piece).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(read, write);
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use tokio::time::timeout;

    use super::*;

    /// A server that answers each byte with the next one; returns the proxy before it and the count of bytes it
    /// received.
    async fn counting() -> (Proxy, watch::Receiver<u32>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (count, counted) = watch::channel(0);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let count = count.clone();
                tokio::spawn(async move {
                    while let Ok(byte) = stream.read_u8().await {
                        count.send_modify(|count| *count += 1);
                        if stream.write_u8(byte + 1).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        (Proxy::before_url(&format!("tcp://{address}/x")).await.0, counted)
    }

    async fn connect(proxy: &Proxy) -> TcpStream {
        TcpStream::connect(("127.0.0.1", proxy.port())).await.unwrap()
    }

    async fn round_trip(stream: &mut TcpStream) -> std::io::Result<u8> {
        stream.write_u8(7).await?;
        stream.read_u8().await
    }

    #[tokio::test]
    async fn without_a_fault_bytes_go_both_ways() {
        let (proxy, _) = counting().await;
        assert_eq!(round_trip(&mut connect(&proxy).await).await.unwrap(), 8);
    }

    #[tokio::test]
    async fn latency_delays_each_way() {
        let (mut proxy, _) = counting().await;
        let mut stream = connect(&proxy).await;
        proxy.set(Fault::Latency(Duration::from_millis(60))).await;
        let start = Instant::now();
        assert_eq!(round_trip(&mut stream).await.unwrap(), 8);
        assert!(start.elapsed() >= Duration::from_millis(120));
    }

    #[tokio::test]
    async fn swallowed_requests_do_not_arrive_and_swallowed_answers_do_not_come_back() {
        let (mut proxy, mut counted) = counting().await;
        let mut stream = connect(&proxy).await;
        proxy.set(Fault::SwallowAnswers).await;
        stream.write_u8(1).await.unwrap();
        counted.wait_for(|count| *count == 1).await.unwrap();
        timeout(Duration::from_millis(100), stream.read_u8()).await.unwrap_err();
        proxy.set(Fault::SwallowRequests).await;
        // A new connection: on the old one the first answer may still be on its way.
        let mut stream = connect(&proxy).await;
        timeout(Duration::from_millis(100), round_trip(&mut stream)).await.unwrap_err();
        assert_eq!(*counted.borrow(), 1);
    }

    #[tokio::test]
    async fn swallowed_acks_do_not_arrive_but_everything_else_does() {
        let (mut proxy, mut counted) = counting().await;
        let mut stream = connect(&proxy).await;
        proxy.set(Fault::SwallowAcks).await;
        let ack = [1, 0, 1, 0, 0, 0, 13, 0, 60, 0, 80, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0xce];
        stream.write_all(&ack).await.unwrap();
        timeout(Duration::from_millis(100), stream.read_u8()).await.unwrap_err();
        assert_eq!(round_trip(&mut stream).await.unwrap(), 8);
        counted.wait_for(|count| *count == 1).await.unwrap();
        proxy.set(Fault::None).await;
        stream.write_all(&ack).await.unwrap();
        counted.wait_for(|count| *count == 22).await.unwrap();
    }

    #[tokio::test]
    async fn a_swallowed_publish_ends_its_connections_requests_and_no_others() {
        let (mut proxy, mut counted) = counting().await;
        let (mut publisher, mut consumer) = (connect(&proxy).await, connect(&proxy).await);
        proxy.set(Fault::SwallowPublishes).await;
        assert_eq!(round_trip(&mut publisher).await.unwrap(), 8);
        let publish = [1, 0, 1, 0, 0, 0, 20, 0, 60, 0, 40, 0, 0, 3, b'o', b't', b'p'];
        publisher.write_all(&publish).await.unwrap();
        timeout(Duration::from_millis(100), round_trip(&mut publisher)).await.unwrap_err();
        assert_eq!(round_trip(&mut consumer).await.unwrap(), 8);
        counted.wait_for(|count| *count == 2).await.unwrap();
        proxy.set(Fault::None).await;
        assert_eq!(round_trip(&mut connect(&proxy).await).await.unwrap(), 8);
    }

    #[tokio::test]
    async fn swallowed_confirms_do_not_come_back_but_everything_else_does() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut proxy = Proxy::before_url(&format!("tcp://{address}/x")).await.0;
        let mut client = connect(&proxy).await;
        let (mut broker, _) = listener.accept().await.unwrap();
        proxy.set(Fault::SwallowConfirms).await;
        let confirm = [1, 0, 1, 0, 0, 0, 13, 0, 60, 0, 80, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0xce];
        broker.write_all(&confirm).await.unwrap();
        timeout(Duration::from_millis(100), client.read_u8()).await.unwrap_err();
        broker.write_u8(7).await.unwrap();
        assert_eq!(client.read_u8().await.unwrap(), 7);
        client.write_all(&confirm).await.unwrap();
        let mut arrived = confirm;
        broker.read_exact(&mut arrived).await.unwrap();
        assert_eq!(arrived, confirm);
    }

    #[tokio::test]
    async fn a_cut_ends_open_connections_and_serves_new_ones() {
        let (proxy, _) = counting().await;
        let mut stream = connect(&proxy).await;
        round_trip(&mut stream).await.unwrap();
        proxy.cut_all();
        stream.read_u8().await.unwrap_err();
        assert_eq!(round_trip(&mut connect(&proxy).await).await.unwrap(), 8);
    }

    #[tokio::test]
    async fn an_aimed_proxy_leads_new_connections_elsewhere_and_keeps_the_old_ones() {
        let ((proxy, first), (other, second)) = (counting().await, counting().await);
        let mut old = connect(&proxy).await;
        round_trip(&mut old).await.unwrap();
        proxy.aim(&format!("127.0.0.1:{}", other.port())).await;
        round_trip(&mut old).await.unwrap();
        round_trip(&mut connect(&proxy).await).await.unwrap();
        assert_eq!((*first.borrow(), *second.borrow()), (2, 1));
    }

    #[tokio::test]
    async fn connections_are_refused_until_the_fault_is_cleared() {
        let (mut proxy, _) = counting().await;
        let mut stream = connect(&proxy).await;
        round_trip(&mut stream).await.unwrap();
        proxy.set(Fault::Refuse).await;
        stream.read_u8().await.unwrap_err();
        let refused = TcpStream::connect(("127.0.0.1", proxy.port())).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        proxy.set(Fault::None).await;
        assert_eq!(round_trip(&mut connect(&proxy).await).await.unwrap(), 8);
    }
}
