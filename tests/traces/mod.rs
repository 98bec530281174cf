//! One trace from the request to the provider, exported by OTLP (contract, ruling 73), with nothing secret in it (P10).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use fake_twilio::{Fake, Reply, ScriptedProvider};
use reqwest::Method;
use serde_json::json;

use crate::delivery::{PUBLIC_URL, borrowed, settings};
use crate::journeys::leak_search::{Kind, Secrets};
use testkit::collector::{Collector, Manner, Span};
use testkit::engines::Engines;
use testkit::eventually;
use testkit::http::{new_phone, wrong};
use testkit::system::{Apart, Side, System};

/// A client's own trace.
const CLIENTS_TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CLIENTS_SPAN: &str = "00f067aa0ba902b7";
/// The trace of a client that asks not to be recorded.
const UNRECORDED: &str = "5bf92f3577b34da6a3ce929d0e0e4737";
const NAME: &str = "Zaphodina";
const PASSWORD: &str = "leak horse battery staple 4242";
/// Codes of ten digits are not found by chance.
const LENGTH: (&str, &str) = ("LATCHKEY_OTP_LENGTH", "10");

/// Every attribute that a span may have.
const ATTRIBUTES: [&str; 14] = [
    "db.operation.name",
    "db.system.name",
    "error.type",
    "http.request.method",
    "http.response.status_code",
    "http.route",
    "messaging.destination.name",
    "messaging.message.id",
    "messaging.operation.name",
    "messaging.operation.type",
    "messaging.rabbitmq.destination.routing_key",
    "messaging.system",
    "server.address",
    "url.scheme",
];

struct Traced {
    system: System,
    collector: Collector,
    fake: Fake,
    secrets: Secrets,
}

/// A sign-up whose text was sent.
struct SignedUp {
    phone: String,
    request: String,
    code: String,
}

impl Traced {
    async fn start(side: Side) -> Self {
        let (collector, fake) =
            (Collector::start(Manner::Takes).await, Fake::start().await.unwrap());
        let given = settings(&fake, &fake.url());
        let mut given = borrowed(&given);
        given.extend([("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url.as_str()), LENGTH]);
        given.push(("RUST_LOG", "trace"));
        let system = match side {
            Side::Embedded => System::start(side, &given).await,
            Side::Engines => {
                let counts = Apart { gateways: 1, otp_workers: 1, sms_workers: 1 };
                System::apart(Engines::shared().fresh().await, counts, &given).await
            }
        };
        fake.post_instead(PUBLIC_URL, &system.api().url);
        let mut secrets = Secrets::default();
        secrets.add(Kind::Token, &fake.account.auth_token);
        secrets.add(Kind::Name, NAME);
        secrets.add(Kind::Password, PASSWORD);
        for name in ["LATCHKEY_SECRET", "DATABASE_URL", "REDIS_URL", "AMQP_URL"] {
            if let Some(value) = system.env.get(name) {
                secrets.add(Kind::Token, value);
            }
        }
        Self { system, collector, fake, secrets }
    }

    async fn sign_up(&mut self, traceparent: &str) -> SignedUp {
        let (api, phone) = (self.system.api(), new_phone());
        self.secrets.add(Kind::Phone, &phone);
        let body = json!({ "phone_number": phone, "first_name": NAME, "last_name": "Beeblebroxa" });
        let headers = [("traceparent", traceparent)];
        let request = api.post_with("/v1/signup", body, &headers).await.expect(202);
        let request = request.text("request_id");
        eventually("the text to be sent", testkit::PATIENCE, async || {
            let status = api.status(&request).await.expect(200).text("status");
            (status == "sent").then_some(())
        })
        .await;
        let code = ten_digits(self.fake.calls_to(&phone).pop().expect("a call").text());
        self.secrets.add(Kind::Code, &code);
        SignedUp { phone, request, code }
    }

    async fn sign_in(&mut self, signed_up: &SignedUp) -> String {
        let SignedUp { phone, request, code } = signed_up;
        let login = self.system.api().login_for(phone, code, request).await.expect(200);
        for name in ["access", "refresh", "device_token"] {
            self.secrets.add(Kind::Token, &login.text(name));
        }
        login.text("access")
    }

    /// Mistakes, and a client that puts secrets where they do not belong.
    async fn err(&mut self, signed_up: &SignedUp, access: &str) {
        let SignedUp { phone, code, .. } = signed_up;
        let api = self.system.api();
        let not_it = wrong(code, 7);
        self.secrets.add(Kind::Code, &not_it);
        api.login(phone, &not_it).await.problem(401, "otp_incorrect");
        api.get(&format!("/v1/otp/{phone}")).await.expect(404);
        api.get(&format!("/{phone}/{code}")).await.expect(404);
        api.get(&format!("/v1/me?token={access}&otp={code}")).await.expect(401);
        api.otp(&format!("{phone}'")).await.problem(400, "invalid_phone_number");
        let body = Some(json!({ "password": PASSWORD }));
        api.signed_in(Method::PUT, "/v1/me/password", access, body).await.expect(204);
        let body = json!({ "phone_number": phone, "password": PASSWORD });
        let secret_id = [("x-request-id", code.as_str())];
        let tokens = api.post_with("/v1/token", body, &secret_id).await.expect(200);
        let refreshed = api.refresh(&tokens.text("refresh")).await.expect(200);
        for token in [tokens.text("access"), tokens.text("refresh"), refreshed.text("refresh")] {
            self.secrets.add(Kind::Token, &token);
        }
    }

    /// The span of this name in a trace, if it has arrived.
    fn find(&self, trace: &str, name: &str) -> Option<Span> {
        self.collector.spans().into_iter().find(|span| span.trace == trace && span.name == name)
    }

    async fn span(&self, trace: &str, name: &str) -> Span {
        let what = format!("the span {name:?}");
        eventually(&what, testkit::PATIENCE, async || self.find(trace, name)).await
    }
}

fn ten_digits(text: &str) -> String {
    let mut runs = text.split(|c: char| !c.is_ascii_digit());
    runs.find(|run| run.len() == 10).expect("a text has a code").to_owned()
}

fn child_of(parent: &Span, child: &Span) {
    assert_eq!((&child.trace, &child.parent), (&parent.trace, &parent.id), "{child:?}");
}

testkit::both_sides!(p10_one_trace_leads_to_the_provider_and_back_and_holds_no_secret);

async fn p10_one_trace_leads_to_the_provider_and_back_and_holds_no_secret(side: Side) {
    let mut traced = Traced::start(side).await;
    let unrecorded = format!("00-{UNRECORDED}-{CLIENTS_SPAN}-00");
    let quiet = traced.sign_up(&unrecorded).await;
    traced.sign_in(&quiet).await;
    let signed_up = traced.sign_up(&format!("00-{CLIENTS_TRACE}-{CLIENTS_SPAN}-01")).await;
    let access = traced.sign_in(&signed_up).await;
    let call = traced.fake.calls_to(&signed_up.phone).pop().unwrap();
    assert_eq!(traced.fake.post(&call, "delivered").await, Some(204));
    let quiet_call = traced.fake.calls_to(&quiet.phone).pop().unwrap();
    assert!(!quiet_call.callback().unwrap().contains("trace"), "its trace is not recorded");
    traced.err(&signed_up, &access).await;

    let spans = the_way_there(&traced, side).await;
    the_way_back(&traced, side, &spans).await;
    let Traced { system, collector, secrets, .. } = traced;
    system.stop().await;
    let all = collector.spans();
    assert!(all.iter().all(|span| span.trace != UNRECORDED), "a client may ask not to be recorded");
    let ids: BTreeSet<_> = all.iter().map(|span| &span.id).collect();
    assert_eq!(ids.len(), all.len(), "no span is exported twice");
    let said: BTreeSet<_> = all.iter().flat_map(|span| span.attributes.keys()).collect();
    assert!(said.iter().all(|name| ATTRIBUTES.contains(&name.as_str())), "{said:?}");
    let bytes = collector.bytes();
    assert!(bytes.len() > 5_000, "only {} bytes to search", bytes.len());
    assert_eq!(secrets.found_in(&bytes), []);
    if let Some(lines) = drawn(&all, CLIENTS_TRACE) {
        println!("{lines}");
    }
}

/// Checks the spans from the request to the provider, and returns the call's.
async fn the_way_there(traced: &Traced, side: Side) -> Span {
    let broker = if side == Side::Embedded { "memory" } else { "rabbitmq" };
    let service = |part: &str| match side {
        Side::Embedded => "latchkey".to_owned(),
        Side::Engines => format!("latchkey-{part}"),
    };
    let served = traced.span(CLIENTS_TRACE, "POST /v1/signup").await;
    assert_eq!((served.kind.as_str(), served.parent.as_str()), ("Server", CLIENTS_SPAN));
    assert_eq!(served.service, service("gateway"));
    for (name, value) in [
        ("http.request.method", "POST"),
        ("http.route", "/v1/signup"),
        ("http.response.status_code", "202"),
        ("url.scheme", "https"),
    ] {
        assert_eq!(served.says(name), value, "{name}");
    }
    let mut last = served.clone();
    for (kind, queue, from) in [
        ("user.signed_up.v2", "otp-worker", "gateway"),
        ("sms.requested.v2", "sms-worker", "otp-worker"),
    ] {
        let published = traced.span(CLIENTS_TRACE, &format!("publish latchkey:{kind}")).await;
        child_of(&last, &published);
        assert_eq!((published.kind.as_str(), &published.service), ("Producer", &service(from)));
        let taken = traced.span(CLIENTS_TRACE, &format!("process latchkey:{kind}:{queue}")).await;
        child_of(&published, &taken);
        assert_eq!((taken.kind.as_str(), &taken.service), ("Consumer", &service(queue)));
        for span in [&published, &taken] {
            assert_eq!(span.says("messaging.system"), broker);
            assert_eq!(span.says("messaging.rabbitmq.destination.routing_key"), kind);
            assert!(span.name.ends_with(span.says("messaging.destination.name")));
            assert_eq!(span.says("messaging.message.id"), published.says("messaging.message.id"));
            assert_eq!(span.says("messaging.message.id").len(), 36);
        }
        assert_eq!(published.says("messaging.operation.type"), "send");
        assert_eq!(taken.says("messaging.operation.type"), "process");
        last = taken;
    }
    let called = traced.span(CLIENTS_TRACE, "POST").await;
    child_of(&last, &called);
    assert_eq!((called.kind.as_str(), called.says("server.address")), ("Client", "127.0.0.1"));
    assert_eq!(called.says("http.response.status_code"), "201");
    if side == Side::Engines {
        let admitted = traced.span(CLIENTS_TRACE, "admit").await;
        child_of(&served, &admitted);
        assert_eq!(admitted.says("db.system.name"), "redis");
        traced.span(CLIENTS_TRACE, "issue").await;
    }
    let begun = traced.span(CLIENTS_TRACE, "begin an attempt").await;
    child_of(&last, &begun);
    assert_eq!(begun.says("db.operation.name"), "begin an attempt");
    traced.span(CLIENTS_TRACE, "process latchkey:sms.status.v2:otp-worker").await;
    called
}

/// Checks the links of the sign-in and of the receipt.
async fn the_way_back(traced: &Traced, side: Side, called: &Span) {
    let linked = |route: &'static str| {
        eventually(route, testkit::PATIENCE, async move || {
            let spans = traced.collector.spans();
            spans
                .into_iter()
                .find(|span| span.says("http.route") == route && !span.links.is_empty())
        })
    };
    let login = linked("/v1/login").await;
    assert_eq!(login.says("http.response.status_code"), "200");
    assert!(login.links.iter().all(|(trace, _)| trace == CLIENTS_TRACE), "{login:?}");
    assert_ne!(login.trace, CLIENTS_TRACE);
    let written = traced.span(&login.trace, "sign in").await;
    child_of(&login, &written);
    let database = if side == Side::Embedded { "sqlite" } else { "postgresql" };
    assert_eq!(written.says("db.system.name"), database);
    let receipt = linked("/webhooks/twilio/status/{attempt_id}").await;
    assert_eq!(receipt.links, [(called.trace.clone(), called.id.clone())]);
    let passed_on = "process latchkey:sms.receipt.v1:sms-worker";
    traced.span(&receipt.trace, passed_on).await;
}

/// A trace as text: each span below its parent, in the order of arrival.
fn drawn(spans: &[Span], trace: &str) -> Option<String> {
    let mut below: BTreeMap<&str, Vec<&Span>> = BTreeMap::new();
    for span in spans.iter().filter(|span| span.trace == trace) {
        below.entry(&span.parent).or_default().push(span);
    }
    let mut lines = String::new();
    let mut open: Vec<_> = below.get(CLIENTS_SPAN)?.iter().map(|span| (0, *span)).collect();
    while let Some((depth, span)) = open.pop() {
        let Span { kind, name, service, .. } = span;
        let _ = writeln!(lines, "{:depth$}{name}  [{kind}, {service}]", "", depth = depth * 2);
        open.extend(
            below.get(span.id.as_str()).into_iter().flatten().map(|span| (depth + 1, *span)),
        );
    }
    Some(lines)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_http_provider_gets_the_span_of_its_call() {
    let collector = Collector::start(Manner::Takes).await;
    let answer = Reply::Say(200, "", "{}".to_owned());
    let provider = ScriptedProvider::start([answer]).await.unwrap();
    let system = System::start(
        Side::Embedded,
        &[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url),
            ("LATCHKEY_SMS_ROUTES", "default=http"),
            ("LATCHKEY_HTTP_PROVIDER_URL", provider.url.as_str()),
            ("LATCHKEY_HTTP_PROVIDER_SECRET", "a-secret-of-the-tests-that-is-long-enough"),
        ],
    )
    .await;
    system.api().otp(&new_phone()).await.expect(202);
    let called = eventually("the span of the call", testkit::PATIENCE, async || {
        collector.spans().into_iter().find(|span| span.name == "POST")
    })
    .await;
    let head = provider.calls().pop().expect("a call").head;
    let sent = head.lines().find_map(|line| line.strip_prefix("traceparent: "));
    assert_eq!(sent, Some(format!("00-{}-{}-01", called.trace, called.id).as_str()));
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p12_a_collector_that_is_away_refuses_or_hangs_delays_no_answer_and_no_stop() {
    for manner in [Manner::Refuses, Manner::Hangs] {
        let collector = Collector::start(manner).await;
        let traced = [("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url.as_str())];
        let system = System::start(Side::Embedded, &traced).await;
        system.api().sign_in(&new_phone()).await;
        eventually("a call", testkit::PATIENCE, async || (collector.calls() > 0).then_some(()))
            .await;
        let output = system.stop().await;
        let told = output.matches("the collector of traces does not take all spans").count();
        assert!((1..=2).contains(&told), "{manner:?}: once a minute, and at the end:\n{output}");
    }
    // Nobody listens there.
    let away = [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")];
    let system = System::start(Side::Embedded, &away).await;
    system.api().sign_in(&new_phone()).await;
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_cannot_force_a_trace_and_a_trusted_proxy_can() {
    let sampled = format!("00-{CLIENTS_TRACE}-{CLIENTS_SPAN}-01");
    for (proxies, is_recorded) in [("10.0.0.0/8", false), ("127.0.0.1/32", true)] {
        let collector = Collector::start(Manner::Takes).await;
        let system = System::start(
            Side::Embedded,
            &[
                ("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url),
                ("OTEL_TRACES_SAMPLER_ARG", "0"),
                ("LATCHKEY_TRUSTED_PROXIES", proxies),
            ],
        )
        .await;
        let api = system.api();
        let body = json!({ "phone_number": new_phone() });
        api.post_with("/v1/otp", body, &[("traceparent", &sampled)]).await.expect(202);
        if is_recorded {
            eventually("the span", testkit::PATIENCE, async || {
                collector.spans().into_iter().find(|span| span.name == "POST /v1/otp")
            })
            .await;
        }
        system.stop().await;
        assert!(is_recorded || collector.spans().is_empty(), "{:?}", collector.spans());
    }
}
