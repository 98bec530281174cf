//! Sign-ins and refreshes that are written together: each as if it were alone.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use accounts::{Denied, LoginKey, LoginOutcome, RefreshOutcome, SignIn, UsedCode};
use domain::ids::UserId;
use futures::future::join_all;

use testkit::http::ANSWERED_WITHIN;
use testkit::proxy::Fault;
use testkit::{PATIENCE, eventually};

use super::contract;
use super::fixture::{AccountsFixture, Db, GRACE, IDLE, Phone, signed_in, token};

contract!(
    p3_of_logins_with_one_code_at_two_gateways_one_wins,
    p3_logins_of_a_batch_are_judged_each_by_itself,
    p3_a_bad_login_harms_none_of_its_batch,
    p3_two_phones_of_a_batch_with_one_code_use_it_once,
    sixty_logins_of_one_account_at_two_gateways_leave_fifty_sessions,
    p9_refreshes_of_a_batch_are_judged_each_by_itself,
    p9_one_of_the_refreshes_with_one_token_at_two_gateways_rotates,
);

/// As many as reach a batch's limit, and then some.
const MANY: usize = 70;

fn phones(count: usize) -> Vec<Phone> {
    (0..count).map(|_| Phone::new()).collect()
}

/// Signs in on one of two gateways in turn.
async fn at_two(
    one: &Db,
    other: &Db,
    sign_ins: Vec<SignIn<'_>>,
) -> Vec<Result<LoginOutcome, Denied>> {
    let each = sign_ins.into_iter().enumerate().map(async |(n, sign_in)| {
        let at = if n % 2 == 0 { one } else { other };
        at.accounts.sign_in(sign_in).await.unwrap()
    });
    join_all(each).await
}

async fn p3_of_logins_with_one_code_at_two_gateways_one_wins(fixture: AccountsFixture) {
    let other = fixture.another().await;
    let phones = phones(12);
    for known in [false, true] {
        let codes: Vec<UsedCode> = phones.iter().map(|_| fixture.code()).collect();
        // Four logins of each phone, those of all phones mixed.
        let sign_ins =
            || phones.iter().zip(&codes).map(|(it, code)| fixture.new_sign_in(it, *code));
        let all = std::iter::repeat_with(sign_ins).take(4).flatten().collect();
        let outcomes = at_two(&fixture.db, &other, all).await;
        for (n, phone) in phones.iter().enumerate() {
            let of_phone = outcomes.iter().skip(n).step_by(phones.len());
            let (won, lost): (Vec<_>, Vec<_>) = of_phone.cloned().partition(Result::is_ok);
            assert_eq!((won.len(), lost), (1, vec![Err(Denied::CodeUsed); 3]));
            let (user, _) = signed_in(won[0].clone());
            let sessions = fixture.db.sessions.of_user(user.id, fixture.now()).await.unwrap();
            assert_eq!(sessions.len(), if known { 2 } else { 1 }, "{n}");
            assert_eq!(&user.phone_number, &phone.number);
        }
    }
}

/// What an account's rows say of a sign-in, by the number of its phone.
async fn entries(fixture: &AccountsFixture, user: UserId) -> Vec<String> {
    let lines = fixture.db.audit.page(Some(&user.to_string()), None, 100).await.unwrap();
    lines.into_iter().map(|line| line.act).collect()
}

async fn p3_logins_of_a_batch_are_judged_each_by_itself(fixture: AccountsFixture) {
    let phones = phones(MANY);
    let mut raw = fixture.raw().await;
    let mut codes = Vec::new();
    let mut blocked = Vec::new();
    for (n, phone) in phones.iter().enumerate() {
        let code = fixture.code();
        match n % 5 {
            // A number without an account, whose code was used: it gets none.
            0 => {
                let other = Phone::new();
                fixture.login(&other, code).await.unwrap();
            }
            // Ten failures in a row, the last one just now.
            1 => fixture.set_failures(phone, 10, 0).await,
            2 => {
                let (user, _) = fixture.signed_in(phone).await;
                raw.run(&format!(
                    "UPDATE users SET blocked_at = 1, blocked_by = 'x', block_reason = 'x'
                     WHERE phone_number = '{}'",
                    phone.number.expose()
                ))
                .await
                .unwrap();
                blocked.push(user.id);
            }
            3 => drop(fixture.signed_in(phone).await),
            _ => {}
        }
        codes.push(code);
    }
    fixture.events().await;
    let all = phones.iter().zip(&codes).map(|(phone, code)| fixture.login(phone, *code));
    let outcomes = join_all(all).await;
    let mut told = HashMap::<String, usize>::new();
    for (kind, _) in fixture.events().await {
        *told.entry(kind).or_default() += 1;
    }
    let each = MANY / 5;
    assert_eq!(told["user.created.v1"], each);
    assert_eq!((told["session.started.v1"], told["otp.verified.v1"]), (2 * each, 2 * each));
    for (n, (phone, outcome)) in phones.iter().zip(outcomes).enumerate() {
        let account = fixture.db.accounts.by_phone(&phone.number).await.unwrap();
        match (n % 5, outcome) {
            (0, Err(Denied::CodeUsed)) | (1, Err(Denied::Throttled(_))) => {
                assert!(account.is_none(), "{n} left an account");
            }
            (2, Ok(LoginOutcome::Blocked)) => {
                let user = account.unwrap().id;
                let acts = entries(&fixture, user).await;
                assert_eq!(acts, ["sign_in_refused_blocked", "signed_up"]);
            }
            (3, Ok(LoginOutcome::SignedIn { user, created: false, session })) => {
                let acts = entries(&fixture, user.id).await;
                assert_eq!(acts, ["signed_in", "signed_up"]);
                assert_eq!(session.user_id, account.unwrap().id);
                assert_eq!(
                    fixture.db.sessions.of_user(user.id, fixture.now()).await.unwrap().len(),
                    2
                );
            }
            (4, Ok(LoginOutcome::SignedIn { user, created: true, session })) => {
                assert_eq!(entries(&fixture, user.id).await, ["signed_up"]);
                let live = fixture.db.sessions.live(session.id, fixture.now()).await.unwrap();
                assert_eq!(live.unwrap().session, session);
                assert_eq!(account.as_ref(), Some(&user));
                assert_eq!(user.phone_number, phone.number);
            }
            (_, outcome) => panic!("{n}: {outcome:?}"),
        }
    }
    // A denied one has used no code: the phone that had to wait can use its own later.
    fixture.advance(31);
    signed_in(fixture.login(&phones[1], codes[1]).await);
}

async fn p3_a_bad_login_harms_none_of_its_batch(fixture: AccountsFixture) {
    let (_, taken) = fixture.signed_in(&Phone::new()).await;
    let phones = phones(20);
    let mut sign_ins: Vec<_> =
        phones.iter().map(|phone| fixture.new_sign_in(phone, fixture.code())).collect();
    // One that cannot be encoded, and one whose session exists.
    sign_ins[7].profile = Some(("a NUL \0", ""));
    sign_ins[13].session.id = taken.id;
    let outcomes = join_all(sign_ins.iter().map(|it| fixture.db.accounts.sign_in(*it))).await;
    for (n, (phone, outcome)) in phones.iter().zip(outcomes).enumerate() {
        let account = fixture.db.accounts.by_phone(&phone.number).await.unwrap();
        if n == 7 || n == 13 {
            let error = outcome.unwrap_err();
            assert!(!error.is_away(), "{error}");
            assert!(account.is_none(), "{n} left an account");
        } else {
            assert_eq!(signed_in(outcome.unwrap()).0, account.unwrap());
        }
    }
    // Neither has used its code.
    for n in [7, 13] {
        signed_in(fixture.login(&phones[n], sign_ins[n].code).await);
    }
}

async fn p3_two_phones_of_a_batch_with_one_code_use_it_once(fixture: AccountsFixture) {
    let (phones, code) = (phones(8), fixture.code());
    let outcomes = join_all(phones.iter().map(|phone| fixture.login(phone, code))).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    assert_eq!(outcomes.iter().filter(|it| **it == Err(Denied::CodeUsed)).count(), 7);
}

async fn sixty_logins_of_one_account_at_two_gateways_leave_fifty_sessions(
    fixture: AccountsFixture,
) {
    let (other, phone) = (fixture.another().await, Phone::new());
    let (mine, theirs) = (phones(30), Phone::new());
    let mut all = Vec::new();
    for neighbour in &mine {
        all.push(fixture.new_sign_in(&phone, fixture.code()));
        all.push(fixture.new_sign_in(&phone, fixture.code()));
        all.push(fixture.new_sign_in(neighbour, fixture.code()));
        all.push(fixture.new_sign_in(&theirs, fixture.code()));
    }
    let outcomes = at_two(&fixture.db, &other, all).await;
    assert!(outcomes.iter().all(|it| matches!(it, Ok(LoginOutcome::SignedIn { .. }))));
    for (phone, sessions) in [(&phone, 50), (&theirs, 30), (&mine[0], 1)] {
        let user = fixture.db.accounts.by_phone(&phone.number).await.unwrap().unwrap();
        let live = fixture.db.sessions.of_user(user.id, fixture.now()).await.unwrap();
        assert_eq!(live.len(), sessions);
    }
}

async fn p9_refreshes_of_a_batch_are_judged_each_by_itself(fixture: AccountsFixture) {
    let mut sessions = Vec::new();
    for phone in phones(MANY) {
        let (user, session) = fixture.signed_in(&phone).await;
        sessions.push((user, session));
    }
    fixture.advance(1);
    for (n, (user, session)) in sessions.iter().enumerate() {
        let refresh = async || {
            fixture.db.sessions.refresh(token(session.id, 1), GRACE, IDLE, fixture.now()).await
        };
        match n % 4 {
            0 => assert!(matches!(refresh().await, Ok(RefreshOutcome::Rotated(_)))),
            1 => {
                let ended = fixture.db.sessions.end(user.id, session.id, "logout", fixture.now());
                assert!(ended.await.unwrap());
            }
            _ => {}
        }
    }
    let now = fixture.now();
    let at = |n: usize| now.plus_secs(i64::try_from(n % 3).unwrap());
    let refreshes = sessions.iter().enumerate().map(|(n, (_, session))| {
        let generation = if n % 4 == 2 { 7 } else { 1 };
        fixture.db.sessions.refresh(token(session.id, generation), GRACE, IDLE, at(n))
    });
    for (n, outcome) in join_all(refreshes).await.into_iter().enumerate() {
        let (_, session) = &sessions[n];
        let live = fixture.db.sessions.live(session.id, fixture.now()).await.unwrap();
        let live = live.map(|live| live.session);
        match (n % 4, outcome.unwrap()) {
            (0, RefreshOutcome::Repeated(again)) => assert_eq!(live, Some(again)),
            (1 | 2, RefreshOutcome::Ended) => assert_eq!(live, None),
            (3, RefreshOutcome::Rotated(next)) => {
                assert_eq!((next.id, next.generation), (session.id, 2));
                let at = at(n);
                assert_eq!((next.last_seen_at, next.expires_at), (at, at.plus_secs(IDLE)));
                assert_eq!(live, Some(next));
            }
            (_, outcome) => panic!("{n}: {outcome:?}"),
        }
    }
}

async fn p9_one_of_the_refreshes_with_one_token_at_two_gateways_rotates(fixture: AccountsFixture) {
    let other = fixture.another().await;
    let mut sessions = Vec::new();
    for phone in phones(10) {
        sessions.push(fixture.signed_in(&phone).await.1);
    }
    let each = (0..60).map(async |n| {
        let at = if n % 2 == 0 { &fixture.db } else { &other };
        let presented = token(sessions[n % 10].id, 1);
        at.sessions.refresh(presented, GRACE, IDLE, fixture.now()).await.unwrap()
    });
    let outcomes = join_all(each).await;
    for (n, session) in sessions.iter().enumerate() {
        let of_session = || outcomes.iter().skip(n).step_by(10);
        let rotated = of_session().filter(|it| matches!(it, RefreshOutcome::Rotated(_)));
        assert_eq!(rotated.count(), 1);
        for outcome in of_session() {
            let (RefreshOutcome::Rotated(next) | RefreshOutcome::Repeated(next)) = outcome else {
                panic!("{outcome:?}")
            };
            assert_eq!((next.id, next.generation), (session.id, 2));
        }
    }
}

mod on_the_engines {
    use super::*;

    /// Another transaction holds the row of one account. Its login waits for as long as it may and is away; the others
    /// of its batch, and those that come meanwhile, are done.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn p12_a_locked_account_delays_none_of_the_logins_beside_it() {
        let fixture = AccountsFixture::postgres().await;
        let start = Instant::now();
        let phones = phones(30);
        for phone in &phones[..10] {
            fixture.signed_in(phone).await;
        }
        let usual = start.elapsed() / 10;
        let locked = &phones[4];
        let mut raw = fixture.raw().await;
        let hold = format!(
            "BEGIN; SELECT 1 FROM users WHERE phone_number = '{}' FOR UPDATE",
            locked.number.expose()
        );
        raw.run(&hold).await.unwrap();
        let codes: Vec<UsedCode> = phones.iter().map(|_| fixture.code()).collect();
        let start = Instant::now();
        let logins = phones
            .iter()
            .zip(&codes)
            .map(|(phone, code)| fixture.db.accounts.sign_in(fixture.new_sign_in(phone, *code)));
        let outcomes = join_all(logins).await;
        let (took, allowed) = (start.elapsed(), ANSWERED_WITHIN + 30 * usual);
        assert!(took < allowed, "{took:?}, {allowed:?} allowed");
        for (n, outcome) in outcomes.into_iter().enumerate() {
            if n == 4 {
                assert!(outcome.unwrap_err().is_away());
            } else {
                signed_in(outcome.unwrap());
            }
        }
        raw.run("ROLLBACK").await.unwrap();
        signed_in(fixture.login(locked, codes[4]).await);
    }

    /// What one commit wrote has one `xmin`; the audit is numbered in the order of writing.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn logins_of_a_batch_are_one_commit_in_the_order_of_their_phones() {
        let fixture = AccountsFixture::postgres().await;
        let (mut raw, mut lock) = (fixture.raw().await, fixture.raw().await);
        // Rarely a stalled machine writes them in two batches.
        eventually("a batch of all", PATIENCE, async || {
            let (first, mut others) = (Phone::new(), phones(20));
            others.reverse();
            let held = fixture.code();
            lock.run("BEGIN").await.unwrap();
            let hold = format!("INSERT INTO used_codes VALUES ('{}', 1, 1)", held.id.uuid());
            lock.run(&hold).await.unwrap();
            let first = fixture.db.accounts.sign_in(fixture.new_sign_in(&first, held));
            let logins = others.iter().map(|phone| fixture.login(phone, fixture.code()));
            // All wait for the first one, which waits for a lock that is released when all wait.
            let (_, users, ()) = tokio::join!(first, join_all(logins), async {
                lock.run("ROLLBACK").await.unwrap();
            });
            let ids: Vec<_> = users.into_iter().map(|it| signed_in(it).0.id.to_string()).collect();
            let listed = format!("('{}')", ids.join("', '"));
            let commits = "SELECT count(DISTINCT xmin::text) FROM users WHERE id::text IN";
            if raw.number(&format!("{commits} {listed}")).await > 1 {
                return None;
            }
            let unordered = format!(
                "SELECT count(*) FROM (
                    SELECT u.phone_number < lag(u.phone_number) OVER (ORDER BY a.id) AS wrong
                    FROM users u JOIN audit a ON a.subject = u.id::text WHERE a.subject IN {listed}
                 ) AS lines WHERE wrong"
            );
            assert_eq!(raw.number(&unordered).await, 0);
            Some(())
        })
        .await;
    }

    /// Two gateways with the same phones, each in its own order, and the accounts' sessions likewise: no circle of locks
    /// costs an answer.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn p12_two_gateways_with_the_same_phones_wait_in_no_circle() {
        let fixture = AccountsFixture::postgres().await;
        let other = fixture.another().await;
        let phones = phones(40);
        let mut sessions = Vec::new();
        for phone in &phones {
            sessions.push(fixture.signed_in(phone).await.1.id);
        }
        for generation in 1..=5 {
            let login = async |db: &Db, phone: &Phone| {
                let sign_in = fixture.new_sign_in(phone, fixture.code());
                signed_in(db.accounts.sign_in(sign_in).await.unwrap());
            };
            tokio::join!(
                join_all(phones.iter().map(|phone| login(&fixture.db, phone))),
                join_all(phones.iter().rev().map(|phone| login(&other, phone))),
            );
            let now = fixture.now();
            let refresh = async |db: &Db, id| {
                let outcome = db.sessions.refresh(token(id, generation), GRACE, IDLE, now).await;
                assert!(matches!(
                    outcome.unwrap(),
                    RefreshOutcome::Rotated(_) | RefreshOutcome::Repeated(_)
                ));
            };
            tokio::join!(
                join_all(sessions.iter().map(|id| refresh(&fixture.db, *id))),
                join_all(sessions.iter().rev().map(|id| refresh(&other, *id))),
            );
        }
    }

    /// The connection is cut between the commit of a batch and its answer: none of its logins is done twice, and each
    /// finds its session again by its key.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn p9_logins_of_a_batch_that_was_cut_after_its_commit_find_their_sessions() {
        let fixture = AccountsFixture::postgres().await;
        let (mut proxy, db) = fixture.behind_a_proxy().await;
        let mut raw = fixture.raw().await;
        // A stalled machine may answer before the cut.
        eventually("a cut between commit and answer", PATIENCE, async || {
            let phones = phones(10);
            let keys: Vec<String> =
                phones.iter().map(|it| format!("key {}", it.key.as_str())).collect();
            let mut sign_ins = Vec::new();
            for (phone, key) in phones.iter().zip(&keys) {
                let key = Some(LoginKey { key_hash: key, body_hash: "body" });
                sign_ins.push(SignIn { key, ..fixture.new_sign_in(phone, fixture.code()) });
            }
            let last = phones.last().unwrap().number.expose();
            let committed = format!("SELECT count(*) FROM users WHERE phone_number = '{last}'");
            proxy.set(Fault::Latency(Duration::from_millis(200))).await;
            let (outcomes, ()) =
                tokio::join!(join_all(sign_ins.iter().map(|it| db.accounts.sign_in(*it))), async {
                    eventually("the commit", PATIENCE, async || {
                        (raw.number(&committed).await == 1).then_some(())
                    })
                    .await;
                    proxy.cut_all();
                });
            proxy.set(Fault::None).await;
            let mut lost = 0;
            for ((phone, sign_in), outcome) in phones.iter().zip(&sign_ins).zip(outcomes) {
                let key = sign_in.key.unwrap().key_hash;
                let replay = fixture.db.accounts.login_replay(key, fixture.now()).await.unwrap();
                let live = replay.map(|replay| replay.session.unwrap());
                match outcome {
                    Ok(outcome) => {
                        let (user, session) = signed_in(outcome);
                        let live = live.unwrap();
                        assert_eq!((live.user, live.session), (user, session));
                    }
                    Err(error) => {
                        assert!(error.is_away(), "{error}");
                        lost += usize::from(live.is_some());
                        // Whole or absent.
                        let again = fixture.login(phone, sign_in.code).await;
                        assert_eq!(again.is_err(), live.is_some());
                    }
                }
                let user = fixture.db.accounts.by_phone(&phone.number).await.unwrap().unwrap();
                let sessions = fixture.db.sessions.of_user(user.id, fixture.now()).await.unwrap();
                assert_eq!(sessions.len(), 1);
            }
            (lost > 1).then_some(())
        })
        .await;
    }
}
