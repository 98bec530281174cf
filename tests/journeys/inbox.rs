//! Who may read the development inbox, and how the image starts (contract, ruling 50).

use std::collections::BTreeMap;

use reqwest::Method;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use testkit::folder::{Folder, free_port};
use testkit::http::{Answer, Api, new_phone};
use testkit::process::{Binary, Process};
use testkit::system::{Side, System};
use testkit::{PATIENCE, both_sides, in_time};

both_sides!(
    f17_a_page_of_the_web_cannot_read_the_inbox_on_loopback,
    f17_a_target_under_a_foreign_name_does_not_open_the_inbox,
    f17_a_proxy_on_this_machine_does_not_open_the_inbox,
    f17_on_other_addresses_the_inbox_needs_its_token,
);

async fn inbox(api: &Api, phone: &str, more: &str, headers: &[(&str, &str)]) -> Answer {
    let path = format!("/inbox/messages?phone_number=%2B{}{more}", &phone[1..]);
    api.try_call(Method::GET, &path, None, headers).await.unwrap()
}

async fn f17_a_page_of_the_web_cannot_read_the_inbox_on_loopback(side: Side) {
    let system = System::start(side, &[]).await;
    let (api, phone) = (system.api(), new_phone());
    api.sign_in(&phone).await;
    for host in ["evil.example", "localhost.evil.example:8080", "192.0.2.1"] {
        inbox(&api, &phone, "", &[("host", host)]).await.problem(403, "host_not_allowed");
    }
    for host in ["localhost:8080", "127.0.0.1", "[::1]"] {
        let texts = inbox(&api, &phone, "", &[("host", host)]).await.expect(200).body;
        assert_eq!(texts.as_array().map(Vec::len), Some(1));
    }
}

/// The status of the inbox at this absolute target, under a `Host` that would open it.
async fn status_at(api: &Api, target: &str) -> u16 {
    let address = api.url.trim_start_matches("http://");
    let mut socket = TcpStream::connect(address).await.unwrap();
    let head = format!("GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n");
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(PATIENCE, socket.read_to_string(&mut answer)).await.expect("an answer").unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

async fn f17_a_target_under_a_foreign_name_does_not_open_the_inbox(side: Side) {
    let system = System::start(side, &[]).await;
    let (api, phone) = (system.api(), new_phone());
    let query = format!("phone_number=%2B{}", &phone[1..]);
    for path in ["/inbox/messages", "/inbox/messages/"] {
        for (name, wanted) in [("127.0.0.1", 200), ("localhost:8080", 200), ("evil.example", 403)] {
            let target = format!("http://{name}{path}?{query}");
            assert_eq!(status_at(&api, &target).await, wanted, "{target}");
        }
    }
}

async fn f17_a_proxy_on_this_machine_does_not_open_the_inbox(side: Side) {
    let proxy = [("LATCHKEY_TRUSTED_PROXIES", "127.0.0.1/32")];
    let system = System::start(side, &proxy).await;
    let (api, phone) = (system.api(), new_phone());
    api.sign_in(&phone).await;
    for name in [
        "via",
        "forwarded",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-original-forwarded-for",
        "x-real-ip",
        "x-client-ip",
        "x-cluster-client-ip",
        "x-azure-clientip",
        "fastly-client-ip",
        "true-client-ip",
        "cf-connecting-ipv6",
        "x-envoy-external-address",
    ] {
        let through = [("host", "127.0.0.1:8080"), (name, "198.51.100.7")];
        inbox(&api, &phone, "", &through).await.problem(403, "host_not_allowed");
    }
    inbox(&api, &phone, "", &[]).await.expect(200);
}

async fn f17_on_other_addresses_the_inbox_needs_its_token(side: Side) {
    const TOKEN: &str = "a-token-of-this-test";
    let port = free_port();
    let everywhere = format!("0.0.0.0:{port}");
    let settings = [("LATCHKEY_LISTEN", everywhere.as_str()), ("LATCHKEY_INBOX_TOKEN", TOKEN)];
    let system = System::start(side, &settings).await;
    let (api, phone) = (Api::new(&format!("http://127.0.0.1:{port}")), new_phone());
    api.otp(&phone).await.expect(202);
    for (more, headers) in [
        ("", vec![]),
        ("&token=", vec![]),
        ("&token=a-token-of-this-tess", vec![]),
        ("", vec![("authorization", "Bearer a-token-of-this-tes")]),
        ("", vec![("host", "localhost")]),
    ] {
        inbox(&api, &phone, more, &headers).await.problem(401, "token_not_valid");
    }
    let bearer = format!("Bearer {TOKEN}");
    inbox(&api, &phone, "", &[("authorization", &bearer)]).await.expect(200);
    inbox(&api, &phone, &format!("&token={TOKEN}"), &[("host", "any.example")]).await.expect(200);
    assert!(!system.output().contains(TOKEN), "a token that was set is not printed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f17_a_token_that_was_not_set_is_made_and_printed_at_start() {
    let port = free_port();
    let everywhere = format!("0.0.0.0:{port}");
    let system = System::start(Side::Embedded, &[("LATCHKEY_LISTEN", everywhere.as_str())]).await;
    let (api, phone) = (Api::new(&format!("http://127.0.0.1:{port}")), new_phone());
    inbox(&api, &phone, "", &[]).await.problem(401, "token_not_valid");
    let output = system.output();
    let token = output.split("&token=").nth(1).unwrap().split_whitespace().next().unwrap();
    inbox(&api, &phone, &format!("&token={token}"), &[]).await.expect(200);
}

/// Starts the program with what the image sets, and nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f17_the_image_without_engines_does_not_start_and_says_what_it_needs() {
    let image =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Dockerfile")).unwrap();
    let settings: BTreeMap<String, String> = image
        .lines()
        .filter_map(|line| line.strip_prefix("ENV "))
        .flat_map(str::split_whitespace)
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    assert!(settings.contains_key("LATCHKEY_LISTEN"), "{settings:?}");
    let home = Folder::new("image");
    let mut process = Process::start(Binary::Latchkey, home.path(), &settings);
    let ended = in_time(PATIENCE, async || process.server.ended()).await;
    let output = process.server.output();
    assert_eq!(ended.and_then(|status| status.code()), Some(1), "{output}");
    for name in ["DATABASE_URL", "REDIS_URL", "AMQP_URL", "LATCHKEY_SENDS_GLOBAL_DAY"] {
        assert!(output.contains(name), "{name} is not named:\n{output}");
    }
}
