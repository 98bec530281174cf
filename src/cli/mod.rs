//! The operator's commands, one file each.

pub(crate) mod admin_keys;
pub(crate) mod block;
pub(crate) mod config;
pub(crate) mod dead;
pub(crate) mod errors;
pub(crate) mod examples;
pub(crate) mod guard;
pub(crate) mod health;
pub(crate) mod keys;
pub(crate) mod limits;
pub(crate) mod manual;
pub(crate) mod migrate;
pub(crate) mod openapi;
mod operator;
mod progress;
pub(crate) mod routes;
pub(crate) mod staff;
mod terminal;
pub(crate) mod texts;
pub(crate) mod users;

pub(crate) use self::operator::act_as;
pub(crate) use self::terminal::OutputArgs;
