//! The runner lets nothing pass: a wrong assertion, a misspelt call and a missing variable each fail a run.

use serde_json::{Value, json};

use super::collection::{COLLECTION, Collection, Variable, file};
use super::runner;
use crate::accounts::in_process::InProcessLatchkey;
use crate::javascript::World;
use testkit::system::Side;

/// A collection of one request for the public keys, with these scripts.
fn one_request(before: &str, after: &str) -> Value {
    let event = |listen: &str, script: &str| json!({ "listen": listen, "script": { "type": "text/javascript", "exec": [script] } });
    json!({
        "info": {
            "name": "One",
            "schema": "https://schema.getpostman.com/json/collection/v2.1.0/collection.json",
        },
        "item": [{
            "name": "The keys",
            "event": [event("prerequest", before), event("test", after)],
            "request": {
                "method": "GET",
                "header": [],
                "description": "One request.",
                "url": {
                    "raw": "{{base_url}}/.well-known/{{document}}",
                    "host": ["{{base_url}}"],
                    "path": [".well-known", "{{document}}"],
                },
            },
            "response": [],
        }],
    })
}

const DOCUMENT: &str = "pm.environment.set('document', 'jwks.json');";
const GOOD: &str = "pm.test('it answers', () => { pm.response.to.have.status(200); });";

async fn failures(latchkey: &InProcessLatchkey, before: &str, after: &str) -> Vec<String> {
    let collection = Collection::read(&one_request(before, after)).unwrap();
    let world = World::patient(Some(latchkey.clock.clone()));
    let none: [Variable; 0] = [];
    runner::run(&world, &collection, &none, &latchkey.api().url).await.failures
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_assertion_fails_the_run_and_so_does_whatever_postman_would_not_do() {
    let latchkey = InProcessLatchkey::start(Side::Embedded, 1).await;
    assert_eq!(failures(&latchkey, DOCUMENT, GOOD).await, Vec::<String>::new());
    let wrong = [
        (DOCUMENT, "pm.test('planted', () => { pm.response.to.have.status(201); });", "planted"),
        (
            DOCUMENT,
            "pm.test('planted', () => { pm.expect(1).to.equal(2); });",
            "expected 1 to equal 2",
        ),
        (
            DOCUMENT,
            "pm.test('planted', () => { pm.expect([1]).to.not.include(1); });",
            "not to include 1",
        ),
        (DOCUMENT, "pm.test('planted', () => { pm.expect(1).to.be.abvoe(0); });", "abvoe"),
        (DOCUMENT, "pm.test('planted', () => { pm.expect(null).to.be.true; });", "to be true"),
        (DOCUMENT, "pm.test('planted', () => { pm.response.json().keys[9].kid; });", "planted"),
        (DOCUMENT, "pm.visualizer.set('x');", "pm.visualizer is not known"),
        (DOCUMENT, "pm.environment.set('x', undefined);", "is no value of a variable"),
        (DOCUMENT, "const x = 1;", "asserts nothing"),
        (
            DOCUMENT,
            "pm.test('late', () => {}); setTimeout(() => { throw new Error('late'); }, 1);",
            "late",
        ),
        ("", GOOD, "{{document}} has no value"),
        ("pm.environment.set('document', 'none');", GOOD, "expected status 200, but it is 404"),
        ("pm.sendRequest('http://127.0.0.1:1/', (error) => { throw error; });", GOOD, "prerequest"),
        ("pm.response.code;", GOOD, "pm.response is not known"),
        ("pm.test('too early', () => {});", GOOD, "belongs in a test script"),
    ];
    for (before, after, why) in wrong {
        let found = failures(&latchkey, before, after).await;
        assert!(found.len() == 1 && found[0].contains(why), "{before} {after}: {found:?}");
    }
    let ends = format!("{GOOD} pm.execution.setNextRequest(null);");
    let stopped = failures(&latchkey, DOCUMENT, &ends).await;
    assert!(stopped.len() == 1 && stopped[0].contains("it ended the run"), "{stopped:?}");
}

/// Each assertion of each script can fail: a server that answers 200 and nothing else passes none of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_of_the_collection_is_content_with_any_answer() {
    let app = axum::Router::new().fallback(async || axum::Json(json!({ "status": "sent" })));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    let collection = Collection::read(&file(COLLECTION).unwrap()).unwrap();
    let variables = super::environment(&file(super::ENVIRONMENT).unwrap()).unwrap();
    let world = World::patient(Some(domain::clock::Clock::manual()));
    for item in &collection.items {
        let mut alone = item.clone();
        // What prepares a request needs the answers of those before it.
        alone.scripts.before.clear();
        let alone = Collection { items: vec![alone], ..collection.clone() };
        let report = runner::run(&world, &alone, &variables, &url).await;
        let own = |failure: &&String| !failure.contains("no answer of the API may be kept");
        assert!(report.failures.iter().any(|failure| own(&failure)), "{}", item.name);
    }
}

#[test]
fn a_collection_of_another_form_is_refused_by_name() {
    let with = |change: fn(&mut Value)| {
        let mut file = one_request(DOCUMENT, GOOD);
        change(&mut file);
        format!("{:#}", Collection::read(&file).expect_err("it must be refused"))
    };
    assert!(with(|file| file["info"]["schema"] = json!("v2.0.0")).contains("schema"));
    assert!(with(|file| file["item"] = json!([])).contains("empty"));
    assert!(with(|file| file["item"][0]["event"] = json!([])).contains("one test script"));
    assert!(
        with(|file| file["item"][0]["request"]["url"]["path"][0] = json!("x"))
            .contains("its parts are")
    );
    assert!(with(|file| file["item"][0]["request"]["proxy"] = json!({})).contains("proxy"));
    assert!(
        with(|file| file["item"][0]["request"]["body"] = json!({"mode": "raw", "raw": ""}))
            .contains("Content-Type")
    );
    assert!(
        with(|file| file["item"][0]["request"]["auth"] = json!({"type": "oauth2"}))
            .contains("oauth2")
    );
    assert!(with(|file| file["item"][0]["response"] = Value::Null).contains("response"));
    assert!(
        with(|file| {
            let again = file["item"][0].clone();
            file["item"].as_array_mut().unwrap().push(again);
        })
        .contains("twice")
    );
}
