//! The last calls to Twilio's webhook: each with its verdict, and nothing of what a stranger sent.

use accounts::StaffRole;
use fake_twilio::Fake;
use fake_twilio::callback::sign;
use reqwest::Method;
use testkit::PATIENCE;
use testkit::system::Side;

use super::browser::{Console, Member, Page};

testkit::both_sides!(
    each_call_is_shown_with_its_verdict_and_nothing_of_an_unsigned_one,
    a_flood_of_unsigned_calls_leaves_the_signed_ones_on_a_small_page,
    without_twilio_no_call_is_expected,
);

const PUBLIC_URL: &str = "https://auth.example.test/base";
const PATH: &str = "/console/developers";
/// Of a country whose texts go to the fake; those of staff stay in the inbox.
const ABROAD: &str = "+14155552671";
const HOSTILE: &str = "</td><script>alert(1)</script>";

struct Receiving {
    console: Console,
    fake: Fake,
    viewer: Member,
}

impl Receiving {
    async fn start(side: Side) -> Self {
        let (console, fake) =
            Console::with_twilio(side, &[("LATCHKEY_PUBLIC_URL", PUBLIC_URL)]).await;
        fake.post_instead(PUBLIC_URL, &console.latchkey.api().url);
        let viewer = console.member(StaffRole::Viewer).await;
        Self { console, fake, viewer }
    }

    /// A call of a stranger with these fields; the path's end is an id or none.
    async fn post(&self, end: &str, fields: &[(&str, &str)], headers: &[(&str, &str)]) -> Page {
        let path = format!("/webhooks/twilio/status/{end}");
        self.console.browser().send(Method::POST, &path, Some(fields), headers).await
    }

    /// The same call with its right signature, as a holder of the token makes it.
    async fn post_signed(&self, end: &str, fields: &[(&str, &str)]) -> Page {
        let form: Vec<_> =
            fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let url = format!("{PUBLIC_URL}/webhooks/twilio/status/{end}");
        let signature = sign(&self.fake.account.auth_token, &url, &form);
        self.post(end, fields, &[("x-twilio-signature", &signature)]).await
    }

    async fn page(&mut self) -> Page {
        self.viewer.browser.get(PATH).await.expect(200)
    }
}

/// The rows of a page whose cells hold this.
fn rows<'a>(page: &'a Page, text: &str) -> Vec<&'a str> {
    let rows = page.text.split("<tr>").skip(1).map(|row| row.split("</tr>").next().unwrap());
    rows.filter(|row| row.contains(text)).collect()
}

async fn each_call_is_shown_with_its_verdict_and_nothing_of_an_unsigned_one(side: Side) {
    let mut receiving = Receiving::start(side).await;
    let empty = receiving.page().await;
    empty.shows("None came yet.");
    empty.shows(&format!("<code>{PUBLIC_URL}/webhooks/twilio/status/{{attempt_id}}</code>"));
    let api = receiving.console.latchkey.api();
    let request = api.otp(ABROAD).await.expect(202).text("request_id");
    let call = testkit::eventually("the text at Twilio", PATIENCE, async || {
        receiving.fake.calls_to(ABROAD).pop()
    })
    .await;
    testkit::eventually("the text taken", PATIENCE, async || {
        let status = api.get(&format!("/v1/otp/{request}")).await.expect(200).text("status");
        (status == "sent").then_some(())
    })
    .await;
    assert_eq!(receiving.fake.post(&call, "delivered").await, Some(204));
    let attempt = call.callback().unwrap().rsplit('/').next().unwrap().to_owned();
    let page = receiving.page().await;
    let link = format!("<a class=\"mono\" href=\"/console/find/{attempt}\">{attempt}</a>");
    let row = rows(&page, ">accepted<").pop().expect("the receipt");
    assert!(row.contains(&link) && row.contains(">delivered<") && row.contains(">204<"), "{row}");
    assert!(row.contains(">127.0.0.0<"), "{row}");
    page.hides("What to do");
    page.hides("None came");
    let opened = receiving.viewer.browser.get(&format!("/console/find/{attempt}")).await;
    assert_eq!(opened.leads_to(), format!("/console/requests/{request}"));

    // Whatever a stranger sends, and from wherever.
    let other = "018f4e7a-0000-7000-8000-000000000000";
    let hostile = [("MessageStatus", "failed"), ("To", ABROAD), (HOSTILE, HOSTILE)];
    let wrong = [("x-twilio-signature", HOSTILE), ("user-agent", HOSTILE)];
    let long = "9".repeat(20_000);
    let sid = "AC99999999999999999999999999999999";
    for (status, answer) in [
        (403, receiving.post(other, &hostile, &[]).await),
        (403, receiving.post(other, &hostile, &wrong).await),
        (413, receiving.post(other, &[("MessageStatus", &long)], &[]).await),
        (403, receiving.post_signed(other, &[("AccountSid", sid)]).await),
        (204, receiving.post_signed("%3Cb%3E", &[("MessageStatus", HOSTILE)]).await),
    ] {
        assert_eq!(answer.status, status, "{}", answer.text);
    }
    let page = receiving.page().await;
    for (verdict, status) in [
        ("no_signature", 403),
        ("wrong_signature", 403),
        ("bad_body", 413),
        ("another_account", 403),
        ("not_ours", 204),
    ] {
        let row = rows(&page, &format!(">{verdict}<")).pop().expect(verdict);
        assert!(row.contains(&format!(">{status}<")), "{row}");
        assert_eq!(row.contains(other), verdict == "another_account", "{row}");
        page.shows(&format!("<li><code>{verdict}</code>: "));
    }
    for setting in ["TWILIO_AUTH_TOKEN", "TWILIO_ACCOUNT_SID", "LATCHKEY_PUBLIC_URL"] {
        page.shows(&format!("<code>{setting}</code>"));
    }
    for hidden in [HOSTILE, "alert(1)", ">failed<", &ABROAD[1..], "9999999", sid, "%3Cb", "&#60;b"]
    {
        page.hides(hidden);
    }
    page.hides(&receiving.fake.account.auth_token);
}

async fn a_flood_of_unsigned_calls_leaves_the_signed_ones_on_a_small_page(side: Side) {
    let mut receiving = Receiving::start(side).await;
    let ids: Vec<String> =
        (0..25).map(|n| format!("018f4e7a-0000-7000-8000-0000000000{n:02}")).collect();
    for id in &ids {
        let answer = receiving.post_signed(id, &[("MessageStatus", "partially_delivered")]).await;
        assert_eq!(answer.status, 204, "{}", answer.text);
    }
    for _ in 0..60 {
        assert_eq!(receiving.post(&ids[0], &[("a", "b")], &[]).await.status, 403);
    }
    for language in ["curl", "typescript", "python", "kotlin", "swift", "flutter"] {
        let path = format!("{PATH}?language={language}");
        let page = receiving.viewer.browser.get(&path).await.expect(200);
        assert!(page.text.len() < 60_000, "{language}: {}", page.text.len());
        assert_eq!(rows(&page, ">accepted<").len(), 20);
        assert_eq!(rows(&page, ">no_signature<").len(), 20);
        for (place, id) in ids.iter().enumerate() {
            assert_eq!(page.text.contains(id.as_str()), place >= 5, "{id}");
        }
        let newest = page.text.find(&ids[24]).unwrap();
        assert!(newest < page.text.find(&ids[5]).unwrap(), "the newest comes first");
    }
}

async fn without_twilio_no_call_is_expected(side: Side) {
    let console = Console::start(side).await;
    let mut viewer = console.member(StaffRole::Viewer).await;
    let page = viewer.browser.get(PATH).await.expect(200);
    page.shows("none is expected: no route names Twilio");
    let path = "/webhooks/twilio/status/018f4e7a-0000-7000-8000-000000000000";
    let signature = [("x-twilio-signature", "+yNP7bv8GXzRuCZjuiQnqMYK61o=")];
    let fields = [("MessageStatus", "sent")];
    let refused = console.browser().send(Method::POST, path, Some(&fields), &signature).await;
    assert_eq!(refused.status, 403);
    let page = viewer.browser.get(PATH).await.expect(200);
    assert_eq!(rows(&page, ">not_configured<").len(), 1);
    page.shows("<code>TWILIO_ACCOUNT_SID</code>");
    page.hides("none is expected");
}
