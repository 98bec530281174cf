//! What delivery may know of the code store. sms-worker does not depend on the store's crate, so it cannot name a code.

pub use store::clock_sync;
pub use store::inbox::KeptMessage;
pub use store::{DeliveryStore, Inbox, Load};

/// The engines, with the part of the store that delivery may use.
pub type Connections = crate::connections::Connections<DeliveryStore>;
