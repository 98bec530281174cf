//! Attempts to make someone else pay for texts.

use std::collections::BTreeMap;
use std::time::Instant;

use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use super::at_once::{an_exact_round, counted};
use super::{both, system};
use crate::accounts::in_process::InProcessLatchkey;
use testkit::both_sides;
use testkit::eventually;
use testkit::http::{Answer, Api, new_phone, once};
use testkit::system::Side;

/// Only a trusted proxy may name the client in a header.
const BEHIND_A_PROXY: (&str, &str) = ("LATCHKEY_TRUSTED_PROXIES", "127.0.0.1/32,10.0.0.0/8");

both_sides!(
    all_endpoints_and_channels_share_the_budget_of_a_phone,
    one_block_of_numbers_is_stopped_and_others_are_served,
    a_spoofed_address_is_ignored,
    behind_a_proxy_clients_are_distinguished_and_one_network_counts_as_one,
    f02_a_network_with_many_addresses_has_one_budget,
    f01_a_header_that_the_proxy_passes_on_names_nobody,
    f01_the_configured_header_alone_names_the_client,
    the_wait_is_right_to_the_second,
    run_time_blocks_stop_every_code_request,
    names_never_appear_in_a_text,
    test_numbers_cost_nothing_and_need_no_wait,
    f18_a_test_number_cannot_fill_the_store,
    f04_a_known_device_is_sent_codes_after_strangers_used_up_the_budget,
    one_key_gives_one_text,
    f27_calls_can_be_switched_off,
);

fn accepted(answers: &[Answer]) -> usize {
    answers.iter().filter(|answer| answer.status == 202).count()
}

async fn request_from(api: &Api, phone: &str, headers: &[(&str, &str)]) -> Answer {
    once(api.post_with("/v1/otp", json!({ "phone_number": phone }), headers)).await
}

pub(super) async fn access(api: &Api) -> String {
    api.sign_in(&new_phone()).await["access"].as_str().unwrap().to_owned()
}

pub(super) async fn voice(api: &Api, phone: &str) -> Answer {
    api.post("/v1/otp", json!({ "phone_number": phone, "channel": "voice" })).await
}

/// Requests a code for a change of phone.
pub(super) async fn change(api: &Api, access: &str, phone: &str) -> Answer {
    let body = Some(json!({ "phone_number": phone }));
    api.signed_in(Method::POST, "/v1/me/phone", access, body).await
}

async fn all_endpoints_and_channels_share_the_budget_of_a_phone(side: Side) {
    let system = system(side, &[("LATCHKEY_SENDS_PER_PHONE_HOUR", "5")]).await;
    let apis = both(&system);
    // A change of phone also sends to the number, whichever account requests it.
    let (access, others) = (&access(&apis[0]).await, &access(&apis[1]).await);
    let mut phone = String::new();
    an_exact_round(&system, async || {
        phone = new_phone();
        let phone = &phone;
        let code_requests = (0..20).map(|n| {
            let api = &apis[n % 2];
            async move {
                match n % 5 {
                    0 => api.otp(phone).await,
                    1 => api.signup(phone, &format!("Name {n}"), "Same").await,
                    2 => voice(api, phone).await,
                    3 => change(api, access, phone).await,
                    _ => change(api, others, phone).await,
                }
            }
        });
        let answers = once(join_all(code_requests)).await;
        let statuses = counted(&answers);
        assert!(accepted(&answers) <= 5, "{statuses:?}");
        if !statuses.contains_key(&503) {
            assert_eq!(statuses, BTreeMap::from([(202, 5), (429, 15)]));
        }
        for refused in answers.into_iter().filter(|answer| answer.status == 429) {
            assert_eq!(refused.problem(429, "too_many_requests")["limit"], "phone_hour");
        }
        statuses
    })
    .await;
    let phone = &phone;
    for refused in [voice(&apis[1], phone).await, change(&apis[0], access, phone).await] {
        assert_eq!(refused.problem(429, "too_many_requests")["limit"], "phone_hour");
    }
    eventually("five texts", testkit::PATIENCE, async || {
        (apis[0].messages(phone).await.len() == 5).then_some(())
    })
    .await;
}

async fn one_block_of_numbers_is_stopped_and_others_are_served(side: Side) {
    let limits = [("LATCHKEY_SENDS_PER_PREFIX_HOUR", "40"), BEHIND_A_PROXY];
    let system = system(side, &limits).await;
    let apis = both(&system);
    // Numbers of one operator's block, each from its own address; a repeated round uses another block.
    let mut blocks = ["2637720", "2637721", "2637722"].into_iter();
    an_exact_round(&system, async || {
        let block = blocks.next().unwrap();
        let code_requests = (0..200).map(|n| {
            let api = &apis[n % 2];
            async move {
                let (phone, address) = (format!("+{block}0{n:04}"), format!("203.0.{n}.113"));
                request_from(api, &phone, &[("x-forwarded-for", &address)]).await
            }
        });
        let answers = join_all(code_requests).await;
        let statuses = counted(&answers);
        assert!(accepted(&answers) <= 40, "{statuses:?}");
        if !statuses.contains_key(&503) {
            assert_eq!(statuses, BTreeMap::from([(202, 40), (429, 160)]));
        }
        for refused in answers.into_iter().filter(|answer| answer.status == 429) {
            let refused = refused.problem(429, "too_many_requests");
            assert_eq!(refused["limit"], "prefix_hour");
            assert!((3500..=3600).contains(&refused["retry_after"].as_u64().unwrap()));
        }
        statuses
    })
    .await;
    for _ in 0..20 {
        apis[0].otp(&new_phone()).await.expect(202);
    }
}

async fn a_spoofed_address_is_ignored(side: Side) {
    let system = system(side, &[("LATCHKEY_SENDS_PER_IP_HOUR", "4")]).await;
    let apis = both(&system);
    for (n, header) in ["x-forwarded-for", "forwarded", "cf-connecting-ip", "x-real-ip"]
        .into_iter()
        .chain(["x-forwarded-for", "forwarded", "cf-connecting-ip", "true-client-ip"])
        .enumerate()
    {
        let value = match header {
            "forwarded" => format!("for=198.51.100.{n}"),
            _ => format!("198.51.100.{n}"),
        };
        let answer = request_from(&apis[n % 2], &new_phone(), &[(header, &value)]).await;
        if n < 4 {
            answer.expect(202);
        } else {
            assert_eq!(answer.problem(429, "too_many_requests")["limit"], "ip_hour", "{header}");
        }
    }
}

async fn behind_a_proxy_clients_are_distinguished_and_one_network_counts_as_one(side: Side) {
    let system = system(side, &[("LATCHKEY_SENDS_PER_IP_HOUR", "2"), BEHIND_A_PROXY]).await;
    let api = system.api();
    let limited = async |headers: &[(&str, &str)]| {
        request_from(&api, &new_phone(), headers).await.status == 429
    };
    for (first, second, third) in [
        // One /64 is one household; the next one is another.
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", "2001:db8:1:2:a:b:c:d"),
        ("192.0.2.7", "::ffff:192.0.2.7", "::ffff:c000:207"),
        // Entries from the client stand left of those from the proxies.
        ("192.0.2.8", "203.0.113.1, 192.0.2.8", "8.8.8.8, 192.0.2.8, 10.1.1.1"),
    ] {
        assert!(!limited(&[("x-forwarded-for", first)]).await, "{first}");
        assert!(!limited(&[("x-forwarded-for", second)]).await, "{second}");
        assert!(limited(&[("x-forwarded-for", third)]).await, "{third}");
    }
    assert!(!limited(&[("x-forwarded-for", "2001:db8:1:3::1")]).await, "another /64");
}

/// F1: a proxy writes one header and passes on whatever else the client sends.
async fn f01_a_header_that_the_proxy_passes_on_names_nobody(side: Side) {
    let more = [
        ("LATCHKEY_SENDS_PER_IP_HOUR", "2"),
        ("LATCHKEY_LOGINS_PER_IP_MINUTE", "3"),
        BEHIND_A_PROXY,
    ];
    let system = system(side, &more).await;
    let api = system.api();
    let headers = [
        "forwarded",
        "cf-connecting-ip",
        "x-real-ip",
        "fly-client-ip",
        "true-client-ip",
        "x-client-ip",
    ];
    for (n, header) in headers.into_iter().enumerate() {
        let client = format!("203.0.{n}.9");
        let claim = |n| match header {
            "forwarded" => format!("for=198.18.0.{n}"),
            _ => format!("198.18.0.{n}"),
        };
        for n in 0..3 {
            let claimed = claim(n);
            let headers = [("x-forwarded-for", client.as_str()), (header, claimed.as_str())];
            let answer = request_from(&api, &new_phone(), &headers).await;
            if n < 2 {
                answer.expect(202);
            } else {
                assert_eq!(
                    answer.problem(429, "too_many_requests")["limit"],
                    "ip_hour",
                    "{header}"
                );
            }
        }
    }
    // Logins, too, from a client that the proxy does not name: the proxy's own address counts.
    for n in 0..4 {
        let claimed = format!("for=198.18.0.{n}");
        let body = json!({ "phone_number": new_phone(), "otp": "123456" });
        let answer = api.post_with("/v1/login", body, &[("forwarded", &claimed)]).await;
        if n < 3 {
            answer.problem(401, "otp_incorrect");
        } else {
            assert_eq!(answer.problem(429, "too_many_requests")["limit"], "logins_ip");
        }
    }
}

const BEHIND_A_WIDE_NETWORK: (&str, &str) =
    ("LATCHKEY_TRUSTED_PROXIES", "127.0.0.1/32,10.0.0.0/8,172.0.0.0/7");

/// F1: with `forwarded` configured, `X-Forwarded-For` is the client's own.
async fn f01_the_configured_header_alone_names_the_client(side: Side) {
    for (header, value) in
        [("forwarded", "for=\"[2001:db8:9::1]:4711\""), ("cf-connecting-ip", "203.0.113.7")]
    {
        let more = [
            ("LATCHKEY_SENDS_PER_IP_HOUR", "2"),
            ("LATCHKEY_CLIENT_IP_HEADER", header),
            BEHIND_A_WIDE_NETWORK,
        ];
        let system = system(side, &more).await;
        let api = system.api();
        assert!(system.output().contains("172.0.0.0/7"), "a network that is too wide is a warning");
        for n in 0..3 {
            let spoofed = format!("198.51.100.{n}");
            let headers = [(header, value), ("x-forwarded-for", spoofed.as_str())];
            let limited = request_from(&api, &new_phone(), &headers).await.status == 429;
            assert_eq!(limited, n == 2, "{header}");
        }
    }
}

/// The address with this number in a network.
type NumberedAddress = fn(usize) -> String;

async fn f02_a_network_with_many_addresses_has_one_budget(side: Side) {
    let settings = [
        ("LATCHKEY_SENDS_PER_IP_HOUR", "2"),
        ("LATCHKEY_LOGINS_PER_IP_MINUTE", "2"),
        BEHIND_A_PROXY,
    ];
    let system = system(side, &settings).await;
    let apis = both(&system);
    let answer = async |path: &str, n: usize, address: &str| {
        let body = match path {
            "/v1/otp" => json!({ "phone_number": new_phone() }),
            _ => json!({ "phone_number": new_phone(), "otp": "000000" }),
        };
        apis[n % 2].post_with(path, body, &[("x-forwarded-for", address)]).await
    };
    // The addresses of a network, each used once, and how many are served.
    let networks: [(NumberedAddress, usize); 3] = [
        (|n| format!("198.51.100.{n}"), 10),
        (|n| format!("2001:db8:1:2{n:02x}::1"), 6),
        (|n| format!("2001:db8:2:{n:x}00::1"), 20),
    ];
    for (address, served) in networks {
        for n in 0..served {
            answer("/v1/otp", n, &address(n)).await.expect(202);
        }
        for n in served..served + 3 {
            let refused = answer("/v1/otp", n, &address(n)).await;
            assert_eq!(refused.problem(429, "too_many_requests")["limit"], "ip_hour");
        }
    }
    for n in 0..6 {
        answer("/v1/login", n, &networks[1].0(n)).await.problem(401, "otp_incorrect");
    }
    let refused = answer("/v1/login", 6, &networks[1].0(6)).await;
    assert_eq!(refused.problem(429, "too_many_requests")["limit"], "logins_ip");
    answer("/v1/otp", 0, "198.51.101.1").await.expect(202);
}

async fn the_wait_is_right_to_the_second(side: Side) {
    let cooldown = ("LATCHKEY_RESEND_COOLDOWN_SECS", "60");
    let latchkey = InProcessLatchkey::start_with(side, 1, &[cooldown]).await;
    let (api, phone) = (latchkey.api(), new_phone());
    // Returns the wait after a request, which this cooldown follows.
    let wait = async |cooldown: u64| {
        let start = Instant::now();
        let asked = api.otp(&phone).await.expect(202);
        assert_eq!(asked.body["resend_in"], cooldown);
        let refused = api.otp(&phone).await.problem(429, "resend_too_soon");
        let wait = refused["retry_after"].as_u64().unwrap();
        // The clock runs on between the two calls, on a slow machine longer.
        let passed = start.elapsed().as_secs() + 1;
        assert!((cooldown - passed..=cooldown).contains(&wait), "{wait} of {cooldown}");
        wait
    };
    for cooldown in [60, 120] {
        // A client that waits as told is served.
        latchkey.advance(wait(cooldown).await);
    }
    let left = wait(240).await;
    // A code that was used ends the doubling.
    let code = api.code(&phone, 3).await;
    api.login(&phone, &code).await.expect(200);
    latchkey.advance(left);
    wait(60).await;
}

async fn run_time_blocks_stop_every_code_request(side: Side) {
    let system = system(side, &[BEHIND_A_PROXY]).await;
    let apis = both(&system);
    let access = apis[0].sign_in(&new_phone()).await["access"].as_str().unwrap().to_owned();
    let known = new_phone();
    apis[0].sign_in(&known).await;
    // In two hours, in the format of the commands.
    let until =
        domain::timestamp::Timestamp::from_ms(domain::clock::Clock::system().now_ms() + 7_200_000);
    let cases = [
        ("phone", known.clone(), known.clone(), "192.0.2.1"),
        ("phone", "+905321112233".to_owned(), "+905321112233".to_owned(), "192.0.2.1"),
        ("prefix", "23480".to_owned(), "+2348031234567".to_owned(), "192.0.2.1"),
        ("country", "KE".to_owned(), "+254712345678".to_owned(), "192.0.2.1"),
        ("ip", "198.51.100.0/24".to_owned(), new_phone(), "198.51.100.77"),
    ];
    for (kind, value, ..) in &cases {
        let args = ["block", "add", kind, value, "--reason", "test", "--owner", "tests"];
        system.run(&[&args[..], &["--until", &until.to_string()]].concat());
    }
    for (kind, _, phone, address) in &cases {
        for api in &apis {
            let code_requests: [(&str, Value); 2] = [
                ("/v1/otp", json!({ "phone_number": phone })),
                (
                    "/v1/signup",
                    json!({ "phone_number": phone, "first_name": "A", "last_name": "B" }),
                ),
            ];
            for (path, body) in code_requests {
                let refused = eventually("the block", testkit::PATIENCE, async || {
                    let headers = [("x-forwarded-for", *address)];
                    let answer = api.post_with(path, body.clone(), &headers).await;
                    (answer.status != 202).then_some(answer)
                })
                .await
                .problem(429, "too_many_requests");
                assert_eq!(refused["limit"], "blocked", "{kind} {path}");
                let wait = refused["retry_after"].as_u64().unwrap();
                assert!((7100..=7200).contains(&wait), "{kind} {path}: {wait}");
            }
        }
        if *kind != "ip" {
            let body = Some(json!({ "phone_number": phone }));
            let refused = apis[1].signed_in(Method::POST, "/v1/me/phone", &access, body).await;
            assert_eq!(refused.problem(429, "too_many_requests")["limit"], "blocked", "{kind}");
        }
    }
    request_from(&apis[0], &new_phone(), &[("x-forwarded-for", "198.51.101.77")]).await.expect(202);
    request_from(&apis[0], "+905321112234", &[]).await.expect(202);
}

async fn names_never_appear_in_a_text(side: Side) {
    let system = system(side, &[]).await;
    let api = system.api();
    for name in ["Ж".repeat(100), "Press 1 http://evil.example".to_owned(), "🎈".repeat(50)] {
        let phone = new_phone();
        api.signup(&phone, &name, &name).await.expect(202);
        api.code(&phone, 1).await;
        let text = api.messages(&phone).await[0]["text"].as_str().unwrap().to_owned();
        assert!(!text.contains(&name[..4]), "{text}");
        assert!(text.is_ascii() && text.len() <= 160, "more than one segment: {text}");
    }
}

async fn test_numbers_cost_nothing_and_need_no_wait(side: Side) {
    let numbers = "+15550100001=424242@2099-01-01,+9990000001=717171@2099-01-01";
    let system = system(
        side,
        &[
            ("LATCHKEY_TEST_NUMBERS", numbers),
            ("LATCHKEY_SENDS_PER_PHONE_HOUR", "1"),
            ("LATCHKEY_RESEND_COOLDOWN_SECS", "30"),
        ],
    )
    .await;
    let api = system.api();
    for (phone, code) in [("+15550100001", "424242"), ("+9990000001", "717171")] {
        let mut last = String::new();
        for _ in 0..3 {
            last = api.otp(phone).await.expect(202).text("request_id");
        }
        eventually("the status of a test number", testkit::PATIENCE, async || {
            (api.status(&last).await.text("status") == "sent").then_some(())
        })
        .await;
        api.login(phone, "000000").await.problem(401, "otp_incorrect");
        api.login(phone, code).await.expect(200);
        api.login(phone, code).await.problem(401, "otp_incorrect");
        assert!(api.messages(phone).await.is_empty(), "a text was sent");
    }
}

async fn f18_a_test_number_cannot_fill_the_store(side: Side) {
    let settings = [
        ("LATCHKEY_TEST_NUMBERS", "+15550100001=424242@2099-01-01"),
        ("LATCHKEY_SENDS_PER_IP_HOUR", "60"),
        BEHIND_A_PROXY,
    ];
    let system = system(side, &settings).await;
    let apis = both(&system);
    // Requests until one is refused; returns how many were accepted, and the limit. A 503 may have counted.
    let until_refused = async |address: &str| {
        let (mut accepted, mut unserved) = (0, false);
        for n in 0..200 {
            let header = [("x-forwarded-for", address)];
            let answer = request_from(&apis[n % 2], "+15550100001", &header).await;
            match answer.status {
                202 => accepted += 1,
                503 => unserved = true,
                _ => {
                    let refused = answer.problem(429, "too_many_requests");
                    return (accepted, unserved, refused["limit"].as_str().unwrap().to_owned());
                }
            }
        }
        panic!("never refused")
    };
    let (accepted, unserved, limit) = until_refused("192.0.2.1").await;
    assert!(limit == "ip_hour" && (accepted == 60 || unserved && accepted < 60), "{accepted}");
    let (more, unserved_too, limit) = until_refused("198.51.100.1").await;
    let all = accepted + more;
    assert!(limit == "phone_hour" || unserved_too, "{limit}");
    assert!(all == 100 || (unserved || unserved_too) && all < 100, "{all}");
    apis[0].login("+15550100001", "424242").await.expect(200);
}

async fn f04_a_known_device_is_sent_codes_after_strangers_used_up_the_budget(side: Side) {
    let system = system(side, &[("LATCHKEY_SENDS_PER_PHONE_HOUR", "3")]).await;
    let apis = both(&system);
    let (phone, other) = (new_phone(), new_phone());
    let device = apis[0].sign_in(&phone).await["device_token"].as_str().unwrap().to_owned();
    let foreign = apis[0].sign_in(&other).await["device_token"].as_str().unwrap().to_owned();
    for api in &apis {
        api.otp(&phone).await.expect(202);
    }
    let ask = async |n: usize, token: &str| {
        let body = json!({ "phone_number": phone, "device_token": token });
        apis[n % 2].post("/v1/otp", body).await
    };
    for n in 0..3 {
        for token in ["dt2.none", foreign.as_str()] {
            let refused = ask(n, token).await.problem(429, "too_many_requests");
            assert_eq!(refused["limit"], "phone_hour");
        }
        ask(n, &device).await.expect(202);
    }
    let refused = ask(0, &device).await.problem(429, "too_many_requests");
    assert_eq!(refused["limit"], "phone_hour", "three a day beyond the phone's");
    let code = apis[0].code(&phone, 6).await;
    apis[1].login(&phone, &code).await.expect(200);
}

async fn one_key_gives_one_text(side: Side) {
    let system = system(side, &[]).await;
    let apis = both(&system);
    let phone = &new_phone();
    let body = json!({ "phone_number": phone });
    let key = [("idempotency-key", "double-tap")];
    let taps = (0..20).map(|n| {
        let (api, body, key) = (&apis[n % 2], &body, &key);
        async move {
            let tap = api.post_with("/v1/otp", body.clone(), key).await;
            tap.expect(202).text("request_id")
        }
    });
    let mut requests = join_all(taps).await;
    requests.dedup();
    assert_eq!(requests.len(), 1);
    let code = apis[0].code(phone, 1).await;
    let other = json!({ "phone_number": phone, "channel": "voice" });
    apis[1].post_with("/v1/otp", other, &key).await.problem(422, "idempotency_key_reused");
    apis[0].login(phone, &code).await.expect(200);
    let after = apis[1].post_with("/v1/otp", body, &key).await.expect(202);
    assert_eq!(after.text("request_id"), requests[0], "also after login");
    assert_eq!(apis[0].messages(phone).await.len(), 1);
}

async fn f27_calls_can_be_switched_off(side: Side) {
    let system = system(side, &[("LATCHKEY_VOICE", "false")]).await;
    let [api, other] = both(&system);
    let phone = &new_phone();
    let sign_up = json!({
        "phone_number": phone, "first_name": "Ada", "last_name": "Love", "channel": "voice"
    });
    for refused in [voice(&api, phone).await, other.post("/v1/signup", sign_up).await] {
        let errors = &refused.problem(400, "invalid_request")["errors"];
        assert_eq!(errors[0]["field"], "channel");
        assert_eq!(errors[0]["code"], "not_offered");
    }
    let accepted = api.otp(phone).await.expect(202).text("request_id");
    let status = other.status(&accepted).await.expect(200);
    assert_eq!(status.body["next_channels"], json!([]));
    let code = api.code(phone, 1).await;
    api.login(phone, &code).await.expect(200);
}
