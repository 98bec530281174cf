//! What staff do to the nets of the pumping guard.

use std::sync::LazyLock;

use deadpool_redis::redis::Script;

use super::Redis;
use super::keys::net_key;
use domain::engine_error::EngineError;
use guard::Kind;

static OPEN_NET: LazyLock<Script> = script!("open_net");

impl Redis {
    pub async fn open_net(&self, kind: Kind, name: &str) -> Result<bool, EngineError> {
        let letter = match kind {
            Kind::Prefix => "p",
            Kind::Country => "c",
        };
        let call = OPEN_NET.key(net_key(letter, name));
        Ok(self.script::<i64>(call).await? == 1)
    }
}
