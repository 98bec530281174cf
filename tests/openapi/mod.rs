//! The OpenAPI document: what it promises holds for the router, for the answers of a running gateway and for the files that
//! are made from it.

mod answers;
mod bodies;
mod described;
mod files;
mod page;
mod python;
mod router;
mod schemathesis;
mod valid;
