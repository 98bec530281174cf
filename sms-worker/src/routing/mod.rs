//! Which provider carries a text: the order of providers, and what guards each of them.

pub mod breaker;
pub mod concurrency;
pub mod report;
pub mod routes;
