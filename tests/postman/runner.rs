//! Runs a collection as Postman does: the scripts before each request, the request, the scripts after it.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::collection::{Collection, Item, Variable};
use crate::javascript::{self, World};

const SANDBOX: &str = include_str!("sandbox.js");

/// What a run found, in its order.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// The names of the requests that were answered.
    pub sent: Vec<String>,
    pub failures: Vec<String>,
    pub log: Vec<String>,
    pub assertions: usize,
}

/// The variables that a run passes on from request to request.
struct Variables {
    environment: Map<String, Value>,
    collection: Map<String, Value>,
}

impl Variables {
    /// Puts the values in the place of `{{names}}`.
    fn fill(&self, text: &str) -> Result<String, String> {
        let mut filled = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            let (name, after) = after.split_once("}}").ok_or("{{ without }}")?;
            let value = self.environment.get(name).or_else(|| self.collection.get(name));
            let value = value.ok_or_else(|| format!("{{{{{name}}}}} has no value"))?;
            filled.push_str(before);
            match value {
                Value::String(text) => filled.push_str(text),
                other => filled.push_str(&other.to_string()),
            }
            rest = after;
        }
        Ok(filled + rest)
    }
}

/// Runs all requests in their order, with the environment's `base_url` replaced by this one. Secrets of the file are
/// empty, as in Postman after an import.
pub(super) async fn run(
    world: &World,
    collection: &Collection,
    environment: &[Variable],
    base_url: &str,
) -> Report {
    let given = environment.iter().map(|one| (one.name.clone(), json!(one.value)));
    let mut variables = Variables {
        environment: given.collect(),
        collection: collection.variables.clone().into_iter().collect(),
    };
    variables.environment.insert("base_url".to_owned(), json!(base_url));
    let mut report = Report::default();
    for item in &collection.items {
        match one(world, item, &mut variables, &mut report).await {
            Ok(true) => {}
            Ok(false) => {
                report.failures.push(format!("{}: it ended the run", item.name));
                break;
            }
            // What comes after it would only fail for want of what it should have passed on.
            Err(why) => {
                report.failures.push(format!("{}: {why}", item.name));
                break;
            }
        }
    }
    report
}

/// Runs one request; returns whether the run goes on.
async fn one(
    world: &World,
    item: &Item,
    variables: &mut Variables,
    report: &mut Report,
) -> Result<bool, String> {
    for script in &item.scripts.before {
        scripted(world, item, "prerequest", script, None, variables, report).await?;
    }
    let request = request(item, variables)?;
    let answer = world.send(&request).await;
    if let Some(error) = answer["error"].as_str() {
        return Err(error.to_owned());
    }
    report.sent.push(item.name.clone());
    let mut goes_on = true;
    for (index, script) in item.scripts.after.iter().enumerate() {
        let before = report.assertions;
        goes_on &= scripted(world, item, "test", script, Some(&answer), variables, report).await?;
        if index + 1 == item.scripts.after.len() && report.assertions == before {
            return Err("its own script asserts nothing".to_owned());
        }
    }
    Ok(goes_on)
}

fn request(item: &Item, variables: &Variables) -> Result<Value, String> {
    let mut headers = BTreeMap::new();
    if let Some(token) = &item.bearer {
        headers.insert("Authorization".to_owned(), format!("Bearer {}", variables.fill(token)?));
    }
    for (name, value) in &item.headers {
        headers.insert(name.clone(), variables.fill(value)?);
    }
    let body = item.body.as_ref().map(|body| variables.fill(body)).transpose()?;
    let url = variables.fill(&item.url)?;
    let headers: Vec<_> = headers.into_iter().map(|(name, value)| json!([name, value])).collect();
    Ok(json!({ "method": item.method, "url": url, "headers": headers, "body": body }))
}

/// Runs one script; returns whether it lets the run go on.
async fn scripted(
    world: &World,
    item: &Item,
    event: &str,
    script: &str,
    answer: Option<&Value>,
    variables: &mut Variables,
    report: &mut Report,
) -> Result<bool, String> {
    let mut input = json!({
        "request_name": item.name,
        "event": event,
        "variables": { "environment": variables.environment, "collection": variables.collection },
    });
    if let Some(answer) = answer {
        input["response"] = answer.clone();
    }
    let ended = javascript::run(world, &[SANDBOX], &input, script).await;
    let ended = ended.map_err(|why| format!("the {event} script: {why}"))?;
    report.log.extend(ended.log);
    let mut results = ended.value;
    let taken = |value: Value| value.as_object().cloned().unwrap_or_default();
    variables.environment = taken(results["environment"].take());
    variables.collection = taken(results["collection"].take());
    for test in results["tests"].as_array().into_iter().flatten() {
        report.assertions += 1;
        if let Some(error) = test["error"].as_str() {
            report.failures.push(format!("{}: {}: {error}", item.name, test["name"]));
        }
    }
    Ok(results.get("next").is_none())
}
