//! Reads the files that variables name: secrets and the settings.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use zeroize::Zeroizing;

/// No secret and no settings file is longer.
const MAX_BYTES: u64 = 64 * 1024;
/// The right of everybody else to read a file.
const READ_BY_OTHERS: u32 = 0o004;

/// A file's text.
pub(super) struct SmallFile {
    pub(super) text: Zeroizing<String>,
    /// Everybody on the machine may read it.
    pub(super) is_open_to_all: bool,
}

/// Reads a regular file of at most 64 KiB.
///
/// # Errors
/// Says why the file cannot be read, without any of its content. A pipe, which could make the start wait for ever, is
/// not opened.
pub(super) fn read(path: &Path) -> Result<SmallFile, String> {
    let shown = path.display();
    let failed = |cause: std::io::Error| format!("{shown} cannot be read ({cause})");
    // Follows symbolic links: Kubernetes mounts secrets through them.
    let meta = std::fs::metadata(path).map_err(failed)?;
    if !meta.is_file() {
        return Err(format!("{shown} cannot be read (it is not a regular file)"));
    }
    let mut bytes = Zeroizing::new(Vec::new());
    let file = File::open(path).map_err(failed)?;
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(format!("{shown} cannot be read (it is longer than {} KiB)", MAX_BYTES / 1024));
    }
    let text = std::str::from_utf8(&bytes)
        .map_err(|_| format!("{shown} cannot be read (it is not UTF-8)"))?;
    Ok(SmallFile { text: Zeroizing::new(text.to_owned()), is_open_to_all: is_open_to_all(&meta) })
}

/// Whether everybody on the machine may read a file.
pub(super) fn is_open_to_all(meta: &std::fs::Metadata) -> bool {
    meta.is_file() && meta.permissions().mode() & READ_BY_OTHERS != 0
}
