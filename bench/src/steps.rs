//! Single calls: what a login and a refresh cost without the code request and the message before them.

use std::sync::Arc;
use std::time::Duration;

use crate::cost::{Look, Spent};
use crate::load::{Pace, only_code, run};
use bench::ring::Ring;
use testkit::http::new_phone;

/// The time in which all follow-up work of the previous calls finishes.
const REST: Duration = Duration::from_secs(3);

pub async fn report(ring: &Ring<'_>, count: usize, paces: &[Pace]) {
    println!("## One call\n");
    for pace in paces {
        let (login, refresh) = measure(ring, count, *pace).await;
        println!("{count} first logins of an account, {pace}:\n");
        println!("{}\n", login.per_thousand(count, None));
        println!("{count} refreshes, {pace}:\n\n{}\n", refresh.per_thousand(count, None));
    }
}

async fn measure(ring: &Ring<'_>, count: usize, pace: Pace) -> (Spent, Spent) {
    let api = ring.api();
    let client = api.clone();
    let (codes, _) = run(Pace::AtOnce(32), 0..count, move |_| {
        let api = client.clone();
        async move {
            let phone = new_phone();
            api.otp(&phone).await.expect(202);
            let code = only_code(&api, &phone).await;
            (phone, code)
        }
    })
    .await;
    let codes = Arc::new(codes);
    tokio::time::sleep(REST).await;

    let before = Look::at(ring);
    let client = api.clone();
    let (sessions, _) = run(pace, 0..count, move |number| {
        let (api, codes) = (client.clone(), Arc::clone(&codes));
        async move {
            let (phone, code) = &codes[number];
            api.login(phone, code).await.expect(200).text("refresh")
        }
    })
    .await;
    let sessions = Arc::new(sessions);
    // The work that a login leaves to the outbox is part of its cost.
    tokio::time::sleep(REST).await;
    let login = before.until(&Look::at(ring));

    let before = Look::at(ring);
    run(pace, 0..count, move |number| {
        let (api, sessions) = (api.clone(), Arc::clone(&sessions));
        async move {
            api.refresh(&sessions[number]).await.expect(200);
        }
    })
    .await;
    (login, before.until(&Look::at(ring)))
}
