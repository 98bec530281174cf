//! The guard: its nets, what it refused, and what another rule would have blocked.

use std::time::Duration;

use accounts::{GuardHistory, StaffRole};
use domain::timestamp::Timestamp;
use domain::vocabulary::PumpingGuard;
use guard::{Change, Finding, Kind, MINUTE_MS, Replay, Rule, State, Tally, minute_of};
use service::guard_replay::{Bounds, replay};
use testkit::PATIENCE;
use testkit::http::new_phone;
use testkit::system::Side;

use super::browser::{Console, encoded};
use crate::accounts::in_process::InProcessLatchkey;

testkit::both_sides!(
    nets_countries_and_refusals_are_shown,
    a_replay_says_what_the_same_rule_says_over_the_same_history,
    a_rule_that_cannot_be_read_is_said,
    an_operator_opens_a_blocked_net_and_codes_are_sent_again,
    a_replay_stops_at_its_bounds_and_says_where,
);

const PATH: &str = "/console/guard";

fn tally(now: Timestamp, minutes_ago: i64, prefix: &str, counts: (i64, i64, i64)) -> Tally {
    let (sends, verified, refused) = counts;
    Tally {
        minute: minute_of(now.ms()) - minutes_ago,
        operator_prefix: prefix.to_owned(),
        country: if prefix.starts_with("98") { "IR" } else { "ZW" }.to_owned(),
        sends,
        verified,
        refused,
    }
}

async fn nets_countries_and_refusals_are_shown(side: Side) {
    let console = Console::start(side).await;
    let mut viewer = console.member(StaffRole::Viewer).await;
    let page = viewer.browser.get(PATH).await.expect(200);
    for empty in ["was ever blocked", "Nothing was counted", "Nothing was refused"] {
        page.shows(empty);
    }
    let history = GuardHistory::new(&console.latchkey.engines.sql);
    let now = console.latchkey.clock.now();
    let day = 24 * 60;
    let rows = [
        tally(now, 5, "989123", (10, 6, 0)),
        tally(now, 5, "2637720", (70, 0, 330)),
        tally(now, 5, "2637721", (8, 2, 0)),
        tally(now, day + 60, "989124", (5000, 1, 7)),
    ];
    history.add(&rows).await.unwrap();
    let net = |kind, prefix: &str, state, until: Option<i64>| Finding {
        change: Change {
            kind,
            state,
            sends: 70,
            verified: 7,
            level: 3,
            until: until.map(|secs| now.plus_secs(secs)),
        },
        country: "ZW".to_owned(),
        operator_prefix: prefix.to_owned(),
        at: now,
    };
    for found in [
        net(Kind::Prefix, "2637720", State::Blocked, Some(600)),
        net(Kind::Prefix, "2637729", State::Blocked, Some(-600)),
        net(Kind::Country, "2637729", State::Probing, None),
    ] {
        history.net_changed(&found, PumpingGuard::Enforce).await.unwrap();
    }
    let page = viewer.browser.get(PATH).await.expect(200);
    let row = |part: &str| {
        let from = page.text.find(part).unwrap_or_else(|| panic!("{part}: {}", page.text));
        let rest = &page.text[from..];
        rest[..rest.find("</tr>").unwrap()].to_owned()
    };
    let blocked = row("<td data-label=\"Net\">2637720</td>");
    let until = now.plus_secs(600).to_string();
    for shown in
        ["blocked", &until, "70", "7 (10 %)", "<td data-label=\"Blocks in a row\">3<", "enforce"]
    {
        assert!(blocked.contains(shown), "{shown}: {blocked}");
    }
    assert!(!blocked.contains("its time is over"), "{blocked}");
    assert!(row("<td data-label=\"Net\">2637729</td>").contains("the next request is a probe"));
    assert!(row("<td data-label=\"Net\">all of ZW</td>").contains("probing"));
    // Of the last day only.
    let country = row(
        "<td data-label=\"Country\"><a href=\"/console/requests?country=ZW\">ZW</a></td><td data-label=\"Sends\">",
    );
    for shown in [">78<", ">2 (2 %)<", ">330<"] {
        assert!(country.contains(shown), "{shown}: {country}");
    }
    assert!(row("country=IR\">IR</a></td><td data-label=\"Sends\">").contains(">10<"));
    assert!(row("<td data-label=\"Prefix\">2637720 (ZW)</td>").contains(">330<"));
    page.hides("2637721");
    let page = viewer.browser.get("/console/guard?state=probing").await.expect(200);
    page.shows("<td data-label=\"Net\">all of ZW</td>");
    page.hides("<td data-label=\"Net\">2637729</td>");
    let page = viewer.browser.get("/console/guard?limit=1").await.expect(200);
    assert_eq!(page.text.matches("<td data-label=\"Net\">").count(), 1);
    page.shows("rel=\"next\"");
    let page = viewer.browser.get("/console/guard?limit=1&before=2").await.expect(200);
    assert_eq!(page.text.matches("<td data-label=\"Net\">").count(), 1);
    page.hides("rel=\"next\"");
}

async fn a_replay_says_what_the_same_rule_says_over_the_same_history(side: Side) {
    let console = Console::start(side).await;
    let mut viewer = console.member(StaffRole::Viewer).await;
    let now = console.latchkey.clock.now();
    let mut rows = vec![tally(now, 60, "2637720", (400, 0, 0))];
    // Whoever comes while the net is blocked signs in.
    rows.extend((50..58).rev().map(|ago| tally(now, ago, "2637720", (20, 15, 0))));
    rows.push(tally(now, 40, "989123", (50, 30, 0)));
    let history = GuardHistory::new(&console.latchkey.engines.sql);
    history.add(&rows).await.unwrap();
    let rule = Rule::parse("min_sends=30,doubt=20").unwrap();
    let mut expected = Replay::new(rule);
    rows.sort_by_key(|row| (row.minute, row.operator_prefix.clone()));
    for row in &rows {
        expected.feed(row);
    }
    let expected = expected.finish();
    assert!(expected.stopped > 0 && expected.turned_away > 0, "{expected:?}");
    assert!(expected.turned_away <= expected.stopped && expected.turned_away <= expected.verified);
    assert_eq!(
        expected.stops.iter().map(|stop| stop.turned_away).sum::<u64>(),
        expected.turned_away
    );
    let path = format!("{PATH}?days=1&rule={}", encoded("min_sends=30,doubt=20"));
    let page = viewer.browser.get(&path).await.expect(200);
    page.shows(&format!(
        "{} requests, {} verified; {} would have been stopped by {} blocks",
        expected.code_requests,
        expected.verified,
        expected.stopped,
        expected.stops.len()
    ));
    page.shows(&format!(
        "<span class=\"tag bad\">{} who signed in would have been",
        expected.turned_away
    ));
    page.shows(&format!("<code>{rule}</code>"));
    page.shows("<td data-label=\"Net\">2637720 (ZW)</td>");
    page.hides("989123 (IR)");
    page.hides("tag warn\">cut");
    // The rule in force, and one that stops nothing.
    viewer
        .browser
        .get("/console/guard?days=7")
        .await
        .expect(200)
        .shows("who signed in would have been");
    let lax = viewer.browser.get("/console/guard?days=7&rule=min_sends%3D100000").await.expect(200);
    lax.shows("0 would have been stopped by 0 blocks");
    lax.hides("who signed in would have been");
}

async fn an_operator_opens_a_blocked_net_and_codes_are_sent_again(side: Side) {
    let enforce = [("LATCHKEY_PUMPING_GUARD", "enforce")];
    let console = Console::on(InProcessLatchkey::start_with(side, 1, &enforce).await);
    let mut operator = console.member(StaffRole::Operator).await;
    let api = console.latchkey.api();
    // 70 texts that nobody answers shut the prefix; the two of the operator were answered.
    let phone = loop {
        let phone = new_phone();
        let answer = api.otp(&phone).await;
        if answer.status == 429 {
            assert_eq!(answer.problem(429, "too_many_requests")["limit"], "blocked");
            break phone;
        }
    };
    let browser = &mut operator.browser;
    let prefix = &phone[1..7];
    let page = testkit::eventually("the net in the list", PATIENCE, async || {
        let page = browser.get("/console/guard?state=blocked").await.expect(200);
        page.text.contains(&format!("<td data-label=\"Net\">{prefix}</td>")).then_some(page)
    })
    .await;
    let open = "/console/guard/open";
    let net = [("kind", "prefix"), ("name", prefix)];
    browser.submit(&page, open, &net).await.expect(400).shows("Give a reason");
    let fields = [net[0], net[1], ("reason", "<script>alert(1)</script> an advertisement")];
    browser.send(reqwest::Method::POST, open, Some(&fields), &[]).await.expect(403);
    assert_eq!(api.otp(&phone).await.status, 429);
    assert_eq!(browser.submit(&page, open, &fields).await.leads_to(), "/console/guard?done=opened");
    api.otp(&phone).await.expect(202);
    assert_eq!(
        browser.submit(&page, open, &fields).await.leads_to(),
        "/console/guard?done=nothing"
    );
    let unknown = [("kind", "prefix"), ("name", "<script>"), ("reason", "x")];
    browser.submit(&page, open, &unknown).await.expect(404).hides("<script>");
    testkit::eventually("the open net in the list", PATIENCE, async || {
        let page = browser.get("/console/guard?state=open").await.expect(200);
        page.text.contains(&format!("<td data-label=\"Net\">{prefix}</td>")).then_some(())
    })
    .await;
    let entry = &console.acts(prefix).await[0];
    assert_eq!((&*entry.act, &*entry.actor), ("guard_opened", &*operator.id.to_string()));
    let page = operator.browser.get("/console/audit?act=guard_opened").await.expect(200);
    page.shows("an advertisement");
    page.hides("<script>");
}

async fn a_rule_that_cannot_be_read_is_said(side: Side) {
    let console = Console::start(side).await;
    let mut viewer = console.member(StaffRole::Viewer).await;
    for rule in ["<script>alert(1)</script>", "min_sends=0", "nonsense=1", "conversion=2"] {
        let path = format!("{PATH}?days=7&rule={}", encoded(rule));
        let page = viewer.browser.get(&path).await.expect(400);
        page.shows("role=\"alert\"");
        page.hides("<script>");
        page.hides("would have been stopped");
    }
    // A period that is none counts as the nearest.
    for days in ["-1", "0", "100000"] {
        let page = viewer.browser.get(&format!("{PATH}?days={days}")).await.expect(200);
        page.shows("0 would have been stopped");
    }
}

async fn a_replay_stops_at_its_bounds_and_says_where(side: Side) {
    let console = Console::start(side).await;
    let history = GuardHistory::new(&console.latchkey.engines.sql);
    let now = console.latchkey.clock.now();
    // Two pages and a little.
    let rows: Vec<_> = (0..10_010).map(|ago| tally(now, ago, "989123", (1, 1, 0))).collect();
    history.add(&rows).await.unwrap();
    let period = (now.plus_secs(-90 * 86_400), now.plus_ms(MINUTE_MS));
    let long = Duration::from_hours(1);
    let run = async |rows| {
        let bounds = Bounds { rows, time: long };
        replay(&history, Rule::default(), period, Some(bounds), |_| ()).await.unwrap()
    };
    let cut = run(1).await;
    assert_eq!((cut.rows, cut.report.code_requests), (5000, 5000));
    let last = minute_of(now.ms()) - 10_009 + 5000;
    assert_eq!(cut.stopped_at, Some(Timestamp::from_ms(last * MINUTE_MS)));
    let whole = run(1_000_000).await;
    assert_eq!((whole.rows, whole.stopped_at), (10_010, None));
    let bounds = Bounds { rows: 1_000_000, time: Duration::ZERO };
    let at_once = replay(&history, Rule::default(), period, Some(bounds), |_| ()).await.unwrap();
    assert_eq!(at_once.rows, 5000);
    let seen = std::cell::Cell::new(0);
    let all = |rows: usize| seen.set(seen.get() + rows);
    let unbounded = replay(&history, Rule::default(), period, None, all).await.unwrap();
    assert_eq!((unbounded.rows, seen.get()), (10_010, 10_010));
}
