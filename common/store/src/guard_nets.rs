//! What staff do to the nets of the pumping guard.

use crate::Codes;
use domain::engine_error::EngineError;
use guard::{Change, Delta, Destination, Kind, Observation, State, minute_of};

impl Codes {
    /// Opens a net as if it had never blocked: its counts begin anew, so it blocks again if its sends do not convert.
    /// Returns whether it was blocked or probing; one that was open keeps its counts. It is reported like every other
    /// change.
    pub async fn open_net(
        &self,
        kind: Kind,
        name: &str,
        country: &str,
    ) -> Result<bool, EngineError> {
        let was_closed = on_engine!(self.0, |engine| engine.open_net(kind, name))?;
        if was_closed {
            let at = self.0.now().await?;
            let change =
                Change { kind, state: State::Open, sends: 0, verified: 0, level: 0, until: None };
            let operator_prefix = if kind == Kind::Prefix { name } else { "" };
            let seen = Observation {
                minute: minute_of(at.ms()),
                at,
                country: (0, 0),
                would_refuse: false,
                changes: vec![change],
                added: Delta::default(),
            };
            self.0.guard.findings.note(Destination { country, operator_prefix }, seen);
        }
        Ok(was_closed)
    }
}
