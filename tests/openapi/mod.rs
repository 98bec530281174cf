//! The OpenAPI document: what it promises holds for the router, for the answers of a running gateway and for the files that
//! are made from it.

mod answers;
mod bodies;
pub(crate) mod described;
mod files;
mod page;
pub(crate) mod python;
mod router;
pub(crate) mod schemathesis;
mod valid;
