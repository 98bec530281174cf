use std::fs;
use std::path::PathBuf;

use super::segments::Encoding;
use super::*;
use domain::rng;

const HASH: &str = "FA+9qCX9VSu";
/// The maximum number of digits in a code (contract, section 6).
const LONGEST_CODE: u8 = 10;

fn config(app: &str) -> config::Texts {
    config::Texts {
        app_name: app.to_owned(),
        texts_dir: None,
        android_app_hash: None,
        webotp_domain: None,
    }
}

fn plain() -> Texts {
    Texts::load(&config("Latchkey"), LONGEST_CODE).unwrap()
}

fn code(digits: &str) -> Code {
    Code::parse(digits, u8::try_from(digits.len()).unwrap()).unwrap()
}

fn tags() -> Vec<&'static str> {
    builtin::BUILTIN.iter().map(|text| text.locale).collect()
}

/// Finds the code as a phone or the inbox does.
fn runs(text: &str) -> Vec<String> {
    let runs =
        text.split(|c: char| !c.is_ascii_digit()).filter(|run| (4..=10).contains(&run.len()));
    runs.map(str::to_owned).collect()
}

/// A temporary folder for one test, removed when the test ends.
struct Folder(PathBuf);

impl Folder {
    fn with(files: &[(&str, &str)]) -> Self {
        let name = u64::from_be_bytes(rng::secret_bytes());
        let path = std::env::temp_dir().join(format!("latchkey-texts-{name:016x}"));
        fs::create_dir(&path).unwrap();
        for (name, text) in files {
            fs::write(path.join(name), text).unwrap();
        }
        Self(path)
    }

    fn load(&self) -> anyhow::Result<Texts> {
        Texts::load(
            &config::Texts { texts_dir: Some(self.0.clone()), ..config("Latchkey") },
            LONGEST_CODE,
        )
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

#[test]
fn every_full_built_in_wording_fits_one_segment_at_the_longest_settings() {
    let texts = Texts::load(&config("Twenty characters ab"), LONGEST_CODE).unwrap();
    for line in texts.check() {
        let Some(size) = line.size else { continue };
        assert_eq!(size.segments, 1, "{} {}: {size:?}", line.locale, line.kind.as_str());
        assert_eq!(
            line.used,
            line.kind != Kind::Short,
            "{} {}: {size:?}",
            line.locale,
            line.kind.as_str()
        );
    }
    assert_eq!(texts.check().len(), 10 * Kind::ALL.len());
}

#[test]
fn a_message_contains_its_code_once_and_no_other_run_of_digits() {
    for digits in ["0123", "123456", "0123456789"] {
        for tag in tags() {
            for ttl_secs in [60, 300, 600] {
                let text = plain().code(&code(digits), Some(tag), ttl_secs);
                assert_eq!(runs(&text), [digits], "{tag}: {text}");
                assert!(text.contains(&(ttl_secs / 60).to_string()), "{tag}: {text}");
                assert_eq!(measure(&text).segments, 1);
            }
        }
    }
    let text = plain().code(&code("123456"), None, 300);
    assert_eq!(text, "123456 is your Latchkey code. It is valid for 5 min. Do not share it.");
    assert!(plain().code(&code("123456"), None, 119).contains(" 1 min"), "rounded down");
}

#[test]
fn wordings_use_the_default_alphabet_where_possible() {
    for tag in ["en", "de", "fr", "tr", "id"] {
        let text = plain().code(&code("123456"), Some(tag), 300);
        assert_eq!(measure(&text).encoding, Encoding::Gsm7, "{text}");
    }
}

#[test]
fn a_right_to_left_message_isolates_name_and_code() {
    for tag in ["fa", "ar"] {
        let text = plain().code(&code("123456"), Some(tag), 300);
        assert!(
            text.contains("\u{2066}123456\u{2069}") && text.contains("\u{2066}Latchkey\u{2069}"),
            "{text:?}"
        );
        assert!(
            text.chars().next().is_some_and(|c| c > '\u{600}'),
            "the first letter sets the direction: {text:?}"
        );
        assert_eq!(text.matches('\u{2066}').count(), text.matches('\u{2069}').count());
    }
    assert!(plain().code(&code("123456"), Some("en"), 300).is_ascii());
}

#[test]
fn a_locale_falls_back_subtag_by_subtag_and_to_english_last() {
    let texts = plain();
    let text = |tag| texts.code(&code("123456"), tag, 300);
    assert_eq!(text(Some("fr-FR")), text(Some("fr")));
    assert_eq!(text(Some("FA-ir")), text(Some("fa")));
    assert_eq!(text(Some("de-Latn-DE-u-co-phonebk")), text(Some("de")));
    for (tag, same) in [("pt", "pt-BR"), ("pt-PT", "pt-BR")] {
        assert_eq!(text(Some(tag)), text(Some(same)), "the only wording of the language");
    }
    for tag in [None, Some("zh-Hant-TW"), Some("kl"), Some(""), Some("not a locale"), Some("p")] {
        assert_eq!(text(tag), text(Some("en")), "{tag:?}");
    }
    let all: std::collections::BTreeSet<_> =
        tags().into_iter().map(|tag| text(Some(tag))).collect();
    assert_eq!(all.len(), tags().len(), "each locale has its own words");
}

#[test]
fn a_call_says_the_code_twice_digit_by_digit_and_no_other_digit() {
    for digits in ["0123", "907856", "0123456789"] {
        for tag in tags() {
            let voice = plain().voice(&code(digits), Some(tag));
            let said: String = voice.chars().filter(char::is_ascii_digit).collect();
            assert_eq!(said, digits.repeat(2), "{voice}");
            let spoken = SpeechText::read(&voice);
            assert_eq!(spoken.language, Some(tag));
            assert!(runs(&voice).is_empty(), "{voice}");
        }
    }
    let voice = plain().voice(&code("012345"), None);
    assert_eq!(
        voice,
        "[en] Your verification code is: 0, 1, 2, 3, 4, 5. Once more: 0, 1, 2, 3, 4, 5."
    );
}

#[test]
fn a_name_with_digits_is_allowed_in_messages_but_not_in_calls() {
    let studio = config("Studio 54");
    let texts = Texts::load(&studio, LONGEST_CODE).unwrap();
    assert_eq!(runs(&texts.code(&code("123456"), None, 300)), ["123456"]);
    let said: String =
        texts.voice(&code("1234"), None).chars().filter(char::is_ascii_digit).collect();
    assert_eq!(said, "12341234");
    let folder = Folder::with(&[("en.voice.txt", "{app} says {digits}, {digits}")]);
    let error =
        Texts::load(&config::Texts { texts_dir: Some(folder.0.clone()), ..studio }, LONGEST_CODE)
            .unwrap_err();
    assert!(format!("{error:#}").contains("LATCHKEY_APP_NAME has digits"), "{error:#}");
    assert!(
        folder.load().unwrap().voice(&code("1234"), None).starts_with("[en] Latchkey says 1, 2")
    );
}

#[test]
fn f15_notices_have_no_digits_and_no_link_and_differ() {
    let mut said = std::collections::BTreeSet::new();
    for tag in tags() {
        for notice in NOTICES {
            let text = plain().notice(notice, Some(tag));
            assert!(!text.chars().any(char::is_numeric) && text.contains("Latchkey"), "{text}");
            assert!(!text.contains("://") && !text.contains("www"), "{text}");
            assert_eq!(measure(&text).segments, 1, "{text}");
            said.insert(text);
        }
    }
    assert_eq!(said.len(), tags().len() * NOTICES.len(), "one for each locale and kind");
}

#[test]
fn the_lines_for_phones_are_last_and_in_order() {
    let mut wanted = config("Latchkey");
    wanted.android_app_hash = Some(HASH.into());
    let text = |wanted: &config::Texts, tag| {
        Texts::load(wanted, 6).unwrap().code(&code("123456"), Some(tag), 300)
    };
    for tag in tags() {
        let android = text(&wanted, tag);
        assert!(android.ends_with(&format!("\n{HASH}")) && android.len() <= 140, "{android}");
    }
    wanted.webotp_domain = Some("example.com".into());
    for tag in tags() {
        let both = text(&wanted, tag);
        assert!(
            both.ends_with(&format!("\n{HASH}\n@example.com #123456")) && both.len() <= 140,
            "{both}"
        );
        assert_eq!(measure(&both).segments, 1, "{both}");
        assert_eq!(runs(&both)[0], "123456", "the first run of digits is the code");
    }
    assert!(text(&wanted, "fa").starts_with("کد \u{2066}Latchkey"), "the short wording is used");
    wanted.android_app_hash = None;
    assert!(text(&wanted, "en").ends_with("Do not share it.\n@example.com #123456"));
}

#[test]
fn lines_that_do_not_fit_one_segment_are_refused_at_start_naming_the_locale() {
    let mut wanted = config("Latchkey");
    wanted.webotp_domain = Some(format!("{}.example", "a".repeat(40)));
    let error = format!("{:#}", Texts::load(&wanted, LONGEST_CODE).unwrap_err());
    assert!(error.contains("locale ") && error.contains("LATCHKEY_WEBOTP_DOMAIN"), "{error}");
    assert!(error.contains("of 70 units of UCS-2"), "{error}");
}

#[test]
fn the_operators_wordings_replace_the_built_in_ones_of_the_same_locale_and_kind() {
    let folder = Folder::with(&[
        ("en.txt", "Use code {code} for {app}.\n"),
        ("sv.txt", "\u{feff}Din kod: {code}"),
        ("es-419.voice.txt", "Su código: {digits}. Otra vez: {digits}."),
        (".hidden", "ignored"),
    ]);
    let texts = folder.load().unwrap();
    assert_eq!(texts.code(&code("123456"), None, 300), "Use code 123456 for Latchkey.");
    assert_eq!(texts.code(&code("123456"), Some("sv-SE"), 300), "Din kod: 123456");
    assert!(
        texts.voice(&code("123456"), Some("sv")).starts_with("[en] "),
        "there is no Swedish voice wording"
    );
    assert!(
        texts.voice(&code("123456"), Some("es-419")).starts_with("[es] Su "),
        "a tag without digits"
    );
    assert!(
        texts.code(&code("123456"), Some("fr"), 300).contains("votre code"),
        "other locales are unchanged"
    );
}

#[test]
fn a_wording_that_breaks_a_rule_is_refused_naming_file_and_rule() {
    for (name, text, rule) in [
        ("en.txt", "", "empty"),
        ("en.txt", "Your code", "{code} 0 times"),
        ("en.txt", "{code} and code {code}", "{code} 2 times"),
        ("en.txt", "{code} is your password", "says \"code\""),
        ("en.txt", "{code} is your code, {name}", "{name} is not known"),
        ("en.txt", "code {code", "without }"),
        ("en.txt", "code code} {code}", "without {"),
        ("en.txt", "code {code} valid 5 min", "digit"),
        ("fa.txt", "کد {code} تا ۵ دقیقه", "digit"),
        ("fr.txt", "code {code}\nsecond line", "control character"),
        ("fr.txt", "code {code}\u{202e}", "bidirectional"),
        ("fr.txt", "code {digits}", "{code} 0 times"),
        ("fr.txt", &format!("code {{code}} {}", "x".repeat(160)), "too long"),
        ("ar.txt", &format!("رمز {{code}} {}", "ر".repeat(60)), "too long"),
        ("fr.voice.txt", "Code {digits}", "{digits} 1 times"),
        ("fr.voice.txt", "Code {code}, {digits}, {digits}", "{code} is not allowed"),
        ("fr.changed.txt", "Changed to {code}", "{code} is not allowed"),
        ("fr.changed.txt", &"x".repeat(161), "does not fit one segment"),
        ("fr.password.txt", "Code {code}", "{code} is not allowed"),
        ("fr.deleted.txt", &"x".repeat(161), "does not fit one segment"),
        ("en_US.txt", "code {code}", "not a BCP 47 locale"),
        ("en.sms.txt", "code {code}", "is not named"),
        ("en.text", "code {code}", "is not named"),
    ] {
        let error = format!("{:#}", Folder::with(&[(name, text)]).load().unwrap_err());
        let placeholder = name.split('.').next().unwrap();
        assert!(error.contains(rule) && error.contains(placeholder), "{name} {text:?}: {error}");
    }
    let missing = config::Texts { texts_dir: Some("/no/such/folder".into()), ..config("Latchkey") };
    assert!(
        format!("{:#}", Texts::load(&missing, LONGEST_CODE).unwrap_err())
            .contains("LATCHKEY_TEXTS_DIR")
    );
}
