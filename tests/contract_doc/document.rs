//! What is read of a document: the contract's numbers, and the names in backticks.

use std::collections::BTreeSet;

/// The numbers that `docs/CONTRACT.md` defines.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Contract {
    /// N of each table row `| PN | …`.
    pub promises: BTreeSet<u32>,
    /// N of each heading `## N Title`.
    pub sections: BTreeSet<u32>,
    /// N of each item `N. **Title.** text` below the heading `Rulings`, in their order.
    pub rulings: Vec<u32>,
}

impl Contract {
    pub fn read(text: &str) -> Self {
        let mut contract = Self::default();
        let mut among_rulings = false;
        for line in text.lines() {
            if let Some(heading) = line.strip_prefix("## ") {
                let (number, title) = heading.split_once(' ').unwrap_or((heading, ""));
                contract.sections.extend(number.parse::<u32>());
                among_rulings = title == "Rulings";
            } else if let Some((number, _)) =
                line.strip_prefix("| P").and_then(|row| row.split_once(" |"))
            {
                contract.promises.extend(number.parse::<u32>());
            } else if among_rulings && let Some((number, _)) = line.split_once(". **") {
                contract.rulings.extend(number.parse::<u32>());
            }
        }
        contract
    }
}

/// The `snake_case` names that stand in backticks, without a path before them. One that is cut off ends with `…`.
pub(super) fn quoted_names(text: &str) -> Vec<&str> {
    text.split('`')
        .map(|part| part.rsplit("::").next().unwrap_or(part))
        .filter(|part| part.contains('_') && part.chars().all(is_of_a_name))
        .collect()
}

fn is_of_a_name(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '…'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_from_headings_rows_and_items_only() {
        let text = "\
# A page
## 1 Promises
| # | Promise |
| P1 | Says P2. |
| P13 | x |
1. **Not a ruling.**
## 12 Rulings
1. **One.** text
   2. **Not this.**
### Rulings 34 to 57
2. **Two.** 3. **nor this.**
| W1 | a window |
## Appendix
3. **Not a ruling either.**
";
        let contract = Contract::read(text);
        assert_eq!(contract.promises, BTreeSet::from([1, 13]));
        assert_eq!(contract.sections, BTreeSet::from([1, 12]));
        assert_eq!(contract.rulings, [1, 2]);
    }

    #[test]
    fn names_are_found_in_backticks_on_any_line_and_nothing_else_is() {
        let text = "a plain_name, `p1_a_b`, `Not_this`, `a b_c`, `path::to::p2_x_…`\n`code of\ntwo_lines` and `x_y`";
        assert_eq!(quoted_names(text), ["p1_a_b", "p2_x_…", "x_y"]);
    }
}
