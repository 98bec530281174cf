//! The routes, one a file: the request and response types, the handler and its tests. What the
//! webhook remembers of its calls has a file beside it.

pub mod inbox;
pub mod jwks;
pub mod login;
pub mod me;
pub mod otp;
pub mod otp_events;
pub mod password_sign_in;
pub mod signup;
pub mod token;
pub mod twilio_webhook;
pub(crate) mod webhook_calls;
