//! The HTTP edge: admits and publishes code requests, checks codes, issues tokens and manages accounts.
//!
//! `api` has one file per route; what several routes share lives in the rooms beside it. The gateway must never know
//! how a code is made or how a message is sent: it meets the workers only in events.

mod admin;
mod api;
mod app;
mod background;
mod breaches;
mod codes;
mod console;
mod deletion;
mod dpop;
#[cfg(fuzzing)]
pub mod fuzzing;
mod http;
mod openapi;
mod pages;
mod router;
mod run;
mod staff;
mod tokens;

pub use self::admin::document::admin_document as admin_openapi_document;
pub use self::http::validate;
pub use self::openapi::document as openapi_document;
pub use self::openapi::errors_page::{ErrorRow, errors, errors_page};
pub use self::run::{Listeners, run, serve};
pub use self::staff::users::export::{AccountExport, ExportedUser, Stored};
pub use self::tokens::{key_dir, signing_key};
