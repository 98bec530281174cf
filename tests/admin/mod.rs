//! The admin API over HTTP, as a program with a key sees it (contract, ruling 69).

mod acts;
mod bulk;
mod client;
mod commands;
mod document;
mod engines;
mod keeping;
mod keys;
mod lists;
mod parity;
mod ports;
mod roles;
mod views;
