//! What a signed-in user does with the own account: `/v1/me` and below.

pub mod activity;
pub mod password;
pub mod phone;
pub mod profile;
pub mod sessions;
mod signed_in;
