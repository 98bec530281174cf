//! gateway: the HTTP edge. Admits code requests and publishes them, checks codes, hands out tokens, keeps accounts.
//!
//! `api` has a route a file; what several routes share stands in the rooms beside it. Must never know how a code is
//! made or a text is sent: it meets the workers in events alone.

mod api;
mod app;
mod background;
mod codes;
mod dpop;
mod http;
pub mod passwords;
mod router;
mod run;
pub mod tokens;

pub use self::http::validate;
pub use self::run::{run, serve};
