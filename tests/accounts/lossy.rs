//! P9 over a network that loses half of the answers.

use std::time::Duration;

use tokio::time::timeout;

use super::in_process::InProcessLatchkey;
use testkit::http::{Api, new_phone};
use testkit::proxy::{Fault, Proxy};
use testkit::system::Side;
use testkit::{PATIENCE, both_sides};

both_sides!(p9_a_client_that_loses_half_of_its_answers_is_never_signed_out);

/// How long the client waits for an answer that never comes. On a slow machine the gateway may handle the request later
/// or not at all: the network lost the request then, instead of the answer.
const GIVES_UP_AFTER: Duration = Duration::from_millis(400);
/// Ten minutes of the product's clock, a refresh every ten seconds.
const REFRESHES: usize = 60;

async fn p9_a_client_that_loses_half_of_its_answers_is_never_signed_out(side: Side) {
    let latchkey = InProcessLatchkey::start(side, 1).await;
    let direct = latchkey.api();
    let mut refresh = direct.sign_in(&new_phone()).await["refresh"].as_str().unwrap().to_owned();
    let (mut proxy, url) = Proxy::before_url(&direct.url).await;
    let url = url.trim_end_matches('/');
    let (mut lost, mut got) = (0, 0);
    for _ in 0..REFRESHES {
        // A client keeps its token and retries until it has the next one. Four losses of 5 s each stay within the grace
        // of 30 s; longer outages are not tested here.
        let mut in_a_row = 0;
        loop {
            let lose = in_a_row < 4 && domain::rng::spread_below(2) == 0;
            proxy.set(if lose { Fault::SwallowAnswers } else { Fault::None }).await;
            // A new connection each time: on one that lost an answer, the next answer would be out of step.
            let api = Api::new(url);
            let asked =
                timeout(if lose { GIVES_UP_AFTER } else { PATIENCE }, api.refresh(&refresh));
            match asked.await {
                Ok(answer) => {
                    assert!(!lose, "an answer came through a proxy that swallows answers");
                    refresh = answer.expect(200).text("refresh");
                    got += 1;
                    break;
                }
                Err(_) => {
                    assert!(lose, "an answer that was not swallowed did not arrive");
                    lost += 1;
                    in_a_row += 1;
                    latchkey.advance(5);
                }
            }
        }
        latchkey.advance(10);
    }
    assert_eq!(got, REFRESHES);
    assert!(lost > REFRESHES / 3, "only {lost} lost: the network was too reliable");
    // The losses left one session, and it is alive.
    let last = direct.refresh(&refresh).await.expect(200);
    direct.me(&last.text("access")).await.expect(200);
}
