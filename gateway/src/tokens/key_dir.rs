//! The folder of token keys, and the operator's commands on it (`latchkey keys …`).
//!
//! A key is a file `<kid>.pem`. The signing key is chosen, in this order, by `LATCHKEY_JWT_ACTIVE_KID`, by a file
//! `active` that holds a kid, and by age: the newest file, or the last by name among equally old ones. All keys verify.
//!
//! A rotation without a gap: `generate` adds a key that does not sign yet (it writes `active` to keep the old key
//! signing); once every cache of the JWKS is renewed (300 s), `activate` makes it sign; once the old key's access
//! tokens have expired, `retire` moves the old key to `retired/`.

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::{Context as _, bail};
use domain::rng;
use domain::timestamp::Timestamp;
use serde::Serialize;

use crate::tokens::key_table::KeyTable;
use crate::tokens::signing_key::{self, Algorithm, TokenKey, check_kid};

const ACTIVE: &str = "active";
const RETIRED: &str = "retired";
/// No key is longer; a longer file is not read.
const FILE_MAX: u64 = 64 * 1024;

#[derive(Clone, Debug, PartialEq, Eq)]
struct KeyFile {
    kid: String,
    path: PathBuf,
    modified: SystemTime,
    length: u64,
}

/// Distinguishes one state of a folder from another without reading the keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fingerprint(Vec<KeyFile>, Option<String>);

/// A folder's state.
#[derive(Debug)]
pub(crate) struct Folder {
    files: Vec<KeyFile>,
    /// The content of the file `active`.
    active: Option<String>,
}

impl Folder {
    /// Lists the keys, oldest first. A missing folder has none.
    pub fn read(dir: &Path) -> anyhow::Result<Self> {
        let mut files = Vec::new();
        let entries = match fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Ok(Self { files, active: None });
            }
            Err(error) => return Err(error).context("list the keys"),
        };
        for entry in entries {
            let path = entry.context("list the keys")?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            // A file with a leading dot is still being written.
            let Some(kid) = name.strip_suffix(".pem").filter(|kid| !kid.starts_with('.')) else {
                continue;
            };
            let kid = kid.to_owned();
            // Follows symbolic links: Kubernetes mounts secrets through them.
            let meta = match fs::metadata(&path) {
                Ok(meta) => meta,
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => {
                    return Err(error).with_context(|| format!("look at {}", path.display()));
                }
            };
            if meta.is_file() {
                let modified = meta.modified().context("read a key's age")?;
                files.push(KeyFile { kid, path, modified, length: meta.len() });
            }
        }
        files.sort_by(|a, b| (a.modified, &a.kid).cmp(&(b.modified, &b.kid)));
        Ok(Self { files, active: read_active(dir)? })
    }

    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint(self.files.clone(), self.active.clone())
    }

    /// The table at startup: every file must be a key.
    pub fn table_strictly(&self, configured: Option<&str>) -> anyhow::Result<KeyTable> {
        if self.files.is_empty() {
            bail!("there is no key yet: create one with `latchkey keys generate`");
        }
        if let Some(kid) = configured.filter(|kid| !self.has(kid)) {
            bail!("LATCHKEY_JWT_ACTIVE_KID names the key {kid}, and the folder has no {kid}.pem");
        }
        let keys = self.files.iter().map(KeyFile::load).collect::<anyhow::Result<Vec<_>>>()?;
        let newest = keys.last().map(|key| key.kid().to_owned()).unwrap_or_default();
        KeyTable::new(keys, self.pinned(configured).unwrap_or(&newest))
    }

    /// The table while running: a file that is not a key is left out, or keeps its previous key.
    pub fn table_leniently(
        &self,
        configured: Option<&str>,
        before: &KeyTable,
    ) -> anyhow::Result<KeyTable> {
        let mut keys = Vec::new();
        // The age of a file that is no longer a key does not count.
        let mut newest = before.active().kid();
        for file in &self.files {
            match file.load() {
                Ok(key) => {
                    newest = &file.kid;
                    keys.push(key);
                }
                Err(error) => {
                    tracing::warn!(error = format!("{error:#}"), "token key ignored");
                    keys.extend(before.shared(&file.kid));
                }
            }
        }
        if keys.is_empty() {
            bail!("there is no key left");
        }
        KeyTable::new(keys, self.pinned(configured).unwrap_or(newest))
    }

    fn pinned<'a>(&'a self, configured: Option<&'a str>) -> Option<&'a str> {
        configured.or(self.active.as_deref())
    }

    /// The kid that signs, whether or not its file can be read.
    fn signing<'a>(&'a self, configured: Option<&'a str>) -> Option<&'a str> {
        self.pinned(configured).or_else(|| self.files.last().map(|file| file.kid.as_str()))
    }

    /// The kids and when their files were written, oldest first.
    pub fn ages(&self) -> impl Iterator<Item = (&str, Option<Timestamp>)> {
        self.files.iter().map(|file| {
            let age = file.modified.duration_since(SystemTime::UNIX_EPOCH).ok();
            let ms = age.and_then(|age| i64::try_from(age.as_millis()).ok());
            (file.kid.as_str(), ms.map(Timestamp::from_ms))
        })
    }

    fn has(&self, kid: &str) -> bool {
        self.files.iter().any(|file| file.kid == kid)
    }
}

impl KeyFile {
    fn load(&self) -> anyhow::Result<Arc<TokenKey>> {
        let read = || {
            if self.length > FILE_MAX {
                bail!("the file is too long for a key");
            }
            let pem = zeroize::Zeroizing::new(fs::read(&self.path).context("read the file")?);
            TokenKey::from_pem(&self.kid, &pem)
        };
        read().map(Arc::new).with_context(|| format!("load the key {}", self.path.display()))
    }
}

fn read_active(dir: &Path) -> anyhow::Result<Option<String>> {
    match fs::read_to_string(dir.join(ACTIVE)) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).context("read which key is active"),
    }
}

/// Whether the folder has a key, readable or not.
pub(crate) fn has_keys(dir: &Path) -> bool {
    Folder::read(dir).is_ok_and(|folder| !folder.files.is_empty())
}

/// A row of `latchkey keys list`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeyRow {
    pub kid: String,
    /// `None` if the file is not a key; `fault` says why.
    pub algorithm: Option<&'static str>,
    pub active: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
}

/// The keys of a folder, oldest first.
pub fn list(dir: &Path, configured: Option<&str>) -> anyhow::Result<Vec<KeyRow>> {
    let folder = Folder::read(dir)?;
    let signing = folder.signing(configured);
    let row = |file: &KeyFile| {
        let loaded = file.load();
        KeyRow {
            kid: file.kid.clone(),
            algorithm: loaded.as_ref().ok().map(|key| key.algorithm().as_str()),
            active: signing == Some(file.kid.as_str()),
            fault: loaded.err().map(|error| format!("{error:#}")),
        }
    };
    Ok(folder.files.iter().map(row).collect())
}

/// Adds a new key and returns its kid. The first key of a folder signs at once; a later one signs from [`activate`] on,
/// because a verifier that has not seen it in the JWKS would refuse its tokens.
pub fn generate(dir: &Path, algorithm: Algorithm, kid: Option<&str>) -> anyhow::Result<String> {
    make_private_dir(dir)?;
    let folder = Folder::read(dir)?;
    let (thumbprint, pem) = signing_key::generate(algorithm)?;
    let kid = kid.map_or(thumbprint, str::to_owned);
    check_kid(&kid)?;
    if folder.has(&kid) || dir.join(RETIRED).join(format!("{kid}.pem")).exists() {
        bail!("there is or was a key named {kid}: a name cannot be reused");
    }
    if folder.active.is_none()
        && let Some(signing) = folder.signing(None)
    {
        write_private(dir, ACTIVE, format!("{signing}\n").as_bytes())?;
    }
    write_private(dir, &format!("{kid}.pem"), pem.as_bytes())?;
    Ok(kid)
}

/// Makes a key sign on every gateway that reads this folder, within about 10 s. `LATCHKEY_JWT_ACTIVE_KID` still wins.
pub fn activate(dir: &Path, kid: &str) -> anyhow::Result<()> {
    let folder = Folder::read(dir)?;
    let file = folder.files.iter().find(|file| file.kid == kid);
    file.with_context(|| format!("no key is named {kid}"))?.load()?;
    write_private(dir, ACTIVE, format!("{kid}\n").as_bytes())
}

/// Retires a key: its tokens are refused from the next poll on. The file is kept in `retired/`.
///
/// # Errors
/// If it is the signing key.
pub fn retire(dir: &Path, kid: &str, configured: Option<&str>) -> anyhow::Result<()> {
    let folder = Folder::read(dir)?;
    if !folder.has(kid) {
        bail!("no key is named {kid}");
    }
    if folder.signing(configured) == Some(kid) {
        bail!("{kid} is the signing key: activate another key first");
    }
    let retired = dir.join(RETIRED);
    make_private_dir(&retired)?;
    let name = format!("{kid}.pem");
    fs::rename(dir.join(&name), retired.join(&name)).context("move the key to `retired/`")?;
    sync(dir)
}

fn make_private_dir(dir: &Path) -> anyhow::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir).with_context(|| format!("create the folder {}", dir.display()))
}

/// Writes a file that only its owner may read, atomically: under another name first, then renamed.
fn write_private(dir: &Path, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
    let draft = dir.join(format!(".{name}.{}", hex::encode(rng::secret_bytes::<8>())));
    let write = || -> std::io::Result<()> {
        let mut options = fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&draft)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&draft, dir.join(name))
    };
    if let Err(error) = write() {
        // The draft may hold a key, so it must not stay. If it cannot be removed, the error is the same.
        let _ = fs::remove_file(&draft);
        return Err(error).with_context(|| format!("write {} in {}", name, dir.display()));
    }
    sync(dir)
}

/// Makes a folder's entries durable.
fn sync(dir: &Path) -> anyhow::Result<()> {
    fs::File::open(dir).and_then(|dir| dir.sync_all()).context("make the folder durable")
}

#[cfg(test)]
mod tests;
