//! What every engine behind a port must do: one body a rule, run on the embedded twin and on the real engine; and the
//! bytes of what travels between services.

mod codes;
mod codes_model;
mod events;
