//! A file for `latchkey users import`. A file is read as a whole or refused, and each row has the line on which it
//! begins.
#![no_main]

use libfuzzer_sys::fuzz_target;

// The importer's parser is the program's own; a target can only include it.
#[path = "../../src/cli/users/file.rs"]
mod file;

fuzz_target!(|text: &str| {
    let lines = text.split('\n').count() as u64;
    for rows in [file::csv(text), file::django(text)].into_iter().flatten() {
        let mut last = 0;
        for (line, row) in rows {
            assert!((1..=lines).contains(&line), "line {line} of {lines}");
            assert!(line >= last, "rows are in the order of the file");
            last = line;
            if let Ok(row) = row {
                let _ = passwords::is_django_hash(&row.password);
                let _ = domain::timestamp::Timestamp::parse(&row.created_at);
            }
        }
    }
});
