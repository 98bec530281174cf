//! The keys that sign access tokens, as one table in memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context as _;
use bytes::Bytes;
use serde_json::json;

use crate::tokens::signing_key::TokenKey;

/// A snapshot of the keys. Replaced as a whole, never changed.
#[derive(Debug)]
pub struct KeyTable {
    keys: BTreeMap<String, Arc<TokenKey>>,
    active: Arc<TokenKey>,
    /// The JWKS document (RFC 7517): public parts only.
    jwks: Bytes,
}

impl KeyTable {
    /// # Errors
    /// If `active` is not one of the keys.
    pub fn new(keys: Vec<Arc<TokenKey>>, active: &str) -> anyhow::Result<Self> {
        let keys: BTreeMap<_, _> =
            keys.into_iter().map(|key| (key.kid().to_owned(), key)).collect();
        let active = keys
            .get(active)
            .cloned()
            .with_context(|| format!("no key is named {active}, the configured signing key"))?;
        let public: Vec<_> = keys.values().filter_map(|key| key.public()).collect();
        let jwks = serde_json::to_vec(&json!({ "keys": public })).context("write the JWKS")?;
        Ok(Self { keys, active, jwks: jwks.into() })
    }

    /// The signing key.
    pub fn active(&self) -> &TokenKey {
        &self.active
    }

    /// Looks up a key in memory: a `kid` is never used as a path or in a query.
    pub fn get(&self, kid: &str) -> Option<&TokenKey> {
        self.keys.get(kid).map(AsRef::as_ref)
    }

    pub(crate) fn shared(&self, kid: &str) -> Option<Arc<TokenKey>> {
        self.keys.get(kid).cloned()
    }

    /// The ids of all keys.
    pub fn kids(&self) -> impl Iterator<Item = &str> {
        self.keys.keys().map(String::as_str)
    }

    pub fn jwks(&self) -> Bytes {
        self.jwks.clone()
    }
}
