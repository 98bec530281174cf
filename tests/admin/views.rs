//! The views beside accounts and requests: providers, queues, the guard, limits, figures, staff and settings, and what a
//! program does with them.

use accounts::{GuardHistory, StaffRole};
use domain::ids::RequestId;
use domain::timestamp::Timestamp;
use domain::vocabulary::PumpingGuard;
use guard::{Change, Finding, Kind, State, Tally, minute_of};
use reqwest::Method;
use serde_json::{Value, json};
use testkit::PATIENCE;
use testkit::http::new_phone;
use testkit::system::Side;

use super::client::{Admin, By};

testkit::both_sides!(
    a_provider_is_shut_shown_and_opened,
    dead_letters_are_read_replayed_and_dropped,
    a_rule_is_replayed_and_a_net_is_opened,
    limits_are_explained_without_the_number,
    staff_are_listed_by_pages_and_settings_show_no_secret,
    what_a_view_cannot_read_is_refused_and_named,
);

const HOSTILE: &str = "</td><script>alert(1)</script>\"' x=\"\\";

async fn a_provider_is_shut_shown_and_opened(side: Side) {
    let admin = Admin::start(side).await;
    let by = admin.key(StaffRole::Operator).await;
    let body = json!({ "minutes": 60, "reason": HOSTILE });
    let shut = by.post("/admin/v1/providers/http/shut", body).await.expect(200).body;
    let [since, until] =
        ["since", "until"].map(|name| Timestamp::parse(shut[name].as_str().unwrap()).unwrap().ms());
    assert_eq!(until - since, 3_600_000);
    assert_eq!((&shut["reason"], &shut["owner"]), (&json!(HOSTILE), &json!("admin-key:operator")));
    let shown = by.get("/admin/v1/providers").await.expect(200).body;
    let http = |view: &Value| {
        let providers = view["providers"].as_array().unwrap();
        providers.iter().find(|it| it["provider"] == "http").cloned()
    };
    assert_eq!(http(&shown).unwrap()["shut"], shut);
    let longer = json!({ "minutes": 10_080, "reason": "longer", "owner": "ops" });
    let changed = by.post("/admin/v1/providers/http/shut", longer).await.expect(200).body;
    assert_eq!((&changed["reason"], &changed["owner"]), (&json!("longer"), &json!("ops")));
    for changed in [true, false] {
        let opened = by.act("/admin/v1/providers/http/open").await.expect(200).body;
        assert_eq!(opened, json!({ "changed": changed }));
    }
    let shown = by.get("/admin/v1/providers").await.expect(200).body;
    assert_eq!(http(&shown), None, "no route names it");
    let acts: Vec<String> = admin.acts_of("operator").await.into_iter().map(|it| it.act).collect();
    assert_eq!(acts, ["block_removed", "block_added", "block_added"]);
    for (field, value) in [
        ("minutes", json!(0)),
        ("minutes", json!(10_081)),
        ("minutes", json!("60")),
        ("minutes", json!(1.5)),
        ("reason", json!("  ")),
        ("reason", json!("x".repeat(201))),
        ("owner", json!("")),
        ("until", json!("2026-12-01T10:15:00Z")),
    ] {
        let mut body = json!({ "minutes": 60, "reason": "x" });
        body[field] = value;
        let refused = by.post("/admin/v1/providers/http/shut", body).await;
        assert_eq!(refused.problem(400, "invalid_request")["errors"][0]["field"], field);
    }
    let body = || json!({ "minutes": 60, "reason": "x" });
    by.post("/admin/v1/providers/nobody/shut", body()).await.problem(404, "not_found");
    by.act("/admin/v1/providers/nobody/open").await.problem(404, "not_found");
}

/// Publishes an event of a version that is not known: the worker dead-letters it at first sight.
pub(super) async fn dead(admin: &Admin, id: &str) {
    let latchkey = &admin.console.latchkey;
    let request = RequestId::new(&latchkey.clock).to_string();
    let data = json!({ "request_id": request, "sealed": "k1.SECRET", "country": HOSTILE });
    let body = json!({ "specversion": "1.0", "id": id, "type": "otp.requested.v9",
                       "time": latchkey.clock.now().to_string(), "data": data });
    let bus = &latchkey.engines.bus;
    bus.publish_raw("otp.requested.v9", id, body.to_string().into(), true).await.unwrap();
}

/// The ids of the dead letters, once there are so many.
async fn letters(by: &By<'_>, query: &str, wanted: usize) -> Vec<String> {
    testkit::eventually("the letters", PATIENCE, async || {
        let view = by.get(&format!("/admin/v1/queues{query}")).await.expect(200).body;
        let letters = view["letters"].as_array().unwrap();
        let are_read = view["queues"].as_array().unwrap().iter().all(|it| it["letters"] == "yes");
        let mut ids: Vec<String> =
            letters.iter().map(|it| it["id"].as_str().unwrap().to_owned()).collect();
        ids.sort_unstable();
        (are_read && ids.len() == wanted).then_some(ids)
    })
    .await
}

/// Acts on letters until the audit has it of each that is wanted. On a slow machine one call does not do all, and what it
/// ends by itself is in no answer.
async fn act(admin: &Admin, by: &By<'_>, path: &str, body: &Value, wanted: &[&str]) {
    let is_replay = path.ends_with("replay");
    let act = if is_replay { "dead_letters_replayed" } else { "dead_letters_dropped" };
    testkit::eventually("an entry of each letter", PATIENCE, async || {
        let done = by.post(path, body.clone()).await.expect(200).body;
        assert_eq!(done["queue"], "otp-worker");
        for letter in done["letters"].as_array().unwrap() {
            assert!(wanted.contains(&letter["id"].as_str().unwrap()), "{letter}");
        }
        let mut noted = Vec::new();
        for entry in admin.acts_of(&by.name).await {
            let detail: Value = serde_json::from_str(&entry.detail).unwrap();
            if entry.act == act && detail["reason"] == body["reason"] {
                noted.extend(detail["message"].as_str().map(str::to_owned));
                let many = detail["messages"].as_array().into_iter().flatten();
                noted.extend(many.filter_map(Value::as_str).map(str::to_owned));
            }
        }
        wanted.iter().all(|id| noted.iter().any(|it| it == id)).then_some(())
    })
    .await;
}

async fn dead_letters_are_read_replayed_and_dropped(side: Side) {
    let admin = Admin::start(side).await;
    let by = admin.key(StaffRole::Operator).await;
    assert_eq!(letters(&by, "", 0).await, [""; 0]);
    for id in ["e1", "e2", "e/3?<b>"] {
        dead(&admin, id).await;
    }
    assert_eq!(letters(&by, "", 3).await, ["e/3?<b>", "e1", "e2"]);
    letters(&by, "?queue=otp-worker&reason=unknown_version&type=otp.requested.v9", 3).await;
    for none in ["?queue=sms-worker", "?reason=failed", "?type=sms.requested.v2"] {
        letters(&by, none, 0).await;
    }
    for id in ["e1", "e%2F3%3F%3Cb%3E"] {
        let path = format!("/admin/v1/queues/otp-worker/letters/{id}");
        let letter = testkit::eventually("the letter", PATIENCE, async || {
            let answer = by.get(&path).await;
            (answer.status == 200).then_some(answer.body)
        })
        .await;
        assert_eq!(letter["body"]["data"]["sealed"], "sealed");
        assert_eq!(letter["body"]["data"]["country"], HOSTILE);
        assert_eq!(letter["reason"], "unknown_version");
        assert!(!letter.to_string().contains("SECRET"), "{letter}");
    }
    let (replay, drop) = ("/admin/v1/queues/otp-worker/replay", "/admin/v1/queues/otp-worker/drop");
    act(&admin, &by, replay, &json!({ "id": "e1" }), &["e1"]).await;
    // The worker does not know it now either.
    letters(&by, "", 3).await;
    act(&admin, &by, drop, &json!({ "id": "e1", "reason": "one" }), &["e1"]).await;
    assert_eq!(letters(&by, "", 2).await, ["e/3?<b>", "e2"]);
    let body = json!({ "dead_for": "unknown_version", "reason": "both" });
    act(&admin, &by, drop, &body, &["e/3?<b>", "e2"]).await;
    letters(&by, "", 0).await;
    // A call that names none of them, two ways at once, or no reason, does nothing.
    for (path, body) in [
        (replay, json!({})),
        (replay, json!({ "all": false })),
        (replay, json!({ "all": "true" })),
        (replay, json!({ "id": "" })),
        (replay, json!({ "id": "x".repeat(256) })),
        (replay, json!({ "dead_for": 5 })),
        (replay, json!({ "id": "e1", "all": true })),
        (replay, json!({ "id": "e1", "dead_for": "failed" })),
        (replay, json!({ "all": true, "reason": "x" })),
        (drop, json!({ "all": true })),
        (drop, json!({ "all": true, "reason": " " })),
        (drop, json!({ "reason": "x" })),
    ] {
        by.post(path, body).await.problem(400, "invalid_request");
    }
    let nowhere = "/admin/v1/queues/nowhere/replay";
    by.post(nowhere, json!({ "all": true })).await.problem(404, "not_found");
    for path in ["nowhere/letters/e1", "otp-worker/letters/nobody"] {
        let path = format!("/admin/v1/queues/{path}");
        by.get(&path).await.problem(404, "not_found");
    }
}

/// A net that was reported as blocked.
pub(super) async fn blocked_net(admin: &Admin, name: &str) {
    let now = admin.now();
    let until = Some(now.plus_secs(600));
    let change = Change {
        kind: Kind::Prefix,
        state: State::Blocked,
        sends: 70,
        verified: 0,
        level: 1,
        until,
    };
    let (country, operator_prefix) = ("ZW".to_owned(), name.to_owned());
    let finding = Finding { change, country, operator_prefix, at: now };
    let history = GuardHistory::new(&admin.console.latchkey.engines.sql);
    history.net_changed(&finding, PumpingGuard::Enforce).await.unwrap();
}

async fn a_rule_is_replayed_and_a_net_is_opened(side: Side) {
    let admin = Admin::start(side).await;
    let by = admin.key(StaffRole::Operator).await;
    blocked_net(&admin, "2637720").await;
    let now = admin.now();
    let tally = |ago: i64, sends: i64| Tally {
        minute: minute_of(now.ms()) - ago,
        operator_prefix: "2637720".to_owned(),
        country: "ZW".to_owned(),
        sends,
        verified: 0,
        refused: 330,
    };
    let history = GuardHistory::new(&admin.console.latchkey.engines.sql);
    history.add(&[tally(60, 400), tally(50, 20)]).await.unwrap();
    let guard = by.get("/admin/v1/guard").await.expect(200).body;
    let net = &guard["nets"][0];
    assert_eq!((&net["name"], &net["state"]), (&json!("2637720"), &json!("blocked")));
    assert_eq!(guard["countries"][0]["sends"], 420);
    assert_eq!(guard["refused"][0]["prefix"], "2637720");
    let rule = json!({ "rule": "min_sends=30,doubt=20", "days": 1 });
    let replayed = by.post("/admin/v1/guard/replay", rule).await.expect(200).body;
    // Those that were refused were requested as well.
    assert_eq!((&replayed["requests"], &replayed["is_cut"]), (&json!(1080), &json!(false)));
    assert_eq!(replayed["stops"][0]["prefix"], "2637720");
    assert_eq!(replayed["stops"][0]["stopped"], replayed["stopped"]);
    assert!(admin.acts_of("operator").await.is_empty(), "a replay changes nothing");
    for (field, body) in [
        ("rule", json!({ "rule": HOSTILE, "days": 1 })),
        ("rule", json!({ "days": 1 })),
        ("days", json!({ "rule": "", "days": 0 })),
        ("days", json!({ "rule": "", "days": 91 })),
        ("days", json!({ "rule": "", "days": "7" })),
        ("more", json!({ "rule": "", "days": 7, "more": 1 })),
    ] {
        let refused = by.post("/admin/v1/guard/replay", body).await;
        assert_eq!(refused.problem(400, "invalid_request")["errors"][0]["field"], field);
    }
    let open = json!({ "kind": "prefix", "name": "2637720", "reason": HOSTILE });
    // The list had it as blocked; the counts of the guard never did.
    let opened = by.post("/admin/v1/guard/open", open.clone()).await.expect(200).body;
    assert_eq!(opened, json!({ "was_closed": false }));
    let noted = admin.acts_of("operator").await.remove(0);
    assert_eq!((&*noted.act, &*noted.subject), ("guard_opened", "2637720"));
    let detail: Value = serde_json::from_str(&noted.detail).unwrap();
    assert_eq!(detail["reason"], HOSTILE);
    for (field, value) in
        [("kind", json!("planet")), ("kind", json!(1)), ("name", json!(1)), ("reason", json!(""))]
    {
        let mut body = open.clone();
        body[field] = value;
        let refused = by.post("/admin/v1/guard/open", body).await;
        assert_eq!(refused.problem(400, "invalid_request")["errors"][0]["field"], field);
    }
    let mut unknown = open;
    unknown["name"] = HOSTILE.into();
    by.post("/admin/v1/guard/open", unknown).await.problem(404, "not_found");
}

async fn limits_are_explained_without_the_number(side: Side) {
    let cooldown = [("LATCHKEY_RESEND_COOLDOWN_SECS", "3600")];
    let admin = Admin::start_with(side, &cooldown).await;
    let (id, phone, _) = admin.console.account(None).await;
    let by = admin.key(StaffRole::Viewer).await;
    let path = "/admin/v1/limits/explain";
    let both = json!({ "phone_number": phone, "address": "203.0.113.7" });
    let told = by.post(path, both).await.expect(200);
    assert!(!told.body.to_string().contains(&phone[1..]), "{}", told.body);
    assert_eq!(told.body["user_id"], id.to_string());
    assert_eq!(told.body["address"], "203.0.113.0");
    let waiting = new_phone();
    admin.console.latchkey.api().otp(&waiting).await.expect(202);
    let told = by.post(path, json!({ "phone_number": waiting })).await.expect(200);
    let judges = told.body["requests"].as_array().unwrap();
    let first = judges.iter().find(|it| it["refuses"] == true).unwrap();
    assert_eq!(first["name"], "cooldown");
    assert!(first["frees_at"].is_string());
    let address = by.post(path, json!({ "address": "2001:db8::1" })).await.expect(200).body;
    assert_eq!((&address["phone_number"], &address["user_id"]), (&Value::Null, &Value::Null));
    let noted = admin.acts_of("viewer").await;
    let subjects: Vec<_> = noted.iter().map(|it| it.subject.as_str()).collect();
    assert_eq!(subjects, ["nobody", "nobody", &id.to_string()]);
    assert!(
        noted.iter().all(|it| it.act == "limits_explained" && !it.detail.contains(&phone[1..]))
    );
    by.post(path, json!({ "phone_number": "12345" })).await.problem(400, "invalid_phone_number");
    for (field, body) in [
        ("body", json!({})),
        ("address", json!({ "address": HOSTILE })),
        ("address", json!({ "address": "203.0.113.0/24" })),
        ("phone_number", json!({ "phone_number": 5 })),
        ("device", json!({ "address": "203.0.113.7", "device": "x" })),
    ] {
        let refused = by.post(path, body).await;
        assert_eq!(refused.problem(400, "invalid_request")["errors"][0]["field"], field);
    }
    let limits = by.get("/admin/v1/limits").await.expect(200).body;
    let names: Vec<_> =
        limits["limits"].as_array().unwrap().iter().map(|it| &it["limit"]).collect();
    assert!(names.contains(&&json!("phone_hour")) && names.contains(&&json!("cooldown")));
}

async fn staff_are_listed_by_pages_and_settings_show_no_secret(side: Side) {
    let former = "a-f0rm3r-s3cr3t-that-nobody-may-see-0123456789";
    let secrets = [
        ("LATCHKEY_SECRET", "a-s3cr3t-that-nobody-may-see-either-9876543210"),
        ("LATCHKEY_SECRET_PREVIOUS", former),
    ];
    let admin = Admin::start_with(side, &secrets).await;
    let mut wanted = Vec::new();
    for role in StaffRole::ALL {
        wanted.push(admin.console.member(role).await.id.to_string());
    }
    wanted.sort_unstable();
    let by = admin.key(StaffRole::Viewer).await;
    let (mut seen, mut before) = (Vec::new(), String::new());
    loop {
        let page = by.get(&format!("/admin/v1/staff?limit=3{before}")).await.expect(200).body;
        for member in page["items"].as_array().unwrap() {
            seen.push(member["id"].as_str().unwrap().to_owned());
            assert_eq!(member["sessions"].as_array().unwrap().len(), 1, "{member}");
            assert!(member["phone_number"].as_str().unwrap().contains('*'), "{member}");
        }
        let Some(next) = page["next"].as_str() else { break };
        before = format!("&before={next}");
    }
    assert_eq!(seen, wanted);
    let answer = by.get("/admin/v1/settings").await.expect(200).body;
    let settings = answer["settings"].as_array().unwrap();
    let secret = settings.iter().find(|it| it["variable"] == "LATCHKEY_SECRET_PREVIOUS").unwrap();
    assert_eq!((&secret["secret"], &secret["value"]), (&json!(true), &json!("***")));
    assert!(!answer.to_string().contains(former));
    // No call changes a role or a setting.
    for path in ["staff", "settings"] {
        let path = format!("/admin/v1/{path}");
        by.send(Method::POST, &path, Some(json!({}))).await.problem(405, "method_not_allowed");
    }
}

async fn what_a_view_cannot_read_is_refused_and_named(side: Side) {
    let admin = Admin::start(side).await;
    let by = admin.key(StaffRole::Viewer).await;
    for (path, field) in [
        ("pulse?hours=1", "hours"),
        ("delivery?hours=0", "hours"),
        ("delivery?hours=721", "hours"),
        ("delivery?hours=99999999999999999999", "hours"),
        ("delivery?country=", "country"),
        ("delivery?provider=a%00b", "provider"),
        ("delivery?under=5", "under"),
        ("providers?provider=http", "provider"),
        ("queues?queue=nowhere", "queue"),
        ("queues?reason=", "reason"),
        ("queues?type=%0a", "type"),
        ("queues?limit=1", "limit"),
        ("queues/otp-worker/letters/e1?limit=1", "limit"),
        ("engines?x=1", "x"),
        ("guard?state=blocked", "state"),
        ("limits?x=1", "x"),
        ("staff?limit=0", "limit"),
        ("staff?limit=201", "limit"),
        ("staff?before=x", "before"),
        ("settings?source=file", "source"),
        ("webhook-calls?limit=1", "limit"),
    ] {
        let refused = by.get(&format!("/admin/v1/{path}")).await;
        assert_eq!(refused.problem(400, "invalid_request")["errors"][0]["field"], field, "{path}");
    }
    let hostile: String = url::form_urlencoded::byte_serialize(HOSTILE.as_bytes()).collect();
    let path = format!("/admin/v1/delivery?hours=720&country={hostile}&provider={hostile}");
    assert_eq!(by.get(&path).await.expect(200).body["countries"], json!([]));
    let path = format!("/admin/v1/queues?reason={hostile}&type={hostile}");
    assert_eq!(by.get(&path).await.expect(200).body["letters"], json!([]));
}
