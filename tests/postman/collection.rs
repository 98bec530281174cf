//! A collection and an environment, as Postman reads them (collection format v2.1.0).

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;

pub(super) const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/postman");
pub(super) const COLLECTION: &str = "latchkey.postman_collection.json";
pub(super) const ENVIRONMENT: &str = "latchkey.postman_environment.json";

const SCHEMA: &str = "https://schema.getpostman.com/json/collection/v2.1.0/collection.json";

/// Which scripts run around a request, in the order of Postman: the collection's, the folders', the request's own.
#[derive(Debug, Clone, Default)]
pub(super) struct Scripts {
    pub before: Vec<String>,
    pub after: Vec<String>,
}

/// One request of the collection.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub folder: String,
    pub name: String,
    pub description: String,
    pub method: String,
    pub url: String,
    pub headers: Vec<(String, String)>,
    pub body: Option<String>,
    /// The bearer token that Postman adds, with its variables; the nearest of request, folder and collection decides.
    pub bearer: Option<String>,
    pub scripts: Scripts,
}

#[derive(Debug, Clone)]
pub(super) struct Collection {
    pub name: String,
    pub variables: BTreeMap<String, Value>,
    pub items: Vec<Item>,
}

/// One variable of an environment's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Variable {
    pub name: String,
    pub value: String,
    pub is_secret: bool,
}

pub(super) fn file(name: &str) -> anyhow::Result<Value> {
    let path = format!("{FOLDER}/{name}");
    let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    serde_json::from_str(&text).with_context(|| format!("{path} is not JSON"))
}

/// Reads the variables of an environment's file.
pub(super) fn environment(file: &Value) -> anyhow::Result<Vec<Variable>> {
    text(file, "name")?;
    ensure!(file["_postman_variable_scope"] == "environment", "it is not an environment");
    list(file, "values")?.iter().map(variable).collect()
}

fn variable(value: &Value) -> anyhow::Result<Variable> {
    let kind = text(value, "type")?;
    ensure!(["default", "secret"].contains(&&*kind), "the type of a variable is {kind}");
    ensure!(value["enabled"] == true, "a variable is off: {value}");
    Ok(Variable {
        name: text(value, "key")?,
        value: text(value, "value")?,
        is_secret: kind == "secret",
    })
}

impl Collection {
    /// Reads a collection's file.
    ///
    /// # Errors
    /// What is not as the format wants it, or is of the format and not known here.
    pub fn read(file: &Value) -> anyhow::Result<Self> {
        known(file, &["info", "item", "auth", "event", "variable"])?;
        ensure!(file["info"]["schema"] == SCHEMA, "info.schema is not that of v2.1.0");
        let name = text(&file["info"], "name")?;
        let mut variables = BTreeMap::new();
        for one in file["variable"].as_array().into_iter().flatten() {
            variables.insert(text(one, "key")?, one["value"].clone());
        }
        let outer = Outer { folder: String::new(), auth: &file["auth"], scripts: scripts(file)? };
        let mut items = Vec::new();
        for one in list(file, "item")? {
            outer.collect(one, &mut items)?;
        }
        ensure!(!items.is_empty(), "the collection is empty");
        Ok(Self { name, variables, items })
    }
}

/// What a request inherits.
struct Outer<'a> {
    folder: String,
    auth: &'a Value,
    scripts: Scripts,
}

impl Outer<'_> {
    fn collect(&self, value: &Value, into: &mut Vec<Item>) -> anyhow::Result<()> {
        let name = text(value, "name")?;
        let mut all = self.scripts.clone();
        let own = scripts(value).with_context(|| name.clone())?;
        let tests = own.after.len();
        all.before.extend(own.before);
        all.after.extend(own.after);
        if value["item"].is_array() {
            known(value, &["name", "description", "item", "auth", "event"])?;
            let auth = if value["auth"].is_null() { self.auth } else { &value["auth"] };
            let folder =
                if self.folder.is_empty() { name } else { format!("{}/{name}", self.folder) };
            let inner = Outer { folder, auth, scripts: all };
            return list(value, "item")?.iter().try_for_each(|one| inner.collect(one, into));
        }
        ensure!(tests == 1, "{name}: a request has one test script, and this one has {tests}");
        let item = self.request(&name, value, all).with_context(|| name.clone())?;
        ensure!(into.iter().all(|other| other.name != name), "{name}: the name stands twice");
        into.push(item);
        Ok(())
    }

    fn request(&self, name: &str, value: &Value, scripts: Scripts) -> anyhow::Result<Item> {
        known(value, &["name", "event", "request", "response"])?;
        ensure!(value["response"].is_array(), "response must be a list");
        let request = &value["request"];
        known(request, &["method", "header", "url", "description", "body", "auth"])?;
        let mut headers = Vec::new();
        for header in list(request, "header")? {
            known(header, &["key", "value"])?;
            headers.push((text(header, "key")?, text(header, "value")?));
        }
        let auth = if request["auth"].is_null() { self.auth } else { &request["auth"] };
        Ok(Item {
            folder: self.folder.clone(),
            name: name.to_owned(),
            description: text(request, "description")?,
            method: text(request, "method")?,
            url: url(&request["url"])?,
            body: body(request, &headers)?,
            headers,
            bearer: bearer(auth)?,
            scripts,
        })
    }
}

/// The address as Postman shows it; Postman sends the one of its parts, so both must be the same.
fn url(value: &Value) -> anyhow::Result<String> {
    known(value, &["raw", "host", "path", "query"])?;
    let raw = text(value, "raw")?;
    let join = |name: &str, by: &str| -> anyhow::Result<String> {
        let parts =
            list(value, name)?.iter().map(|part| part.as_str().context("a part is no text"));
        Ok(parts.collect::<anyhow::Result<Vec<_>>>()?.join(by))
    };
    let mut whole = format!("{}/{}", join("host", ".")?, join("path", "/")?);
    for (index, one) in value["query"].as_array().into_iter().flatten().enumerate() {
        let before = if index == 0 { '?' } else { '&' };
        whole = format!("{whole}{before}{}={}", text(one, "key")?, text(one, "value")?);
    }
    ensure!(whole == raw, "url.raw is {raw}, and its parts are {whole}");
    Ok(raw)
}

fn body(request: &Value, headers: &[(String, String)]) -> anyhow::Result<Option<String>> {
    let body = &request["body"];
    if body.is_null() {
        return Ok(None);
    }
    known(body, &["mode", "raw", "options"])?;
    ensure!(body["mode"] == "raw", "the mode of the body is {}", body["mode"]);
    let says_its_type = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type"));
    ensure!(says_its_type, "a body without Content-Type");
    Ok(Some(text(body, "raw")?))
}

fn bearer(auth: &Value) -> anyhow::Result<Option<String>> {
    match auth["type"].as_str() {
        None | Some("noauth") => Ok(None),
        Some("bearer") => {
            let token = list(auth, "bearer")?.iter().find(|one| one["key"] == "token");
            text(token.context("a bearer without a token")?, "value").map(Some)
        }
        Some(other) => bail!("the authorization {other} is not known here"),
    }
}

fn scripts(value: &Value) -> anyhow::Result<Scripts> {
    let mut found = Scripts::default();
    for event in value["event"].as_array().into_iter().flatten() {
        known(event, &["listen", "script"])?;
        let script = &event["script"];
        ensure!(script["type"] == "text/javascript", "the type of a script is {}", script["type"]);
        let lines =
            list(script, "exec")?.iter().map(|line| line.as_str().context("a line is no text"));
        let lines = lines.collect::<anyhow::Result<Vec<_>>>()?.join("\n");
        match event["listen"].as_str() {
            Some("prerequest") => found.before.push(lines),
            Some("test") => found.after.push(lines),
            other => bail!("an event is {other:?}"),
        }
    }
    Ok(found)
}

/// What this reader does not know, Postman may act on: then a run here would prove nothing.
fn known(value: &Value, members: &[&str]) -> anyhow::Result<()> {
    let object = value.as_object().with_context(|| format!("not an object: {value}"))?;
    match object.keys().find(|name| !members.contains(&name.as_str())) {
        Some(name) => bail!("{name} is not known here"),
        None => Ok(()),
    }
}

fn text(value: &Value, member: &str) -> anyhow::Result<String> {
    Ok(value[member].as_str().with_context(|| format!("{member} is no text: {value}"))?.to_owned())
}

fn list<'a>(value: &'a Value, member: &str) -> anyhow::Result<&'a Vec<Value>> {
    value[member].as_array().with_context(|| format!("{member} is no list"))
}
