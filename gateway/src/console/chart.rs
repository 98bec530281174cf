//! Small charts, made by the server: lines without axes beside a figure, with a text for whoever cannot see them. Numbers
//! and words of ours only.

use std::fmt::Write as _;

const WIDTH: i64 = 96;
const HEIGHT: i64 = 24;

/// A line through these values, oldest first, from 0 up to the greatest. Where nothing is known there is a gap.
pub(crate) fn line(label: &str, values: &[Option<i64>]) -> String {
    let greatest = values.iter().flatten().copied().max().unwrap_or_default().max(1);
    let steps = i64::try_from(values.len().saturating_sub(1)).unwrap_or(1).max(1);
    let mut path = String::new();
    let mut is_drawn = false;
    for (step, value) in (0..).zip(values) {
        let Some(value) = value else {
            is_drawn = false;
            continue;
        };
        let (x, y) = (WIDTH * step / steps, HEIGHT - 2 - (HEIGHT - 4) * value.max(&0) / greatest);
        let command = if is_drawn { 'L' } else { 'M' };
        // A value alone is a dot: a line of no length with round ends.
        let dot = if is_drawn { "" } else { "h0" };
        write!(path, "{command}{x} {y}{dot}").expect("a text grows");
        is_drawn = true;
    }
    format!(
        "<svg class=\"chart\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"{label}: {}\"><path d=\"{path}\"/></svg>",
        told(values)
    )
}

/// The values in words: a list for few, the range for many.
fn told(values: &[Option<i64>]) -> String {
    let known: Vec<i64> = values.iter().flatten().copied().collect();
    let (Some(least), Some(most)) = (known.iter().min(), known.iter().max()) else {
        return "nothing known".to_owned();
    };
    if values.len() <= 7 {
        let texts = values.iter().map(|it| it.map_or("none".to_owned(), |it| it.to_string()));
        return texts.collect::<Vec<_>>().join(", ");
    }
    let last = values.last().copied().flatten();
    let last = last.map_or("unknown".to_owned(), |last| last.to_string());
    format!("from {least} to {most}, at last {last}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_gaps_where_nothing_is_known_and_tells_its_values() {
        let svg = line("Texts", &[Some(0), Some(10), None, Some(5)]);
        assert!(svg.contains("d=\"M0 22h0L32 2M96 12h0\""), "{svg}");
        assert!(svg.contains("aria-label=\"Texts: 0, 10, none, 5\""), "{svg}");
        let many = line("Texts", &(0..24).map(Some).collect::<Vec<_>>());
        assert!(many.contains("from 0 to 23, at last 23"), "{many}");
        assert!(line("Texts", &[None; 24]).contains("nothing known"));
    }
}
