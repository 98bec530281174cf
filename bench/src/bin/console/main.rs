//! Measures the pages of the admin console on a month of data: 100,000 accounts, 1,000,000 messages with their attempts and
//! history, 30 days of counters and of the guard's history, 1,000,000 entries of the audit. A page that takes longer than
//! 100 ms at the median, or weighs more than 60 KB, is a fault.
//!
//! `bench/console` builds and starts it. It starts private engines and one of each service, fills PostgreSQL, signs staff
//! in and opens each page of the navigation, one request, one user, and the filters that hurt, in turns, so that none finds
//! its own pages warm because it came just before. Exits with 1 if a bound is missed.

mod browser;
mod database;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use clap::Parser;

use bench::ring;
use bench::table;
use browser::Browser;
use database::{Amounts, Samples};
use domain::clock::Clock;
use testkit::process::Programs;
use testkit::system::{Apart, System};

const MOST_MS: f64 = 100.0;
const MOST_BYTES: usize = 60 * 1024;
const ONE_EACH: Apart = Apart { gateways: 1, otp_workers: 1, sms_workers: 1 };
/// The most connections that a gateway has to the database.
const CONNECTIONS: usize = 32;
const STAFF: &str = "+989129999999";

/// Measures the pages of the admin console on a month of data. The report is Markdown on stdout, progress is on stderr.
#[derive(Parser)]
struct Arguments {
    /// How often each page is opened.
    #[arg(long, default_value_t = 20)]
    times: usize,
    /// Accounts, messages and entries of the audit.
    #[arg(long, default_value_t = 100_000)]
    users: u32,
    #[arg(long, default_value_t = 1_000_000)]
    messages: u32,
    #[arg(long, default_value_t = 1_000_000)]
    audit: u32,
    /// The folder of the programs to measure. [default: those built with this one]
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
    /// Only pages whose name or address contains this.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Prints the plan of each page's slowest statement, as `EXPLAIN (ANALYZE, BUFFERS)`.
    #[arg(long)]
    plans: bool,
}

/// A page to open.
struct Subject {
    name: &'static str,
    how: How,
}

enum How {
    Open(String),
    Find(String),
}

/// What was measured of a page.
struct Measured {
    name: &'static str,
    address: String,
    bytes: usize,
    ms: Vec<f64>,
}

#[tokio::main(worker_threads = 2)]
async fn main() -> anyhow::Result<ExitCode> {
    service::start::install_crypto();
    let arguments = Arguments::parse();
    ensure!(arguments.times > 0, "nothing to measure");
    let programs = match &arguments.programs {
        Some(folder) => Programs::Own(folder.canonicalize().context("find the programs")?),
        None => Programs::InRoles,
    };
    eprintln!("starting engines");
    let engines = ring::engines().await;
    let places = engines.places().await;
    let (url, clock) = (places.database_url.clone(), Clock::default());
    let Arguments { users, messages, audit, .. } = arguments;
    eprintln!("filling the tables");
    let begun = Instant::now();
    database::fill(&url, Amounts { users, messages, audit }, &clock).await?;
    eprintln!("filled in {} s", begun.elapsed().as_secs());
    let settings = [("RUST_LOG", "warn"), ("LATCHKEY_PUMPING_GUARD", "record")];
    let system = System::apart_of(programs, places, ONE_EACH, &settings).await;
    let log = engines.parts()[0].1.log().to_owned();
    let kept = measure(&arguments, &system, &url, &log).await;
    system.stop().await;
    Ok(if kept? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn measure(
    arguments: &Arguments,
    system: &System,
    url: &str,
    log: &std::path::Path,
) -> anyhow::Result<bool> {
    system.run(&["users", "create", STAFF, "--first-name", "Grace", "--last-name", "Hopper"]);
    system.run(&["staff", "grant", STAFF, "owner"]);
    let mut browser = Browser::new(system.api())?;
    browser.sign_in(STAFF).await?;
    let samples = database::samples(url).await?;
    let subjects = subjects(&mut browser, &samples, arguments.only.as_deref()).await?;
    let mut measured: Vec<_> = subjects.iter().map(Measured::of).collect();
    for round in 0..=arguments.times {
        eprint!("\rround {round} of {}", arguments.times);
        for (subject, measured) in subjects.iter().zip(&mut measured) {
            let (ms, bytes) = open(&mut browser, subject).await?;
            measured.bytes = bytes;
            // The first one makes connections and plans.
            if round > 0 {
                measured.ms.push(ms);
            }
        }
    }
    eprintln!();
    report(&measured);
    if arguments.plans {
        print_plans(&mut browser, &subjects, url, log).await?;
    }
    Ok(measured.iter().all(Measured::keeps_bounds))
}

async fn open(browser: &mut Browser, subject: &Subject) -> anyhow::Result<(f64, usize)> {
    match &subject.how {
        How::Open(path) => browser.get(path).await.map(|page| (page.ms, page.text.len())),
        How::Find(what) => {
            let (page, to) = browser.find(what).await?;
            let shown = browser.get(&to).await?;
            Ok((page.ms + shown.ms, shown.text.len()))
        }
    }
}

impl Measured {
    fn of(subject: &Subject) -> Self {
        let address = match &subject.how {
            How::Open(path) => path.clone(),
            How::Find(_) => "(the search box)".to_owned(),
        };
        Self { name: subject.name, address, bytes: 0, ms: Vec::new() }
    }

    /// The value below which this share of the times lies.
    fn quantile(&self, share: f64) -> f64 {
        let mut ms = self.ms.clone();
        ms.sort_by(f64::total_cmp);
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a place in a short list"
        )]
        let place = ((ms.len() as f64 * share).ceil() as usize).clamp(1, ms.len()) - 1;
        ms[place]
    }

    fn keeps_bounds(&self) -> bool {
        self.quantile(0.5) <= MOST_MS && self.bytes <= MOST_BYTES
    }
}

fn report(measured: &[Measured]) {
    let head = ["page", "address", "KB", "median ms", "p95 ms", ""].map(str::to_owned);
    let rows: Vec<_> = measured
        .iter()
        .map(|it| {
            #[expect(clippy::cast_precision_loss, reason = "a page is small")]
            let kb = it.bytes as f64 / 1024.0;
            vec![
                it.name.to_owned(),
                format!("`{}`", it.address.trim_start_matches("/console")),
                table::number(Some(kb), 1),
                table::number(Some(it.quantile(0.5)), 1),
                table::number(Some(it.quantile(0.95)), 1),
                if it.keeps_bounds() { "ok" } else { "missed" }.to_owned(),
            ]
        })
        .collect();
    println!("{}", table::markdown(&head, &rows));
}

async fn print_plans(
    browser: &mut Browser,
    subjects: &[Subject],
    url: &str,
    log: &std::path::Path,
) -> anyhow::Result<()> {
    database::explain_all(url).await?;
    for subject in subjects {
        // The first ones find their connections ended.
        let mut tries = 0;
        while open(browser, subject).await.is_err() && tries < CONNECTIONS {
            tries += 1;
        }
        let since = database::log_length(log);
        open(browser, subject).await?;
        if let Some((ms, plan)) = database::slowest_plan(log, since)? {
            let Measured { name, address, .. } = Measured::of(subject);
            println!("## {name}, `{address}`: {ms:.1} ms\n\n```text\n{plan}\n```\n");
        }
    }
    Ok(())
}

/// Every page of the navigation, as the console shows it, and what hurts.
async fn subjects(
    browser: &mut Browser,
    samples: &Samples,
    only: Option<&str>,
) -> anyhow::Result<Vec<Subject>> {
    let home = browser.get("/console").await?.text;
    let navigation = home.split("<nav").nth(1).and_then(|rest| rest.split("</nav>").next());
    let links = navigation.context("the console has a navigation")?.split("href=\"").skip(1);
    let mut all: Vec<Subject> = links
        .filter_map(|link| link.split('"').next())
        .map(|path| Subject { name: "navigation", how: How::Open(path.to_owned()) })
        .collect();
    ensure!(all.len() > 3, "the navigation is empty");
    let Samples { user, request, provider_id, old_provider_id } = samples;
    let open = |name, path: &str| Subject { name, how: How::Open(format!("/console{path}")) };
    all.extend([
        open("one request", &format!("/requests/{request}")),
        open("one user", &format!("/users/{user}")),
        open("texts of one user", &format!("/requests?since=720&user={user}")),
        open("a month of requests", "/requests?since=720"),
        open("failed in a month", "/requests?since=720&status=failed"),
        open("a status that none has", "/requests?since=720&status=sending"),
        open("a reason that none has", "/requests?since=720&reason=recipient_opted_out"),
        open("a country that none has", "/requests?since=720&country=FR"),
        open("a busy prefix", "/requests?since=720&prefix=98"),
        open("a narrow prefix", "/requests?since=720&prefix=98910000"),
        open("a prefix that none has", "/requests?since=720&prefix=33"),
        open("sent, never used", "/requests?since=720&outcome=unverified"),
        open("the same of a country", "/requests?since=720&outcome=unverified&country=GB"),
        open("users by a letter", "/users?name=a"),
        open("users by a name", "/users?name=ada+5"),
        open("users by four digits", "/users?digits=1234"),
        open("a day of the audit", "/audit?since=2020-01-01"),
        open("the audit before an old day", &format!("/audit?until={}", days_ago(28))),
        open(
            "an act of every day, long ago",
            &format!("/audit?act=signed_in&until={}", days_ago(25)),
        ),
        open("an act that is rare", "/audit?act=phone_locked"),
        open("an act that was never done", "/audit?act=nothing_like_it"),
        open("what one account did", &format!("/audit?actor={user}")),
        open("delivery of a day", "/delivery?since=24"),
        open("delivery of a month", "/delivery?since=720"),
        open("delivery of a country", "/delivery?since=720&country=IR"),
        Subject { name: "find by a provider's id", how: How::Find(provider_id.clone()) },
        Subject { name: "find by an old one", how: How::Find(old_provider_id.clone()) },
        Subject { name: "find by an id", how: How::Find(request.clone()) },
    ]);
    let is_wanted = |subject: &Subject| match (only, &subject.how) {
        (None, _) => true,
        (Some(text), How::Open(path)) => subject.name.contains(text) || path.contains(text),
        (Some(text), How::Find(_)) => subject.name.contains(text),
    };
    all.retain(is_wanted);
    ensure!(!all.is_empty(), "--only: no page is like that");
    Ok(all)
}

/// A day, as the audit's filter takes it.
fn days_ago(days: i64) -> String {
    let day = Clock::default().now().plus_secs(-days * 86_400).to_string();
    day.split('T').next().unwrap_or_default().to_owned()
}
