//! Blocks from the console: set with a reason and an end, in force at once at this gateway's next reload, ended.

use accounts::StaffRole;
use testkit::PATIENCE;
use testkit::http::new_phone;
use testkit::system::Side;

use super::browser::Console;

testkit::both_sides!(
    a_block_from_the_console_refuses_the_next_request_until_it_is_ended,
    what_cannot_be_blocked_is_said,
);

async fn a_block_from_the_console_refuses_the_next_request_until_it_is_ended(side: Side) {
    let console = Console::start(side).await;
    let mut member = console.member(StaffRole::Operator).await;
    let (api, phone) = (console.latchkey.api(), new_phone());
    api.otp(&phone).await.expect(202);
    let browser = &mut member.browser;
    let page = browser.get("/console/blocks").await.expect(200);
    page.shows("Nothing is blocked");
    let fields = [
        ("kind", "phone"),
        ("value", phone.as_str()),
        ("hours", "24"),
        ("reason", "<script>alert(1)</script>"),
    ];
    let set = browser.submit(&page, "/console/blocks", &fields).await;
    let page = browser.get(set.leads_to()).await.expect(200);
    page.shows("in force");
    page.shows("&#60;script&#62;alert(1)");
    page.shows("Ada Lovelace");
    page.hides(&phone[3..]);
    page.hides("<script>");
    let refused = testkit::eventually("the block in force", PATIENCE, async || {
        Some(api.otp(&phone).await).filter(|answer| answer.status == 429)
    })
    .await;
    assert_eq!(refused.problem(429, "too_many_requests")["limit"], "blocked");
    let key = console.latchkey.engines.keys.phone_key(&phone.parse().unwrap()).to_string();
    let fields = [("kind", "phone"), ("value", key.as_str())];
    let ended = browser.submit(&page, "/console/blocks/end", &fields).await;
    assert_eq!(ended.leads_to(), "/console/blocks?done=ended");
    testkit::eventually("the end of the block", PATIENCE, async || {
        (api.otp(&phone).await.status == 202).then_some(())
    })
    .await;
    let again = browser.submit(&page, "/console/blocks/end", &fields).await;
    assert_eq!(again.leads_to(), "/console/blocks?done=nothing");
    let acts: Vec<_> = console.acts(&key).await.into_iter().map(|it| (it.act, it.actor)).collect();
    let by = member.id.to_string();
    assert_eq!(acts, [("block_removed".to_owned(), by.clone()), ("block_added".to_owned(), by)]);
}

async fn what_cannot_be_blocked_is_said(side: Side) {
    let console = Console::start(side).await;
    let mut member = console.member(StaffRole::Operator).await;
    let browser = &mut member.browser;
    let page = browser.get("/console/blocks").await.expect(200);
    for (kind, value, hours, reason) in [
        ("phone", "12345", "1", "x"),
        ("prefix", "abc", "1", "x"),
        ("ip", "300.1.1.1", "1", "x"),
        ("country", "Iran", "1", "x"),
        ("planet", "IR", "1", "x"),
        ("country", "IR", "-1", "x"),
        ("country", "IR", "99999", "x"),
        ("country", "IR", "1", " "),
    ] {
        let fields = [("kind", kind), ("value", value), ("hours", hours), ("reason", reason)];
        let refused = browser.submit(&page, "/console/blocks", &fields).await.expect(400);
        refused.shows("role=\"alert\"");
        refused.shows("Nothing is blocked");
    }
}
