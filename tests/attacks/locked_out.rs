//! Who knows a number cannot keep its owner out: an hour of everything at once, with the default limits and a clock that
//! the test moves (contract, rulings 35, 39 and 40).

use reqwest::Method;
use serde_json::{Value, json};

use crate::accounts::in_process::InProcessLatchkey;
use testkit::both_sides;
use testkit::eventually;
use testkit::http::{Answer, Api, new_phone, wrong};
use testkit::system::Side;

both_sides!(f04_an_hour_of_attacks_from_a_hundred_addresses_keeps_no_known_device_out);

/// The defaults, which the test's systems leave off, behind a proxy that names each client.
const DEFAULTS: [(&str, &str); 7] = [
    ("LATCHKEY_RESEND_COOLDOWN_SECS", "30"),
    ("LATCHKEY_SENDS_PER_PHONE_HOUR", "5"),
    ("LATCHKEY_SENDS_PER_PHONE_DAY", "10"),
    ("LATCHKEY_SENDS_PER_IP_HOUR", "20"),
    ("LATCHKEY_LOGINS_PER_IP_MINUTE", "30"),
    ("LATCHKEY_PUMPING_GUARD", "record"),
    ("LATCHKEY_TRUSTED_PROXIES", "127.0.0.1/32"),
];
const ADDRESSES: u64 = 100;
const EVERY_SECS: u64 = 36;
const PASSWORD: &str = "vq7 blue kite 9 over the lake";

/// A client behind the proxy.
struct Client {
    api: Api,
    address: String,
}

impl Client {
    async fn post(&self, path: &str, body: Value) -> Answer {
        self.api.post_with(path, body, &[("x-forwarded-for", &self.address)]).await
    }
}

/// The owner, with the token of a known device or without one.
struct Owner<'a> {
    client: Client,
    phone: &'a str,
    device: Option<String>,
}

impl Owner<'_> {
    async fn post(&self, path: &str, mut body: Value) -> Answer {
        body["phone_number"] = self.phone.into();
        if let Some(device) = &self.device {
            body["device_token"] = device.as_str().into();
        }
        self.client.post(path, body).await
    }

    /// Requests a code and reads the text.
    async fn code(&self) -> String {
        let request = self.post("/v1/otp", json!({})).await.expect(202).text("request_id");
        eventually("the text of that request", testkit::PATIENCE, async || {
            let messages = self.client.api.messages(self.phone).await;
            let text = messages.into_iter().find(|text| text["request_id"] == request)?;
            Some(text["code"].as_str()?.to_owned())
        })
        .await
    }

    /// Signs in by code and by password, and refreshes.
    async fn gets_in(&self) {
        let code = self.code().await;
        let session = self.post("/v1/login", json!({ "otp": code })).await.expect(200);
        self.post("/v1/token", json!({ "password": PASSWORD })).await.expect(200);
        let refresh = json!({ "refresh": session.body["refresh"] });
        self.client.post("/v1/token/refresh", refresh).await.expect(200);
    }
}

/// One address tries all that it may for a while: to use up the sends, the code's attempts and the phone's failures.
async fn attack(stranger: &Client, phone: &str, known: &str) -> u64 {
    stranger.post("/v1/otp", json!({ "phone_number": phone })).await;
    let mut judged = 0;
    for n in 1..=6 {
        let mut body = json!({ "phone_number": phone, "otp": wrong(known, n) });
        if n == 6 {
            body["request_id"] = "018f4e7a-0000-7000-8000-000000000000".into();
        }
        judged += u64::from(stranger.post("/v1/login", body).await.status == 401);
        let body = json!({ "phone_number": phone, "password": format!("a wrong password {n}") });
        stranger.post("/v1/token", body).await;
    }
    judged
}

async fn f04_an_hour_of_attacks_from_a_hundred_addresses_keeps_no_known_device_out(side: Side) {
    let latchkey = InProcessLatchkey::start_with(side, 1, &DEFAULTS).await;
    let api = latchkey.api();
    let phone = new_phone();
    let client = |address: &str| Client { api: api.clone(), address: address.to_owned() };
    let mut owner = Owner { client: client("198.51.100.7"), phone: &phone, device: None };
    let code = owner.code().await;
    let session = owner.post("/v1/login", json!({ "otp": code })).await.expect(200);
    let access = session.body["access"].as_str().unwrap();
    let body = Some(json!({ "password": PASSWORD }));
    api.signed_in(Method::PUT, "/v1/me/password", access, body).await.expect(204);
    owner.device = Some(session.text("device_token"));
    latchkey.advance(60);

    let mut judged = 0;
    for n in 0..ADDRESSES {
        let stranger = client(&format!("203.0.{n}.{}", n + 1));
        judged += attack(&stranger, &phone, &code).await;
        // Early, in the middle, and at the end.
        if [10, 50, ADDRESSES - 1].contains(&n) {
            owner.gets_in().await;
        }
        latchkey.advance(EVERY_SECS);
    }
    println!("{judged} of the strangers' attempts at codes were answered 401");

    // Without a known device the owner waits: for how long at most, and by which limit.
    owner.device = None;
    for (path, body) in [
        ("/v1/otp", json!({})),
        ("/v1/login", json!({ "otp": code })),
        ("/v1/token", json!({ "password": PASSWORD })),
    ] {
        let stranger = client("203.0.113.200");
        for _ in 0..3 {
            attack(&stranger, &phone, &code).await;
        }
        let answer = owner.post(path, body).await;
        let by = answer.body["limit"].as_str().or(answer.body["code"].as_str());
        let secs = answer.body["retry_after"].as_u64().unwrap_or_default();
        println!("without a known device, {path} answers {}: {by:?} for {secs} s", answer.status);
        assert!(secs <= 86_400, "{}", answer.body);
    }
}
