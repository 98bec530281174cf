//! Queues and dead letters: seen by all staff, replayed and deleted by operators, in the audit, lost by nobody.

use accounts::StaffRole;
use bus::{Queue, Settlement};
use domain::ids::RequestId;
use serde_json::{Value, json};
use testkit::PATIENCE;
use testkit::system::Side;

use super::browser::{Browser, Console, Page, encoded};

testkit::both_sides!(
    a_dead_letter_is_shown_without_its_sealed_parts_and_its_request_is_a_link,
    a_replayed_letter_goes_back_to_its_queue_and_a_deleted_one_is_gone,
    letters_of_one_reason_are_deleted_together_and_each_result_is_told,
    two_members_of_staff_delete_a_letter_once,
    a_letter_that_would_be_late_is_said_before_it_is_replayed,
    what_a_publisher_wrote_is_shown_as_text,
    a_form_without_its_token_does_nothing,
);

const QUEUE: Queue = Queue::OtpWorker;
const LIST: &str = "/console/queues";

/// Publishes an event of a version that is not known: the worker dead-letters it at first sight.
async fn dead(console: &Console, id: &str, data: Value) {
    let bus = &console.latchkey.engines.bus;
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let body = json!({ "specversion": "1.0", "id": id, "type": "otp.requested.v9", "traceparent": trace,
                       "time": console.latchkey.clock.now().to_string(), "data": data });
    bus.publish_raw("otp.requested.v9", id, body.to_string().into(), true).await.unwrap();
}

/// The list, once a letter is in it.
async fn until(browser: &mut Browser, text: &str) -> Page {
    testkit::eventually(text, PATIENCE, async || {
        let page = browser.get(LIST).await.expect(200);
        page.text.contains(text).then_some(page)
    })
    .await
}

/// Acts on one letter until the broker had the time for it: on a slow machine it is said to be away.
async fn act_on(
    browser: &mut Browser,
    page: &Page,
    address: &str,
    fields: &[(&str, &str)],
    wanted: &str,
) {
    testkit::eventually(wanted, PATIENCE, async || {
        let done = browser.submit(page, address, fields).await;
        done.leads_to().ends_with(&format!("?done={wanted}")).then_some(())
    })
    .await;
}

/// Deletes letters until none is left, and returns the ids that the audit names for it.
async fn deleted(
    console: &Console,
    browser: &mut Browser,
    page: &Page,
    path: &str,
    why: &str,
) -> Vec<String> {
    let fields = [("queue", "otp-worker"), ("act", "drop"), ("reason", why)];
    let mut is_first = true;
    testkit::eventually("nothing left", PATIENCE, async || {
        let results = browser.submit(page, path, &fields).await.expect(200);
        let is_done = results.text.contains("Deleted: 0 of otp-worker")
            && !results.text.contains("role=\"alert\"");
        let was_first = std::mem::take(&mut is_first);
        (is_done && !was_first).then_some(())
    })
    .await;
    let mut ids = Vec::new();
    for entry in console.acts("otp-worker").await {
        let detail: Value = serde_json::from_str(&entry.detail).unwrap();
        if entry.act == "dead_letters_dropped" && detail["reason"] == why {
            assert_eq!(detail["message"], Value::Null);
            let named: Vec<String> = serde_json::from_value(detail["messages"].clone()).unwrap();
            assert_eq!(detail["count"], named.len());
            ids.extend(named);
        }
    }
    ids.sort_unstable();
    ids
}

async fn until_no_letters(browser: &mut Browser) -> Page {
    testkit::eventually("no letters", PATIENCE, async || {
        let page = browser.get(LIST).await.expect(200);
        page.text.contains("No dead letters.").then_some(page)
    })
    .await
}

async fn a_dead_letter_is_shown_without_its_sealed_parts_and_its_request_is_a_link(side: Side) {
    let console = Console::start(side).await;
    let mut member = console.member(StaffRole::Viewer).await;
    let browser = &mut member.browser;
    let page = browser.get(LIST).await.expect(200);
    page.shows("No dead letters.");
    page.shows("otp-worker");
    page.shows("sms-worker");
    assert_eq!(page.text.contains("embedded default"), side == Side::Embedded);
    let request = RequestId::new(&console.latchkey.clock).to_string();
    dead(&console, "e1", json!({ "request_id": request, "sealed": "k1.SECRET", "country": "IR" }))
        .await;
    let page = until(browser, "unknown_version").await;
    page.shows("otp.requested.v9");
    page.shows(&format!("/console/requests/{request}"));
    page.shows("/console/queues/otp-worker/e1");
    page.hides("SECRET");
    page.hides("Replay these");
    let one = testkit::eventually("the letter", PATIENCE, async || {
        let page = browser.get("/console/queues/otp-worker/e1").await.expect(200);
        page.text.contains("Envelope").then_some(page)
    })
    .await;
    one.shows("4bf92f3577b34da6a3ce929d0e0e4736");
    one.shows(&format!("/console/requests/{request}"));
    one.shows("&#34;sealed&#34;: &#34;sealed&#34;");
    one.shows("&#34;country&#34;: &#34;IR&#34;");
    one.shows("x-latchkey-reason");
    one.hides("SECRET");
    one.hides("id=\"replay\"");
    for (query, is_there) in [
        ("?queue=otp-worker&reason=unknown_version&type=otp.requested.v9", true),
        ("?queue=sms-worker", false),
        ("?reason=failed", false),
        ("?type=sms.requested.v2", false),
        ("?queue=nowhere&limit=1", true),
    ] {
        let page = testkit::eventually("an answer of the broker", PATIENCE, async || {
            let page = browser.get(&format!("{LIST}{query}")).await.expect(200);
            page.text.contains("unknown_version</bdi>: 1").then_some(page)
        })
        .await;
        assert_eq!(page.text.contains("/queues/otp-worker/e1\""), is_there, "{query}");
        assert!(is_there || page.text.contains("No dead letters like that."), "{query}");
    }
    testkit::eventually("no such letter", PATIENCE, async || {
        let page = browser.get("/console/queues/otp-worker/nobody").await.expect(200);
        page.text.contains("no such letter").then_some(())
    })
    .await;
    browser.get("/console/queues/nowhere/e1").await.expect(404);
}

async fn a_replayed_letter_goes_back_to_its_queue_and_a_deleted_one_is_gone(side: Side) {
    let console = Console::start(side).await;
    let mut member = console.member(StaffRole::Operator).await;
    let browser = &mut member.browser;
    dead(&console, "a/b c?", json!({})).await;
    let page = until(browser, "/console/queues/otp-worker/a%2Fb%20c%3F").await;
    let address = "/console/queues/otp-worker/a%2Fb%20c%3F";
    act_on(browser, &page, address, &[("act", "replay")], "replayed").await;
    browser.get("/console/queues?done=replayed").await.expect(200).shows("back in its queue");
    // No program here knows its version, so it is dead again, and was not lost.
    let page = until(browser, address).await;
    assert!(console.count("otp-worker", "dead_letters_replayed").await >= 1);
    let entry = &console.acts("otp-worker").await[0];
    assert_eq!(entry.actor, member.id.to_string());
    let detail: Value = serde_json::from_str(&entry.detail).unwrap();
    assert_eq!((&detail["message"], &detail["count"]), (&json!("a/b c?"), &json!(1)));

    let browser = &mut member.browser;
    browser.submit(&page, address, &[("act", "drop"), ("reason", " ")]).await.expect(400);
    until(browser, address).await;
    let fields = [("act", "drop"), ("reason", "a test")];
    act_on(browser, &page, address, &fields, "dropped").await;
    // Nothing is left, of a copy neither.
    act_on(browser, &page, address, &fields, "nothing").await;
    let page = until_no_letters(browser).await;
    assert!(console.count("otp-worker", "dead_letters_dropped").await >= 1);
    let entry = &console.acts("otp-worker").await[0];
    assert!(entry.detail.contains("\"reason\":\"a test\""), "{}", entry.detail);
    let audit = member.browser.get("/console/audit?act=dead_letters_dropped").await.expect(200);
    audit.shows("deleted dead letters");
    browser_refuses(&mut member.browser, &page, address).await;
}

/// An act that there is not.
async fn browser_refuses(browser: &mut Browser, page: &Page, address: &str) {
    browser.submit(page, address, &[("act", "burn")]).await.expect(404);
    let fields = [("queue", "nowhere"), ("act", "replay")];
    browser.submit(page, LIST, &fields).await.expect(404);
    let fields = [("queue", "otp-worker"), ("act", "burn")];
    browser.submit(page, LIST, &fields).await.expect(404);
}

async fn letters_of_one_reason_are_deleted_together_and_each_result_is_told(side: Side) {
    let console = Console::start(side).await;
    let mut member = console.member(StaffRole::Operator).await;
    let browser = &mut member.browser;
    for id in ["v1", "v2", "v3"] {
        dead(&console, id, json!({})).await;
    }
    let bus = &console.latchkey.engines.bus;
    for id in ["t1", "t2"] {
        let body = format!(r#"{{"id":"{id}","type":"otp.requested.odd"}}"#);
        bus.publish_raw("otp.requested.odd", id, body.into(), true).await.unwrap();
    }
    let page = testkit::eventually("five letters", PATIENCE, async || {
        let page = browser.get(LIST).await.expect(200);
        ["v1", "v2", "v3", "t1", "t2"]
            .iter()
            .all(|id| page.text.contains(&format!("otp-worker/{id}\"")))
            .then_some(page)
    })
    .await;
    page.shows("Why letters of otp-worker are dead");
    let of_one = "/console/queues?for=unknown_type";
    let fields = [("queue", "otp-worker"), ("act", "drop"), ("reason", "")];
    browser.submit(&page, of_one, &fields).await.expect(400).shows("Give a reason");
    if side == Side::Embedded {
        let fields = [("queue", "otp-worker"), ("act", "replay")];
        let results = browser.submit(&page, of_one, &fields).await.expect(200);
        results.shows("Replayed: 2 of otp-worker");
        for id in ["t1", "t2"] {
            results.shows(&format!("<bdi>{id}</bdi>"));
        }
        results.hides("<bdi>v1</bdi>");
        results.hides("role=\"alert\"");
        testkit::eventually("both again", PATIENCE, async || {
            let page = browser.get(LIST).await.expect(200);
            page.text.contains("unknown_type</bdi>: 2").then_some(())
        })
        .await;
    }
    assert_eq!(deleted(&console, browser, &page, of_one, "odd").await, ["t1", "t2"]);
    let detail: Value = serde_json::from_str(&console.acts("otp-worker").await[0].detail).unwrap();
    assert_eq!(detail["dead_for"], "unknown_type");
    assert_eq!(deleted(&console, browser, &page, LIST, "all of them").await, ["v1", "v2", "v3"]);
    until_no_letters(browser).await;
}

async fn two_members_of_staff_delete_a_letter_once(side: Side) {
    let console = Console::start(side).await;
    let (mut one, mut other) =
        (console.member(StaffRole::Operator).await, console.member(StaffRole::Owner).await);
    dead(&console, "e1", json!({})).await;
    let page = until(&mut one.browser, "otp-worker/e1\"").await;
    let same = other.browser.get(LIST).await.expect(200);
    let fields = [("act", "drop"), ("reason", "a test")];
    let address = "/console/queues/otp-worker/e1";
    // Whoever comes while the other reads finds nothing, and tries again.
    let mut ends = Vec::new();
    testkit::eventually("its end", PATIENCE, async || {
        let (first, second) = tokio::join!(
            one.browser.submit(&page, address, &fields),
            other.browser.submit(&same, address, &fields)
        );
        let end = |page: &Page| page.leads_to().rsplit('=').next().unwrap().to_owned();
        ends.extend([end(&first), end(&second)]);
        (end(&first) == "nothing" && end(&second) == "nothing").then_some(())
    })
    .await;
    until_no_letters(&mut one.browser).await;
    assert!(ends.iter().filter(|end| *end == "dropped").count() <= 1, "{ends:?}");
    assert_eq!(console.count("otp-worker", "dead_letters_dropped").await, 1);
}

async fn a_letter_that_would_be_late_is_said_before_it_is_replayed(side: Side) {
    let console = Console::start(side).await;
    let mut member = console.member(StaffRole::Operator).await;
    let browser = &mut member.browser;
    let now = console.latchkey.clock.now();
    dead(&console, "late", json!({ "expires_at": now.plus_secs(5).to_string() })).await;
    let page = until(browser, "otp-worker/late\"").await;
    page.shows("would be late");
    page.shows("a replay sends nothing");
    if side == Side::Embedded {
        browser.get("/console/queues/otp-worker/late").await.expect(200).shows("would be late");
    }
    let address = "/console/queues/otp-worker/late";
    act_on(browser, &page, address, &[("act", "drop"), ("reason", "late")], "dropped").await;
    dead(&console, "early", json!({ "expires_at": now.plus_secs(3600).to_string() })).await;
    until(browser, "otp-worker/early\"").await.hides("would be late");
}

async fn what_a_publisher_wrote_is_shown_as_text(side: Side) {
    const HOSTILE: &str = "</td><script>alert(1)</script>\"'\u{202e}";
    let console = Console::start(side).await;
    let mut member = console.member(StaffRole::Operator).await;
    let bus = console.latchkey.engines.bus.clone();
    let kind = "otp.requested.<script>alert(2)</script>";
    // The worker takes some of them: until this consumer has one, there are more.
    let mut consumer = bus.consume(QUEUE, 1).await.unwrap();
    let message = testkit::eventually("a message in hand", PATIENCE, async || {
        bus.publish_raw(kind, HOSTILE, r#"{"data":{"<u>":"<i>"}}"#.into(), true).await.unwrap();
        tokio::time::timeout(std::time::Duration::from_millis(200), consumer.next()).await.ok()
    })
    .await
    .unwrap();
    message.settle(Settlement::DeadLetter { reason: HOSTILE, attempts: 5 }).await.unwrap();
    drop(consumer);
    let browser = &mut member.browser;
    let page = until(browser, "&#60;/td&#62;&#60;script&#62;alert(1)").await;
    page.shows("otp.requested.&#60;script&#62;alert(2)");
    let address = format!("/console/queues/otp-worker/{}", encoded(HOSTILE));
    let one = testkit::eventually("the letter", PATIENCE, async || {
        let page = browser.get(&address).await.expect(200);
        page.text.contains("&#60;u&#62;").then_some(page)
    })
    .await;
    let fields = [("queue", "otp-worker"), ("act", "drop"), ("reason", HOSTILE)];
    let of_one = format!("{LIST}?for={}", encoded(HOSTILE));
    let results = testkit::eventually("the results", PATIENCE, async || {
        let results = browser.submit(&page, &of_one, &fields).await.expect(200);
        results.text.contains("Deleted: 1 of otp-worker").then_some(results)
    })
    .await;
    let audit = browser.get("/console/audit?act=dead_letters_dropped").await.expect(200);
    for page in [&page, &one, &results, &audit] {
        for raw in ["<script>", "<u>", "<i>", "\u{202e}"] {
            page.hides(raw);
        }
    }
}

async fn a_form_without_its_token_does_nothing(side: Side) {
    let console = Console::start(side).await;
    let mut member = console.member(StaffRole::Owner).await;
    let browser = &mut member.browser;
    dead(&console, "e1", json!({})).await;
    until(browser, "otp-worker/e1\"").await;
    for path in [LIST, "/console/queues/otp-worker/e1", "/console/providers"] {
        let fields =
            [("token", "guessed"), ("act", "drop"), ("queue", "otp-worker"), ("reason", "x")];
        let post = reqwest::Method::POST;
        browser.send(post.clone(), path, Some(&fields), &[]).await.expect(403);
        let elsewhere = [("sec-fetch-site", "cross-site")];
        browser.send(post, path, Some(&fields), &elsewhere).await.expect(403);
    }
    until(browser, "otp-worker/e1\"").await;
    assert_eq!(console.count("otp-worker", "dead_letters_dropped").await, 0);
}

mod on_the_engines {
    use testkit::engines::Engines;
    use testkit::proxy::{Fault, Proxy};

    use super::*;
    use crate::accounts::in_process::InProcessLatchkey;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_broker_that_is_away_is_said_and_no_letter_is_lost() {
        let vhost = Engines::one_by_one().vhost().await;
        let (mut proxy, through) = Proxy::before_url(&vhost).await;
        let more = [("AMQP_URL", through.as_str())];
        let console = Console::on(InProcessLatchkey::start_with(Side::Engines, 1, &more).await);
        let mut member = console.member(StaffRole::Operator).await;
        let browser = &mut member.browser;
        for id in ["e1", "e2"] {
            dead(&console, id, json!({})).await;
            until(browser, &format!("otp-worker/{id}\"")).await;
        }
        // Confirms and answers do not come back: nobody knows what the broker did.
        for fault in [Fault::Refuse, Fault::SwallowAnswers] {
            proxy.set(fault).await;
            let page = browser.get(LIST).await.expect(200);
            page.shows("RabbitMQ cannot be reached");
            let address = "/console/queues/otp-worker/e1";
            let done = browser.submit(&page, address, &[("act", "replay")]).await;
            let page = browser.get(done.leads_to()).await.expect(200);
            page.shows("Nothing is lost");
            let fields = [("queue", "otp-worker"), ("act", "replay")];
            let results = browser.submit(&page, LIST, &fields).await.expect(200);
            results.shows("Replayed: 0 of otp-worker");
            results.shows("Nothing is lost");
        }
        proxy.set(Fault::None).await;
        for id in ["e1", "e2"] {
            until(browser, &format!("otp-worker/{id}\"")).await;
        }
        assert_eq!(console.count("otp-worker", "dead_letters_replayed").await, 0);
    }
}
