//! Completes the document: what several calls have in common is written once, under `components`, and each answer and
//! body has an example.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};
use utoipa::openapi::OpenApi;

use crate::http::error::ErrorKind;
use crate::openapi::{refusals, shared};

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// Which port a document describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Surface {
    Public,
    Admin,
}

/// The finished document.
pub(crate) fn finish(described: OpenApi, surface: Surface) -> Value {
    let mut document = serde_json::to_value(described).expect("a description is JSON");
    document["info"]["version"] = env!("CARGO_PKG_VERSION").into();
    let mut components = Components::of(&document, surface);
    if let Some(paths) = document["paths"].as_object_mut() {
        let items = paths.values_mut().filter_map(Value::as_object_mut);
        for operation in items.flat_map(|item| item.iter_mut()) {
            if METHODS.contains(&operation.0.as_str()) {
                components.share(operation.1);
            }
        }
    }
    document["components"] = components.written();
    drop_unused_schemas(&mut document);
    document
}

/// A production gateway has no inbox, and so no answers of one.
fn drop_unused_schemas(document: &mut Value) {
    loop {
        let mut used = BTreeSet::new();
        note_references(document, &mut used);
        let Some(schemas) = document["components"]["schemas"].as_object_mut() else { return };
        let before = schemas.len();
        schemas.retain(|name, _| used.contains(&format!("#/components/schemas/{name}")));
        if schemas.len() == before {
            return;
        }
    }
}

fn note_references(value: &Value, used: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            used.extend(members.get("$ref").and_then(Value::as_str).map(str::to_owned));
            members.values().for_each(|member| note_references(member, used));
        }
        Value::Array(items) => items.iter().for_each(|item| note_references(item, used)),
        _ => {}
    }
}

/// A description comes from a doc comment, whose lines end where the code's do.
fn unwrap_lines(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                match member {
                    Value::String(text) if name == "description" => *text = text.replace('\n', " "),
                    member => unwrap_lines(member),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(unwrap_lines),
        _ => {}
    }
}

/// The `components` of the document.
struct Components {
    schemas: Map<String, Value>,
    parameters: Map<String, Value>,
    responses: Map<String, Value>,
    surface: Surface,
}

impl Components {
    fn of(document: &Value, surface: Surface) -> Self {
        let mut schemas = shared::problems(surface);
        let described = document["components"]["schemas"].as_object().cloned().unwrap_or_default();
        schemas.extend(described);
        schemas.values_mut().for_each(unwrap_lines);
        Self { schemas, parameters: Map::new(), responses: Map::new(), surface }
    }

    fn written(self) -> Value {
        let Self { schemas, parameters, responses, surface } = self;
        let used = Value::from(responses.clone()).to_string();
        let mut headers = shared::headers();
        if let Some(headers) = headers.as_object_mut() {
            // Some belong to calls that only development serves.
            headers.retain(|name, _| used.contains(&format!("#/components/headers/{name}\"")));
        }
        json!({
            "headers": headers,
            "parameters": parameters,
            "responses": responses,
            "schemas": schemas,
            "securitySchemes": shared::security_schemes(surface),
        })
    }

    /// Moves the shared parts of an operation here and leaves references to them.
    fn share(&mut self, operation: &mut Value) {
        for parameter in operation["parameters"].as_array_mut().into_iter().flatten() {
            let name = text(&parameter["name"]).replace('-', "");
            // Two lists may have filters of one name: the second one's stays where it is.
            if self.parameters.get(&name).is_none_or(|kept| kept == parameter) {
                *parameter = keep(&mut self.parameters, "parameters", &name, parameter.take());
            }
        }
        if operation["parameters"].is_null()
            && let Some(operation) = operation.as_object_mut()
        {
            operation.remove("parameters");
        }
        if let Some(body) = operation.get_mut("requestBody") {
            may_be_left_out(body);
            self.content(body);
        }
        for (status, response) in operation["responses"].as_object_mut().into_iter().flatten() {
            let (name, full) = match response[refusals::KINDS].as_array() {
                Some(kinds) => refused(kinds),
                None => (name_of(status, response), self.answer(response.take())),
            };
            *response = keep(&mut self.responses, "responses", &name, full);
        }
    }

    /// An answer that is no refusal, with the headers of all answers and an example.
    fn answer(&self, mut response: Value) -> Value {
        self.content(&mut response);
        let own = response["headers"].as_object().cloned().unwrap_or_default();
        let names = own.keys().map(String::as_str).chain(["X-Request-Id"]);
        let headers: Map<String, Value> =
            names.map(|name| (name.to_owned(), reference("headers", name))).collect();
        response["headers"] = headers.into();
        response
    }

    /// Gives each content the example of its schema, if it has none of its own.
    fn content(&self, holder: &mut Value) {
        for content in holder["content"].as_object_mut().into_iter().flat_map(Map::values_mut) {
            let schema = text(&content["schema"]["$ref"]);
            let named = schema.rsplit('/').next().and_then(|name| self.schemas.get(name));
            if content.get("example").is_none()
                && let Some(example) = named.and_then(|schema| schema["examples"].get(0))
            {
                content["example"] = example.clone();
            }
        }
        if holder["content"].is_null()
            && let Some(holder) = holder.as_object_mut()
        {
            holder.remove("content");
        }
    }
}

/// A body that may be left out is no body that may be `null`.
fn may_be_left_out(body: &mut Value) {
    for content in body["content"].as_object_mut().into_iter().flat_map(Map::values_mut) {
        let choices = content["schema"]["oneOf"].as_array().cloned().unwrap_or_default();
        if let Some(own) = choices.into_iter().find(|schema| schema.get("$ref").is_some()) {
            content["schema"] = own;
        }
    }
}

fn refused(kinds: &[Value]) -> (String, Value) {
    let kinds: Vec<ErrorKind> =
        kinds.iter().filter_map(Value::as_str).filter_map(refusals::kind).collect();
    (refusals::name(&kinds), refusals::response(&kinds))
}

/// Keeps a part under this name and returns a reference to it.
fn keep(parts: &mut Map<String, Value>, kind: &str, name: &str, part: Value) -> Value {
    match parts.get(name) {
        Some(kept) => assert!(*kept == part, "two {kind} are named {name}"),
        None => {
            parts.insert(name.to_owned(), part);
        }
    }
    reference(kind, name)
}

fn reference(kind: &str, name: &str) -> Value {
    json!({ "$ref": format!("#/components/{kind}/{name}") })
}

/// What a response's schema is named; without one, what it is.
fn name_of(status: &str, response: &Value) -> String {
    let contents = response["content"].as_object().into_iter().flatten();
    let mut names = contents.map(|(_, content)| {
        let schema = &content["schema"];
        let (one, many) = (text(&schema["$ref"]), text(&schema["items"]["$ref"]));
        match (one.rsplit('/').next(), many.rsplit('/').next()) {
            (Some(name), _) if !name.is_empty() => name.to_owned(),
            (_, Some(name)) if !name.is_empty() => format!("{name}List"),
            _ => "Document".to_owned(),
        }
    });
    let without = if status == "304" { "NotModified" } else { "NoContent" };
    names.next().unwrap_or_else(|| without.to_owned())
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
