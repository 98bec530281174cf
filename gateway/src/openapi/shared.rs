//! What all calls have in common: headers, the ways to sign in, the problem and its codes.

use serde_json::{Map, Value, json};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema as _, ToSchema as _};

use crate::http::error::ErrorKind;
use crate::http::error_code::{self, Member};
use crate::openapi::finish::Surface;
use crate::openapi::refusals::schema_name;
use crate::openapi::specimens::specimen;
use crate::openapi::words::{AdminErrorCode, ErrorCode, LimitName};

/// The headers of answers.
pub(super) fn headers() -> Value {
    let header = |text: &str, schema: Value| json!({ "description": text, "schema": schema });
    let text = |example: &str| json!({ "type": "string", "examples": [example] });
    json!({
        "X-Request-Id": header(
            "The id of this call in the server's log: the caller's own `X-Request-Id` if it is 1 to 64 letters, digits, \
             dots, dashes and underscores, else a new one. A call that is no HTTP has none.",
            text("019c2b7e-8ef8-7f4e-8a3b-91c4d7e5f602"),
        ),
        "Retry-After": header(
            "Whole seconds to wait, the same as `retry_after` in the body.",
            json!({ "type": "integer", "minimum": 1, "examples": [28] }),
        ),
        "WWW-Authenticate": header(
            "How to prove who calls: `Bearer` or `DPoP`, and the error. `DPoP error=\"use_dpop_nonce\"` asks for a proof \
             with the nonce of `DPoP-Nonce`.",
            text("Bearer error=\"invalid_token\""),
        ),
        "DPoP-Nonce": header(
            "Where the server wants nonces: the nonce for the next proof.",
            text("5d3c1e0b7a9f4d62"),
        ),
        "Allow": header("The methods that the path takes.", text("POST")),
        "Cache-Control": header("How long the answer may be kept.", text("public, max-age=300")),
        "ETag": header("Names what was sent, for `If-None-Match`.", text("\"5d3c1e0b7a9f4d628c1b0a9f8e7d6c5b\"")),
    })
}

/// The ways to prove who calls.
pub(super) fn security_schemes(surface: Surface) -> Value {
    if surface == Surface::Admin {
        return json!({
            "AdminKey": {
                "type": "http",
                "scheme": "bearer",
                "bearerFormat": "lk_admin_<id>_<secret>",
                "description": "A key of `latchkey admin-keys create`. Its role is its scope.",
            },
        });
    }
    json!({
        "bearer": {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": "The access token of a session that is not bound to a key.",
        },
        "dpop": {
            "type": "http",
            "scheme": "DPoP",
            "description": "The access token of a session that is bound to a key (RFC 9449): `Authorization: DPoP`, with a \
                new proof by that key in the header `DPoP`.",
        },
    })
}

/// The schemas of problems: the common one, and one for each code with what only it has.
pub(super) fn problems(surface: Surface) -> Map<String, Value> {
    let mut schemas = Map::new();
    let own = |schema: RefOr<Schema>| serde_json::to_value(schema).unwrap_or_default();
    let codes = match surface {
        Surface::Public => ErrorCode::schema(),
        Surface::Admin => AdminErrorCode::schema(),
    };
    schemas.insert(ErrorCode::name().into_owned(), own(codes));
    schemas.insert(LimitName::name().into_owned(), own(LimitName::schema()));
    schemas.insert("FieldError".to_owned(), field_error());
    schemas.insert("Problem".to_owned(), problem());
    for kind in ErrorKind::ALL {
        schemas.entry(schema_name(kind)).or_insert_with(|| of_code(kind));
    }
    schemas
}

fn problem() -> Value {
    json!({
        "type": "object",
        "description": "A refusal (RFC 9457). Some codes have members of their own beside these.",
        "required": ["type", "title", "status", "detail", "code"],
        "properties": {
            "type": { "type": "string", "format": "uri", "description": "A name for the code, not an address." },
            "title": { "type": "string", "description": "What happened, for humans." },
            "status": { "type": "integer", "minimum": 400, "maximum": 599, "description": "The status of the answer." },
            "detail": { "type": "string", "description": "What to do now, for humans." },
            "code": { "$ref": "#/components/schemas/ErrorCode" },
        },
    })
}

fn field_error() -> Value {
    json!({
        "type": "object",
        "description": "What is wrong with one field.",
        "required": ["field", "code", "detail"],
        "properties": {
            "field": { "type": "string", "description": "The field's name; `body` for the body as a whole, or a header's name." },
            "code": { "type": "string", "description": "Stable: `required`, `wrong_type`, `unknown_field`, `too_long` and so on." },
            "detail": { "type": "string", "description": "What to do about it, for humans." },
        },
    })
}

/// The problem of one code. A code with two statuses has two.
fn of_code(kind: ErrorKind) -> Value {
    let code: error_code::ErrorCode = kind.code();
    let mut properties = Map::new();
    let mut required = vec!["code", "status"];
    properties.insert("code".to_owned(), json!({ "const": code.as_str() }));
    properties.insert("status".to_owned(), json!({ "const": kind.status().as_u16() }));
    for member in code.members() {
        let (name, always) = member.name_and_always();
        properties.insert(name.to_owned(), member_schema(*member));
        if always {
            required.push(name);
        }
    }
    let error = specimen(kind);
    let example: Value =
        serde_json::from_slice(&error.document(error.retry_after())).unwrap_or_default();
    json!({
        "allOf": [
            { "$ref": "#/components/schemas/Problem" },
            { "type": "object", "required": required, "properties": properties },
        ],
        "description": code.when(),
        "examples": [example],
    })
}

fn member_schema(member: Member) -> Value {
    match member {
        Member::Errors => json!({
            "type": "array",
            "minItems": 1,
            "maxItems": 20,
            "items": { "$ref": "#/components/schemas/FieldError" },
        }),
        Member::Field => json!({ "type": "string", "description": "The field with the number." }),
        Member::AttemptsLeft => json!({
            "type": "integer",
            "minimum": 0,
            "description": "How many wrong codes remain before this one is exhausted.",
        }),
        Member::Limit => json!({ "$ref": "#/components/schemas/LimitName" }),
        Member::RetryAfter | Member::RetryAfterIfAny => json!({
            "type": "integer",
            "minimum": 1,
            "description": "Seconds to wait, the same as in the header `Retry-After`.",
        }),
    }
}
