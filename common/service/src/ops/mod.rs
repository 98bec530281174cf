//! The ops port: is the process alive, is it ready, what does it measure. Never on the public port.

mod probe;
mod serve;

pub use probe::get_status;
pub use serve::serve;
