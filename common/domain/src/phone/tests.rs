use super::*;

fn policy() -> Policy {
    Policy::default()
}

fn served(countries: &[&str]) -> Policy {
    let countries = Some(countries.iter().map(ToString::to_string).collect());
    Policy { countries, ..Policy::default() }
}

#[test]
fn a_phone_prints_only_its_ends() {
    let shown = |e164| format!("{:?}", Phone::trusted(e164).unwrap());
    assert_eq!(shown("+989123456789"), "+98912***89");
    assert_eq!(shown("+14155552671"), "+1415***71");
    // Short numbers also hide four digits.
    assert_eq!(shown("+6421123456"), "+6421***56");
    assert_eq!(shown("+29051234"), "+290***4");
    assert_eq!(shown("+9991234"), "+9***34", "no calling code");
    for e164 in ["+989123456789", "+29051234", "+999123456789012", "+1234567"] {
        let digits = shown(e164).chars().filter(char::is_ascii_digit).count();
        assert!(digits + 4 < e164.len(), "{e164} shows {digits} digits");
    }
}

#[test]
fn the_parts_of_a_number_are_split_at_the_calling_code() {
    let phone = policy().parse("+98 912 345 6789").unwrap();
    assert_eq!(
        (
            phone.e164().expose(),
            phone.e164().calling_code(),
            phone.e164().operator_prefix(),
            phone.e164().national_number(),
            phone.region()
        ),
        ("+989123456789", "98", "989123", "9123456789", "IR")
    );
    let phone = policy().parse("+1 876 234 5678").unwrap();
    assert_eq!(
        (phone.e164().calling_code(), phone.e164().operator_prefix(), phone.region()),
        ("1", "18762", "JM")
    );
    let phone = policy().parse("+225 01 23 45 67 89").unwrap();
    assert_eq!(
        (phone.e164().calling_code(), phone.e164().national_number()),
        ("225", "0123456789"),
        "the leading zero is kept"
    );
}

#[test]
fn a_stored_number_is_equal_to_the_parsed_one() {
    for e164 in ["+989123456789", "+14155552671", "+5491123456789", "+2250123456789"] {
        assert_eq!(policy().parse(e164).unwrap(), Phone::trusted(e164).unwrap());
    }
    for bad in ["", "989123456789", "+98912", "+98 9123456789", "+1234567890123456"] {
        assert!(Phone::trusted(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn countries_are_served_by_numbering_region_and_not_by_calling_code() {
    let policy = served(&["US", "CA", "GB"]);
    for phone in ["+14155552671", "+16475550123", "+447400123456"] {
        assert_eq!(policy.parse(phone).unwrap().e164(), phone);
    }
    // Jamaica, Dominican Republic, Jersey, Guernsey, Isle of Man, Iran.
    for phone in [
        "+18762345678",
        "+18092345678",
        "+447797712345",
        "+447911123456",
        "+447624123456",
        "+989123456789",
    ] {
        assert_eq!(policy.parse(phone), Err(Refusal::NotSupported), "{phone}");
    }
}

#[test]
fn a_number_of_no_mobile_subscriber_is_not_supported() {
    for (what, phone) in [
        ("satellite", "+881612345678"),
        ("maritime satellite", "+870773111632"),
        ("international network", "+88216123456"),
        ("international network", "+883510012345678"),
        ("disaster relief", "+888123456789"),
        ("international premium", "+979123456789"),
        ("international freephone", "+80012345678"),
        ("international shared cost", "+80812345678"),
        ("premium", "+19002345678"),
        ("premium", "+449098790000"),
        ("personal", "+447012345678"),
        ("pager", "+447640123456"),
        ("fixed line", "+441212345678"),
        ("toll free", "+18002345678"),
        ("VoIP", "+445612345678"),
        ("company", "+443012345678"),
        ("voicemail", "+41860781234567"),
    ] {
        assert_eq!(policy().parse(phone), Err(Refusal::NotSupported), "{what} {phone}");
    }
}

#[test]
fn a_national_number_needs_a_default_region() {
    assert_eq!(policy().parse("09123456789"), Err(Refusal::Invalid));
    let iran = Policy { default_region: Some("IR".into()), ..Policy::default() };
    for writing in
        ["09123456789", "0912 345 6789", "9123456789", "+98 912 345 6789", "00989123456789"]
    {
        assert_eq!(iran.parse(writing).unwrap().e164(), "+989123456789", "{writing}");
    }
    assert_eq!(iran.parse("+14155552671").unwrap().e164(), "+14155552671");
}

#[test]
fn a_test_number_skips_the_plans_and_the_countries_but_only_in_full() {
    let mut policy = served(&["GB"]);
    policy.test_numbers =
        ["+15550100001", "+9991234", "+989123456789"].map(|number| number.parse().unwrap()).into();
    for (writing, e164, region) in [
        ("+1 (555) 010-0001", "+15550100001", "ZZ"),
        ("0015550100001", "+15550100001", "ZZ"),
        ("+999 12-34", "+9991234", "ZZ"),
        ("+98 912 345 6789", "+989123456789", "IR"),
    ] {
        let phone = policy.parse(writing).unwrap();
        assert_eq!((phone.e164().expose(), phone.region()), (e164, region));
    }
    assert_eq!(policy.parse("+15550100002"), Err(Refusal::Invalid));
    assert_eq!(policy.parse("+1555010000"), Err(Refusal::Invalid));
    assert_eq!(
        policy.parse("+15550100001 x"),
        Err(Refusal::Invalid),
        "a test number must be spelled plainly too"
    );
    let outside: E164 = "+9991234".parse().unwrap();
    assert_eq!((outside.calling_code(), outside.operator_prefix()), ("", "9991"));

    let home = Policy { default_region: Some("US".into()), ..policy };
    assert_eq!(home.parse("(555) 010-0001").unwrap().e164(), "+15550100001");
}

#[test]
fn a_megabyte_of_digits_is_refused_without_parsing() {
    assert_eq!(policy().parse(&"1".repeat(1 << 20)), Err(Refusal::Invalid));
}

#[test]
fn p10_a_number_travels_as_plain_text_and_prints_masked() {
    let number: E164 = serde_json::from_str(r#""+989123456789""#).unwrap();
    assert_eq!(serde_json::to_string(&number).unwrap(), r#""+989123456789""#);
    assert_eq!(
        (format!("{number:?}"), format!("{number}")),
        ("+98912***89".into(), "+98912***89".into())
    );
    assert_eq!((number.expose(), number.digits()), ("+989123456789", "989123456789"));
    let refused = serde_json::from_str::<E164>(r#""+98 9123""#).unwrap_err().to_string();
    assert!(!refused.contains("9123"), "{refused}");
}

#[test]
fn every_default_region_has_a_number_to_warm_up_with() {
    for region in ["IR", "US", "GB", "AR", "CI"] {
        let example = plan::example(region).unwrap();
        assert_eq!(policy().parse(&example).unwrap().region(), region, "{example}");
    }
    assert_eq!((plan::example("ZZ"), plan::example("X")), (None, None));
    warm_up(None);
    warm_up(Some("ZZ"));
}
