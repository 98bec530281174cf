//! The engine hides nothing: what a script throws fails it, wherever it does, and what it never finishes too.

use std::time::Duration;

use domain::clock::Clock;
use serde_json::{Value, json};

use super::{World, run};

async fn error_of(script: &str) -> String {
    let ended = run(&World::new(None), &[], &Value::Null, script).await;
    ended.expect_err("the script must fail")
}

#[tokio::test]
async fn a_script_awaits_timers_and_returns_what_it_found() {
    let script = "
        console.log('begins', input);
        const late = [];
        const gone = setTimeout(() => late.push('never'), 1);
        clearTimeout(gone);
        setTimeout(() => late.push('second'), 20);
        await new Promise((done) => setTimeout(done, 10));
        late.push('first');
        await new Promise((done) => setTimeout(done, 30));
        return late;";
    let ended = run(&World::new(None), &[], &json!({ "a": 1 }), script).await.unwrap();
    assert_eq!(ended.value, json!(["first", "second"]));
    assert_eq!(ended.log, ["begins {\"a\":1}"]);
}

#[tokio::test]
async fn what_a_script_throws_fails_it_wherever_it_does() {
    assert!(error_of("throw new Error('at once');").await.contains("at once"));
    assert!(error_of("await Promise.reject(new Error('later'));").await.contains("later"));
    assert!(
        error_of("setTimeout(() => { throw new Error('in a timer'); }, 1);")
            .await
            .contains("in a timer")
    );
    assert!(error_of("nothing.of_the_kind();").await.contains("nothing"));
    assert!(error_of("this is no JavaScript").await.contains("expecting"));
    assert!(error_of("await new Promise(() => {});").await.contains("never came to its end"));
}

#[tokio::test]
async fn a_request_without_an_answer_is_an_error_that_the_script_sees() {
    let script = "return await new Promise((done) => host.send({ method: 'GET', url: 'http://127.0.0.1:1/' }, done));";
    let ended = run(&World::new(None), &[], &Value::Null, script).await.unwrap();
    assert!(ended.value["error"].is_string(), "{}", ended.value);
}

#[tokio::test]
async fn a_long_timer_moves_the_servers_clock_and_the_scripts() {
    let clock = Clock::manual();
    let script = "
        const before = Date.now();
        await new Promise((done) => setTimeout(done, 3600000));
        return Date.now() - before;";
    let ended = run(&World::new(Some(clock.clone())), &[], &Value::Null, script).await.unwrap();
    assert!(ended.value.as_f64().unwrap() >= 3_600_000.0, "{}", ended.value);
    assert_eq!(Duration::from_millis(clock.ahead_ms().unsigned_abs()), Duration::from_hours(1));
}
