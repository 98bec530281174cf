//! What staff do with accounts: create them, end their sessions, block them, see a whole number; each act in the audit with
//! whoever did it.

use accounts::{AuditEntry, StaffRole};
use reqwest::Method;
use serde_json::json;
use testkit::http::new_phone;
use testkit::system::Side;

use super::browser::{Console, Member};

testkit::both_sides!(
    staff_create_a_user_who_then_signs_in,
    a_number_is_masked_until_it_is_revealed_with_a_reason,
    staff_end_one_session_or_all_and_the_app_is_out_at_once,
    staff_block_unblock_and_remove_a_password,
    staff_send_a_code_within_everybodys_limits,
    nobody_acts_on_staff_of_a_higher_role,
);

/// The newest entry of this act about this account.
async fn entry(console: &Console, subject: &str, act: &str) -> AuditEntry {
    let acts = console.acts(subject).await;
    acts.into_iter().find(|entry| entry.act == act).unwrap_or_else(|| panic!("no {act}"))
}

async fn do_to(member: &mut Member, id: &str, act: &str, fields: &[(&str, &str)]) -> String {
    let page = member.browser.get(&format!("/console/users/{id}")).await.expect(200);
    let path = format!("/console/users/{id}/{act}");
    member.browser.submit(&page, &path, fields).await.leads_to().to_owned()
}

async fn staff_create_a_user_who_then_signs_in(side: Side) {
    let console = Console::start(side).await;
    let mut member = console.member(StaffRole::Support).await;
    let (browser, phone) = (&mut member.browser, new_phone());
    let form = browser.get("/console/users/new").await.expect(200);
    let spaced = format!("{} {} {}", &phone[..3], &phone[3..6], &phone[6..]);
    let fields = [
        ("phone_number", spaced.as_str()),
        ("first_name", "Grace"),
        ("last_name", "O'Hopper & Sons"),
        ("locale", "fa"),
    ];
    let made = browser.submit(&form, "/console/users", &fields).await;
    let address = made.leads_to().to_owned();
    let page = browser.get(&address).await.expect(200);
    page.shows("The user was created");
    page.shows("Grace O&#39;Hopper &#38; Sons");
    page.hides(&phone);
    let id = address["/console/users/".len()..].split('?').next().unwrap().to_owned();
    let made = entry(&console, &id, "user_created").await;
    assert_eq!(made.actor, member.id.to_string());
    let user = console.latchkey.api().sign_in(&phone).await["user"].clone();
    assert_eq!(user["id"], id.as_str());
    assert_eq!(
        (&user["first_name"], &user["last_name"], &user["locale"]),
        (&json!("Grace"), &json!("O'Hopper & Sons"), &json!("fa"))
    );
    // What is wrong is said, and nothing of the form is lost.
    let browser = &mut member.browser;
    let twice = browser.submit(&form, "/console/users", &fields).await.expect(400);
    twice.shows("has an account already");
    twice.shows("value=\"Grace\"");
    for (name, value) in
        [("phone_number", "12345"), ("locale", "not a locale"), ("first_name", "a\u{202e}b")]
    {
        let new = new_phone();
        let mut odd = vec![("phone_number", new.as_str()), ("locale", "en")];
        odd.retain(|(field, _)| *field != name);
        odd.push((name, value));
        browser.submit(&form, "/console/users", &odd).await.expect(400).shows("role=\"alert\"");
    }
}

async fn a_number_is_masked_until_it_is_revealed_with_a_reason(side: Side) {
    let console = Console::start(side).await;
    let (id, phone, _) = console.account(None).await;
    let mut member = console.member(StaffRole::Support).await;
    let (address, browser) = (format!("/console/users/{id}"), &mut member.browser);
    let (digits, national) = (&phone[1..], &phone[3..]);
    let page = browser.get(&address).await.expect(200);
    for path in [&address, "/console/users", "/console/requests", "/console/audit", "/console"] {
        let page = browser.get(path).await.expect(200);
        page.hides(digits);
        page.hides(national);
    }
    let reveal = format!("{address}/reveal");
    for reason in ["", "   ", &"x".repeat(201)] {
        let refused = browser.submit(&page, &reveal, &[("reason", reason)]).await.expect(400);
        refused.hides(national);
    }
    assert_eq!(console.count(&id.to_string(), "phone_revealed").await, 0);
    let shown = browser.submit(&page, &reveal, &[("reason", "they called us")]).await.expect(200);
    shown.shows(&phone);
    let noted = entry(&console, &id.to_string(), "phone_revealed").await;
    assert_eq!(noted.actor, member.id.to_string());
    assert_eq!(noted.detail, r#"{"reason":"they called us"}"#);
    member.browser.get(&address).await.expect(200).hides(national);
}

async fn staff_end_one_session_or_all_and_the_app_is_out_at_once(side: Side) {
    let console = Console::start(side).await;
    let (id, phone, first) = console.account(None).await;
    let api = console.latchkey.api();
    let second = api.sign_in(&phone).await;
    let mut member = console.member(StaffRole::Support).await;
    let id = id.to_string();
    let address = format!("/console/users/{id}");
    let page = member.browser.get(&address).await.expect(200);
    assert_eq!(page.text.matches("End it").count(), 2);
    let session = page.field("session");
    let done = do_to(&mut member, &id, "end-sessions", &[("session", &session)]).await;
    assert_eq!(done, format!("{address}?done=session"));
    let page = member.browser.get(&done).await.expect(200);
    page.shows("The session has ended");
    page.shows("ended_by_staff");
    page.shows("Others may accept its access token");
    assert_eq!(page.text.matches("End it").count(), 1);
    let mut statuses = Vec::new();
    for login in [&first, &second] {
        let refresh = login["refresh"].as_str().unwrap();
        statuses.push(api.refresh(refresh).await.status);
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 401], "one has ended, the other goes on");
    let third = api.sign_in(&phone).await;
    let done = do_to(&mut member, &id, "end-sessions", &[]).await;
    assert_eq!(done, format!("{address}?done=sessions"));
    let refresh = third["refresh"].as_str().unwrap();
    api.refresh(refresh).await.problem(401, "session_revoked");
    api.me(third["access"].as_str().unwrap()).await.problem(401, "session_revoked");
    let noted = entry(&console, &id, "session_ended").await;
    assert_eq!(noted.actor, member.id.to_string());
    assert!(do_to(&mut member, &id, "end-sessions", &[]).await.ends_with("done=nothing"));
}

async fn staff_block_unblock_and_remove_a_password(side: Side) {
    let console = Console::start(side).await;
    let (id, phone, login) = console.account(None).await;
    let api = console.latchkey.api();
    let body = json!({ "password": "violet anchor breeze 42 lagoon" });
    let access = login["access"].as_str().unwrap();
    api.signed_in(Method::PUT, "/v1/me/password", access, Some(body.clone())).await.expect(204);
    let mut member = console.member(StaffRole::Operator).await;
    let id = id.to_string();
    let address = format!("/console/users/{id}");
    member.browser.get(&address).await.expect(200).shows("Remove the password");
    assert!(do_to(&mut member, &id, "clear-password", &[]).await.ends_with("done=password"));
    let by_password = json!({ "phone_number": phone, "password": body["password"] });
    api.post("/v1/token", by_password).await.problem(401, "invalid_credentials");
    member.browser.get(&address).await.expect(200).hides("Remove the password");
    assert!(
        do_to(&mut member, &id, "block", &[("reason", "sold on a <b>market</b>")])
            .await
            .ends_with("done=blocked")
    );
    let page = member.browser.get(&address).await.expect(200);
    page.shows("The account is blocked: sold on a &#60;b&#62;market&#60;/b&#62;");
    page.hides("<b>market");
    let code = api.fresh_code(&phone).await;
    api.login(&phone, &code).await.problem(403, "account_blocked");
    assert!(do_to(&mut member, &id, "unblock", &[]).await.ends_with("done=unblocked"));
    api.sign_in(&phone).await;
    for act in ["password_cleared", "user_blocked", "user_unblocked"] {
        assert_eq!(entry(&console, &id, act).await.actor, member.id.to_string(), "{act}");
    }
    let page = member.browser.get(&address).await.expect(200);
    page.shows("blocked the account");
    let no_reason = format!("{address}/block");
    member.browser.submit(&page, &no_reason, &[("reason", " ")]).await.expect(400);
    let nothing = format!("{address}/vanish");
    member.browser.submit(&page, &nothing, &[]).await.expect(404);
}

async fn staff_send_a_code_within_everybodys_limits(side: Side) {
    let settings = [("LATCHKEY_SENDS_PER_PHONE_HOUR", "2")];
    let latchkey =
        crate::accounts::in_process::InProcessLatchkey::start_with(side, 1, &settings).await;
    let console = Console::on(latchkey);
    let (id, phone, _) = console.account(None).await;
    let mut member = console.member(StaffRole::Support).await;
    let id = id.to_string();
    let address = do_to(&mut member, &id, "resend", &[("channel", "sms")]).await;
    let request = address.strip_prefix("/console/requests/").unwrap().to_owned();
    let api = console.latchkey.api();
    let code = testkit::eventually("the text", testkit::PATIENCE, async || {
        let texts = api.messages(&phone).await;
        texts.into_iter().find(|text| text["request_id"] == request.as_str())
    })
    .await;
    api.login(&phone, code["code"].as_str().unwrap()).await.expect(200);
    let noted = entry(&console, &id, "code_requested_by_staff").await;
    assert!(noted.actor == member.id.to_string() && noted.detail.contains(&request));
    let page = member.browser.get(&format!("/console/users/{id}")).await.expect(200);
    page.shows("phone_hour");
    let path = format!("/console/users/{id}/resend");
    let refused = member.browser.submit(&page, &path, &[]).await.expect(429);
    assert!(refused.header("retry-after").parse::<u64>().unwrap() > 0);
}

async fn nobody_acts_on_staff_of_a_higher_role(side: Side) {
    let console = Console::start(side).await;
    let mut operator = console.member(StaffRole::Operator).await;
    let mut owner = console.member(StaffRole::Owner).await;
    let peer = console.member(StaffRole::Operator).await;
    let page = operator.browser.get(&format!("/console/users/{}", owner.id)).await.expect(200);
    for (act, fields) in [
        ("block", vec![("reason", "a coup")]),
        ("unblock", vec![]),
        ("unlock", vec![]),
        ("clear-password", vec![]),
        ("end-sessions", vec![]),
        ("note", vec![("note", "a coup")]),
        ("export", vec![("reason", "a coup")]),
        ("delete", vec![("reason", "a coup"), ("digits", "none")]),
    ] {
        let path = format!("/console/users/{}/{act}", owner.id);
        let refused = operator.browser.submit(&page, &path, &fields).await.expect(403);
        refused.shows("higher role");
    }
    owner.browser.get("/console").await.expect(200);
    let done = do_to(&mut operator, &peer.id.to_string(), "block", &[("reason", "left")]).await;
    assert!(done.ends_with("done=blocked"));
}
