//! A change of phone: proven by a code, announced to the old number, undone by staff within a day.

use reqwest::Method;
use serde_json::{Value, json};

use super::in_process::InProcessLatchkey;
use testkit::both_sides;
use testkit::eventually;
use testkit::http::{Answer, Api, new_phone, wrong};
use testkit::system::{Side, System};

both_sides!(
    a_proven_number_replaces_the_old_one_which_is_notified,
    a_taken_number_is_reported_only_after_it_is_proven,
    a_stale_sign_in_changes_no_number,
    f14_a_thiefs_session_uses_up_no_change_that_another_requested,
    f14_the_session_that_requested_a_change_confirms_it_after_a_refresh,
    a_code_for_a_change_cannot_sign_in_and_vice_versa,
    staff_can_restore_a_changed_number,
);

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap().to_owned()
}

async fn code_request(api: &Api, access: &str, phone: &str) -> Answer {
    let body = json!({ "phone_number": phone });
    api.signed_in(Method::POST, "/v1/me/phone", access, Some(body)).await
}

async fn confirm(api: &Api, access: &str, code: &str) -> Answer {
    let body = json!({ "otp": code });
    api.signed_in(Method::POST, "/v1/me/phone/confirm", access, Some(body)).await
}

/// The texts without a code that a phone received.
async fn notices(api: &Api, phone: &str) -> Vec<String> {
    let messages = api.messages(phone).await;
    messages.iter().filter(|text| text["code"].is_null()).map(|m| text(m, "text")).collect()
}

async fn change(api: &Api, access: &str, new: &str) -> Value {
    let before = api.messages(new).await.len();
    code_request(api, access, new).await.expect(202);
    let code = api.code(new, before + 1).await;
    confirm(api, access, &code).await.expect(200).body
}

async fn a_proven_number_replaces_the_old_one_which_is_notified(side: Side) {
    let latchkey = InProcessLatchkey::start(side, 2).await;
    let (api, other) = (latchkey.api_of(0), latchkey.api_of(1));
    let (old, new) = (new_phone(), new_phone());
    let mine = api.sign_in(&old).await;
    let elsewhere = text(&api.sign_in(&old).await, "access");
    let access = text(&mine, "access");
    code_request(&api, &access, &new).await.expect(202);
    let code = api.code(&new, 1).await;
    confirm(&other, &access, &wrong(&code, 1)).await.problem(401, "otp_incorrect");
    assert_eq!(text(&api.me(&access).await.expect(200).body, "phone_number"), old);
    let changed = confirm(&other, &access, &code).await.expect(200).body;
    assert_eq!(
        (&changed["id"], text(&changed, "phone_number")),
        (&mine["user"]["id"], new.clone())
    );
    api.me(&elsewhere).await.problem(401, "session_revoked");
    api.me(&access).await.expect(200);
    let told = eventually("the notice to the old number", testkit::PATIENCE, async || {
        notices(&api, &old).await.pop()
    })
    .await;
    for number in [&old, &new] {
        assert!(!told.contains(&number[3..]), "the notice names no number");
    }
    assert!(notices(&api, &new).await.is_empty());
    confirm(&api, &access, &code).await.problem(401, "otp_incorrect");
    assert_ne!(api.sign_in(&old).await["user"]["id"], mine["user"]["id"], "the old number is free");
    assert_eq!(api.sign_in(&new).await["user"]["id"], mine["user"]["id"]);
}

async fn a_taken_number_is_reported_only_after_it_is_proven(side: Side) {
    let latchkey = InProcessLatchkey::start(side, 1).await;
    let api = latchkey.api();
    let (mine, theirs, free) = (new_phone(), new_phone(), new_phone());
    api.sign_in(&theirs).await;
    let access = text(&api.sign_in(&mine).await, "access");
    let texts = api.messages(&theirs).await.len();
    let (of_taken, of_free) = (
        code_request(&api, &access, &theirs).await.expect(202),
        code_request(&api, &access, &free).await.expect(202),
    );
    let members =
        |answer: &Answer| answer.body.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(members(&of_taken), members(&of_free));
    code_request(&api, &access, &theirs).await.expect(202);
    let code = api.code(&theirs, texts + 1).await;
    confirm(&api, &access, &wrong(&code, 1)).await.problem(401, "otp_incorrect");
    confirm(&api, &access, &code).await.problem(409, "phone_number_taken");
    assert_eq!(text(&api.me(&access).await.expect(200).body, "phone_number"), mine);
    assert!(notices(&api, &mine).await.is_empty(), "nothing changed, so nobody is notified");
}

async fn a_stale_sign_in_changes_no_number(side: Side) {
    let latchkey = InProcessLatchkey::start(side, 1).await;
    let api = latchkey.api();
    let phone = new_phone();
    let mut pair = api.sign_in(&phone).await;
    latchkey.advance(595);
    code_request(&api, &text(&pair, "access"), &new_phone()).await.expect(202);
    latchkey.advance(10);
    // A refresh is not a sign-in: it proves the device, not the person.
    pair = api.refresh(&text(&pair, "refresh")).await.expect(200).body;
    let refused = code_request(&api, &text(&pair, "access"), &new_phone()).await;
    refused.problem(403, "fresh_sign_in_required");
    let fresh = api.sign_in(&phone).await;
    code_request(&api, &text(&fresh, "access"), &new_phone()).await.expect(202);
}

async fn f14_a_thiefs_session_uses_up_no_change_that_another_requested(side: Side) {
    let latchkey = InProcessLatchkey::start(side, 2).await;
    let (api, other) = (latchkey.api_of(0), latchkey.api_of(1));
    // To the current number, too: a session that requested nothing is answered for that one.
    for is_new in [true, false] {
        let old = new_phone();
        let wanted = if is_new { new_phone() } else { old.clone() };
        let stolen = text(&api.sign_in(&old).await, "access");
        let nothing = confirm(&other, &stolen, "000000").await.problem(401, "otp_incorrect");
        let mine = text(&api.sign_in(&old).await, "access");
        let texts = api.messages(&wanted).await.len();
        code_request(&api, &mine, &wanted).await.expect(202);
        let code = api.code(&wanted, texts + 1).await;
        // One more than the attempts of a code, and the right one is no exception.
        for by in 1..=6 {
            let refused = confirm(&other, &stolen, &wrong(&code, by)).await;
            assert_eq!(refused.problem(401, "otp_incorrect"), nothing, "as if none was requested");
        }
        confirm(&other, &stolen, &code).await.problem(401, "otp_incorrect");
        let refused = confirm(&api, &mine, &wrong(&code, 1)).await.problem(401, "otp_incorrect");
        assert_eq!(refused["attempts_left"], 4, "the owner's first");
        code_request(&api, &mine, &wanted).await.expect(202);
        let changed = confirm(&api, &mine, &code).await.expect(200).body;
        assert_eq!(text(&changed, "phone_number"), wanted);
        api.me(&stolen).await.problem(401, "session_revoked");
    }
}

async fn f14_the_session_that_requested_a_change_confirms_it_after_a_refresh(side: Side) {
    let latchkey = InProcessLatchkey::start(side, 2).await;
    let (api, other) = (latchkey.api_of(0), latchkey.api_of(1));
    let (phone, new) = (new_phone(), new_phone());
    let pair = api.sign_in(&phone).await;
    code_request(&api, &text(&pair, "access"), &new).await.expect(202);
    let code = api.code(&new, 1).await;
    let access = other.refresh(&text(&pair, "refresh")).await.expect(200).text("access");
    confirm(&other, &access, &code).await.expect(200);
    // Repeated after a lost answer: as before, a used code is a wrong one.
    confirm(&api, &access, &code).await.problem(401, "otp_incorrect");
    assert_eq!(text(&api.me(&access).await.expect(200).body, "phone_number"), new);
}

async fn a_code_for_a_change_cannot_sign_in_and_vice_versa(side: Side) {
    let latchkey = InProcessLatchkey::start(side, 1).await;
    let api = latchkey.api();
    let (mine, new) = (new_phone(), new_phone());
    let access = text(&api.sign_in(&mine).await, "access");
    code_request(&api, &access, &new).await.expect(202);
    let for_change = api.code(&new, 1).await;
    api.login(&new, &for_change).await.problem(401, "otp_incorrect");
    let for_login = loop {
        // The two codes are drawn separately and are equal once in a million times.
        let code = api.fresh_code(&new).await;
        if code != for_change {
            break code;
        }
        api.login(&new, &code).await.expect(200);
    };
    confirm(&api, &access, &for_login).await.problem(401, "otp_incorrect");
    // Another user's request for the same number has its own code.
    let other = text(&api.sign_in(&new_phone()).await, "access");
    confirm(&api, &other, &for_change).await.problem(401, "otp_incorrect");
    confirm(&api, &access, &for_change).await.expect(200);
}

async fn staff_can_restore_a_changed_number(side: Side) {
    let system = System::start(side, &[]).await;
    let api = system.api();
    let (old, new) = (new_phone(), new_phone());
    let mine = api.sign_in(&old).await;
    let (id, access) = (text(&mine["user"], "id"), text(&mine, "access"));
    change(&api, &access, &new).await;
    let password = json!({ "password": "the thief's own long password" });
    api.signed_in(Method::PUT, "/v1/me/password", &access, Some(password)).await.expect(204);
    let shown: Value =
        serde_json::from_str(&system.run(&["users", "undo-phone", &id, "--yes", "--json"]))
            .unwrap();
    assert_eq!(text(&shown, "phone_number"), old);
    api.me(&access).await.problem(401, "session_revoked");
    let thief = json!({ "phone_number": old, "password": "the thief's own long password" });
    api.post("/v1/token", thief).await.problem(401, "invalid_credentials");
    assert_eq!(text(&api.sign_in(&old).await["user"], "id"), id);
    assert_ne!(text(&api.sign_in(&new).await["user"], "id"), id);
}
