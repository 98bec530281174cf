//! The admin console over HTTP, as a browser of staff sees it.

mod audit;
mod blocks;
pub(crate) mod browser;
mod found;
mod hostile;
mod requests;
mod rights;
mod sessions;
mod sign_in;
mod standing;
mod users;
