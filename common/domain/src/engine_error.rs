//! What an engine's failure means to its caller: is the engine away, or is something wrong with what was asked?

/// An engine did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The engine cannot be reached, is too slow, or refuses all work (full, read-only, shutting down). Nobody's
    /// request is at fault: HTTP answers 503, a consumer pauses and counts no try (design, sections 1 and 5).
    #[error("{engine} is away: {cause:#}")]
    Away { engine: &'static str, cause: anyhow::Error },
    /// The engine answered, and the answer makes no sense to us: a bug or a broken record. HTTP answers 500, a
    /// consumer counts a try.
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
