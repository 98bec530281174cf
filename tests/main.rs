//! The integration tests of Latchkey, in one binary so that the private engines start once per run.

#![expect(clippy::too_many_lines, reason = "a test tells one story from its start to its end")]

mod accounts;
mod admin;
mod attacks;
mod browser;
mod clients;
mod console;
mod contract;
mod contract_doc;
mod delivery;
mod deploy;
mod faults;
mod first_hour;
mod javascript;
mod journeys;
mod openapi;
mod operations;
mod pages;
mod postman;
mod traces;
