//! Headers that several calls take, and parameters of queries.

use utoipa::IntoParams;
use utoipa::openapi::Required;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};

/// `Idempotency-Key` (contract, rulings 10 and 32).
pub(crate) enum IdempotencyKey {}

/// The header `DPoP` (RFC 9449).
pub(crate) enum Proof {}

/// `Last-Event-ID` of an event stream.
pub(crate) enum LastEventId {}

/// `X-Twilio-Signature`.
pub(crate) enum TwilioSignature {}

/// `limit` and `before` of a list by pages.
pub(crate) enum Page {}

/// `phone_number` and `token` of the inbox, and `If-None-Match`.
pub(crate) enum Inbox {}

fn header(name: &str, text: &str, schema: ObjectBuilder) -> Vec<Parameter> {
    vec![optional(name, ParameterIn::Header, text, schema.schema_type(Type::String))]
}

fn optional(name: &str, place: ParameterIn, text: &str, schema: ObjectBuilder) -> Parameter {
    let parameter = ParameterBuilder::new().name(name).parameter_in(place).schema(Some(schema));
    parameter.required(Required::False).description(Some(text)).build()
}

impl IntoParams for IdempotencyKey {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let text = "A new random text for each new call, repeated with each retry of it: the retry gets the first \
            answer and nothing happens twice. A code request is remembered for 24 h, a login for 30 s. The same key with \
            another body is `idempotency_key_reused`.";
        let schema = ObjectBuilder::new()
            .min_length(Some(1))
            .max_length(Some(64))
            .pattern(Some("^[!-~]{1,64}$"))
            .examples(["3b1f8d7a-6f0e-4c0e-9a53-0d3f5c1f2b11"]);
        header("Idempotency-Key", text, schema)
    }
}

impl IntoParams for Proof {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let text = "A proof of the client's own key (RFC 9449): 4 KiB at most, by ES256, EdDSA or RS256. At a sign-in it binds \
            the session to that key. Every later call of a bound session needs one, with `Authorization: DPoP`; beside \
            `Authorization: Bearer` it is not read.";
        header("DPoP", text, ObjectBuilder::new())
    }
}

impl IntoParams for LastEventId {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let text = "The id of the last event that the client has; only later ones are sent. Browsers send it by themselves \
            when they connect again. Anything that is no id is ignored.";
        header("Last-Event-ID", text, ObjectBuilder::new().examples(["3"]))
    }
}

impl IntoParams for TwilioSignature {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let text = "The signature of the URL and the form (HMAC-SHA-1 under the account's auth token, in Base64). Without it \
            the answer is `invalid_signature`.";
        header("X-Twilio-Signature", text, ObjectBuilder::new())
    }
}

impl IntoParams for Page {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let limit = ObjectBuilder::new()
            .schema_type(Type::Integer)
            .minimum(Some(1))
            .maximum(Some(100))
            .default(Some(20.into()));
        let before = ObjectBuilder::new().schema_type(Type::String);
        vec![
            optional("limit", ParameterIn::Query, "How many items the page has.", limit),
            optional("before", ParameterIn::Query, "The `next` of the page before.", before),
        ]
    }
}

impl IntoParams for Inbox {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let text = || ObjectBuilder::new().schema_type(Type::String);
        let phone = ParameterBuilder::new()
            .name("phone_number")
            .parameter_in(ParameterIn::Query)
            .required(Required::False)
            .description(Some(
                "Whose texts; without it those of all phones. Escape its `+` as `%2B`.",
            ))
            .schema(Some(text().examples(["+14155552671"])));
        let token = "LATCHKEY_INBOX_TOKEN, where the inbox needs it.";
        let known =
            "The `ETag` of a list that the client has: if it is still the same, the answer is 304.";
        vec![
            phone.build(),
            optional("token", ParameterIn::Query, token, text()),
            optional("If-None-Match", ParameterIn::Header, known, text()),
        ]
    }
}
