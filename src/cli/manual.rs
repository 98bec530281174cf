//! `latchkey completions` and `latchkey man`.

use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use clap::{Args, Command};
use clap_complete::Shell;
use clap_mangen::Man;

use super::terminal::print;

#[derive(Args)]
pub(crate) struct Completions {
    /// The shell. Put the script where it looks: for bash `/etc/bash_completion.d/latchkey`, for zsh a file `_latchkey`
    /// in a folder of `$fpath`, for fish `~/.config/fish/completions/latchkey.fish`.
    shell: Shell,
}

impl Completions {
    pub fn run(&self, mut command: Command) -> anyhow::Result<()> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command, "latchkey", &mut script);
        print(&String::from_utf8(script).context("read the script")?)
    }
}

#[derive(Args)]
pub(crate) struct Manual {
    /// Writes one page for each command into this folder, which must exist, instead of printing the first page.
    #[arg(long, value_name = "FOLDER")]
    to: Option<PathBuf>,
}

impl Manual {
    pub fn run(&self, command: Command) -> anyhow::Result<()> {
        let Some(folder) = &self.to else {
            let mut page = Vec::new();
            Man::new(command).render(&mut page).context("write the page")?;
            return print(&String::from_utf8(page).context("read the page")?);
        };
        ensure!(folder.is_dir(), "--to: {} is not a folder", folder.display());
        clap_mangen::generate_to(command, folder)
            .with_context(|| format!("write the pages to {}", folder.display()))?;
        print(&format!("written to {}\n", folder.display()))
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::Latchkey;
    use crate::cli::examples;

    fn command() -> Command {
        examples::added_to(Latchkey::command())
    }

    #[test]
    fn every_shell_completes_the_commands() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut command(), "latchkey", &mut script);
            let script = String::from_utf8(script).unwrap();
            for word in ["clear-password", "dry-run", "sms-worker"] {
                assert!(script.contains(word), "{shell}: {word}");
            }
        }
    }

    #[test]
    fn each_command_has_a_page_with_its_examples() {
        let folder = tempfile::tempdir().unwrap();
        Manual { to: Some(folder.path().to_owned()) }.run(command()).unwrap();
        let page =
            |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap_or_default();
        assert!(page("latchkey.1").contains("DATABASE_URL"));
        assert!(page("latchkey-users-undo-phone.1").contains("undo\\-phone +12125550123"));
        let missing = Manual { to: Some(folder.path().join("none")) }.run(command());
        assert!(missing.is_err());
    }
}
