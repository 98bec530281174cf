//! The document as the tests read it.

use serde_json::Value;
use testkit::http::Answer;

use super::python::Claim;

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// The document of a gateway in development, which describes all that a gateway in production serves, and the inbox.
pub(crate) struct Described(pub Value);

/// One call of the document.
pub(crate) struct Call<'a> {
    pub path: &'a str,
    /// In lower case.
    pub method: &'a str,
    pub operation: &'a Value,
}

impl Described {
    pub fn new() -> Self {
        Self(gateway::openapi_document(true))
    }

    /// The document of the admin port.
    pub fn admin() -> Self {
        Self(gateway::admin_openapi_document())
    }

    /// Both.
    pub fn each() -> [Self; 2] {
        [Self::new(), Self::admin()]
    }

    pub fn calls(&self) -> Vec<Call<'_>> {
        let mut calls = Vec::new();
        for (path, item) in self.0["paths"].as_object().expect("paths") {
            for method in METHODS {
                calls.extend(item.get(method).map(|operation| Call { path, method, operation }));
            }
        }
        assert!(calls.len() >= 20, "the document has lost its calls");
        calls
    }

    /// The call of an id.
    pub fn call(&self, id: &str) -> Call<'_> {
        let mut calls = self.calls().into_iter();
        calls.find(|call| call.operation["operationId"] == id).unwrap_or_else(|| panic!("no {id}"))
    }

    /// What a reference leads to; anything else is itself.
    pub fn resolved<'a>(&'a self, value: &'a Value) -> &'a Value {
        let Some(reference) = value["$ref"].as_str() else { return value };
        let pointer = reference.strip_prefix('#').expect("a reference within the document");
        self.0.pointer(pointer).unwrap_or_else(|| panic!("{reference} leads nowhere"))
    }

    pub fn response<'a>(&'a self, call: &Call<'a>, status: u16) -> &'a Value {
        let responses = &call.operation["responses"];
        let found = responses.get(status.to_string());
        self.resolved(
            found.unwrap_or_else(|| {
                panic!("{} {}: {status} is not described", call.method, call.path)
            }),
        )
    }

    /// Every example of the answers and bodies: where it stands, its schema and the example.
    pub fn examples(&self) -> Vec<(String, &Value, &Value)> {
        let mut found = Vec::new();
        for call in self.calls() {
            let responses = call.operation["responses"].as_object().expect("responses");
            let mut holders: Vec<(String, &Value)> = responses
                .iter()
                .map(|(status, response)| (status.clone(), self.resolved(response)))
                .collect();
            holders.extend(call.operation.get("requestBody").map(|body| ("body".to_owned(), body)));
            for (place, holder) in holders {
                for content in
                    holder["content"].as_object().into_iter().flat_map(|all| all.values())
                {
                    let of_many =
                        content["examples"].as_object().into_iter().flat_map(|all| all.values());
                    let of_many = of_many.map(|example| &example["value"]);
                    for example in content.get("example").into_iter().chain(of_many) {
                        let at = format!("{} {} {place}", call.method, call.path);
                        found.push((at, &content["schema"], example));
                    }
                }
            }
        }
        found
    }

    /// Fails unless the answer is one that the document describes for this call: its status, its media type, the headers
    /// of a refusal, and no member that the document does not name. Returns the claim that it fits its schema.
    pub fn check(&self, id: &str, answer: &Answer) -> Option<Claim> {
        let call = self.call(id);
        let at = format!("{id} {}", answer.status);
        let response = self.response(&call, answer.status);
        let Some(contents) = response["content"].as_object() else {
            assert_eq!(answer.body, Value::Null, "{at}: the document says that there is no body");
            return None;
        };
        let media_type = answer.header("content-type").expect("a content type");
        let content = contents.get(media_type).unwrap_or_else(|| panic!("{at}: {media_type}"));
        self.check_members(&at, &content["schema"], &answer.body);
        for name in ["retry-after", "www-authenticate", "allow", "x-request-id", "dpop-nonce"] {
            let described = response["headers"].as_object().into_iter().flatten();
            let described = described.map(|(name, _)| name.to_ascii_lowercase());
            let is_described = described.into_iter().any(|one| one == name);
            assert!(
                is_described || answer.header(name).is_none(),
                "{at}: the header {name} is not described"
            );
        }
        let (schema, value) = (content["schema"].clone(), answer.body.clone());
        Some(Claim { at, schema, value })
    }

    /// Fails if the value has a member that its schema does not name: an undocumented field.
    fn check_members(&self, at: &str, schema: &Value, value: &Value) {
        match value {
            // Of any members.
            Value::Object(_) if self.resolved(schema).get("additionalProperties").is_some() => {}
            Value::Object(members) => {
                let mut named = Vec::new();
                self.members_of(schema, value, &mut named);
                for (name, member) in members {
                    let described = named.iter().find(|(one, _)| one == name);
                    let (_, schema) =
                        described.unwrap_or_else(|| panic!("{at}: `{name}` is not described"));
                    self.check_members(at, schema, member);
                }
            }
            Value::Array(items) => {
                let schema = &self.resolved(schema)["items"];
                for item in items {
                    self.check_members(at, schema, item);
                }
            }
            _ => {}
        }
    }

    /// The members that a schema names, in all of its parts and in that of its alternatives which the value is.
    fn members_of<'a>(
        &'a self,
        schema: &'a Value,
        value: &Value,
        named: &mut Vec<(&'a str, &'a Value)>,
    ) {
        let schema = self.resolved(schema);
        let own = schema["properties"].as_object().into_iter().flatten();
        named.extend(own.map(|(name, schema)| (name.as_str(), schema)));
        for part in schema["allOf"].as_array().into_iter().flatten() {
            self.members_of(part, value, named);
        }
        for part in schema["oneOf"].as_array().into_iter().flatten() {
            if self.is_of(part, value) {
                self.members_of(part, value, named);
            }
        }
    }

    /// Whether the value has the constants of a schema: those tell its alternatives apart.
    fn is_of(&self, schema: &Value, value: &Value) -> bool {
        let schema = self.resolved(schema);
        let own = schema["properties"].as_object().into_iter().flatten();
        let mut constants = own.filter_map(|(name, schema)| Some((name, schema.get("const")?)));
        let parts = schema["allOf"].as_array().into_iter().flatten();
        constants.all(|(name, constant)| value.get(name) == Some(constant))
            && parts.into_iter().all(|part| self.is_of(part, value))
    }
}
