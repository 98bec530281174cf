//! The code store: codes, requests and limits, and the pumping guard in it.

mod codes;
mod codes_model;
mod guard;
mod limit_state;
mod loads;
mod phone_state;
mod raw_redis;
