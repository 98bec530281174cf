//! Compares the answers to the clients with what the provider took and how each request ended.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::load::{HANGS_AFTER, Told, Word};
use super::provider::Text;

/// The states in which a request may rest: its text was sent, or its requester knows that it was not.
pub(crate) const ENDS: [&str; 7] =
    ["sent", "delivered", "undelivered", "failed", "verified", "expired", "superseded"];
/// The states without a text.
const WITHOUT_TEXT: [&str; 4] = ["failed", "undelivered", "expired", "superseded"];

/// Everything known after a fault is over.
#[derive(Debug, Clone, Default)]
pub(crate) struct Held {
    pub told: Vec<Told>,
    pub texts: Vec<Text>,
    pub statuses: BTreeMap<String, String>,
    pub dead_letters: u32,
    /// The allowed number of texts per request: two inside W1, otherwise one.
    pub at_most: usize,
}

/// What is wrong, if anything.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Findings {
    pub lost: Vec<String>,
    pub open: Vec<String>,
    pub doubled: Vec<String>,
    pub two_codes: Vec<String>,
    pub strays: Vec<String>,
    pub hung: Vec<String>,
    pub odd: Vec<String>,
    pub dead_letters: u32,
    /// Not an error in itself: phones with a second text inside W1.
    pub twice: usize,
}

impl Held {
    /// Adds the phones that were texted and are not the load's. The test signed them in; nothing is known of the answers.
    pub fn add_the_tests_own(&mut self) {
        let asked: BTreeSet<String> = self.told.iter().map(|one| one.phone.clone()).collect();
        let own: BTreeSet<&String> = self
            .texts
            .iter()
            .map(|text| &text.phone)
            .filter(|phone| !asked.contains(*phone))
            .collect();
        self.told.extend(own.into_iter().map(|phone| Told {
            phone: phone.clone(),
            word: Word::Nothing,
            took: Duration::ZERO,
            at: Instant::now(),
        }));
    }

    pub fn findings(&self) -> Findings {
        let mut codes: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for text in &self.texts {
            codes.entry(&text.phone).or_default().push(&text.code);
        }
        let mut found = Findings { dead_letters: self.dead_letters, ..Findings::default() };
        let asked: BTreeSet<&str> = self.told.iter().map(|one| one.phone.as_str()).collect();
        found.strays =
            codes.keys().filter(|phone| !asked.contains(*phone)).map(ToString::to_string).collect();
        for one in &self.told {
            let texts = codes.get(one.phone.as_str()).map_or(&[][..], Vec::as_slice);
            if let Word::Accepted(request) = &one.word {
                let status = self.statuses.get(request).map_or("unknown", String::as_str);
                let line = format!("{request}: {status}, {} texts", texts.len());
                if !ENDS.contains(&status) {
                    found.open.push(line);
                } else if texts.is_empty() && !WITHOUT_TEXT.contains(&status) {
                    found.lost.push(line);
                }
            }
            if texts.len() > self.at_most {
                found.doubled.push(format!("{:?}: {} texts", one.word, texts.len()));
            }
            found.twice += usize::from(texts.len() > 1);
            if texts.iter().any(|code| *code != texts[0]) {
                found.two_codes.push(format!("{:?}", one.word));
            }
            if one.took > HANGS_AFTER {
                found.hung.push(format!("{:?} after {:?}", one.word, one.took));
            }
            if let Word::Odd(..) = one.word {
                found.odd.push(format!("{:?}", one.word));
            }
        }
        found
    }
}

impl Findings {
    pub fn assert_none(&self) {
        println!("{} phones were texted twice inside W1", self.twice);
        assert_eq!(self, &Self { twice: self.twice, ..Self::default() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(phone: &str, request: &str) -> Told {
        Told {
            phone: phone.to_owned(),
            word: Word::Accepted(request.to_owned()),
            took: Duration::from_millis(5),
            at: Instant::now(),
        }
    }

    fn text(phone: &str, code: &str) -> Text {
        Text { phone: phone.to_owned(), code: code.to_owned() }
    }

    /// Three requests, each with its text and its final status.
    fn sound() -> Held {
        Held {
            told: vec![told("+1", "a"), told("+2", "b"), told("+3", "c")],
            texts: vec![text("+1", "111111"), text("+2", "222222"), text("+3", "333333")],
            statuses: [("a", "sent"), ("b", "verified"), ("c", "delivered")]
                .map(|(request, status)| (request.to_owned(), status.to_owned()))
                .into(),
            dead_letters: 0,
            at_most: 1,
        }
    }

    #[test]
    fn sound_results_pass() {
        sound().findings().assert_none();
    }

    #[test]
    fn p1_a_planted_loss_is_found() {
        let mut held = sound();
        held.texts.remove(1);
        assert_eq!(held.findings().lost, ["b: verified, 0 texts"]);
        held.statuses.insert("b".to_owned(), "failed".to_owned());
        held.findings().assert_none();
        held.statuses.insert("b".to_owned(), "sending".to_owned());
        assert_eq!(held.findings().open.len(), 1);
        held.statuses.remove("b");
        assert_eq!(held.findings().open.len(), 1);
    }

    #[test]
    fn p2_a_planted_duplicate_is_found() {
        let mut held = sound();
        held.texts.push(text("+2", "222222"));
        assert_eq!(held.findings().doubled.len(), 1);
        held.at_most = 2;
        assert_eq!(held.findings().twice, 1);
        held.findings().assert_none();
        held.texts.push(text("+2", "222222"));
        assert_eq!(held.findings().doubled.len(), 1);
    }

    #[test]
    fn p2_the_tests_own_phones_are_no_strays_and_may_be_texted_once() {
        let mut held = sound();
        held.texts.push(text("+9", "999999"));
        held.add_the_tests_own();
        held.findings().assert_none();
        held.texts.push(text("+9", "999999"));
        assert_eq!(held.findings().doubled.len(), 1);
    }

    #[test]
    fn two_codes_strays_dead_letters_and_hung_or_odd_answers_are_found() {
        let mut held = sound();
        held.at_most = 2;
        held.texts.push(text("+3", "444444"));
        held.texts.push(text("+9", "999999"));
        held.told[0].took = Duration::from_secs(46);
        held.told[1].word = Word::Odd(500, String::new());
        held.dead_letters = 1;
        let found = held.findings();
        let counts = [&found.two_codes, &found.strays, &found.hung, &found.odd].map(Vec::len);
        assert_eq!((counts, found.dead_letters), ([1; 4], 1));
    }

    #[test]
    #[should_panic(expected = "lost")]
    fn a_finding_fails_the_test() {
        let mut held = sound();
        held.texts.clear();
        held.findings().assert_none();
    }
}
