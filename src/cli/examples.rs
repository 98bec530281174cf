//! One table of examples, which `--help` and the man pages show below each command.

use clap::Command;

/// The commands that lead to a command, what its example does, and the example.
type Example = (&'static str, &'static str, &'static str);

/// At least one for each command. Test numbers and addresses are those that are kept for documentation.
const EXAMPLES: &[Example] = &[
    ("gateway", "Run the HTTP edge on the engines", "latchkey gateway"),
    (
        "gateway health",
        "Check that it is ready, for a container's health check",
        "latchkey gateway health",
    ),
    ("otp-worker", "Run one more; each takes its share of the queue", "latchkey otp-worker"),
    ("otp-worker health", "Check that it is ready", "latchkey otp-worker health"),
    ("sms-worker", "Run one more; each takes its share of the queue", "latchkey sms-worker"),
    ("sms-worker health", "Check that it is ready", "latchkey sms-worker health"),
    ("migrate", "Prepare the database before an upgrade", "latchkey migrate"),
    ("config", "See what a start would use, secrets masked", "latchkey config"),
    ("config", "Read what each setting means", "latchkey config --markdown"),
    ("limits", "See the limits under the names that a 429 has in `limit`", "latchkey limits"),
    ("openapi", "Make a client with a generator", "latchkey openapi > openapi.json"),
    ("openapi", "Make a client of the admin API", "latchkey openapi --admin > openapi-admin.json"),
    ("errors", "See what an app does about each code", "latchkey errors"),
    ("errors", "Read them as a page", "latchkey errors --markdown"),
    ("health", "Check that the running process is ready", "latchkey health --json"),
    ("keys list", "See which key signs", "latchkey keys list"),
    (
        "keys generate",
        "Rotate, step 1: make a key, and wait 300 s",
        "latchkey keys generate --kid 2027-01",
    ),
    ("keys activate", "Rotate, step 2: sign with it", "latchkey keys activate 2027-01"),
    (
        "keys retire",
        "Rotate, step 3: when the last token of the old key is over (10 minutes), retire it",
        "latchkey keys retire 2026-01",
    ),
    ("keys derive", "Make the bundle that only sms-worker gets", "latchkey keys derive sms-worker"),
    ("dead list", "See what failed in every queue", "latchkey dead list"),
    (
        "dead list",
        "Count the reasons of one queue",
        "latchkey dead list sms-worker --limit 1000 --json",
    ),
    (
        "dead show",
        "See why one message failed",
        "latchkey dead show sms-worker 019a0000-0001-7000-8000-000000000001",
    ),
    (
        "dead replay",
        "After a fix, try one message again",
        "latchkey dead replay sms-worker 019a0000-0001-7000-8000-000000000001",
    ),
    (
        "dead replay",
        "After an upgrade, try all again",
        "latchkey dead replay otp-worker --all --yes",
    ),
    ("dead drop", "Delete what is too old to be of use", "latchkey dead drop otp-worker --all"),
    (
        "block add",
        "Stop code requests to a range of numbers until a date",
        "latchkey block add prefix 98912 --reason 'pumping, ticket 4711' --owner ops --until 2027-01-01T00:00:00Z",
    ),
    (
        "block add",
        "Stop a network",
        "latchkey block add ip 203.0.113.0/24 --reason 'scripted requests' --owner ops",
    ),
    ("block list", "See what is blocked, by whom and why", "latchkey block list"),
    ("block remove", "End a block", "latchkey block remove prefix 98912"),
    ("guard status", "See which prefixes are blocked now", "latchkey guard status"),
    (
        "guard replay",
        "See what a stricter rule would have blocked in November",
        "latchkey guard replay --from 2026-11-01T00:00:00Z --to 2026-12-01T00:00:00Z --rule min_sends=20,conversion=0.1",
    ),
    ("routes check", "See which providers serve a number", "latchkey routes check +12125550123"),
    ("texts check", "Check your own wordings before you deploy them", "latchkey texts check"),
    ("staff grant", "Let somebody into the console", "latchkey staff grant +12125550123 support"),
    ("staff revoke", "End that", "latchkey staff revoke +12125550123"),
    ("staff list", "See who has a role", "latchkey staff list"),
    (
        "admin-keys create",
        "Let a help desk's program act as staff of the role `support` do, for three months",
        "latchkey admin-keys create helpdesk --role support --expires 90d",
    ),
    (
        "admin-keys list",
        "See which keys there are, and when each was last used",
        "latchkey admin-keys list",
    ),
    (
        "admin-keys revoke",
        "Take a key back: it opens nothing from now on",
        "latchkey admin-keys revoke helpdesk",
    ),
    (
        "users find",
        "Find an account, however its number is written",
        "latchkey users find '+1 (212) 555-0123'",
    ),
    (
        "users show",
        "Show an account by its ID",
        "latchkey users show 019a0000-0001-7000-8000-000000000001",
    ),
    (
        "users create",
        "Create an account before its owner signs in for the first time",
        "latchkey users create +12125550123 --first-name Ada --last-name Lovelace",
    ),
    (
        "users block",
        "Keep an account out, and end its sessions",
        "latchkey users block +12125550123 --reason 'fraud, ticket 4711'",
    ),
    ("users unblock", "Let it in again", "latchkey users unblock +12125550123"),
    ("users unlock", "Help somebody who failed too often", "latchkey users unlock +12125550123"),
    (
        "users clear-password",
        "Remove a password that its owner forgot",
        "latchkey users clear-password +12125550123",
    ),
    (
        "users undo-phone",
        "Give a stolen account its number back, within 24 hours",
        "latchkey users undo-phone +12125550123",
    ),
    ("users sessions", "See where an account is signed in", "latchkey users sessions +12125550123"),
    (
        "users export",
        "Give somebody all that is stored about them",
        "latchkey users export +12125550123",
    ),
    ("users export", "Write all accounts as CSV", "latchkey users export"),
    ("users import", "Check a file before the import", "latchkey users import users.csv --dry-run"),
    (
        "users import",
        "Import a dump of Django's, passwords included",
        "latchkey users import dump.json",
    ),
    (
        "users delete",
        "Delete an account and every trace of its number",
        "latchkey users delete +12125550123",
    ),
    ("completions", "Complete commands in bash", "latchkey completions bash"),
    ("man", "Read the manual", "latchkey man"),
    ("man", "Install one page for each command", "latchkey man --to /usr/local/share/man/man1"),
];

/// Puts each command's examples below its help.
pub(crate) fn added_to(command: Command) -> Command {
    added(command, "")
}

fn added(command: Command, path: &str) -> Command {
    let of_this: Vec<_> = EXAMPLES.iter().filter(|(of, ..)| *of == path).collect();
    let names: Vec<String> =
        command.get_subcommands().map(|below| below.get_name().to_owned()).collect();
    let command = names.into_iter().fold(command, |command, name| {
        let path = format!("{path} {name}");
        command.mut_subcommand(name, |below| added(below, path.trim_start()))
    });
    if of_this.is_empty() {
        return command;
    }
    let text: Vec<String> =
        of_this.iter().map(|(_, what, example)| format!("  # {what}\n  {example}")).collect();
    command.after_help(format!("Examples:\n{}", text.join("\n")))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::CommandFactory as _;

    use super::*;
    use crate::Latchkey;

    /// The paths of the commands that do something.
    fn paths(command: &Command, path: &str, into: &mut BTreeSet<String>) {
        let below: Vec<_> = command.get_subcommands().collect();
        if !path.is_empty() && !command.is_subcommand_required_set() {
            into.insert(path.to_owned());
        }
        for command in below {
            paths(command, format!("{path} {}", command.get_name()).trim_start(), into);
        }
    }

    #[test]
    fn every_command_teaches_by_an_example() {
        let mut wanted = BTreeSet::new();
        paths(&Latchkey::command(), "", &mut wanted);
        let given: BTreeSet<String> =
            EXAMPLES.iter().map(|(path, ..)| (*path).to_owned()).collect();
        assert_eq!(wanted, given);
    }

    #[test]
    fn every_example_is_a_command_that_works() {
        for (path, _, example) in EXAMPLES {
            let words = words(example);
            let mut matches = Latchkey::command()
                .try_get_matches_from(&words)
                .unwrap_or_else(|error| panic!("{example}: {error}"));
            let mut called = Vec::new();
            while let Some((name, below)) = matches.remove_subcommand() {
                called.push(name);
                matches = below;
            }
            assert_eq!(called.join(" "), *path, "{example}");
        }
    }

    /// The words as a shell reads them: single quotes keep spaces, and the file that the output goes to is no word.
    fn words(example: &str) -> Vec<String> {
        let example = example.split(" > ").next().unwrap_or_default();
        let mut words = vec![String::new()];
        let mut quoted = false;
        for c in example.chars() {
            match c {
                '\'' => quoted = !quoted,
                ' ' if !quoted => words.push(String::new()),
                c => words.last_mut().unwrap().push(c),
            }
        }
        assert!(!quoted, "{example}");
        words
    }

    #[test]
    fn the_help_shows_the_examples() {
        let mut command = added_to(Latchkey::command());
        let help = command
            .find_subcommand_mut("block")
            .and_then(|block| block.find_subcommand_mut("add"))
            .unwrap()
            .render_help()
            .to_string();
        assert!(help.contains("Examples:\n  # Stop code requests to a range"), "{help}");
    }
}
