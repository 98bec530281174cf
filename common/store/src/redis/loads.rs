//! What processes say of their load: plain commands, as each field has one writer.

use std::collections::HashMap;

use deadpool_redis::redis::{AsyncCommands as _, pipe};
use uuid::Uuid;

use super::{ENGINE, Redis, Time};
use crate::loads::{KEPT_MS, Load, TOLD_FOR_MS};
use domain::engine_error::EngineError;

/// A hash: `<process> <part>` → `<time in ms> <report>`.
const LOADS_KEY: &str = "lk:loads";

impl Redis {
    pub async fn tell_load(&self, process: Uuid, load: Load) -> Result<(), EngineError> {
        let report = serde_json::to_string(&load).map_err(|e| EngineError::broken(ENGINE, e))?;
        let field = format!("{process} {}", load.part());
        let told = format!("{} {report}", self.now().await?.ms());
        self.run(async |mut lane| {
            let mut commands = pipe();
            commands.hset(LOADS_KEY, &field, &told).ignore();
            commands.pexpire(LOADS_KEY, KEPT_MS).ignore();
            commands.query_async(&mut lane).await
        })
        .await
    }

    pub async fn loads(&self) -> Result<Vec<Load>, EngineError> {
        let (time, told): (Time, HashMap<String, String>) = self
            .run(async |mut lane| {
                pipe().cmd("TIME").hgetall(LOADS_KEY).query_async(&mut lane).await
            })
            .await?;
        let now_ms = self.time(time).ms();
        let (lately, before): (Vec<_>, Vec<_>) = told.into_iter().partition(|(_, told)| {
            // One from later was told before the server's clock was set back.
            at_ms(told).is_some_and(|at_ms| (now_ms - at_ms).abs() < TOLD_FOR_MS)
        });
        if !before.is_empty() {
            let fields: Vec<_> = before.into_iter().map(|(field, _)| field).collect();
            self.run(async |mut lane| lane.hdel::<_, _, ()>(LOADS_KEY, &fields).await).await?;
        }
        // A later version may say more than this one understands.
        Ok(lately.iter().filter_map(|(_, told)| read(told)).collect())
    }
}

fn at_ms(told: &str) -> Option<i64> {
    told.split_once(' ')?.0.parse().ok()
}

fn read(told: &str) -> Option<Load> {
    serde_json::from_str(told.split_once(' ')?.1).ok()
}
