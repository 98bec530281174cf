//! Texts to numbers that earn an attacker money: the guard in force, seen from outside.

use serde_json::{Value, json};

use super::money::{access, change, voice};
use super::{both, system};
use testkit::both_sides;
use testkit::eventually;
use testkit::http::{Api, new_phone};
use testkit::system::{Side, System};

both_sides!(
    pumping_through_every_endpoint_is_stopped_at_the_threshold_and_reported,
    a_recording_guard_refuses_nothing_and_counts_what_it_would_refuse,
    f11_a_block_does_not_shut_out_those_who_signed_in_before,
);

/// The pumped block: calling code and the first four digits after it.
const BLOCK: &str = "2637720";
/// The most texts that a block gets while none of its codes is used: the rule's `min_sends` plus `doubt`.
const SET_FIGURE: usize = 70;

async fn pumping_through_every_endpoint_is_stopped_at_the_threshold_and_reported(side: Side) {
    let system = system(side, &[("LATCHKEY_PUMPING_GUARD", "enforce")]).await;
    let apis = both(&system);
    let access = access(&apis[0]).await;
    let mut bought = 0;
    for n in 0..120 {
        // Each number gets two requests: a resend costs as much as a first text.
        let phone = format!("+{BLOCK}0{:04}", n / 2);
        let api = &apis[n % 2];
        let answer = match n % 4 {
            0 => api.otp(&phone).await,
            1 => voice(api, &phone).await,
            2 => api.signup(&phone, "A", "B").await,
            _ => change(api, &access, &phone).await,
        };
        if n < SET_FIGURE {
            answer.expect(202);
            bought += 1;
        } else {
            let refused = answer.problem(429, "too_many_requests");
            assert_eq!(refused["limit"], "blocked", "request {n}");
            let wait = refused["retry_after"].as_u64().unwrap();
            assert!((840..=900).contains(&wait), "{wait}");
        }
    }
    assert_eq!(bought, SET_FIGURE);
    for api in &apis {
        api.sign_in(&new_phone()).await;
    }
    // Staff can see what the guard did, and replaying the history with the same rule finds the same block.
    let shown = eventually("the guard's history", testkit::PATIENCE, async || {
        let nets: Value =
            serde_json::from_str(&system.run(&["guard", "status", "--json"])).unwrap();
        let replay = ["guard", "replay", "--from", "2020-01-01T00:00:00Z", "--json"];
        let replayed: Value = serde_json::from_str(&system.run(&replay)).unwrap();
        let report = &replayed["report"];
        // A gateway writes its counts every five seconds.
        let all = nets.as_array().is_some_and(|nets| nets.len() == 1)
            && report["asks"].as_u64() >= Some(123);
        all.then(|| (nets[0].clone(), report.clone()))
    });
    let (net, report) = shown.await;
    assert_eq!(
        (&net["kind"], &net["name"], &net["state"], &net["mode"]),
        (&"prefix".into(), &BLOCK.into(), &"blocked".into(), &"enforce".into())
    );
    assert_eq!((&net["sends"], &net["verified"]), (&SET_FIGURE.into(), &0.into()));
    let stops = report["stops"].as_array().unwrap();
    assert_eq!(stops.len(), 1, "{report}");
    assert_eq!(stops[0]["prefix"], BLOCK);
    assert_eq!((&stops[0]["sends"], &stops[0]["stopped"]), (&SET_FIGURE.into(), &50.into()));
}

async fn a_recording_guard_refuses_nothing_and_counts_what_it_would_refuse(side: Side) {
    let system = system(side, &[("LATCHKEY_PUMPING_GUARD", "record")]).await;
    let apis = both(&system);
    let beyond = 10;
    for n in 0..SET_FIGURE + beyond {
        apis[n % 2].otp(&format!("+{BLOCK}1{n:04}")).await.expect(202);
    }
    // A gateway reports its counts within five seconds.
    let seen = eventually("the count of would-be refusals", testkit::PATIENCE, async || {
        let seen = metrics_of_gateways(&system).await;
        let told = ["latchkey_guard_would_refuse_total", "latchkey_guard_blocks_total"]
            .map(|name| counted(&seen, name));
        (told == [beyond, 1]).then_some(seen)
    });
    let seen = seen.await;
    for name in ["latchkey_guard_blocks_total", "latchkey_guard_would_refuse_total"] {
        assert!(seen.contains(&format!("# HELP {name} ")), "{name} has no help");
    }
    assert!(seen.contains("latchkey_guard_blocks_total{mode=\"record\"} 1"), "{seen}");
}

async fn f11_a_block_does_not_shut_out_those_who_signed_in_before(side: Side) {
    let system = system(side, &[("LATCHKEY_PUMPING_GUARD", "enforce")]).await;
    let apis = both(&system);
    let (owner, owners) = (format!("+{BLOCK}20001"), format!("+{BLOCK}20002"));
    let device = apis[0].sign_in(&owner).await["device_token"].as_str().unwrap().to_owned();
    apis[0].sign_in(&owners).await;
    let refused = async |body: Value| {
        let answer = apis[1].post("/v1/otp", body).await;
        match answer.status {
            202 => false,
            _ => answer.problem(429, "too_many_requests")["limit"] == "blocked",
        }
    };
    for n in 0.. {
        assert!(n < 100, "the block is shut");
        if refused(json!({ "phone_number": format!("+{BLOCK}3{n:04}") })).await {
            break;
        }
    }
    for phone in [&owner, &owners] {
        for _ in 0..3 {
            assert!(!refused(json!({ "phone_number": phone })).await, "it signed in before");
            assert!(refused(json!({ "phone_number": format!("+{BLOCK}40001") })).await);
        }
        assert!(refused(json!({ "phone_number": phone })).await, "three a day");
    }
    // Strangers used up what the number may do: its owner's device may still do as much.
    for _ in 0..3 {
        let known = json!({ "phone_number": owner, "device_token": device });
        assert!(!refused(known).await);
    }
    assert!(refused(json!({ "phone_number": owner, "device_token": device })).await);
}

pub(super) async fn metrics_of_gateways(system: &System) -> String {
    let mut seen = String::new();
    for process in system.processes.iter().filter(|process| process.url.is_some()) {
        let answer = Api::new(&process.ops_url).get("/metrics").await.expect(200);
        seen.push_str(answer.body.as_str().expect("metrics are a text"));
    }
    seen
}

/// The sum of a counter over its labels and all gateways.
pub(super) fn counted(seen: &str, name: &str) -> usize {
    let lines = seen.lines().filter(|line| line.starts_with(name));
    lines.filter_map(|line| line.split(' ').next_back()?.parse::<usize>().ok()).sum()
}
