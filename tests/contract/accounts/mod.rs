//! The database contract: one body per rule, run on SQLite and on a private PostgreSQL (P13).

mod attempts;
mod bound;
mod engines;
mod fixture;
mod guard_history;
mod outbox;
mod passwords;
mod plans;
mod profiles;
mod refresh;
mod roles;
mod rolling_start;
mod searches;
mod sessions;
mod sign_in;
mod staff;
mod sweep;
mod together;

/// Runs each rule on both engines.
macro_rules! contract {
    ($($name:ident),+ $(,)?) => {
        mod sqlite {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    Box::pin(super::$name($crate::contract::accounts::fixture::AccountsFixture::sqlite().await)).await;
                }
            )+
        }
        mod postgres_on_the_engines {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    testkit::stalls::steady(async || {
                        let fixture = $crate::contract::accounts::fixture::AccountsFixture::postgres();
                        super::$name(fixture.await).await;
                    })
                    .await;
                }
            )+
        }
    };
}
pub(crate) use contract;
