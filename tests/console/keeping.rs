//! What staff write about an account, hand out of it and take away with it: notes, the export, the deletion.

use accounts::{AuditEntry, AuditFilter, StaffRole};
use reqwest::Method;
use serde_json::{Value, json};
use testkit::system::Side;

use super::browser::{Console, Member, Page};

testkit::both_sides!(
    a_note_is_seen_by_staff_and_never_by_the_accounts_owner,
    a_note_that_says_nothing_or_too_much_is_refused,
    a_notes_text_goes_with_the_account_that_it_is_about,
    an_export_holds_all_that_is_stored_and_no_secret,
    staff_delete_an_account_whose_last_digits_they_type,
    nobody_deletes_themselves_or_staff_of_a_higher_role,
);

const HOSTILE: &str = "called: <b>\"lost\"</b> phone & 'ticket'";
const ESCAPED: &str = "called: &#60;b&#62;&#34;lost&#34;&#60;/b&#62; phone &#38; &#39;ticket&#39;";

/// Sends a form of the account's page.
async fn send(member: &mut Member, id: &str, act: &str, fields: &[(&str, &str)]) -> Page {
    let page = member.browser.get(&format!("/console/users/{id}")).await.expect(200);
    member.browser.submit(&page, &format!("/console/users/{id}/{act}"), fields).await
}

/// Every entry of this act, newest first.
async fn entries(console: &Console, act: &str) -> Vec<AuditEntry> {
    let filter = AuditFilter { act: Some(act), ..AuditFilter::default() };
    console.audit.search(filter, None, 50).await.unwrap()
}

/// The last four digits of a phone, and four others.
fn digits(phone: &str) -> (String, String) {
    let last = &phone[phone.len() - 4..];
    let others = (last.parse::<u16>().unwrap() + 1) % 10_000;
    (last.to_owned(), format!("{others:04}"))
}

async fn a_note_is_seen_by_staff_and_never_by_the_accounts_owner(side: Side) {
    let console = Console::start(side).await;
    let (id, _, login) = console.account(None).await;
    let id = id.to_string();
    let mut member = console.member(StaffRole::Support).await;
    let done = send(&mut member, &id, "note", &[("note", HOSTILE)]).await;
    assert_eq!(done.leads_to(), format!("/console/users/{id}?done=noted"));
    let page = member.browser.get(done.leads_to()).await.expect(200);
    page.shows("The note is written");
    page.shows(ESCAPED);
    page.hides("<b>");
    let noted = entries(&console, "note_added").await.remove(0);
    assert_eq!((&noted.actor, &noted.subject), (&member.id.to_string(), &id));
    assert_eq!(noted.detail, json!({ "reason": HOSTILE }).to_string());
    let audit = member.browser.get("/console/audit?act=note_added").await.expect(200);
    audit.shows("wrote a note");
    audit.shows(ESCAPED);
    // The newest twenty, whoever may look; each once on the page.
    for n in 1..=20 {
        let (now, detail) =
            (console.latchkey.clock.now(), json!({ "reason": format!("note-{n}.") }));
        console.audit.add(now, "ada", "note_added", &id, &detail).await.unwrap();
    }
    let mut viewer = console.member(StaffRole::Viewer).await;
    let page = viewer.browser.get(&format!("/console/users/{id}")).await.expect(200);
    page.hides("name=\"note\"");
    page.hides(ESCAPED);
    let at = |n: u32| page.text.find(&format!("note-{n}.")).unwrap();
    assert!((1..20).all(|n| at(n) > at(n + 1)), "the newest first");
    assert_eq!(page.text.matches("note-20.").count(), 1);
    assert!(page.text.len() < 60_000, "{}", page.text.len());
    // The owner of the account learns of none.
    let (api, access) = (console.latchkey.api(), login["access"].as_str().unwrap());
    for path in ["/v1/me/activity", "/v1/me"] {
        let told =
            api.signed_in(Method::GET, path, access, None).await.expect(200).body.to_string();
        assert!(!told.contains("note") && !told.contains("called:"), "{told}");
    }
}

async fn a_note_that_says_nothing_or_too_much_is_refused(side: Side) {
    let console = Console::start(side).await;
    let (id, _) = console.created().await;
    let mut member = console.member(StaffRole::Support).await;
    for note in ["", "  \u{3000} ", &"x".repeat(501)] {
        send(&mut member, &id, "note", &[("note", note)]).await.expect(400).shows("note");
    }
    send(&mut member, &id, "note", &[]).await.expect(400);
    assert_eq!(console.count(&id, "note_added").await, 0);
    let longest = "é".repeat(500);
    let done = send(&mut member, &id, "note", &[("note", &format!(" {longest} "))]).await;
    assert!(done.leads_to().ends_with("done=noted"));
    member.browser.get(&format!("/console/users/{id}")).await.expect(200).shows(&longest);
}

async fn a_notes_text_goes_with_the_account_that_it_is_about(side: Side) {
    let console = Console::start(side).await;
    let (id, _) = console.created().await;
    let mut writer = console.member(StaffRole::Support).await;
    let leaver = writer.id.to_string();
    send(&mut writer, &id, "note", &[("note", "of another")]).await;
    let mut operator = console.member(StaffRole::Operator).await;
    send(&mut operator, &leaver, "note", &[("note", "Quinzebald of 4 Lake Street")]).await;
    let phone = console.accounts.get(writer.id).await.unwrap().unwrap().phone_number;
    let (last, _) = digits(phone.expose());
    let fields = [("reason", "has left"), ("digits", last.as_str())];
    assert_eq!(send(&mut operator, &leaver, "delete", &fields).await.status, 303);
    let notes = entries(&console, "note_added").await;
    let [about, by] = &notes[..] else { panic!("{notes:?}") };
    // The entry stays, under the pseudonym and without the text.
    assert_eq!((about.detail.as_str(), &about.actor), ("{}", &operator.id.to_string()));
    assert_ne!(about.subject, leaver);
    assert_eq!((by.actor.as_str(), by.subject.as_str()), (about.subject.as_str(), id.as_str()));
    assert_eq!(by.detail, r#"{"reason":"of another"}"#);
    operator.browser.get("/console/audit").await.expect(200).hides("Quinzebald");
}

async fn an_export_holds_all_that_is_stored_and_no_secret(side: Side) {
    let console = Console::start(side).await;
    let (id, phone, login) = console.account(None).await;
    let (api, id) = (console.latchkey.api(), id.to_string());
    let body = json!({ "password": "violet anchor breeze 42 lagoon" });
    let access = login["access"].as_str().unwrap();
    api.signed_in(Method::PUT, "/v1/me/password", access, Some(body)).await.expect(204);
    let mut member = console.member(StaffRole::Operator).await;
    send(&mut member, &id, "note", &[("note", HOSTILE)]).await;
    for reason in ["", "  ", &"x".repeat(201)] {
        send(&mut member, &id, "export", &[("reason", reason)]).await.expect(400).hides(&phone);
    }
    assert_eq!(console.count(&id, "user_exported").await, 0);
    let file = send(&mut member, &id, "export", &[("reason", "the owner asked")]).await.expect(200);
    assert_eq!(file.header("content-type"), "application/json");
    assert_eq!(file.header("cache-control"), "no-store");
    let name = format!("attachment; filename=\"account-{id}.json\"");
    assert_eq!(file.header("content-disposition"), name);
    let export: Value = serde_json::from_str(&file.text).unwrap();
    assert_eq!(
        (&export["user"]["id"], &export["user"]["phone_number"], &export["user"]["first_name"]),
        (&json!(id), &json!(phone), &json!("Ada"))
    );
    assert_eq!((&export["has_password"], &export["block_reason"]), (&json!(true), &Value::Null));
    assert_eq!(export["sessions"].as_array().unwrap().len(), 1);
    assert_eq!(export["texts"][0]["channel"], "sms");
    let events = export["events"].as_array().unwrap();
    let of =
        |act: &str| events.iter().find(|it| it["act"] == act).unwrap_or_else(|| panic!("{act}"));
    assert_eq!(of("user_exported")["detail"]["reason"], "the owner asked");
    assert_eq!(of("user_exported")["actor"], member.id.to_string());
    assert_eq!(of("note_added")["detail"]["reason"], HOSTILE);
    of("password_set");
    for secret in ["argon2", login["refresh"].as_str().unwrap(), access, "hash", "jkt"] {
        assert!(!file.text.contains(secret), "{secret}");
    }
}

async fn staff_delete_an_account_whose_last_digits_they_type(side: Side) {
    let console = Console::start(side).await;
    let (id, phone, login) = console.account(None).await;
    let (api, id) = (console.latchkey.api(), id.to_string());
    let mut member = console.member(StaffRole::Operator).await;
    let page = member.browser.get(&format!("/console/users/{id}")).await.expect(200);
    page.shows("There is no undo");
    let (last, others) = digits(&phone);
    for (reason, typed) in [
        ("the owner asked", others.as_str()),
        ("the owner asked", ""),
        ("the owner asked", &last[1..]),
        ("the owner asked", &phone),
        ("  ", &last),
        (&"x".repeat(201), &last),
    ] {
        let fields = [("reason", reason), ("digits", typed)];
        send(&mut member, &id, "delete", &fields).await.expect(400);
    }
    api.me(login["access"].as_str().unwrap()).await.expect(200);
    let fields = [("reason", "the owner asked"), ("digits", last.as_str())];
    let done = send(&mut member, &id, "delete", &fields).await;
    assert_eq!(done.leads_to(), "/console/users?done=deleted");
    let list = member.browser.get(done.leads_to()).await.expect(200);
    list.shows("The account is deleted");
    list.hides("Show all");
    list.hides(&id);
    for token in ["access", "refresh"] {
        let verified = api.verify(login[token].as_str().unwrap()).await;
        verified.problem(401, "session_revoked");
    }
    member.browser.get(&format!("/console/users/{id}")).await.expect(404);
    let deleted = entries(&console, "user_deleted").await.remove(0);
    assert_eq!(deleted.actor, member.id.to_string());
    assert_eq!(deleted.detail, r#"{"reason":"the owner asked"}"#);
    assert_ne!(deleted.subject, id);
    assert!(console.acts(&id).await.is_empty(), "the audit names it by its pseudonym");
    let token = [("token", page.field("token"))];
    let again: Vec<_> =
        token.iter().map(|(name, value)| (*name, value.as_str())).chain(fields).collect();
    let path = format!("/console/users/{id}/delete");
    member.browser.send(Method::POST, &path, Some(&again), &[]).await.expect(404);
    assert_ne!(api.sign_in(&phone).await["user"]["id"], id.as_str(), "the number starts over");
}

async fn nobody_deletes_themselves_or_staff_of_a_higher_role(side: Side) {
    let console = Console::start(side).await;
    let mut operator = console.member(StaffRole::Operator).await;
    let owner = console.member(StaffRole::Owner).await;
    for who in [operator.id, owner.id] {
        let phone = console.accounts.get(who).await.unwrap().unwrap().phone_number;
        let (last, _) = digits(phone.expose());
        let path = format!("/console/users/{who}");
        operator.browser.get(&path).await.expect(200).hides("There is no undo");
        let fields = [("reason", "a coup"), ("digits", last.as_str())];
        let refused = send(&mut operator, &who.to_string(), "delete", &fields).await;
        if who == owner.id {
            refused.expect(403).shows("higher role");
        } else {
            refused.expect(400).shows("Nobody deletes their own account here");
        }
        assert!(console.accounts.get(who).await.unwrap().is_some());
    }
}
