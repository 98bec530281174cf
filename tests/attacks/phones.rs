//! Input that is not a number, numbers that cost money, and one subscriber in many notations.

use reqwest::Method;
use serde_json::json;

use super::money::access;
use super::system;
use testkit::both_sides;
use testkit::system::Side;

both_sides!(
    a_number_not_written_plainly_is_refused,
    numbers_that_cost_money_or_reach_no_handset_are_refused,
    one_subscriber_has_one_key_however_the_number_is_written,
    a_country_is_a_numbering_region_not_a_calling_code,
);

async fn a_number_not_written_plainly_is_refused(side: Side) {
    let system = system(side, &[]).await;
    let api = system.api();
    let access = access(&api).await;
    let digits = "1".repeat(1_000_000);
    for writing in [
        "tel:+14155552672",
        "++14155552672",
        "+14155552672;ext=5",
        "+14155552672 x5",
        "+14155552672,,12",
        "+1415CALLNOW",
        "+1415\u{202e}5552672",
        "+1415\u{200b}5552672",
        "+1415\u{ad}5552672",
        "+1415\u{0}5552672",
        "+1415\u{a0}5552672",
        "+1415\u{2013}5552672",
        "+\u{661}\u{664}\u{661}\u{665}\u{665}\u{665}\u{665}\u{662}\u{666}\u{667}\u{661}",
        "\u{ff0b}\u{ff11}4155552672",
        "+dwPAA;phone-context=AA",
        "+14155552672;phone-context=+1",
        "+14155552672\r\n",
        "+1 (415)     555    -    2671    ",
        "4155552672",
        "+",
        "",
    ] {
        for path in ["/v1/otp", "/v1/signup", "/v1/login", "/v1/token", "/v1/me/phone"] {
            let body = json!({ "phone_number": writing, "first_name": "A", "last_name": "B" });
            let body = match path {
                "/v1/otp" | "/v1/me/phone" => json!({ "phone_number": writing }),
                "/v1/signup" => body,
                "/v1/login" => json!({ "phone_number": writing, "otp": "123456" }),
                _ => json!({ "phone_number": writing, "password": "a password of somebody" }),
            };
            let answer = api.signed_in(Method::POST, path, &access, Some(body)).await;
            assert_eq!(answer.status, 400, "{path} {writing:?}: {}", answer.body);
            let code = answer.text("code");
            assert!(
                ["invalid_phone_number", "invalid_request"].contains(&code.as_str()),
                "{path} {writing:?}: {code}"
            );
            assert!(!answer.body.to_string().contains("2672"), "echoed: {}", answer.body);
        }
    }
    api.post("/v1/otp", json!({ "phone_number": digits })).await.problem(413, "payload_too_large");
}

async fn numbers_that_cost_money_or_reach_no_handset_are_refused(side: Side) {
    let system = system(side, &[]).await;
    let api = system.api();
    let access = access(&api).await;
    for number in [
        "+881612345678",
        "+870773111632",
        "+88216123456",
        "+8835100012345",
        "+888123456789",
        "+979123456789",
        "+80812345678",
        "+80012345678",
        "+19002345678",
        "+18002345678",
        "+447012345678",
        "+449098790000",
        "+447640123456",
        "+441212345678",
    ] {
        for path in ["/v1/otp", "/v1/signup", "/v1/me/phone"] {
            let mut body = json!({ "phone_number": number });
            if path == "/v1/signup" {
                body["first_name"] = "A".into();
                body["last_name"] = "B".into();
            }
            let answer = api.signed_in(Method::POST, path, &access, Some(body)).await;
            assert_eq!(answer.status, 400, "{path} {number}: {}", answer.body);
            assert!(
                ["invalid_phone_number", "phone_number_not_supported"]
                    .contains(&answer.text("code").as_str()),
                "{path} {number}: {}",
                answer.body
            );
        }
    }
}

async fn one_subscriber_has_one_key_however_the_number_is_written(side: Side) {
    let system = system(side, &[("LATCHKEY_RESEND_COOLDOWN_SECS", "30")]).await;
    let api = system.api();
    for (key, first, others) in [
        (
            "+5491123456789",
            "+54 11 2345-6789",
            &["+54 9 11 2345 6789", "005491123456789", "+54 (0) 9 11 2345-6789"][..],
        ),
        ("+525512345678", "+52 1 55 1234 5678", &["+52 55 1234 5678", "+5215512345678"]),
        ("+447400123456", "+44 (0)7400 123456", &["00447400123456", "+44.7400.123456"]),
        ("+4915123456789", "+49 (0)1512/3456789", &["+49 1512 3456789"]),
        ("+989123456789", "+98 0912 345 6789", &["00989123456789", "+98-912-345-6789"]),
    ] {
        let answer = api.otp(first).await.expect(202);
        assert_eq!(answer.text("phone_number"), key, "{first}");
        for other in others {
            let refused = api.otp(other).await.problem(429, "resend_too_soon");
            assert_eq!(refused["limit"], "cooldown", "{other}");
        }
    }
}

async fn a_country_is_a_numbering_region_not_a_calling_code(side: Side) {
    let system = system(side, &[("LATCHKEY_COUNTRIES", "US,CA,GB")]).await;
    let api = system.api();
    for served in ["+14155552671", "+16045552671", "+447400123456"] {
        api.otp(served).await.expect(202);
    }
    for (elsewhere, whose) in [
        ("+18762101234", "Jamaica's, under +1"),
        ("+18097701234", "the Dominican Republic's, under +1"),
        ("+447797712345", "Jersey's, under +44"),
        ("+447624123456", "the Isle of Man's, under +44"),
        ("+989123456789", "Iran's"),
    ] {
        let answer = api.otp(elsewhere).await;
        assert_eq!(answer.status, 400, "{elsewhere} is {whose}: {}", answer.body);
        answer.problem(400, "phone_number_not_supported");
    }
}
