//! The contract of every engine behind a port: one body per rule, run on the embedded counterpart and on the real
//! engine; and the encoding of what travels between services.

mod accounts;
mod bus;
mod events;
mod figures;
mod ledger;
mod ledger_plans;
mod phones;
mod store;
mod telemetry;
