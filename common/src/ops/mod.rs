//! The ops port: is the process alive, is it ready, what does it measure. Never on the public port.

mod ask;
mod health;
mod serve;

pub use ask::ask;
pub use health::{Health, STOPPING};
pub use serve::serve;
