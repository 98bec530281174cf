//! What opens the admin API, and what does not: everything else gets the same answer.

use accounts::{NewAdminKey, StaffRole};
use domain::admin_key::AdminKeyText;
use reqwest::Method;
use testkit::http::Answer;
use testkit::system::Side;

use super::client::Admin;

testkit::both_sides!(
    only_a_live_key_opens_anything_and_the_answer_says_no_more,
    a_key_ends_by_the_clock_and_at_its_revocation,
    the_last_use_is_written_once_a_minute,
    a_page_in_a_browser_may_not_call,
);

const LIST: &str = "/admin/v1/users";

async fn only_a_live_key_opens_anything_and_the_answer_says_no_more(side: Side) {
    let admin = Admin::start(side).await;
    let good = admin.key(StaffRole::Owner).await;
    good.get(LIST).await.expect(200);
    let key = good.key.expose();
    // Of another deployment: well-formed, and unknown here. Then one whose id is known and whose secret is not.
    let stranger = AdminKeyText::new();
    let imposter = AdminKeyText::new();
    let other = AdminKeyText::new().hash();
    let stored = NewAdminKey {
        id: imposter.id(),
        name: "imposter",
        hash: &other,
        role: StaffRole::Owner,
        expires_at: None,
    };
    admin.keys().create(stored, "test", admin.now()).await.unwrap();
    let mut wrong_checksum = key.to_owned();
    let last = if wrong_checksum.pop() == Some('0') { '1' } else { '0' };
    wrong_checksum.push(last);
    let staff = admin.console.member(StaffRole::Owner).await;
    let cookie = format!(
        "{}={}",
        crate::console::browser::SESSION,
        staff.browser.cookies[crate::console::browser::SESSION]
    );
    let bearer = |text: &str| ("authorization", format!("Bearer {text}"));
    let sent: Vec<(&str, String, String)> = vec![
        ("x-none", String::new(), LIST.to_owned()),
        ("x-api-key", key.to_owned(), LIST.to_owned()),
        ("authorization", format!("Basic {key}"), LIST.to_owned()),
        ("authorization", format!("DPoP {key}"), LIST.to_owned()),
        ("x-none", String::new(), format!("{LIST}?key={key}")),
        ("x-none", String::new(), format!("{LIST}?access_token={key}")),
        ("cookie", cookie, LIST.to_owned()),
        ("cookie", format!("key={key}"), LIST.to_owned()),
    ];
    let mut refusals: Vec<Answer> = Vec::new();
    for (name, value, path) in &sent {
        refusals.push(admin.call(Method::GET, path, None, &[(*name, value.as_str())]).await);
    }
    for text in
        [stranger.expose(), imposter.expose(), &wrong_checksum, &staff.access, &key[..97], ""]
    {
        let (name, value) = bearer(text);
        refusals.push(admin.call(Method::GET, LIST, None, &[(name, &value)]).await);
    }
    let first = refusals[0].body.clone();
    for refusal in refusals {
        assert_eq!(refusal.body, first, "the refusals differ");
        assert_eq!(refusal.header("www-authenticate"), Some("Bearer error=\"invalid_token\""));
        assert_eq!(refusal.header("cache-control"), Some("no-store"));
        refusal.problem(401, "token_not_valid");
    }
    // Nor does a key open the public API or the console.
    let (name, value) = bearer(key);
    let public = admin.console.latchkey.api();
    let me = public.try_call(Method::GET, "/v1/me", None, &[(name, &value)]).await.unwrap();
    me.problem(401, "token_not_valid");
}

async fn a_key_ends_by_the_clock_and_at_its_revocation(side: Side) {
    let admin = Admin::start(side).await;
    let end = admin.now().plus_secs(3_600);
    let short = admin.key_until("short", StaffRole::Viewer, Some(end)).await;
    let long = admin.key_until("long", StaffRole::Viewer, None).await;
    // The clock goes on by itself as well: only far from the end it is before it for sure.
    admin.console.latchkey.advance(3_000);
    short.get(LIST).await.expect(200);
    admin.console.latchkey.advance(600);
    short.get(LIST).await.problem(401, "token_not_valid");
    long.get(LIST).await.expect(200);
    let keys = admin.keys();
    assert!(keys.revoke(long.key.id(), "test", admin.now()).await.unwrap());
    long.get(LIST).await.problem(401, "token_not_valid");
    assert!(!keys.revoke(long.key.id(), "test", admin.now()).await.unwrap(), "only once");
    // Its name stays its own: the audit tells the two apart for ever.
    let again = AdminKeyText::new();
    let (id, hash) = (again.id(), again.hash());
    let new =
        NewAdminKey { id, name: "long", hash: &hash, role: StaffRole::Viewer, expires_at: None };
    assert!(!keys.create(new, "test", admin.now()).await.unwrap());
    let acts: Vec<_> =
        admin.console.acts(long.key.id()).await.into_iter().map(|it| (it.act, it.actor)).collect();
    let by = |act: &str| (act.to_owned(), "test".to_owned());
    assert_eq!(acts, [by("admin_key_revoked"), by("admin_key_created")]);
}

async fn the_last_use_is_written_once_a_minute(side: Side) {
    let admin = Admin::start(side).await;
    let by = admin.key(StaffRole::Viewer).await;
    let used = async || admin.keys().by_id(by.key.id()).await.unwrap().unwrap().0.last_used_at;
    assert_eq!(used().await, None);
    by.get(LIST).await.expect(200);
    let first = used().await;
    assert!(first.is_some());
    admin.console.latchkey.advance(5);
    by.get(LIST).await.expect(200);
    assert_eq!(used().await, first, "within the minute it is not written again");
    admin.console.latchkey.advance(60);
    by.get(LIST).await.expect(200);
    assert!(used().await > first);
}

async fn a_page_in_a_browser_may_not_call(side: Side) {
    let admin =
        Admin::start_with(side, &[("LATCHKEY_CORS_ORIGINS", "https://app.example.com")]).await;
    let by = admin.key(StaffRole::Owner).await;
    let key = ("authorization", by.bearer.as_str());
    let preflight = ("access-control-request-method", "POST");
    for headers in [
        vec![key, ("origin", "https://evil.example")],
        // Where the public API lets scripts call.
        vec![key, ("origin", "https://app.example.com")],
        vec![key, ("origin", "null")],
        vec![key, ("sec-fetch-site", "cross-site")],
        vec![key, ("sec-fetch-site", "same-site")],
        // A name of the page that leads to this port now.
        vec![key, ("sec-fetch-site", "same-origin")],
        vec![("origin", "https://app.example.com"), preflight],
    ] {
        for (method, path) in
            [(Method::GET, LIST), (Method::OPTIONS, LIST), (Method::GET, "/admin/v1/nowhere")]
        {
            let answer = admin.call(method, path, None, &headers).await;
            assert_eq!(answer.header("access-control-allow-origin"), None, "{headers:?}");
            answer.problem(403, "browser_not_allowed");
        }
    }
    admin.call(Method::GET, LIST, None, &[key, ("sec-fetch-site", "none")]).await.expect(200);
}
