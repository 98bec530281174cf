//! Where is my text? One request from its beginning to the receipt, with the provider's code in plain words.

use accounts::StaffRole;
use domain::vocabulary::Status;
use fake_twilio::{Act, Fake, Script};
use testkit::PATIENCE;
use testkit::system::Side;

use super::browser::{Console, Member, Page};

testkit::both_sides!(
    a_requests_time_line_leads_to_the_receipt_and_the_sign_in,
    a_refusal_is_told_in_words_with_what_to_do,
    the_list_is_filtered_by_what_staff_ask_for,
);

const PUBLIC_URL: &str = "https://auth.example.test";
/// Of a country whose texts go to the fake; those of staff stay in the inbox.
const ABROAD: &str = "+14155552671";

async fn start(side: Side) -> (Console, Fake, Member) {
    let (console, fake) = Console::with_twilio(side, &[("LATCHKEY_PUBLIC_URL", PUBLIC_URL)]).await;
    fake.post_instead(PUBLIC_URL, &console.latchkey.api().url);
    let member = console.member(StaffRole::Viewer).await;
    (console, fake, member)
}

/// Looks at a request until its page says this.
async fn until(member: &mut Member, request: &str, text: &str) -> Page {
    let address = format!("/console/requests/{request}");
    testkit::eventually(text, PATIENCE, async || {
        let page = member.browser.get(&address).await;
        (page.status == 200 && page.text.contains(text)).then_some(page)
    })
    .await
}

fn in_order(page: &Page, steps: &[&str]) {
    let mut at = 0;
    for step in steps {
        let found = page.text[at..].find(step);
        at += found.unwrap_or_else(|| panic!("no {step:?} in its place: {}", page.text));
    }
}

async fn a_requests_time_line_leads_to_the_receipt_and_the_sign_in(side: Side) {
    let (console, fake, mut member) = start(side).await;
    let api = console.latchkey.api();
    let request = api.otp(ABROAD).await.expect(202).text("request_id");
    let page = until(&mut member, &request, "twilio took it").await;
    in_order(&page, &["Requested", "taken up", "Attempt 1: handed to twilio", "twilio took it"]);
    let call = fake.calls_to(ABROAD).pop().unwrap();
    page.shows(&call.sid);
    page.hides(ABROAD);
    let code = call.text().split(|c: char| !c.is_ascii_digit()).find(|run| run.len() == 6).unwrap();
    let is_shown = page.text.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| word == code);
    assert!(!is_shown, "the code is shown");
    assert_eq!(fake.post(&call, "delivered").await, Some(204));
    until(&mut member, &request, ">delivered</span>").await.shows("Delivered");
    let login = api.login(ABROAD, code).await.expect(200);
    let page = until(&mut member, &request, ">verified</span>").await;
    in_order(&page, &["Requested", "twilio took it", "Delivered", "Verified"]);
    page.shows("Requested to verified");
    page.shows(&format!("Request {request}\nPhone +1415***71, country US, status verified\n"));
    page.shows(&format!("/console/users/{}", login.body["user"]["id"].as_str().unwrap()));
}

async fn a_refusal_is_told_in_words_with_what_to_do(side: Side) {
    let (console, fake, mut member) = start(side).await;
    let refusal = Act::Refuse { status: 400, code: 21408, retry_after: None };
    fake.script("+1", Script::of([refusal]));
    let api = console.latchkey.api();
    let request = api.otp(ABROAD).await.expect(202).text("request_id");
    let words = "Twilio may not send to this country (21408). Open geo permissions";
    until(&mut member, &request, words).await;
    let page = until(&mut member, &request, ">failed</span>").await;
    in_order(&page, &["twilio refused it", words]);
    let list = member.browser.get("/console/requests?status=failed").await.expect(200);
    list.shows(&format!("/console/requests/{request}"));
    list.shows("+1415***71");
    list.shows("the provider could not take it");
    member.browser.get("/console/requests/00000000-0000-7000-8000-000000000000").await.expect(404);
    member.browser.get("/console/requests/x").await.expect(404);
}

async fn the_list_is_filtered_by_what_staff_ask_for(side: Side) {
    let (console, _fake, mut member) = start(side).await;
    let api = console.latchkey.api();
    let request = api.otp(ABROAD).await.expect(202).text("request_id");
    until(&mut member, &request, "twilio took it").await;
    let address = format!("/console/requests/{request}");
    let sent = Status::Sent.as_str();
    for (query, is_there) in [
        (String::new(), true),
        (format!("?status={sent}"), true),
        ("?status=failed".to_owned(), false),
        ("?provider=twilio&country=US&channel=sms&since=1".to_owned(), true),
        ("?provider=inbox".to_owned(), false),
        ("?country=IR".to_owned(), false),
        ("?channel=voice".to_owned(), false),
        ("?reason=unknown".to_owned(), false),
        ("?status=nonsense&since=nonsense".to_owned(), true),
        (format!("?user={}", member.id), false),
    ] {
        let list = member.browser.get(&format!("/console/requests{query}")).await.expect(200);
        assert_eq!(list.text.contains(&address), is_there, "{query}");
    }
    console.latchkey.advance(2 * 3600);
    // A session that idled so long is over.
    let mut member = console.member(StaffRole::Viewer).await;
    let hour = member.browser.get("/console/requests?since=1").await.expect(200);
    hour.hides(&address);
    member.browser.get("/console/requests?since=24").await.expect(200).shows(&address);
}
