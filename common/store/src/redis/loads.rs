//! What processes say of their load.

use std::sync::LazyLock;

use deadpool_redis::redis::Script;
use uuid::Uuid;

use super::{ENGINE, Redis};
use crate::loads::{KEPT_MS, Load, TOLD_FOR_MS};
use domain::engine_error::EngineError;

const LOADS_KEY: &str = "lk:loads";

static TELL_LOAD: LazyLock<Script> = script!("time", "tell_load");
static LOADS: LazyLock<Script> = script!("time", "loads");

impl Redis {
    pub async fn tell_load(&self, process: Uuid, load: Load) -> Result<(), EngineError> {
        let report = serde_json::to_string(&load).map_err(|e| EngineError::broken(ENGINE, e))?;
        let mut call = TELL_LOAD.key(LOADS_KEY);
        call.arg(self.clock.ahead_ms()).arg(format!("{process} {}", load.part()));
        call.arg(report).arg(KEPT_MS);
        self.script(call).await
    }

    pub async fn loads(&self) -> Result<Vec<Load>, EngineError> {
        let mut call = LOADS.key(LOADS_KEY);
        call.arg(self.clock.ahead_ms()).arg(TOLD_FOR_MS);
        let reports: Vec<String> = self.script(call).await?;
        // A later version may say more than this one understands.
        Ok(reports.iter().filter_map(|report| serde_json::from_str(report).ok()).collect())
    }
}
