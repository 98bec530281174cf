//! Profiles, changes of phone, deletion.

use accounts::notice::OwnerNotice;
use accounts::{
    Changes, Creation, Deleter, Denied, NewUser, PasswordChange, PasswordChangeDenied, PhoneChange,
    PhoneChangeOutcome, Prepared, Throttle, UNDO_SECS, Undo, UndoOutcome, UsedCode, User, notice,
};
use domain::event::{Envelope, UserDeleted};
use domain::ids::{EventId, SessionId, UserId};
use domain::keys::Keys;

use super::contract;
use super::fixture::{AccountsFixture, DAY, GONE, IDLE, LIMITS, Phone, signed_in};

contract!(
    f14_a_profile_update_writes_only_what_changes,
    p3_a_proven_number_replaces_the_old_one_and_its_code_works_once,
    a_number_of_another_account_is_taken,
    f05_a_session_that_ended_meanwhile_changes_nothing,
    p4_a_change_of_phone_is_judged_like_a_sign_in,
    a_changed_number_is_restored_within_a_day,
    a_changed_number_is_not_restored_when_it_is_taken_or_too_late,
    a_deleted_account_leaves_no_number_behind,
    a_deletion_takes_the_text_of_notes_about_the_account_alone,
    deletion_erases_the_number_from_the_ledger,
    deletion_withdraws_texts_that_the_broker_has_not_taken,
    f15_an_owner_is_told_of_three_changes_a_day_and_of_the_deletion,
    f15_notices_are_counted_by_phone_and_not_by_account,
    f15_changes_of_the_password_silence_neither_a_new_number_nor_a_deletion,
    an_account_created_by_staff_is_found_by_its_first_sign_in,
);

async fn f14_a_profile_update_writes_only_what_changes(fixture: AccountsFixture) {
    let (user, _) = fixture.signed_in(&Phone::new()).await;
    let changes = Changes { first_name: Some("Ada"), ..Changes::default() };
    let one =
        fixture.db.accounts.update_profile(user.id, changes, fixture.now()).await.unwrap().unwrap();
    assert_eq!(
        (one.first_name.as_str(), one.last_name.as_str(), one.locale.as_str()),
        ("Ada", "", "fa")
    );
    let changes = Changes { first_name: None, last_name: Some("B"), locale: Some("en") };
    let two =
        fixture.db.accounts.update_profile(user.id, changes, fixture.now()).await.unwrap().unwrap();
    assert_eq!(
        (two.first_name.as_str(), two.last_name.as_str(), two.locale.as_str()),
        ("Ada", "B", "en")
    );
    assert_eq!(fixture.db.accounts.get(user.id).await.unwrap(), Some(two));
    let nobody = UserId::new(&fixture.clock);
    assert_eq!(
        fixture.db.accounts.update_profile(nobody, changes, fixture.now()).await.unwrap(),
        None
    );
    for changes in [Changes::default(), changes] {
        let nothing = fixture.db.accounts.update_profile(user.id, changes, fixture.now()).await;
        assert!(nothing.unwrap().is_some());
    }
    // The audit names the changed fields but not their values; if nothing changed, there is no entry.
    let lines = fixture.db.audit.page(Some(&user.id.to_string()), None, 2).await.unwrap();
    let told: Vec<_> = lines.iter().map(|line| (line.act.as_str(), line.detail.as_str())).collect();
    assert_eq!(
        told,
        [
            ("profile_changed", r#"{"fields":["last_name","locale"]}"#),
            ("profile_changed", r#"{"fields":["first_name"]}"#),
        ]
    );
}

fn change<'a>(
    fixture: &AccountsFixture,
    user: UserId,
    keep: SessionId,
    phone: &'a Phone,
    code: UsedCode,
) -> PhoneChange<'a> {
    PhoneChange {
        user_id: user,
        claimant: phone.stranger(),
        country: "DE",
        code,
        request_id: None,
        limits: LIMITS,
        keep,
        notice: None,
        undo: None,
        now: fixture.now(),
    }
}

async fn p3_a_proven_number_replaces_the_old_one_and_its_code_works_once(fixture: AccountsFixture) {
    let (old, new) = (Phone::new(), Phone::new());
    let (user, mine) = fixture.signed_in(&old).await;
    let (_, other) = fixture.signed_in(&old).await;
    fixture.attempt(new.stranger(), None).await.unwrap();
    fixture.events().await;
    let code = fixture.code();
    let told = UserDeleted { user_id: user.id, deleted_at: fixture.now() };
    let event = Prepared::new(&Envelope::new(&fixture.clock, "gateway", None, told)).unwrap();
    let notice = OwnerNotice { event, phone: old.key.clone() };
    let asked =
        PhoneChange { notice: Some(&notice), ..change(&fixture, user.id, mine.id, &new, code) };
    let Ok(PhoneChangeOutcome::Changed(changed)) =
        fixture.db.accounts.change_phone(asked).await.unwrap()
    else {
        panic!("not changed")
    };
    assert_eq!((changed.id, &changed.phone_number), (user.id, &new.number));
    assert_eq!(changed.country, "DE");
    let now = fixture.now();
    assert!(fixture.db.sessions.live(mine.id, now).await.unwrap().is_some());
    assert!(fixture.db.sessions.live(other.id, now).await.unwrap().is_none());
    assert_eq!(fixture.kinds().await, ["otp.verified.v1", "session.ended.v1", notice.event.kind]);
    assert_eq!(fixture.db.accounts.change_phone(asked).await.unwrap(), Err(Denied::CodeUsed));
    assert_eq!(
        fixture.login(&new, code).await,
        Err(Denied::CodeUsed),
        "both purposes share the fence"
    );
    assert_eq!(fixture.signed_in(&new).await.0.id, user.id);
    assert_ne!(fixture.signed_in(&old).await.0.id, user.id, "the old number is free");
}

async fn a_number_of_another_account_is_taken(fixture: AccountsFixture) {
    let (old, theirs) = (Phone::new(), Phone::new());
    let (user, mine) = fixture.signed_in(&old).await;
    let (owner, _) = fixture.signed_in(&theirs).await;
    let asked = change(&fixture, user.id, mine.id, &theirs, fixture.code());
    assert_eq!(
        fixture.db.accounts.change_phone(asked).await.unwrap(),
        Ok(PhoneChangeOutcome::Taken)
    );
    assert_eq!(fixture.db.accounts.change_phone(asked).await.unwrap(), Err(Denied::CodeUsed));
    assert_eq!(fixture.db.accounts.by_phone(&theirs.number).await.unwrap(), Some(owner));
    assert_eq!(fixture.db.accounts.get(user.id).await.unwrap(), Some(user.clone()));
    let own = change(&fixture, user.id, mine.id, &old, fixture.code());
    assert!(matches!(
        fixture.db.accounts.change_phone(own).await.unwrap(),
        Ok(PhoneChangeOutcome::Changed(_))
    ));
    let free = Phone::new();
    let gone = change(&fixture, UserId::new(&fixture.clock), mine.id, &free, fixture.code());
    assert_eq!(fixture.db.accounts.change_phone(gone).await.unwrap(), Err(Denied::SessionEnded));
}

/// A call is let in while its session lives; what it then does comes after the end.
async fn f05_a_session_that_ended_meanwhile_changes_nothing(fixture: AccountsFixture) {
    let (old, new) = (Phone::new(), Phone::new());
    let (user, ended) = fixture.signed_in(&old).await;
    let (_, live) = fixture.signed_in(&old).await;
    let (db, now) = (&fixture.db, fixture.now());
    assert!(db.sessions.end(user.id, ended.id, "ended_by_user", now).await.unwrap());
    // Nor does a session of somebody else.
    let (_, strangers) = fixture.signed_in(&Phone::new()).await;
    let code = fixture.code();
    for session in [ended.id, strangers.id] {
        let refused = PasswordChange {
            user_id: user.id,
            was: None,
            hash: Some("hash"),
            attempt: None,
            keep: session,
            notice: None,
            now,
        };
        let set = db.accounts.set_password(refused).await.unwrap();
        assert_eq!(set, Err(PasswordChangeDenied::SessionEnded));
        let asked = change(&fixture, user.id, session, &new, code);
        let changed = db.accounts.change_phone(asked).await.unwrap();
        assert_eq!(changed, Err(Denied::SessionEnded));
        let deleted =
            db.accounts.delete(Deleter::User(session), user.id, GONE, &[], None, now).await;
        assert!(!deleted.unwrap());
        let others = db.sessions.end_others(user.id, session, "ended_by_user", now).await;
        assert_eq!(others.unwrap(), None);
        let one = db.sessions.end_with_device(user.id, live.id, session, "ended_by_user", now);
        assert_eq!(one.await.unwrap(), None);
    }
    assert_eq!(db.accounts.get(user.id).await.unwrap(), Some(user.clone()));
    assert_eq!(db.accounts.password_hash(user.id).await.unwrap(), None);
    assert!(db.sessions.live(live.id, now).await.unwrap().is_some());
    // The code was not used.
    let asked = change(&fixture, user.id, live.id, &new, code);
    let changed = db.accounts.change_phone(asked).await.unwrap();
    assert!(matches!(changed, Ok(PhoneChangeOutcome::Changed(_))), "{changed:?}");
    fixture.advance(IDLE);
    assert_eq!(
        fixture.set_password(&live, None, "hash").await,
        Err(PasswordChangeDenied::SessionEnded),
        "its time is over"
    );
}

async fn p4_a_change_of_phone_is_judged_like_a_sign_in(fixture: AccountsFixture) {
    let (old, new) = (Phone::new(), Phone::new());
    let (user, mine) = fixture.signed_in(&old).await;
    fixture.set_failures(&new, 90, 1000).await;
    let asked = change(&fixture, user.id, mine.id, &new, fixture.code());
    let outcome = fixture.db.accounts.change_phone(asked).await.unwrap();
    assert!(matches!(outcome, Err(Denied::Throttled(Throttle::Locked { .. }))), "{outcome:?}");
    fixture.set_failures(&new, 3, 0).await;
    let spent = fixture.code();
    for _ in 0..5 {
        fixture.attempt(new.stranger(), Some(spent)).await.unwrap();
    }
    let asked = change(&fixture, user.id, mine.id, &new, spent);
    assert_eq!(fixture.db.accounts.change_phone(asked).await.unwrap(), Err(Denied::CodeUsed));
    assert_eq!(fixture.db.accounts.get(user.id).await.unwrap(), Some(user));
}

/// An account that changed from `old` to `new`, with a change that can be undone.
async fn changed(fixture: &AccountsFixture, old: &Phone, new: &Phone) -> User {
    let (user, mine) = fixture.signed_in(old).await;
    let undo = Undo { old_sealed: "sealed", until: fixture.now().plus_secs(UNDO_SECS) };
    let asked =
        PhoneChange { undo: Some(undo), ..change(fixture, user.id, mine.id, new, fixture.code()) };
    let outcome = fixture.db.accounts.change_phone(asked).await.unwrap();
    let Ok(PhoneChangeOutcome::Changed(changed)) = outcome else { panic!("{outcome:?}") };
    fixture.set_password(&mine, None, "the thief's").await.unwrap();
    changed
}

async fn a_changed_number_is_restored_within_a_day(fixture: AccountsFixture) {
    let (old, new) = (Phone::new(), Phone::new());
    let user = changed(&fixture, &old, &new).await;
    let (_, thiefs) = fixture.signed_in(&new).await;
    fixture.advance(UNDO_SECS - 1);
    let kept = fixture.db.accounts.replaced_phones(user.id, fixture.now()).await.unwrap();
    assert_eq!((kept.len(), kept[0].old_sealed.as_str()), (1, "sealed"));
    let number = (&old.number, "IR");
    let other = fixture.signed_in(&Phone::new()).await.0;
    let outcome =
        fixture.db.accounts.undo_phone(other.id, kept[0].id, number, "cli", fixture.now()).await;
    assert_eq!(outcome.unwrap(), UndoOutcome::Gone, "the change was another account's");
    let undo = || fixture.db.accounts.undo_phone(user.id, kept[0].id, number, "cli", fixture.now());
    let UndoOutcome::Undone(back) = undo().await.unwrap() else { panic!("not undone") };
    assert_eq!((back.id, &back.phone_number, back.country.as_str()), (user.id, &old.number, "IR"));
    assert!(fixture.db.sessions.live(thiefs.id, fixture.now()).await.unwrap().is_none());
    assert!(fixture.db.accounts.password_hash(user.id).await.unwrap().is_none());
    assert_eq!(undo().await.unwrap(), UndoOutcome::Gone, "once");
    let id = user.id.to_string();
    let lines = fixture.db.audit.page(Some(&id), None, 1).await.unwrap();
    assert_eq!((lines[0].act.as_str(), lines[0].actor.as_str()), ("phone_change_undone", "cli"));
    assert_eq!(fixture.signed_in(&old).await.0.id, user.id);
}

async fn a_changed_number_is_not_restored_when_it_is_taken_or_too_late(fixture: AccountsFixture) {
    let (old, new) = (Phone::new(), Phone::new());
    let user = changed(&fixture, &old, &new).await;
    let kept = fixture.db.accounts.replaced_phones(user.id, fixture.now()).await.unwrap();
    let undo = || {
        fixture.db.accounts.undo_phone(
            user.id,
            kept[0].id,
            (&old.number, "IR"),
            "cli",
            fixture.now(),
        )
    };
    let (next, _) = fixture.signed_in(&old).await;
    assert_eq!(undo().await.unwrap(), UndoOutcome::Taken);
    assert!(fixture.delete(Deleter::Staff("cli"), next.id).await);
    fixture.advance(UNDO_SECS);
    assert!(fixture.db.accounts.replaced_phones(user.id, fixture.now()).await.unwrap().is_empty());
    assert_eq!(undo().await.unwrap(), UndoOutcome::Gone);
    fixture.db.sweeper.sweep(LIMITS, fixture.now()).await.unwrap();
    assert_eq!(fixture.raw().await.number("SELECT COUNT(*) FROM phone_changes").await, 0);
    assert_eq!(fixture.db.accounts.get(user.id).await.unwrap().unwrap().phone_number, new.number);
}

async fn a_deleted_account_leaves_no_number_behind(fixture: AccountsFixture) {
    let phone = Phone::new();
    let mut sign_in = fixture.new_sign_in(&phone, fixture.code());
    sign_in.profile = Some(("To", "Forget"));
    let (user, mine) = signed_in(fixture.db.accounts.sign_in(sign_in).await.unwrap());
    let (_, other) = fixture.signed_in(&phone).await;
    fixture.set_password(&mine, None, "hash").await.unwrap();
    fixture.signed_in(&phone).await;
    fixture.events().await;
    let own = user.id.to_string();
    assert!(fixture.delete(Deleter::User(mine.id), user.id).await);
    assert!(!fixture.delete(Deleter::User(mine.id), user.id).await);
    for session in [&mine, &other] {
        assert!(fixture.db.sessions.live(session.id, fixture.now()).await.unwrap().is_none());
    }
    assert!(fixture.db.accounts.get(user.id).await.unwrap().is_none());
    assert!(fixture.db.accounts.password_of(&phone.number).await.unwrap().stored.is_none());
    let kinds = fixture.kinds().await;
    assert_eq!(kinds, ["session.ended.v1", "session.ended.v1", "user.deleted.v1"]);
    let lines = fixture.db.audit.page(Some(GONE), None, 10).await.unwrap();
    assert_eq!((lines.len(), lines[0].act.as_str()), (7, "user_deleted"));
    assert!(lines.iter().all(|line| line.actor == GONE), "nor in earlier entries");
    assert!(fixture.db.audit.page(Some(&own), None, 10).await.unwrap().is_empty());
    assert_eq!(fixture.raw().await.number("SELECT COUNT(*) FROM audit_renames").await, 0);
    let (again, _) = fixture.signed_in(&phone).await;
    assert_ne!(again.id, user.id);
    assert_eq!((again.first_name.as_str(), again.last_name.as_str()), ("", ""));
}

async fn a_deletion_takes_the_text_of_notes_about_the_account_alone(fixture: AccountsFixture) {
    let (user, _) = fixture.signed_in(&Phone::new()).await;
    let (other, _) = fixture.signed_in(&Phone::new()).await;
    let (own, others) = (user.id.to_string(), other.id.to_string());
    let text = serde_json::json!({ "reason": "a text" });
    for (actor, act, subject) in [
        ("ada", "note_added", &own),
        (&own, "note_added", &own),
        (&own, "note_added", &others),
        ("ada", "phone_revealed", &own),
    ] {
        fixture.db.audit.add(fixture.now(), actor, act, subject, &text).await.unwrap();
    }
    let mut raw = fixture.raw().await;
    let empty = "UPDATE audit SET detail = '{}'";
    for sql in [
        empty.to_owned(),
        format!("{empty} WHERE act = 'note_added'"),
        format!("{empty}, subject = '{GONE}' WHERE act = 'note_added' AND subject = '{own}'"),
        format!(
            "INSERT INTO audit_renames (name, pseudonym) VALUES ('{own}', '{GONE}');
             {empty}, subject = '{GONE}' WHERE act = 'phone_revealed'"
        ),
    ] {
        assert!(raw.run(&sql).await.is_err(), "{sql}");
        raw.run("DELETE FROM audit_renames").await.unwrap();
    }
    assert!(fixture.delete(Deleter::StaffFor { actor: "ada", reason: "asked" }, user.id).await);
    let lines = fixture.db.audit.page(None, None, 6).await.unwrap();
    let told: Vec<_> = lines
        .iter()
        .filter(|line| line.act != "session_ended")
        .map(|line| (&*line.act, &*line.actor, &*line.subject, &*line.detail))
        .collect();
    let text = text.to_string();
    assert_eq!(
        told,
        [
            ("user_deleted", "ada", GONE, r#"{"reason":"asked"}"#),
            ("phone_revealed", "ada", GONE, &*text),
            ("note_added", GONE, &*others, &*text),
            ("note_added", GONE, GONE, "{}"),
            ("note_added", "ada", GONE, "{}"),
        ]
    );
}

async fn deletion_withdraws_texts_that_the_broker_has_not_taken(fixture: AccountsFixture) {
    let mut users = Vec::new();
    for n in 0..2 {
        let (old, new) = (Phone::new(), Phone::new());
        let (user, mine) = fixture.signed_in(&old).await;
        let event = Prepared {
            id: EventId::new(&fixture.clock),
            kind: "sms.requested.v2",
            addressed: true,
            body: serde_json::json!({ "to": n }).to_string(),
        };
        let notice = OwnerNotice { event, phone: old.key.clone() };
        let code = fixture.code();
        let asked =
            PhoneChange { notice: Some(&notice), ..change(&fixture, user.id, mine.id, &new, code) };
        let changed = fixture.db.accounts.change_phone(asked).await.unwrap();
        assert!(matches!(changed, Ok(PhoneChangeOutcome::Changed(_))));
        users.push(user.id);
    }
    assert!(fixture.delete(Deleter::Staff("cli"), users[0]).await);
    let events = fixture.events().await;
    let texts: Vec<_> = events.iter().filter(|(kind, _)| kind == "sms.requested.v2").collect();
    assert_eq!(texts.len(), 1);
    assert_eq!(texts[0].1["to"], 1, "another user's message is still sent");
    assert!(
        events.iter().any(|(kind, _)| kind == "user.deleted.v1"),
        "an event without a number stays"
    );
    // A published event leaves nothing: the user may be deleted next.
    let ids = "SELECT COUNT(*) FROM outbox_entries";
    assert_eq!(fixture.raw().await.number(ids).await, 0);
}

async fn deletion_erases_the_number_from_the_ledger(fixture: AccountsFixture) {
    let (phone, other) = (Phone::new(), Phone::new());
    let (user, _) = fixture.signed_in(&phone).await;
    let mut raw = fixture.raw().await;
    for (n, phone) in [(1, &phone), (2, &phone), (3, &other)] {
        let sql = format!(
            "INSERT INTO sms_ledger (message_id, phone_number, country, channel, state, rank, created_at, updated_at, not_after)
             VALUES ('00000000-0000-7000-8000-00000000000{n}', '{}', 'IR', 'sms', 'sent', 3, 0, 0, 0)",
            phone.number.expose()
        );
        raw.run(&sql).await.unwrap();
    }
    assert!(fixture.delete(Deleter::Staff("cli"), user.id).await);
    let count = "SELECT COUNT(*) FROM sms_ledger WHERE phone_number IS NULL";
    assert_eq!(raw.number(count).await, 2);
    let lines = fixture.db.audit.page(Some(GONE), None, 10).await.unwrap();
    assert_eq!(lines[0].actor, "cli");
}

async fn f15_an_owner_is_told_of_three_changes_a_day_and_of_the_deletion(fixture: AccountsFixture) {
    let keys = Keys::from_secret(b"a secret of at least 32 bytes, for tests", None);
    let phone = Phone::new();
    let notice = |of_deleted| {
        let to = phone.number.clone().into();
        notice::prepare(&keys, &fixture.clock, &to, "Changed.".into(), of_deleted).unwrap()
    };
    let (user, mine) = fixture.signed_in(&phone).await;
    fixture.events().await;
    let set = async |was: Option<&str>, hash: Option<&str>| {
        let told = notice(false);
        let change = PasswordChange {
            user_id: user.id,
            was,
            hash,
            attempt: None,
            keep: mine.id,
            notice: Some(&told),
            now: fixture.now(),
        };
        assert_eq!(fixture.db.accounts.set_password(change).await.unwrap(), Ok(true));
    };
    let (set_event, removed_event, text) =
        ("password.set.v1", "password.removed.v1", "sms.requested.v2");
    for (was, hash, told) in [
        (None, Some("1"), vec![set_event, text]),
        (Some("1"), Some("2"), vec![set_event, text]),
        (Some("2"), None, vec![removed_event, text]),
        (None, Some("3"), vec![set_event]),
    ] {
        set(was, hash).await;
        assert_eq!(fixture.kinds().await, told);
    }
    fixture.advance(DAY);
    // A text that waits is withdrawn by the deletion; the one that tells of the deletion is not.
    set(Some("3"), None).await;
    let gone = notice(true);
    let deleted = fixture
        .db
        .accounts
        .delete(Deleter::Staff("cli"), user.id, GONE, &[], Some(&gone), fixture.now())
        .await;
    assert!(deleted.unwrap());
    let events = fixture.events().await;
    let texts: Vec<_> = events.iter().filter(|(kind, _)| kind == text).collect();
    assert_eq!(texts.len(), 1, "{events:?}");
    assert_eq!(texts[0].1["id"], gone.event.id.to_string());
}

/// The texts that are to be sent.
async fn texts(fixture: &AccountsFixture) -> usize {
    fixture.kinds().await.iter().filter(|kind| **kind == "sms.requested.v2").count()
}

fn owner_notice(fixture: &AccountsFixture, phone: &Phone) -> OwnerNotice {
    let keys = Keys::from_secret(b"a secret of at least 32 bytes, for tests", None);
    let to = phone.number.clone().into();
    notice::prepare(&keys, &fixture.clock, &to, "Changed.".into(), true).unwrap()
}

/// Sets the password, and removes it, until the phone has had its three notices of the day.
async fn use_up_notices(
    fixture: &AccountsFixture,
    phone: &Phone,
    (user, keep): (UserId, SessionId),
) {
    for set in [true, false, true, false] {
        let told = owner_notice(fixture, phone);
        let change = PasswordChange {
            user_id: user,
            was: (!set).then_some("1"),
            hash: set.then_some("1"),
            attempt: None,
            keep,
            notice: Some(&told),
            now: fixture.now(),
        };
        assert_eq!(fixture.db.accounts.set_password(change).await.unwrap(), Ok(true));
    }
}

async fn f15_notices_are_counted_by_phone_and_not_by_account(fixture: AccountsFixture) {
    let phone = Phone::new();
    let (mut told, mut texts_of_day) = (Vec::new(), 0);
    for day in 0..2 {
        for _ in 0..3 {
            let (user, mine) = fixture.signed_in(&phone).await;
            use_up_notices(&fixture, &phone, (user.id, mine.id)).await;
            texts_of_day += texts(&fixture).await;
            let gone = owner_notice(&fixture, &phone);
            let (accounts, now) = (&fixture.db.accounts, fixture.now());
            let pseudonym = user.id.uuid().simple().to_string();
            assert!(
                accounts
                    .delete(Deleter::Staff("cli"), user.id, &pseudonym, &[], Some(&gone), now)
                    .await
                    .unwrap()
            );
            texts_of_day += texts(&fixture).await;
            told.push(texts_of_day);
        }
        assert_eq!(told, [4, 4, 4], "on day {day}");
        told.clear();
        texts_of_day = 0;
        fixture.advance(DAY);
    }
}

async fn f15_changes_of_the_password_silence_neither_a_new_number_nor_a_deletion(
    fixture: AccountsFixture,
) {
    let (old, new) = (Phone::new(), Phone::new());
    let (user, mine) = fixture.signed_in(&old).await;
    use_up_notices(&fixture, &old, (user.id, mine.id)).await;
    assert_eq!(texts(&fixture).await, 3);
    let told = owner_notice(&fixture, &old);
    let asked = PhoneChange {
        notice: Some(&told),
        ..change(&fixture, user.id, mine.id, &new, fixture.code())
    };
    let changed = fixture.db.accounts.change_phone(asked).await.unwrap();
    assert!(matches!(changed, Ok(PhoneChangeOutcome::Changed(_))));
    assert_eq!(texts(&fixture).await, 1);
    let gone = owner_notice(&fixture, &old);
    let (accounts, now) = (&fixture.db.accounts, fixture.now());
    let pseudonym = user.id.uuid().simple().to_string();
    assert!(
        accounts
            .delete(Deleter::Staff("cli"), user.id, &pseudonym, &[], Some(&gone), now)
            .await
            .unwrap()
    );
    assert_eq!(texts(&fixture).await, 1);
}

async fn an_account_created_by_staff_is_found_by_its_first_sign_in(fixture: AccountsFixture) {
    let phone = Phone::new();
    let new = NewUser {
        id: UserId::new(&fixture.clock),
        phone_number: &phone.number,
        first_name: "Ada",
        last_name: "B",
        locale: "en",
        country: "IR",
        password_hash: Some("hash"),
        created_at: fixture.now(),
        block_reason: None,
    };
    let made = fixture.db.accounts.create(new, "cli", fixture.now()).await.unwrap();
    let Creation::Created(user) = made else { panic!("{made:?}") };
    let again = NewUser { id: UserId::new(&fixture.clock), ..new };
    assert_eq!(
        fixture.db.accounts.create(again, "cli", fixture.now()).await.unwrap(),
        Creation::Exists
    );
    assert_eq!(fixture.kinds().await, ["user.created.v1"]);
    assert_eq!(fixture.signed_in(&phone).await.0, user);
    assert_eq!(
        fixture.db.accounts.password_of(&phone.number).await.unwrap().stored.unwrap().user_id,
        user.id
    );
    let (second, _) = fixture.signed_in(&Phone::new()).await;
    let page = fixture.db.accounts.page(None, 1).await.unwrap();
    assert_eq!(page, [user]);
    assert_eq!(fixture.db.accounts.page(Some(page[0].id), 10).await.unwrap(), [second]);
}
