//! The bytes of a connection. Where we see a whole head, the parser that hyper uses must see the same head with the same
//! framing, or none: else a request could be smuggled between the two.
#![no_main]

use gateway::fuzzing;
use httparse::{Request, Status};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(found) = fuzzing::head(bytes) else { return };
    // hyper's own limit.
    let mut headers = [httparse::EMPTY_HEADER; 100];
    let mut request = Request::new(&mut headers);
    let parsed = request.parse(bytes);
    let Some((end, length)) = found else {
        let begins = bytes.first().is_some_and(|byte| !byte.is_ascii_whitespace());
        assert!(
            !begins || !matches!(parsed, Ok(Status::Complete(_))),
            "a head that only hyper sees"
        );
        return;
    };
    let Ok(Status::Complete(theirs)) = parsed else {
        assert!(parsed.is_err(), "hyper waits for more of a head that is whole");
        return;
    };
    assert_eq!(theirs, end, "the head ends elsewhere for hyper");

    let values = |name: &str| {
        let named = request.headers.iter().filter(|header| header.name.eq_ignore_ascii_case(name));
        named.map(|header| header.value).collect::<Vec<_>>()
    };
    let (lengths, codings) = (values("content-length"), values("transfer-encoding"));
    match length {
        None => assert!(lengths.is_empty() && !codings.is_empty()),
        Some(0) if lengths.is_empty() => assert!(codings.is_empty()),
        Some(length) => {
            assert!(codings.is_empty());
            let [given] = *lengths else { panic!("{} lengths", lengths.len()) };
            let given = std::str::from_utf8(given).expect("digits").parse::<u64>();
            assert_eq!(given, Ok(length));
        }
    }
    if request.version == Some(1) {
        assert_eq!(values("host").len(), 1);
    }
});
