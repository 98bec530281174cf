//! Any number of rounds of the test that mixes good, unroutable and refused publishes, on a private RabbitMQ:
//! `cargo run -p common --example confirm_rounds -- 20`.

#[expect(dead_code, reason = "shared with the tests, which use more of it")]
#[path = "../tests/support_rabbit/mod.rs"]
mod support_rabbit;

use support_rabbit::{Node, confirm_rounds};

#[tokio::main]
async fn main() {
    let rounds = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(20_u32);
    let node = Node::start();
    let mut wrong = 0;
    for round in 1..=rounds {
        let tally = confirm_rounds::round(&node.vhost()).await;
        wrong += tally.wrong.len();
        println!("round {round}: {tally:?}");
    }
    println!("{wrong} wrong in {rounds} rounds");
    drop(node);
    std::process::exit(i32::from(wrong > 0));
}
