//! The document by itself: valid OpenAPI 3.1, and what readers and generators of clients expect of one.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::described::Described;
use super::python::{Claim, faults};

const SCHEMA: &str = include_str!("openapi-3.1.schema.json");

/// Of production, of development, and of the admin port.
fn documents() -> [Value; 3] {
    let public = [false, true].map(gateway::openapi_document);
    let [production, development] = public;
    [production, development, gateway::admin_openapi_document()]
}

/// The schema of the specification, and that every schema of the document is one by JSON Schema 2020-12.
#[test]
fn all_documents_are_valid_openapi_3_1() {
    let schema: Value = serde_json::from_str(SCHEMA).expect("JSON");
    for document in documents() {
        let claim = |value: &Value| Claim {
            at: "the document".to_owned(),
            schema: schema.clone(),
            value: value.clone(),
        };
        let faults_of = |value: &Value| faults(&json!({}), &[claim(value)]);
        assert_eq!(faults_of(&document), [""; 0]);
        let mut broken = document.clone();
        let (_, first) =
            broken["paths"].as_object_mut().expect("paths").iter_mut().next().expect("a path");
        let (_, call) = first.as_object_mut().expect("calls").iter_mut().next().expect("a call");
        call["responses"]["202"] = "accepted".into();
        assert!(!faults_of(&broken).is_empty(), "a broken document is found");
    }
}

#[test]
fn every_reference_leads_somewhere_and_every_component_is_used() {
    for document in documents() {
        let mut used = BTreeSet::new();
        references(&document, &mut used);
        for reference in &used {
            let pointer = reference.strip_prefix('#').expect("a reference within the document");
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
        for (kind, parts) in document["components"].as_object().expect("components") {
            // Those are used by name.
            for name in
                parts.as_object().expect("parts").keys().filter(|_| kind != "securitySchemes")
            {
                let reference = format!("#/components/{kind}/{name}");
                // Without an inbox nothing is refused for its host.
                assert!(used.contains(&reference), "{reference} is not used");
            }
        }
    }
}

fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            found.extend(members.get("$ref").and_then(Value::as_str).map(str::to_owned));
            members.values().for_each(|member| references(member, found));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

#[test]
fn every_call_has_an_id_of_its_own_a_declared_tag_and_a_summary() {
    for described in Described::each() {
        check_ids_tags_and_summaries(&described);
    }
}

fn check_ids_tags_and_summaries(described: &Described) {
    let tags = described.0["tags"].as_array().expect("tags");
    let declared: BTreeSet<&str> = tags.iter().filter_map(|tag| tag["name"].as_str()).collect();
    assert!(
        tags.iter().all(|tag| tag["description"].as_str().is_some_and(|text| !text.is_empty()))
    );
    let (mut ids, mut tagged) = (BTreeSet::new(), BTreeSet::new());
    for call in described.calls() {
        let at = format!("{} {}", call.method, call.path);
        let text = |name: &str| call.operation[name].as_str().unwrap_or_default();
        let id = text("operationId");
        assert!(id.starts_with(|c: char| c.is_ascii_lowercase()), "{at}: {id}");
        assert!(id.chars().all(|c| c.is_ascii_alphanumeric()), "{at}: {id}");
        assert!(ids.insert(id.to_owned()), "{id} names two calls");
        assert!(!text("summary").is_empty() && !text("summary").ends_with('.'), "{at}: summary");
        assert!(text("description").ends_with('.'), "{at}: description");
        let own = call.operation["tags"].as_array().expect("tags");
        assert_eq!(own.len(), 1, "{at}: one tag");
        let own = own[0].as_str().expect("a tag");
        assert!(declared.contains(own), "{at}: the tag {own} is not declared");
        tagged.insert(own);
        for parameter in call.operation["parameters"].as_array().into_iter().flatten() {
            let parameter = described.resolved(parameter);
            assert!(parameter["description"].as_str().is_some_and(|text| !text.is_empty()), "{at}");
        }
    }
    assert_eq!(tagged, declared, "a declared tag has no call");
}

#[test]
fn every_answer_and_every_body_has_a_description_and_an_example() {
    for described in Described::each() {
        check_descriptions_and_examples(&described);
    }
}

fn check_descriptions_and_examples(described: &Described) {
    for call in described.calls() {
        let mut holders: Vec<(&str, &Value)> = Vec::new();
        for (status, response) in call.operation["responses"].as_object().expect("responses") {
            assert!(response.get("$ref").is_some(), "{status} of {} is written inline", call.path);
            holders.push((status, described.resolved(response)));
        }
        holders.extend(call.operation.get("requestBody").map(|body| ("body", body)));
        for (place, holder) in holders {
            let at = format!("{} {} {place}", call.method, call.path);
            assert!(holder["description"].as_str().is_some_and(|text| !text.is_empty()), "{at}");
            for content in holder["content"].as_object().into_iter().flat_map(|all| all.values()) {
                let of_many = content["examples"].as_object().is_some_and(|all| !all.is_empty());
                assert!(of_many || content.get("example").is_some(), "{at} has no example");
            }
        }
    }
}

#[test]
fn every_example_is_what_its_schema_says() {
    let described = Described::new();
    let mut wrong = claims_of_examples(&described);
    wrong.retain(|claim| claim.at == "post /v1/login 200");
    wrong[0].value["user"]["id"] = 5.into();
    assert!(!faults(&described.0["components"], &wrong).is_empty(), "a wrong example is found");
    for described in Described::each() {
        let claims = claims_of_examples(&described);
        assert_eq!(faults(&described.0["components"], &claims), [""; 0]);
    }
}

fn claims_of_examples(described: &Described) -> Vec<Claim> {
    let mut claims: Vec<Claim> = described
        .examples()
        .into_iter()
        .map(|(at, schema, value)| Claim { at, schema: schema.clone(), value: value.clone() })
        .collect();
    assert!(claims.len() > 100, "{} examples", claims.len());
    let schemas = described.0["components"]["schemas"].as_object().expect("schemas");
    for (name, schema) in schemas {
        let examples = schema["examples"].as_array().into_iter().flatten();
        claims.extend(examples.map(|example| Claim {
            at: name.clone(),
            schema: schema.clone(),
            value: example.clone(),
        }));
    }
    claims
}

/// Two schemas that say the same are one, by reference; so are two parameters, and two answers.
#[test]
fn nothing_is_written_twice() {
    for described in Described::each() {
        check_that_nothing_is_twice(&described);
    }
}

fn check_that_nothing_is_twice(described: &Described) {
    for (kind, parts) in described.0["components"].as_object().expect("components") {
        let mut seen: BTreeMap<String, &str> = BTreeMap::new();
        for (name, part) in parts.as_object().expect("parts") {
            if let Some(other) = seen.insert(part.to_string(), name) {
                panic!("{kind}: {name} and {other} are the same");
            }
        }
    }
    let mut objects = BTreeMap::new();
    inline_objects("#", &described.0, &mut objects);
    for (schema, places) in objects {
        assert!(places.len() == 1, "{places:?} have the same schema: {schema}");
    }
}

/// The schemas of objects with members that are written in place.
fn inline_objects(at: &str, value: &Value, found: &mut BTreeMap<String, Vec<String>>) {
    match value {
        Value::Object(members) => {
            if members.get("type") == Some(&"object".into()) && members.contains_key("properties") {
                found.entry(value.to_string()).or_default().push(at.to_owned());
            }
            for (name, member) in members {
                inline_objects(&format!("{at}/{name}"), member, found);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                inline_objects(&format!("{at}/{index}"), item, found);
            }
        }
        _ => {}
    }
}

#[test]
fn the_codes_of_the_document_are_those_of_the_code_and_each_has_an_example() {
    let described = Described::new();
    let codes: BTreeSet<&str> = gateway::errors().into_iter().map(|row| row.code).collect();
    let listed = described.0["components"]["schemas"]["ErrorCode"]["enum"].as_array();
    let listed: BTreeSet<&str> = listed.expect("a list").iter().filter_map(Value::as_str).collect();
    assert_eq!(listed, codes);
    let examples = described.examples();
    let shown: BTreeSet<&str> = examples
        .iter()
        .filter(|(_, _, example)| example.get("detail").is_some())
        .filter_map(|(_, _, example)| example["code"].as_str())
        .collect();
    assert_eq!(shown, codes);
}

/// No example is a secret that works: a token of ours has three parts in base64url.
#[test]
fn p10_no_example_is_a_token() {
    let described = Described::new();
    let whole = described.0.to_string();
    let mut words = whole.split(|c: char| !c.is_ascii_alphanumeric() && !"._-".contains(c));
    let is_token = |word: &&str| word.len() > 60 && word.matches('.').count() == 2;
    assert_eq!(words.find(is_token), None);
}
