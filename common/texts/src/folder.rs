//! The operator's own wordings: one file per wording in `LATCHKEY_TEXTS_DIR`.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use domain::speech::is_tag;

use super::wording::{Kind, Wording};

/// Far longer than any wording; a larger file is a mistake.
const MAX_BYTES: u64 = 4096;

/// Reads `<locale>.txt` and `<locale>.<kind>.txt` of the kinds `short`, `voice`, `changed`, `password`, `deleted` and
/// `locked`.
///
/// # Errors
/// Names the file and the broken rule: a misspelled file name must not silently leave the built-in wording in use.
pub(super) fn read(folder: &Path) -> anyhow::Result<Vec<(String, Kind, Wording)>> {
    let listed = fs::read_dir(folder)
        .with_context(|| format!("LATCHKEY_TEXTS_DIR: read {}", folder.display()))?;
    let mut texts = Vec::new();
    for entry in listed {
        let path = entry.context("LATCHKEY_TEXTS_DIR: list the folder")?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // Kubernetes puts its own links beside the files of a mounted folder.
        if name.starts_with('.') {
            continue;
        }
        let read =
            read_one(&path, &name).with_context(|| format!("text file {}", path.display()))?;
        texts.push(read);
    }
    Ok(texts)
}

fn read_one(path: &Path, name: &str) -> anyhow::Result<(String, Kind, Wording)> {
    let Some(stem) = name.strip_suffix(".txt") else { bail!("is not named <locale>.txt") };
    let (tag, kind) = match stem.split_once('.') {
        None => (stem, Kind::Sms),
        Some((tag, "short")) => (tag, Kind::Short),
        Some((tag, "voice")) => (tag, Kind::Voice),
        Some((tag, "changed")) => (tag, Kind::Changed),
        Some((tag, "password")) => (tag, Kind::Password),
        Some((tag, "deleted")) => (tag, Kind::Deleted),
        Some((tag, "locked")) => (tag, Kind::Locked),
        Some(_) => bail!(
            "is not named <locale>.txt, or <locale>.<kind>.txt with the kind short, voice, changed, password, deleted or locked"
        ),
    };
    ensure!(is_tag(tag), "{tag} is not a BCP 47 locale");
    let size = fs::metadata(path).context("read its size")?.len();
    ensure!(size <= MAX_BYTES, "is larger than {MAX_BYTES} bytes");
    let text = fs::read_to_string(path).context("read it as UTF-8")?;
    // Editors end a file with a newline, and some begin it with a byte order mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text).trim_end_matches(['\n', '\r']);
    Ok((tag.to_owned(), kind, Wording::parse(text, kind)?))
}
