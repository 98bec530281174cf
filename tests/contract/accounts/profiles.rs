//! Profiles, changes of phone, deletion.

use accounts::{
    Changes, Creation, Denied, NewUser, PhoneChange, PhoneChangeOutcome, Prepared, Throttle,
    UNDO_SECS, Undo, UndoOutcome, UsedCode, User,
};
use domain::event::{Envelope, UserDeleted};
use domain::ids::{EventId, SessionId, UserId};

use super::contract;
use super::world::{LIMITS, Phone, World, signed_in};

contract!(
    a_profile_update_changes_only_the_given_fields,
    p3_a_proven_number_replaces_the_old_one_and_its_code_works_once,
    a_number_of_another_account_is_taken,
    p4_a_change_of_phone_is_judged_like_a_sign_in,
    a_changed_number_is_restored_within_a_day,
    a_changed_number_is_not_restored_when_it_is_taken_or_too_late,
    a_deleted_account_leaves_no_number_behind,
    deletion_erases_the_number_from_the_ledger,
    deletion_withdraws_texts_that_the_broker_has_not_taken,
    an_account_created_by_staff_is_found_by_its_first_sign_in,
);

async fn a_profile_update_changes_only_the_given_fields(world: World) {
    let (user, _) = world.signed_in(&Phone::new()).await;
    let changes = Changes { first_name: Some("Ada"), ..Changes::default() };
    let one =
        world.db.accounts.update_profile(user.id, changes, world.now()).await.unwrap().unwrap();
    assert_eq!(
        (one.first_name.as_str(), one.last_name.as_str(), one.locale.as_str()),
        ("Ada", "", "fa")
    );
    let changes = Changes { first_name: None, last_name: Some("B"), locale: Some("en") };
    let two =
        world.db.accounts.update_profile(user.id, changes, world.now()).await.unwrap().unwrap();
    assert_eq!(
        (two.first_name.as_str(), two.last_name.as_str(), two.locale.as_str()),
        ("Ada", "B", "en")
    );
    assert_eq!(world.db.accounts.get(user.id).await.unwrap(), Some(two));
    let nobody = UserId::new(&world.clock);
    assert_eq!(world.db.accounts.update_profile(nobody, changes, world.now()).await.unwrap(), None);
    let nothing = world.db.accounts.update_profile(user.id, Changes::default(), world.now()).await;
    assert!(nothing.unwrap().is_some());
    // The audit names the changed fields but not their values; if nothing changed, there is no entry.
    let lines = world.db.audit.page(Some(&user.id.to_string()), None, 2).await.unwrap();
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
    world: &World,
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
        now: world.now(),
    }
}

async fn p3_a_proven_number_replaces_the_old_one_and_its_code_works_once(world: World) {
    let (old, new) = (Phone::new(), Phone::new());
    let (user, mine) = world.signed_in(&old).await;
    let (_, other) = world.signed_in(&old).await;
    world.attempt(new.stranger(), None).await.unwrap();
    world.events().await;
    let code = world.code();
    let told = UserDeleted { user_id: user.id, deleted_at: world.now() };
    let notice = Prepared::new(&Envelope::new(&world.clock, "gateway", None, told)).unwrap();
    let asked =
        PhoneChange { notice: Some(&notice), ..change(&world, user.id, mine.id, &new, code) };
    let Ok(PhoneChangeOutcome::Changed(changed)) =
        world.db.accounts.change_phone(asked).await.unwrap()
    else {
        panic!("not changed")
    };
    assert_eq!((changed.id, &changed.phone_number), (user.id, &new.number));
    assert_eq!(changed.country, "DE");
    let now = world.now();
    assert!(world.db.sessions.live(mine.id, now).await.unwrap().is_some());
    assert!(world.db.sessions.live(other.id, now).await.unwrap().is_none());
    assert_eq!(world.kinds().await, ["otp.verified.v1", "session.ended.v1", notice.kind]);
    assert_eq!(world.db.accounts.change_phone(asked).await.unwrap(), Err(Denied::CodeUsed));
    assert_eq!(
        world.login(&new, code).await,
        Err(Denied::CodeUsed),
        "both purposes share the fence"
    );
    assert_eq!(world.signed_in(&new).await.0.id, user.id);
    assert_ne!(world.signed_in(&old).await.0.id, user.id, "the old number is free");
}

async fn a_number_of_another_account_is_taken(world: World) {
    let (old, theirs) = (Phone::new(), Phone::new());
    let (user, mine) = world.signed_in(&old).await;
    let (owner, _) = world.signed_in(&theirs).await;
    let asked = change(&world, user.id, mine.id, &theirs, world.code());
    assert_eq!(world.db.accounts.change_phone(asked).await.unwrap(), Ok(PhoneChangeOutcome::Taken));
    assert_eq!(world.db.accounts.change_phone(asked).await.unwrap(), Err(Denied::CodeUsed));
    assert_eq!(world.db.accounts.by_phone(&theirs.number).await.unwrap(), Some(owner));
    assert_eq!(world.db.accounts.get(user.id).await.unwrap(), Some(user.clone()));
    let own = change(&world, user.id, mine.id, &old, world.code());
    assert!(matches!(
        world.db.accounts.change_phone(own).await.unwrap(),
        Ok(PhoneChangeOutcome::Changed(_))
    ));
    let free = Phone::new();
    let gone = change(&world, UserId::new(&world.clock), mine.id, &free, world.code());
    assert_eq!(world.db.accounts.change_phone(gone).await.unwrap(), Err(Denied::AccountGone));
}

async fn p4_a_change_of_phone_is_judged_like_a_sign_in(world: World) {
    let (old, new) = (Phone::new(), Phone::new());
    let (user, mine) = world.signed_in(&old).await;
    world.set_failures(&new, 90, 1000).await;
    let asked = change(&world, user.id, mine.id, &new, world.code());
    let outcome = world.db.accounts.change_phone(asked).await.unwrap();
    assert!(matches!(outcome, Err(Denied::Throttled(Throttle::Locked { .. }))), "{outcome:?}");
    world.set_failures(&new, 3, 0).await;
    let spent = world.code();
    for _ in 0..5 {
        world.attempt(new.stranger(), Some(spent)).await.unwrap();
    }
    let asked = change(&world, user.id, mine.id, &new, spent);
    assert_eq!(world.db.accounts.change_phone(asked).await.unwrap(), Err(Denied::CodeUsed));
    assert_eq!(world.db.accounts.get(user.id).await.unwrap(), Some(user));
}

/// An account that changed from `old` to `new`, with a change that can be undone.
async fn changed(world: &World, old: &Phone, new: &Phone) -> User {
    let (user, mine) = world.signed_in(old).await;
    let undo = Undo { old_sealed: "sealed", until: world.now().plus_secs(UNDO_SECS) };
    let asked =
        PhoneChange { undo: Some(undo), ..change(world, user.id, mine.id, new, world.code()) };
    let outcome = world.db.accounts.change_phone(asked).await.unwrap();
    let Ok(PhoneChangeOutcome::Changed(changed)) = outcome else { panic!("{outcome:?}") };
    world.set_password(&mine, None, "the thief's").await.unwrap();
    changed
}

async fn a_changed_number_is_restored_within_a_day(world: World) {
    let (old, new) = (Phone::new(), Phone::new());
    let user = changed(&world, &old, &new).await;
    let (_, thiefs) = world.signed_in(&new).await;
    world.advance(UNDO_SECS - 1);
    let kept = world.db.accounts.replaced_phones(user.id, world.now()).await.unwrap();
    assert_eq!((kept.len(), kept[0].old_sealed.as_str()), (1, "sealed"));
    let number = (&old.number, "IR");
    let other = world.signed_in(&Phone::new()).await.0;
    let outcome =
        world.db.accounts.undo_phone(other.id, kept[0].id, number, "cli", world.now()).await;
    assert_eq!(outcome.unwrap(), UndoOutcome::Gone, "the change was another account's");
    let undo = || world.db.accounts.undo_phone(user.id, kept[0].id, number, "cli", world.now());
    let UndoOutcome::Undone(back) = undo().await.unwrap() else { panic!("not undone") };
    assert_eq!((back.id, &back.phone_number, back.country.as_str()), (user.id, &old.number, "IR"));
    assert!(world.db.sessions.live(thiefs.id, world.now()).await.unwrap().is_none());
    assert!(world.db.accounts.password_hash(user.id).await.unwrap().is_none());
    assert_eq!(undo().await.unwrap(), UndoOutcome::Gone, "once");
    let id = user.id.to_string();
    let lines = world.db.audit.page(Some(&id), None, 1).await.unwrap();
    assert_eq!((lines[0].act.as_str(), lines[0].actor.as_str()), ("phone_change_undone", "cli"));
    assert_eq!(world.signed_in(&old).await.0.id, user.id);
}

async fn a_changed_number_is_not_restored_when_it_is_taken_or_too_late(world: World) {
    let (old, new) = (Phone::new(), Phone::new());
    let user = changed(&world, &old, &new).await;
    let kept = world.db.accounts.replaced_phones(user.id, world.now()).await.unwrap();
    let undo = || {
        world.db.accounts.undo_phone(user.id, kept[0].id, (&old.number, "IR"), "cli", world.now())
    };
    let (next, _) = world.signed_in(&old).await;
    assert_eq!(undo().await.unwrap(), UndoOutcome::Taken);
    assert!(
        world.db.accounts.delete(next.id, "pseudonym-3", &[], "cli", world.now()).await.unwrap()
    );
    world.advance(UNDO_SECS);
    assert!(world.db.accounts.replaced_phones(user.id, world.now()).await.unwrap().is_empty());
    assert_eq!(undo().await.unwrap(), UndoOutcome::Gone);
    world.db.sweeper.sweep(LIMITS, world.now()).await.unwrap();
    assert_eq!(world.raw().await.number("SELECT COUNT(*) FROM phone_changes").await, 0);
    assert_eq!(world.db.accounts.get(user.id).await.unwrap().unwrap().phone_number, new.number);
}

async fn a_deleted_account_leaves_no_number_behind(world: World) {
    let phone = Phone::new();
    let mut sign_in = world.new_sign_in(&phone, world.code());
    sign_in.profile = Some(("To", "Forget"));
    let (user, mine) = signed_in(world.db.accounts.sign_in(sign_in).await.unwrap());
    let (_, other) = world.signed_in(&phone).await;
    world.set_password(&mine, None, "hash").await.unwrap();
    world.signed_in(&phone).await;
    world.events().await;
    let own = user.id.to_string();
    assert!(
        world.db.accounts.delete(user.id, "pseudonym-1", &[], &own, world.now()).await.unwrap()
    );
    assert!(
        !world.db.accounts.delete(user.id, "pseudonym-1", &[], &own, world.now()).await.unwrap()
    );
    for session in [mine, other] {
        assert!(world.db.sessions.live(session.id, world.now()).await.unwrap().is_none());
    }
    assert!(world.db.accounts.get(user.id).await.unwrap().is_none());
    assert!(world.db.accounts.password_of(&phone.number).await.unwrap().stored.is_none());
    let kinds = world.kinds().await;
    assert_eq!(kinds, ["session.ended.v1", "session.ended.v1", "user.deleted.v1"]);
    let lines = world.db.audit.page(Some("pseudonym-1"), None, 10).await.unwrap();
    assert_eq!((lines.len(), lines[0].act.as_str()), (7, "user_deleted"));
    assert!(lines.iter().all(|line| line.actor == "pseudonym-1"), "nor in earlier entries");
    assert!(world.db.audit.page(Some(&own), None, 10).await.unwrap().is_empty());
    assert_eq!(world.raw().await.number("SELECT COUNT(*) FROM audit_renames").await, 0);
    let (again, _) = world.signed_in(&phone).await;
    assert_ne!(again.id, user.id);
    assert_eq!((again.first_name.as_str(), again.last_name.as_str()), ("", ""));
}

async fn deletion_withdraws_texts_that_the_broker_has_not_taken(world: World) {
    let mut users = Vec::new();
    for n in 0..2 {
        let (old, new) = (Phone::new(), Phone::new());
        let (user, mine) = world.signed_in(&old).await;
        let notice = Prepared {
            id: EventId::new(&world.clock),
            kind: "sms.requested.v1",
            addressed: true,
            body: serde_json::json!({ "to": n }).to_string(),
        };
        let code = world.code();
        let asked =
            PhoneChange { notice: Some(&notice), ..change(&world, user.id, mine.id, &new, code) };
        let changed = world.db.accounts.change_phone(asked).await.unwrap();
        assert!(matches!(changed, Ok(PhoneChangeOutcome::Changed(_))));
        users.push(user.id);
    }
    assert!(
        world.db.accounts.delete(users[0], "pseudonym-3", &[], "cli", world.now()).await.unwrap()
    );
    let events = world.events().await;
    let texts: Vec<_> = events.iter().filter(|(kind, _)| kind == "sms.requested.v1").collect();
    assert_eq!(texts.len(), 1);
    assert_eq!(texts[0].1["to"], 1, "another user's message is still sent");
    assert!(
        events.iter().any(|(kind, _)| kind == "user.deleted.v1"),
        "an event without a number stays"
    );
    // A published event keeps no user id: the user may be deleted next.
    let ids = "SELECT COUNT(*) FROM outbox WHERE user_id IS NOT NULL";
    assert_eq!(world.raw().await.number(ids).await, 0);
}

async fn deletion_erases_the_number_from_the_ledger(world: World) {
    let (phone, other) = (Phone::new(), Phone::new());
    let (user, _) = world.signed_in(&phone).await;
    let mut raw = world.raw().await;
    for (n, phone) in [(1, &phone), (2, &phone), (3, &other)] {
        let sql = format!(
            "INSERT INTO sms_ledger (message_id, phone_number, country, channel, state, rank, created_at, updated_at, not_after)
             VALUES ('00000000-0000-7000-8000-00000000000{n}', '{}', 'IR', 'sms', 'sent', 3, 0, 0, 0)",
            phone.number.expose()
        );
        raw.run(&sql).await.unwrap();
    }
    assert!(
        world.db.accounts.delete(user.id, "pseudonym-2", &[], "cli", world.now()).await.unwrap()
    );
    let count = "SELECT COUNT(*) FROM sms_ledger WHERE phone_number IS NULL";
    assert_eq!(raw.number(count).await, 2);
    let lines = world.db.audit.page(Some("pseudonym-2"), None, 10).await.unwrap();
    assert_eq!(lines[0].actor, "cli");
}

async fn an_account_created_by_staff_is_found_by_its_first_sign_in(world: World) {
    let phone = Phone::new();
    let new = NewUser {
        id: UserId::new(&world.clock),
        phone_number: &phone.number,
        first_name: "Ada",
        last_name: "B",
        locale: "en",
        country: "IR",
        password_hash: Some("hash"),
        created_at: world.now(),
        block_reason: None,
    };
    let made = world.db.accounts.create(new, "cli", world.now()).await.unwrap();
    let Creation::Created(user) = made else { panic!("{made:?}") };
    let again = NewUser { id: UserId::new(&world.clock), ..new };
    assert_eq!(
        world.db.accounts.create(again, "cli", world.now()).await.unwrap(),
        Creation::Exists
    );
    assert_eq!(world.kinds().await, ["user.created.v1"]);
    assert_eq!(world.signed_in(&phone).await.0, user);
    assert_eq!(
        world.db.accounts.password_of(&phone.number).await.unwrap().stored.unwrap().user_id,
        user.id
    );
    let (second, _) = world.signed_in(&Phone::new()).await;
    let page = world.db.accounts.page(None, 1).await.unwrap();
    assert_eq!(page, [user]);
    assert_eq!(world.db.accounts.page(Some(page[0].id), 10).await.unwrap(), [second]);
}
