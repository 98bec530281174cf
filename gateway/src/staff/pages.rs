//! Lists by pages: how many rows one has, and where the next one begins.

/// How many rows a page has unless whoever asks says otherwise, and how many it may have.
pub(crate) const ROWS: u32 = 50;
pub(crate) const MOST_ROWS: u32 = 200;

/// The rows of a page, of which one more was read than it shows, and the cursor of the next page if there is one.
pub(crate) fn cut<T>(
    mut rows: Vec<T>,
    shown: u32,
    cursor: impl FnOnce(&T) -> String,
) -> (Vec<T>, Option<String>) {
    let more = rows.len() > shown as usize;
    rows.truncate(shown as usize);
    let next = rows.last().filter(|_| more).map(cursor);
    (rows, next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_tells_of_the_next_one_only_if_there_is_more() {
        let cursor = |row: &i32| row.to_string();
        assert_eq!(cut(vec![3, 2, 1], 2, cursor), (vec![3, 2], Some("2".to_owned())));
        assert_eq!(cut(vec![3, 2], 2, cursor), (vec![3, 2], None));
        assert_eq!(cut(Vec::new(), 2, cursor), (Vec::new(), None));
    }
}
