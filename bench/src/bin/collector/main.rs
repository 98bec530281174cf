//! A collector of traces for `bench/traces`: prints its URL, takes every span and keeps none, until it is killed.

use testkit::collector::{Collector, Manner};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let collector = Collector::start(Manner::Forgets).await;
    println!("{}", collector.url);
    std::future::pending::<()>().await;
}
