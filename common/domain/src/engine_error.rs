//! Classifies an engine's failure for the caller: the engine is unavailable, or the operation itself failed.

/// An engine did not complete an operation.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The engine cannot be reached, is too slow, or refuses all work (full, read-only, shutting down). The request is
    /// not at fault: HTTP answers 503; a consumer pauses and counts no attempt (contract, sections 1 and 5).
    #[error("{engine} is unavailable: {cause:#}")]
    Away { engine: &'static str, cause: anyhow::Error },
    /// The engine's answer makes no sense: a bug or a broken record. HTTP answers 500; a consumer counts an attempt.
    #[error("{engine} failed: {cause:#}")]
    Broken { engine: &'static str, cause: anyhow::Error },
}

impl EngineError {
    pub fn away(engine: &'static str, cause: impl Into<anyhow::Error>) -> Self {
        Self::Away { engine, cause: cause.into() }
    }

    pub fn broken(engine: &'static str, cause: impl Into<anyhow::Error>) -> Self {
        Self::Broken { engine, cause: cause.into() }
    }

    pub fn is_away(&self) -> bool {
        matches!(self, Self::Away { .. })
    }
}
