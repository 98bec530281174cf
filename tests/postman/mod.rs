//! The Postman collection (`docs/postman`): it runs green with all its scripts, covers the API, and holds no secret.

mod collection;
mod runner;
mod runner_tests;

use std::collections::BTreeSet;

use domain::phone::Policy;
use reqwest::Method;

use self::collection::{COLLECTION, Collection, ENVIRONMENT, FOLDER, Item, environment, file};
use crate::accounts::in_process::InProcessLatchkey;
use crate::javascript::World;
use crate::journeys::TWICE;
use crate::pages;
use testkit::both_sides;
use testkit::engines::Engines;
use testkit::system::{NO_LIMITS, Side, System};

both_sides!(the_collection_runs_green_within_the_default_limits);

/// Turns the limits on that other tests turn off: an empty setting has its default.
fn default_limits() -> Vec<(&'static str, &'static str)> {
    NO_LIMITS.map(|(name, _)| (name, "")).to_vec()
}

async fn the_collection_runs_green_within_the_default_limits(side: Side) {
    let latchkey = InProcessLatchkey::start_with(side, 1, &default_limits()).await;
    runs_green(&World::patient(Some(latchkey.clock.clone())), &latchkey.api().url).await;
}

mod on_the_engines {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "waits like Postman, three minutes: tests/run --slow"]
    async fn the_collection_runs_green_by_the_real_clock_with_the_services_apart() {
        let settings = [default_limits(), vec![("LATCHKEY_OTP_TTL_SECS", "60")]].concat();
        let engines = Engines::shared().fresh().await;
        let system = System::apart(engines, TWICE, &settings).await;
        runs_green(&World::patient(None), &system.api().url).await;
        system.stop().await;
    }
}

async fn runs_green(world: &World, url: &str) {
    let collection = Collection::read(&file(COLLECTION).unwrap()).unwrap();
    let variables = environment(&file(ENVIRONMENT).unwrap()).unwrap();
    let report = runner::run(world, &collection, &variables, url).await;
    assert!(report.failures.is_empty(), "{:#?}\n{:#?}", report.failures, report.sent);
    let all: Vec<_> = collection.items.iter().map(|item| &*item.name).collect();
    assert_eq!(report.sent, all, "every request ran, in the order of the collection");
    assert!(report.assertions >= 2 * all.len(), "only {} assertions", report.assertions);
    let waits = report.log.iter().filter(|line| line.starts_with("Waiting "));
    assert!(waits.count() >= 2, "{:?}", report.log);
}

/// The contract's codes that no client of the API can cause, with what causes them.
const NOT_A_CLIENTS: [(&str, &str); 5] = [
    ("account_blocked", "staff block an account"),
    ("invalid_signature", "only a provider posts to the webhooks"),
    ("host_not_allowed", "the development inbox, behind a proxy"),
    ("internal_error", "a fault"),
    ("temporarily_unavailable", "an engine that is away, or a busy machine"),
];

#[test]
fn each_error_that_a_client_can_cause_is_in_the_collection() {
    let not_a_clients: BTreeSet<_> =
        NOT_A_CLIENTS.iter().map(|(code, _)| (*code).to_owned()).collect();
    let known = pages::error_codes();
    assert!(not_a_clients.is_subset(&known), "{not_a_clients:?} in {known:?}");
    let wanted: BTreeSet<_> = known.difference(&not_a_clients).cloned().collect();
    let collection = Collection::read(&file(COLLECTION).unwrap()).unwrap();
    let scripts: String =
        collection.items.iter().flat_map(|item| item.scripts.after.clone()).collect();
    let is_asserted =
        |code: &&String| scripts.contains(&format!("json().code).to.equal(\"{code}\")"));
    let missing: Vec<_> = wanted.iter().filter(|code| !is_asserted(code)).collect();
    assert!(missing.is_empty(), "the collection causes none of {missing:?}");
    // Postman's users find an error by its name.
    for code in &wanted {
        let named = |item: &Item| item.name.contains(code.as_str());
        assert!(collection.items.iter().any(named), "no request is named after {code}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_call_of_the_api_is_in_the_collection() {
    let latchkey = InProcessLatchkey::start(Side::Embedded, 1).await;
    let api = latchkey.api();
    let mut served = BTreeSet::new();
    for path in pages::api_paths() {
        let real = path.replace("{}", "00000000-0000-7000-8000-000000000000");
        // The router itself says what it serves.
        let answer = api.try_call(Method::TRACE, &real, None, &[]).await.unwrap();
        answer.clone().problem(405, "method_not_allowed");
        for method in answer.header("allow").unwrap().split(',').filter(|method| *method != "HEAD")
        {
            served.insert(format!("{} {path}", method.trim()));
        }
    }
    assert!(served.len() >= 20, "{served:?}");
    let collection = Collection::read(&file(COLLECTION).unwrap()).unwrap();
    let called: BTreeSet<_> =
        collection.items.iter().map(|item| format!("{} {}", item.method, path_of(item))).collect();
    let missing: Vec<_> = served.difference(&called).collect();
    assert!(missing.is_empty(), "the collection never calls {missing:?}");
}

/// The path of a request, with `{}` for each part that is a variable.
fn path_of(item: &Item) -> String {
    let path =
        item.url.strip_prefix("{{base_url}}").expect("each request begins with {{base_url}}");
    let path = path.split('?').next().unwrap_or_default();
    let parts = path.split('/').map(|part| if part.starts_with("{{") { "{}" } else { part });
    parts.collect::<Vec<_>>().join("/")
}

#[test]
fn the_environment_has_each_variable_and_no_secret() {
    let collection = Collection::read(&file(COLLECTION).unwrap()).unwrap();
    let variables = environment(&file(ENVIRONMENT).unwrap()).unwrap();
    let names: BTreeSet<_> = variables.iter().map(|one| one.name.clone()).collect();
    assert_eq!(names.len(), variables.len(), "a variable stands twice");
    let text = std::fs::read_to_string(format!("{FOLDER}/{COLLECTION}")).unwrap();
    let mut used = names_between(&text, "{{", "}}");
    used.remove("$guid");
    used.extend(names_between(&text, "pm.environment.get(\\\"", "\\\""));
    used.extend(names_between(&text, "pm.environment.set(\\\"", "\\\""));
    assert_eq!(used, names, "used in the collection, and listed in the environment");
    for one in &variables {
        let speaks = ["otp", "password", "access", "refresh", "token"];
        // A number that was made up is none, and neither is an id.
        let is_one = speaks.iter().any(|word| one.name.contains(word));
        assert_eq!(one.is_secret, is_one, "{}", one.name);
        assert!(!one.is_secret || one.value.is_empty(), "{} holds a value", one.name);
    }
    assert!(collection.variables.is_empty(), "what changes belongs to the environment");
}

fn names_between(text: &str, before: &str, after: &str) -> BTreeSet<String> {
    let parts = text.split(before).skip(1).filter_map(|rest| rest.split(after).next());
    parts.map(str::to_owned).collect()
}

#[test]
fn each_request_and_folder_teaches_something() {
    let collection = Collection::read(&file(COLLECTION).unwrap()).unwrap();
    assert_eq!(collection.name, "Latchkey");
    for item in &collection.items {
        assert!(item.description.len() > 15, "{}: {}", item.name, item.description);
        assert!(!item.folder.is_empty(), "{} is in no folder", item.name);
    }
}

#[test]
fn the_numbers_of_the_collection_are_mobile_numbers_that_belong_to_nobody() {
    let text = std::fs::read_to_string(format!("{FOLDER}/{COLLECTION}")).unwrap();
    assert!(text.contains("55501${line}"), "555-0100 to 555-0199 are kept for fiction");
    let list = text.split("const areas = [").nth(1).unwrap().split(']').next().unwrap();
    let areas: Vec<_> = list.split(',').map(|area| area.trim().trim_matches(['\\', '"'])).collect();
    assert!(areas.len() >= 10, "{areas:?}");
    for area in areas {
        let phone = Policy::default().parse(&format!("+1{area}5550100"));
        assert!(phone.is_ok(), "+1{area}5550100: {phone:?}");
    }
}
