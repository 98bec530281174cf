//! One call at a time: what a login and a refresh cost, without the ask and the text before them.

use std::sync::Arc;
use std::time::Duration;

use crate::cost::Look;
use crate::load::{only_code, open_loop};
use crate::ring::Ring;
use crate::support::http::new_phone;

/// What the calls before have left over is done by then.
const REST: Duration = Duration::from_secs(3);

pub async fn report(ring: &Ring<'_>, count: usize, rate: u32) {
    let api = ring.api();
    let codes = open_loop(count, rate, |_| {
        let api = api.clone();
        async move {
            let phone = new_phone();
            api.otp(&phone).await.expect(202);
            let code = only_code(&api, &phone).await;
            (phone, code)
        }
    });
    let codes = Arc::new(codes.await);
    tokio::time::sleep(REST).await;

    let before = Look::at(ring);
    let sessions = open_loop(count, rate, |number| {
        let (api, codes) = (api.clone(), Arc::clone(&codes));
        async move {
            let (phone, code) = &codes[number];
            api.login(phone, code).await.expect(200).text("refresh")
        }
    });
    let sessions = Arc::new(sessions.await);
    let login = before.until(&Look::at(ring));
    tokio::time::sleep(REST).await;

    let before = Look::at(ring);
    open_loop(count, rate, |number| {
        let (api, sessions) = (api.clone(), Arc::clone(&sessions));
        async move {
            api.refresh(&sessions[number]).await.expect(200);
        }
    })
    .await;
    let refresh = before.until(&Look::at(ring));

    println!("## One call\n\n{count} of each, {rate} begun a second.\n");
    println!("Login, first of an account:\n\n{}\n", login.per_thousand(count, None));
    println!("Refresh:\n\n{}\n", refresh.per_thousand(count, None));
}
