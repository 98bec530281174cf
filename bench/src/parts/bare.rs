//! The bare parts of a sign-in: what cannot be saved however the services are written. Each is measured alone in the
//! program `bare`, on the engines of the round, as many in flight as sign-ins are; the engine counts in.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, ensure};

use super::Amounts;
use crate::cost::{Look, per_thousand};
use crate::sample::{BARE, Sample};
use bench::load::{Pace, run};
use bench::provider::{Fails, Provider};
use bench::ring::Servers;
use serde_json::json;
use testkit::folder::{Folder, free_port};
use testkit::guard::Ending;
use testkit::http::{Api, status_of};
use testkit::process::program;
use testkit::server::{Launch, Server};

const START: Duration = Duration::from_secs(30);

/// A bare part: its name in `bare`, what it is, how many a sign-in needs, and how many are measured for each sign-in of
/// a stage. `/proc` counts in hundredths of a second: cheap ones are repeated.
struct BarePart(&'static str, &'static str, f64, usize);

/// Three messages: the request, the text, its status. Six scripts: admit, issue, two statuses; check, close. Four
/// commits: the ledger's beginning and end, the login, the refresh. Two pairs of tokens. Three calls from a client, one
/// to a provider.
const PARTS: [BarePart; 6] = [
    BarePart("publish", "message on a quorum queue: confirm, delivery, ack", 3.0, 2),
    BarePart("script", "Redis script", 6.0, 4),
    BarePart("insert", "PostgreSQL insert with commit", 4.0, 1),
    BarePart("sign", "pair of signatures: ES256, HS256", 2.0, 4),
    BarePart("echo", "HTTP echo on axum", 3.0, 2),
    BarePart("call", "HTTP call to the provider", 1.0, 2),
];

/// Measures the parts and puts their table; returns their sum for a sign-in, in CPU seconds per 1,000.
pub async fn measure(
    engines: &Servers,
    provider: &Provider,
    amounts: &Amounts,
    sample: &mut Sample,
) -> anyhow::Result<f64> {
    provider.behave(Duration::ZERO, Fails::Never);
    let folder = Folder::new("bare");
    let (server, url) = start(engines, provider, &folder).await?;
    let api = Api::new(&url);
    let mut sum = 0.0;
    for BarePart(name, title, times, repeats) in PARTS {
        make(&api, name, amounts.at_once, amounts.at_once).await?;
        let count = amounts.sign_ins.max(2_000) * repeats;
        let mut counted = vec![("bare", &server)];
        counted.extend(engines.parts());
        let before = Look::of(&counted);
        make(&api, name, count, amounts.at_once).await?;
        let cost = before.until(&Look::of(&counted)).all() * per_thousand(count);
        sample.put(BARE, title, "one", cost);
        sample.put(BARE, title, "times", times);
        sample.put(BARE, title, "a sign-in", cost * times);
        sum += cost * times;
    }
    sample.put(BARE, "sum", "a sign-in", sum);
    Ok(sum)
}

/// Makes this many of a part. The echo is called by the client that calls the services.
async fn make(api: &Api, name: &str, count: usize, at_once: usize) -> anyhow::Result<()> {
    if name == "echo" {
        let api = api.clone();
        run(Pace::AtOnce(at_once), 0..count, move |number| {
            let api = api.clone();
            async move {
                let body = json!({ "phone_number": "+989121234567", "number": number });
                api.post("/echo", body).await.expect(200);
            }
        })
        .await;
        return Ok(());
    }
    let answer = api.post("/run", json!({ "part": name, "count": count, "at_once": at_once }));
    let answer = answer.await;
    ensure!(answer.status == 200, "{name}: {}", answer.body);
    Ok(())
}

async fn start(
    engines: &Servers,
    provider: &Provider,
    folder: &Folder,
) -> anyhow::Result<(Server, String)> {
    let places = engines.places().await;
    let listen = format!("127.0.0.1:{}", free_port());
    let url = format!("http://{listen}");
    let args = [
        ("--listen", &listen),
        ("--database", &places.database_url),
        ("--redis", &places.redis_url),
        ("--broker", &places.amqp_url),
        ("--provider", &provider.url().to_owned()),
    ];
    let mut server = Server::new(Launch {
        program: program("bare"),
        args: args.into_iter().flat_map(|(name, value)| [name.to_owned(), value.clone()]).collect(),
        env: BTreeMap::new(),
        folder: folder.path().to_owned(),
        log: folder.join("log"),
        owner: None,
        ending: Ending::Kill,
    });
    server.spawn();
    let ready = format!("{url}/ready");
    let started = server.try_ready(START, async || status_of(&ready).await == Some(200)).await;
    started.map_err(anyhow::Error::msg).context("start the bare parts")?;
    Ok((server, url))
}
