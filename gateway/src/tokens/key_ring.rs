//! The keys that sign access tokens: one table in memory that follows its folder.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use anyhow::Context as _;
use domain::string_enum;
use domain::timestamp::Timestamp;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::tokens::key_dir::{self, Fingerprint, Folder};
use crate::tokens::key_table::KeyTable;
use crate::tokens::signing_key::Algorithm;

/// How often the folder is polled: a change takes effect well within 10 s.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// The table of a folder. Cheap to share; a reload never blocks readers.
#[derive(Debug)]
pub struct TokenKeys {
    dir: PathBuf,
    /// `LATCHKEY_JWT_ACTIVE_KID`: overrides the folder.
    configured: Option<String>,
    table: RwLock<Arc<KeyTable>>,
    seen: RwLock<Fingerprint>,
}

string_enum! {
    /// What a key does now.
    pub enum KeyState {
        /// It signs new tokens.
        Signing = "signing",
        /// It is published, and younger than the one that signs: the next one.
        Next = "next",
        /// It is older than the one that signs: its tokens are accepted until it is retired.
        Verifying = "verifying",
        /// A file that this gateway did not take: it is not a key, or seconds old.
        Unread = "unread",
    }
}

/// A key, without the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KnownKey {
    pub kid: String,
    /// `None` if it could not be read.
    pub algorithm: Option<&'static str>,
    pub state: KeyState,
    /// When its file was written, as the folder says: a mount may have written it again.
    pub written_at: Option<Timestamp>,
}

impl TokenKeys {
    /// Reads the folder of a gateway on real engines, where an operator created the keys.
    ///
    /// # Errors
    /// If there is no key, the error names the command that creates one. A file that is not a key, and an active kid
    /// without a file, prevent the start.
    pub fn load(dir: &Path, configured: Option<&str>) -> anyhow::Result<Self> {
        let folder = Folder::read(dir)
            .with_context(|| format!("read the token keys in {}", dir.display()))?;
        let table = folder.table_strictly(configured).with_context(|| {
            format!("use the token keys in {} (`latchkey keys list` shows them)", dir.display())
        })?;
        Ok(Self {
            dir: dir.to_owned(),
            configured: configured.map(str::to_owned),
            table: RwLock::new(Arc::new(table)),
            seen: RwLock::new(folder.fingerprint()),
        })
    }

    /// Like [`TokenKeys::load`], but creates a first ES256 key in a folder without one: the embedded default.
    pub fn load_or_make(dir: &Path, configured: Option<&str>) -> anyhow::Result<Self> {
        if configured.is_none() && !key_dir::has_keys(dir) {
            let kid = key_dir::generate(dir, Algorithm::Es256, None)?;
            tracing::info!(kid, "created the first token key");
        }
        Self::load(dir, configured)
    }

    pub fn table(&self) -> Arc<KeyTable> {
        self.table.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Every key that verifies now or lies in the folder, oldest first, for staff.
    pub(crate) fn known(&self) -> Vec<KnownKey> {
        let table = self.table();
        let folder = Folder::read(&self.dir);
        let ages: Vec<_> = folder.iter().flat_map(Folder::ages).collect();
        let mut signs_before = false;
        let mut known: Vec<_> = ages
            .iter()
            .map(|&(kid, written_at)| {
                let key = table.get(kid);
                let state = match key {
                    None => KeyState::Unread,
                    Some(_) if kid == table.active().kid() => KeyState::Signing,
                    Some(_) if signs_before => KeyState::Next,
                    Some(_) => KeyState::Verifying,
                };
                signs_before |= state == KeyState::Signing;
                let algorithm = key.map(|key| key.algorithm().as_str());
                KnownKey { kid: kid.to_owned(), algorithm, state, written_at }
            })
            .collect();
        // What the folder does not hold any more verifies until it is looked at again.
        for kid in table.kids().filter(|kid| ages.iter().all(|(other, _)| other != kid)) {
            let is_active = kid == table.active().kid();
            let state = if is_active { KeyState::Signing } else { KeyState::Verifying };
            let algorithm = table.get(kid).map(|key| key.algorithm().as_str());
            known.push(KnownKey { kid: kid.to_owned(), algorithm, state, written_at: None });
        }
        known
    }

    /// Whether `LATCHKEY_JWT_ACTIVE_KID` says which key signs: then `latchkey keys activate` changes nothing here.
    pub(crate) fn is_pinned(&self) -> bool {
        self.configured.is_some()
    }

    /// Follows the folder until `stop`, so that keys rotate without a restart. An invalid change is logged once and
    /// leaves the keys unchanged.
    pub async fn watch(&self, stop: CancellationToken) {
        while stop.run_until_cancelled(sleep(LOOK_EVERY)).await.is_some() {
            self.look();
        }
    }

    /// Applies changes in the folder since the last poll. The files are few and small: not worth their own thread.
    pub(crate) fn look(&self) {
        let folder = match Folder::read(&self.dir) {
            Ok(folder) => folder,
            Err(error) => {
                // Logged every time: while the folder is unreadable, no rotation takes effect.
                tracing::warn!(error = format!("{error:#}"), "cannot read the token key folder");
                return;
            }
        };
        let now = folder.fingerprint();
        let mut seen = self.seen.write().unwrap_or_else(PoisonError::into_inner);
        if *seen == now {
            return;
        }
        *seen = now;
        let before = self.table();
        match folder.table_leniently(self.configured.as_deref(), &before) {
            Ok(table) => {
                let kids: Vec<_> = table.kids().collect();
                tracing::info!(active = table.active().kid(), ?kids, "token keys reloaded");
                *self.table.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(table);
            }
            Err(error) => {
                tracing::error!(
                    error = format!("{error:#}"),
                    "cannot reload the token keys, they stay unchanged"
                );
            }
        }
    }
}
