//! The admin console over HTTP, as a browser of staff sees it.

mod audit;
mod blocks;
pub(crate) mod browser;
mod complaints;
mod developers;
mod engines;
mod exports;
mod figures;
mod found;
mod guard;
mod hostile;
mod keeping;
mod limits;
mod live;
mod providers;
mod queues;
mod requests;
mod rights;
mod sessions;
mod settings;
mod sign_in;
mod staff;
mod standing;
mod users;
mod webhook_calls;
