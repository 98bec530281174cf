//! Headers that several calls take, and parameters of queries.

use utoipa::IntoParams;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{Ref, Required};

use crate::staff::delivery::{MOST_HOURS, USUAL_HOURS};
use crate::staff::pages::{MOST_ROWS, ROWS};

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

/// The filters and pages of the admin API's accounts.
pub(crate) enum UserFilters {}

/// The filters and pages of its texts and calls.
pub(crate) enum MessageFilters {}

/// The filters and pages of its audit.
pub(crate) enum AuditFilters {}

/// The pages of its blocks.
pub(crate) enum BlockPages {}

/// A provider in a path.
pub(crate) enum ProviderInPath {}

/// A queue in a path.
pub(crate) enum QueueInPath {}

/// The id of a dead letter in a path.
pub(crate) enum LetterInPath {}

/// The filters of dead letters.
pub(crate) enum LetterFilters {}

/// What figures of delivery cover.
pub(crate) enum DeliveryFilters {}

/// The pages of staff.
pub(crate) enum StaffPages {}

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

fn limit(most: u32, usual: u32) -> Parameter {
    let limit = ObjectBuilder::new()
        .schema_type(Type::Integer)
        .minimum(Some(1))
        .maximum(Some(most))
        .default(Some(usual.into()));
    optional("limit", ParameterIn::Query, "How many items the page has.", limit)
}

impl IntoParams for Page {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let before = ObjectBuilder::new().schema_type(Type::String);
        vec![
            limit(100, 20),
            optional("before", ParameterIn::Query, "The `next` of the page before.", before),
        ]
    }
}

/// A filter: a text that it is equal to.
fn filter(name: &str, text: &str) -> Parameter {
    let schema = ObjectBuilder::new()
        .schema_type(Type::String)
        .min_length(Some(1))
        .max_length(Some(300))
        .pattern(Some(r"^[^\u0000-\u001f\u007f-\u009f]{1,300}$"));
    optional(name, ParameterIn::Query, text, schema)
}

/// A filter that takes one of the words of a schema.
fn word(name: &str, text: &str, schema: &str) -> Parameter {
    let parameter = ParameterBuilder::new().name(name).parameter_in(ParameterIn::Query);
    let schema = Ref::from_schema_name(schema);
    parameter.schema(Some(schema)).required(Required::False).description(Some(text)).build()
}

/// A text of one form.
fn formed(name: &str, text: &str, pattern: &str) -> Parameter {
    let schema = ObjectBuilder::new().schema_type(Type::String).pattern(Some(pattern));
    optional(name, ParameterIn::Query, text, schema)
}

/// A point in time.
fn time(name: &str, text: &str) -> Parameter {
    let schema = ObjectBuilder::new()
        .schema_type(Type::String)
        .pattern(Some(r"^\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}:\d{2}(\.\d{1,9})?(Z|[+-]\d{2}:\d{2}))?$"))
        .examples(["2026-11-30", "2026-11-30T10:15:00Z"]);
    optional(name, ParameterIn::Query, text, schema)
}

const SINCE: &str = "From then on: a day in UTC, or an RFC 3339 time.";
const BEFORE: &str = "The `next` of the page before.";
const ID: &str = "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$";

impl IntoParams for UserFilters {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        vec![
            formed("digits", "The last four digits of the number. Not with `name`.", "^[0-9]{4}$"),
            filter("name", "The beginning of a name, or of both; of either case."),
            limit(MOST_ROWS, ROWS),
            formed("before", BEFORE, ID),
        ]
    }
}

impl IntoParams for MessageFilters {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        vec![
            word("status", "Those of this status.", "Status"),
            word("reason", "Those that did not arrive for this reason.", "Reason"),
            filter("provider", "Those that this provider was called for last."),
            filter("country", "Those to numbers of this region (ISO 3166)."),
            word("channel", "Texts or calls.", "Channel"),
            formed(
                "prefix",
                "Those to numbers that begin with these digits.",
                r"^(\+|00)?[1-9][0-9]{0,7}$",
            ),
            formed(
                "outcome",
                "`unverified`: those that were sent, whose code nobody used in its life.",
                "^unverified$",
            ),
            time("since", SINCE),
            formed("user_id", "Those to the number of this account.", ID),
            limit(MOST_ROWS, ROWS),
            formed("before", BEFORE, r"^[0-9]{1,15}\.[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"),
        ]
    }
}

impl IntoParams for AuditFilters {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        vec![
            filter("subject", "Whom or what it is about, as it is stored."),
            filter("actor", "Who did it, as it is stored."),
            filter("act", "What was done, as it is stored."),
            time("since", SINCE),
            time("until", "Before then: a day in UTC, or an RFC 3339 time."),
            limit(MOST_ROWS, ROWS),
            formed("before", BEFORE, "^[0-9]{1,18}$"),
        ]
    }
}

impl IntoParams for BlockPages {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let cursor = r"^[0-9]{1,15}\.[a-z]+\.[0-9A-Za-z.:/]{1,64}$";
        vec![limit(MOST_ROWS, ROWS), formed("before", BEFORE, cursor)]
    }
}

/// A part of a path that is one of the words of a schema.
fn word_in_path(name: &str, text: &str, schema: &str) -> Vec<Parameter> {
    let parameter = ParameterBuilder::new().name(name).parameter_in(ParameterIn::Path);
    let schema = Ref::from_schema_name(schema);
    vec![parameter.schema(Some(schema)).required(Required::True).description(Some(text)).build()]
}

impl IntoParams for ProviderInPath {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        word_in_path("provider", "The provider.", "ProviderName")
    }
}

impl IntoParams for QueueInPath {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        word_in_path("queue", "The queue.", "QueueName")
    }
}

impl IntoParams for LetterInPath {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let text = "The `id` of a letter. It is whatever its publisher wrote: escape it.";
        let schema = ObjectBuilder::new()
            .schema_type(Type::String)
            .min_length(Some(1))
            .max_length(Some(255))
            .examples(["019c2b7e-8f00-7a31-9d2c-5b1f0e6c4a11"]);
        let id = ParameterBuilder::new().name("id").parameter_in(ParameterIn::Path);
        let id = id.schema(Some(schema)).required(Required::True).description(Some(text));
        vec![id.build()]
    }
}

impl IntoParams for LetterFilters {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        vec![
            word("queue", "Those of this queue.", "QueueName"),
            filter("reason", "Those that are dead for this reason."),
            filter("type", "Those that were published with this type."),
        ]
    }
}

impl IntoParams for DeliveryFilters {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let hours = ObjectBuilder::new()
            .schema_type(Type::Integer)
            .minimum(Some(1))
            .maximum(Some(MOST_HOURS))
            .default(Some(USUAL_HOURS.into()));
        let text = "This many hours, the one that runs included.";
        vec![
            optional("hours", ParameterIn::Query, text, hours),
            filter("country", "Messages to numbers of this region (ISO 3166), with its prefixes."),
            filter("provider", "Messages by this provider."),
        ]
    }
}

impl IntoParams for StaffPages {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        vec![limit(MOST_ROWS, ROWS), formed("before", BEFORE, ID)]
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
