//! The integration tests of Latchkey, in one binary so that the private engines start once per run.

mod accounts;
mod attacks;
mod contract;
mod contract_doc;
mod delivery;
mod faults;
mod journeys;
