//! Reads the scripts' answers.

use anyhow::{Context as _, anyhow};

use super::ENGINE;
use crate::secs_up;
use crate::types::RequestNote;
use domain::engine_error::EngineError;
use domain::ids::RequestId;
use domain::timestamp::Timestamp;
use guard::{Change, Delta, Observation};

/// `r:<request>` → `<turn> <note>`, among the code's other fields.
pub(super) fn read_code_requests(
    fields: &[String],
) -> Result<Vec<(RequestId, RequestNote)>, EngineError> {
    let mut code_requests = Vec::new();
    for pair in fields.chunks_exact(2) {
        let Some(request) = pair[0].strip_prefix("r:") else { continue };
        let (turn, note) =
            pair[1].split_once(' ').ok_or_else(|| odd("a request without a turn number"))?;
        let note: RequestNote =
            serde_json::from_str(note).map_err(|_| odd("an unreadable request"))?;
        code_requests.push((parse::<u32>(turn)?, parse(request)?, note));
    }
    code_requests.sort_by_key(|(turn, ..)| *turn);
    Ok(code_requests.into_iter().map(|(_, request, note)| (request, note)).collect())
}

pub(super) fn parse<T: std::str::FromStr>(text: &str) -> Result<T, EngineError> {
    text.parse()
        .ok()
        .with_context(|| format!("read a {}", std::any::type_name::<T>()))
        .map_err(|e| EngineError::broken(ENGINE, e))
}

pub(super) fn odd(what: &str) -> EngineError {
    EngineError::broken(ENGINE, anyhow!("unexpected answer: {what}"))
}

/// A script's answer: a list of words.
pub(super) struct Answer(pub(super) Vec<String>);

impl Answer {
    pub(super) fn word(&self, at: usize) -> Result<&str, EngineError> {
        self.0.get(at).map(String::as_str).ok_or_else(|| odd("too short"))
    }

    pub(super) fn parse<T: std::str::FromStr>(&self, at: usize) -> Result<T, EngineError> {
        parse(self.word(at)?)
    }

    pub(super) fn time(&self, at: usize) -> Result<Timestamp, EngineError> {
        Ok(Timestamp::from_ms(self.parse(at)?))
    }

    pub(super) fn secs(&self, at: usize) -> Result<u64, EngineError> {
        Ok(secs_up(self.parse(at)?))
    }

    /// The guard's words from index `from` on, if there are any.
    pub(super) fn shown(
        &self,
        from: usize,
        at: Timestamp,
    ) -> Result<Option<Observation>, EngineError> {
        /// Kind, state, sends, verified, level, end.
        const CHANGE: usize = 6;
        if self.0.len() <= from {
            return Ok(None);
        }
        let changes = (from + 4..self.0.len()).step_by(CHANGE).map(|i| {
            let until: i64 = self.parse(i + 5)?;
            Ok(Change {
                kind: self.parse(i)?,
                state: self.parse(i + 1)?,
                sends: self.parse(i + 2)?,
                verified: self.parse(i + 3)?,
                level: self.parse(i + 4)?,
                until: (until > 0).then(|| Timestamp::from_ms(until)),
            })
        });
        Ok(Some(Observation {
            minute: self.parse(from)?,
            at,
            country: (self.parse(from + 1)?, self.parse(from + 2)?),
            would_refuse: self.word(from + 3)? == "1",
            changes: changes.collect::<Result<_, EngineError>>()?,
            added: Delta::default(),
        }))
    }
}
