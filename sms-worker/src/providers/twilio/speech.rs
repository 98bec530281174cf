//! The form of a text that a call speaks.

/// Turns a text written for reading into one for listening: each digit on its own with a pause after it, and the whole
/// text twice. A text that already spells its digits is not repeated.
pub(super) fn spell_digits(text: &str) -> String {
    let said = spaced(text);
    let to_be_read = text.split(|c: char| !c.is_ascii_digit()).any(|run| run.len() >= 4);
    if to_be_read { format!("{said} ... {said}") } else { said }
}

/// Puts commas between the digits of runs of four or more, and replaces characters that XML cannot hold.
fn spaced(text: &str) -> String {
    let mut spaced = String::with_capacity(text.len() * 2);
    let mut digits = String::new();
    let flush = |digits: &mut String, spaced: &mut String| {
        if digits.len() < 4 {
            spaced.push_str(digits);
        } else {
            for (at, digit) in digits.chars().enumerate() {
                if at > 0 {
                    spaced.push_str(", ");
                }
                spaced.push(digit);
            }
        }
        digits.clear();
    };
    for c in text.chars() {
        if c.is_ascii_digit() {
            digits.push(c);
            continue;
        }
        flush(&mut digits, &mut spaced);
        spaced.push(if c.is_control() { ' ' } else { c });
    }
    flush(&mut digits, &mut spaced);
    spaced
}
