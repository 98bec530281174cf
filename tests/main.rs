//! The integration tests of Latchkey, in one binary so that the private engines start once per run.

#![expect(clippy::too_many_lines, reason = "a test tells one story from its start to its end")]

mod accounts;
mod admin;
mod attacks;
mod browser;
mod clients;
mod console;
mod contract;
mod contract_doc;
mod delivery;
mod deploy;
mod faults;
mod first_hour;
mod javascript;
mod journeys;
mod openapi;
mod operations;
mod pages;
mod postman;
mod traces;

use deadpool_redis::redis;

/// Connects to what a test looks at in Redis. The client's own limit is half a second, which a busy machine exceeds.
async fn redis_connection(
    client: &redis::Client,
) -> redis::RedisResult<redis::aio::MultiplexedConnection> {
    let patient = redis::AsyncConnectionConfig::new()
        .set_connection_timeout(Some(testkit::PATIENCE))
        .set_response_timeout(Some(testkit::PATIENCE));
    client.get_multiplexed_async_connection_with_config(&patient).await
}
