//! Pages that follow what happens: as an event stream each page sends what changed of it, to whoever may see it now.

use accounts::StaffRole;
use reqwest::Response;
use testkit::http::new_phone;
use testkit::system::Side;
use testkit::{PATIENCE, eventually};

use super::browser::{Browser, Console};

testkit::both_sides!(
    a_list_sends_what_is_new_without_being_asked_again,
    whoever_may_not_see_a_page_any_more_is_sent_nothing_of_it,
    a_page_that_nobody_sits_at_keeps_no_session_alive,
);

const STREAM: [(&str, &str); 1] = [("accept", "text/event-stream")];

/// The events of a live page.
struct Live {
    response: Response,
    read: String,
}

impl Live {
    async fn open(browser: &mut Browser, page: &str) -> Self {
        let response = browser.request(reqwest::Method::GET, page, None, &STREAM).await;
        assert_eq!(response.status().as_u16(), 200, "{page}");
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert_eq!(response.headers()["cache-control"], "no-store");
        Self { response, read: String::new() }
    }

    /// The next event: its name and its data; `None` at the end of the stream.
    async fn next(&mut self) -> Option<(String, String)> {
        loop {
            if let Some((event, rest)) = self.read.split_once("\n\n") {
                let field = |name: &str| {
                    let lines = event.lines().filter_map(|line| line.strip_prefix(name));
                    lines.collect::<String>().trim().to_owned()
                };
                let event = (field("event:"), field("data:"));
                let read = self.read.len() - rest.len();
                self.read.drain(..read);
                if event.0.is_empty() {
                    continue;
                }
                return Some(event);
            }
            let chunk = tokio::time::timeout(PATIENCE, self.response.chunk());
            let chunk = chunk.await.expect("an event in time").expect("a whole stream")?;
            self.read.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    /// Reads on to an event whose data has this text.
    async fn until(&mut self, text: &str) -> String {
        loop {
            let (name, data) = self.next().await.unwrap_or_else(|| panic!("no {text}"));
            assert_eq!(name, "shown", "{data}");
            if data.contains(text) {
                return data;
            }
        }
    }
}

async fn a_list_sends_what_is_new_without_being_asked_again(side: Side) {
    let console = Console::start(side).await;
    let mut member = console.member(StaffRole::Viewer).await;
    let mut list = Live::open(&mut member.browser, "/console/requests?country=IR").await;
    let (name, first) = list.next().await.unwrap();
    assert_eq!(name, "shown");
    let phone = new_phone();
    let request = console.latchkey.api().otp(&phone).await.expect(202).text("request_id");
    assert!(!first.contains(&request), "{first}");
    let shown = list.until(&format!("/console/requests/{request}")).await;
    let parts: Vec<String> = serde_json::from_str(&shown).unwrap();
    assert_eq!(parts.len(), 1, "the list alone");
    assert!(parts[0].starts_with("\n<table>") && !parts[0].contains("<form"), "{parts:?}");
    assert!(!shown.contains(&phone[3..]), "a whole number: {shown}");
    let mut one = Live::open(&mut member.browser, &format!("/console/requests/{request}")).await;
    one.until("inbox took it").await;
    let code = console.latchkey.api().code(&phone, 1).await;
    console.latchkey.api().login(&phone, &code).await.expect(200);
    one.until("The code signed in.").await;
}

async fn whoever_may_not_see_a_page_any_more_is_sent_nothing_of_it(side: Side) {
    let console = Console::start(side).await;
    let mut stranger = console.browser();
    let refused = stranger.request(reqwest::Method::GET, "/console/users", None, &STREAM).await;
    assert_eq!(refused.status().as_u16(), 303, "as the page itself");
    let mut member = console.member(StaffRole::Viewer).await;
    let nowhere = member.browser.request(reqwest::Method::GET, "/console/x", None, &STREAM).await;
    assert_eq!(nowhere.status().as_u16(), 404);
    let mut list = Live::open(&mut member.browser, "/console/users").await;
    assert_eq!(list.next().await.unwrap().0, "shown");
    let now = console.latchkey.clock.now();
    assert!(console.accounts.revoke_role(member.id, "test", now).await.unwrap());
    let (_, phone) = console.created().await;
    let (name, data) = loop {
        let event = list.next().await.expect("a last event");
        assert!(!event.1.contains(&phone[phone.len() - 4..]), "{event:?}");
        if event.0 != "shown" {
            break event;
        }
    };
    assert_eq!((name.as_str(), data.as_str()), ("over", "303"));
    assert_eq!(list.next().await, None, "the stream has ended");
}

async fn a_page_that_nobody_sits_at_keeps_no_session_alive(side: Side) {
    let console = Console::start(side).await;
    let mut member = console.member(StaffRole::Viewer).await;
    console.latchkey.advance(20 * 60);
    let mut list = Live::open(&mut member.browser, "/console/users").await;
    assert_eq!(list.next().await.unwrap().0, "shown");
    console.latchkey.advance(11 * 60);
    eventually("the end of the session", PATIENCE, async || {
        list.next().await.filter(|(name, _)| name == "over")
    })
    .await;
    assert_eq!(member.browser.get("/console").await.status, 303);
}
