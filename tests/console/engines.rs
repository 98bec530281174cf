//! What runs: the engines as they answer now, and each process as it says of itself.

use accounts::{AttemptLimits, Beat, Process, Processes, StaffRole, Sweeper};
use domain::clock::Clock;
use domain::timestamp::Timestamp;
use secrecy::SecretString;
use sql::Pool;
use testkit::PATIENCE;
use testkit::system::Side;

use super::browser::{Console, Page};
use crate::accounts::in_process::InProcessLatchkey;

testkit::both_sides!(
    the_engines_and_what_runs_on_them_are_shown,
    a_process_that_is_not_seen_is_gone_and_forgotten_after_a_day,
);

const OTHER: &str = "9.9.9-<b>other";

/// A process of another version, seen now.
async fn another(console: &Console) -> uuid::Uuid {
    let clock = &console.latchkey.clock;
    let instance = domain::rng::id_v4();
    let report = r#"{"providers":{"twilio":{"circuit":"open","running":1,"limit":8}}}"#;
    let (part, version, started_at) = ("sms-worker", OTHER, clock.now());
    let beat = Beat { instance, part, version, started_at, report };
    Processes::new(&console.latchkey.engines.sql).beat(&beat, clock).await.unwrap();
    instance
}

/// The row of a process in the table.
fn row_of<'p>(page: &'p Page, instance: &str) -> &'p str {
    let shown = format!(">{}</code>", &instance[..8]);
    let end = page.text.find(&shown).unwrap_or_else(|| panic!("no {instance}: {}", page.text));
    let begin = page.text[..end].rfind("<tr>").unwrap();
    &page.text[begin..end]
}

async fn the_engines_and_what_runs_on_them_are_shown(side: Side) {
    let console = Console::start(side).await;
    let mut member = console.member(StaffRole::Viewer).await;
    let browser = &mut member.browser;
    let page = testkit::eventually("the process in its list", PATIENCE, async || {
        let page = browser.get("/console/engines").await.expect(200);
        let is_told = page.text.contains("otp-worker: ") && !page.text.contains(">away<");
        is_told.then_some(page)
    })
    .await;
    page.shows("all-in-one");
    page.shows(env!("CARGO_PKG_VERSION"));
    page.hides("More than one version");
    match side {
        Side::Embedded => {
            page.shows("SQLite");
            page.shows("embedded default");
            page.hides("RabbitMQ");
        }
        Side::Engines => {
            for shown in ["PostgreSQL", "Redis", "RabbitMQ", "noeviction", "master", "at most"] {
                page.shows(shown);
            }
            page.hides("embedded default");
        }
    }
    another(&console).await;
    let page = browser.get("/console/engines").await.expect(200);
    page.shows("More than one version runs");
    page.shows("9.9.9-&#60;b&#62;other");
    page.shows("the circuit of twilio is open");
    page.hides("<b>other");
    let pulse = browser.get("/console").await.expect(200);
    let circuits = pulse.text.split("Open circuits").nth(1).unwrap();
    let tile = &circuits[..circuits.find("</section>").unwrap()];
    assert!(
        tile.contains("<b>1 <a class=\"tag bad\" href=\"/console/providers\">look</a>"),
        "{tile}"
    );
}

async fn a_process_that_is_not_seen_is_gone_and_forgotten_after_a_day(side: Side) {
    let console = Console::start(side).await;
    let mut member = console.member(StaffRole::Viewer).await;
    let instance = another(&console).await.to_string();
    let page = member.browser.get("/console/engines").await.expect(200);
    assert!(row_of(&page, &instance).contains(">here<"), "{}", page.text);
    console.latchkey.advance(16);
    let page = member.browser.get("/console/engines").await.expect(200);
    assert!(row_of(&page, &instance).contains(">gone<"), "{}", page.text);
    // What is gone runs in no version.
    page.hides("More than one version");
    let (sql, clock) = (&console.latchkey.engines.sql, &console.latchkey.clock);
    let is_there = async || {
        let (rows, _) = Processes::new(sql).all(clock).await.unwrap();
        rows.iter().any(|row| row.instance.to_string() == instance)
    };
    let limits = AttemptLimits { attempts: 5, max_failures: 100, failure_reset_secs: 86_400 };
    Sweeper::new(sql).sweep(limits, clock.now()).await.unwrap();
    assert!(is_there().await, "kept for a day");
    console.latchkey.advance(86_400);
    Sweeper::new(sql).sweep(limits, clock.now()).await.unwrap();
    assert!(!is_there().await);
}

mod on_the_engines {
    use testkit::engines::Engines;
    use testkit::proxy::{Fault, Proxy};
    use testkit::system::{Apart, System};

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn an_engine_that_is_away_is_said_and_the_page_does_not_hang() {
        let redis = Engines::one_by_one().redis().await;
        let (mut proxy, through) = Proxy::before_url(&redis).await;
        let more = [("REDIS_URL", through.as_str())];
        let console = Console::on(InProcessLatchkey::start_with(Side::Engines, 1, &more).await);
        let mut member = console.member(StaffRole::Viewer).await;
        for fault in [Fault::Refuse, Fault::SwallowAnswers] {
            proxy.set(fault).await;
            let page = member.browser.get("/console/engines").await.expect(200);
            page.shows("<span class=\"tag bad\">away</span>");
            page.shows("no answer");
            proxy.set(Fault::None).await;
            testkit::eventually("Redis is back", PATIENCE, async || {
                let page = member.browser.get("/console/engines").await.expect(200);
                (!page.text.contains(">away<")).then_some(())
            })
            .await;
        }
    }

    async fn processes(url: &str) -> Vec<Process> {
        let pool = Pool::postgres(&SecretString::from(url)).await.unwrap();
        Processes::new(&pool).all(&Clock::system()).await.unwrap().0
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_clean_stop_removes_the_row_of_a_process_and_a_kill_does_not() {
        let counts = Apart { gateways: 1, otp_workers: 1, sms_workers: 1 };
        let mut system = System::apart(Engines::shared().fresh().await, counts, &[]).await;
        let url = system.engines.as_ref().unwrap().database_url.clone();
        let all = testkit::eventually("three processes", PATIENCE, async || {
            Some(processes(&url).await).filter(|all| {
                all.len() == 3 && all.iter().any(|it| it.report.contains("\"inbox\""))
            })
        })
        .await;
        let mut parts: Vec<_> = all.iter().map(|process| process.part.as_str()).collect();
        parts.sort_unstable();
        assert_eq!(parts, ["gateway", "otp-worker", "sms-worker"]);
        assert!(all.iter().all(|process| process.seen_at > Timestamp::from_ms(0)));
        for process in &all {
            assert!(process.skew_ms.abs() < 60_000, "{process:?}");
            assert!(!process.report.contains("postgres://"), "{process:?}");
        }
        let killed = system.all(testkit::process::Binary::OtpWorker).next().unwrap();
        killed.server.kill9().await;
        system.processes.retain(|process| process.binary != testkit::process::Binary::OtpWorker);
        system.stop().await;
        let left = processes(&url).await;
        assert_eq!(left.len(), 1, "{left:?}");
        assert_eq!(left[0].part, "otp-worker");
    }
}
