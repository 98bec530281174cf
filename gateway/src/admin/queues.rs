//! `/admin/v1/queues`: the queues between the services, and their dead letters, which staff replay or drop.

use axum::Json;
use axum::extract::State;
use bus::Queue;
use utoipa::ToSchema;

use super::by_key::ByKey;
use super::list::Query;
use crate::app::App;
use crate::http::body::JsonBody;
use crate::http::error::ApiError;
use crate::http::fields::Fields;
use crate::http::path_params::{PathId, PathPair};
use crate::http::validate::Fault;
use crate::openapi::params::{LetterFilters, LetterInPath, QueueInPath};
use crate::openapi::refusals::refusals;
use crate::openapi::words;
use crate::staff;
use crate::staff::queues::{
    self, Done, LONGEST_ID, LetterDetail, LetterFilter, LetterId, Pick, QueuesView,
};
use crate::staff::rights::Act;

/// What an act on letters takes.
const ONE_OF: &str = "Send one of `id`, `dead_for` and `\"all\": true`.";
/// The longest reason that a letter is dead for, in bytes.
const LONGEST_REASON: usize = 300;

/// Which dead letters to replay: one of the three.
#[derive(ToSchema)]
#[schema(as = LettersToReplay, examples(json!({ "dead_for": "unknown_version" })))]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "the handler reads the fields one by one; this describes them")]
struct ReplayBody {
    /// The one with this id.
    #[schema(required = false, min_length = 1, max_length = 255)]
    id: String,
    /// Those that are dead for this reason.
    #[schema(required = false, min_length = 1, max_length = 300)]
    dead_for: String,
    /// `true`: all of the queue.
    #[schema(required = false)]
    all: bool,
}

/// Which dead letters to drop, one of the three, and why.
#[derive(ToSchema)]
#[schema(as = LettersToDrop, examples(json!({ "id": "019c2b7e-8f00-7a31-9d2c-5b1f0e6c4a11", "reason": "a test, ticket 4711" })))]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "the handler reads the fields one by one; this describes them")]
struct DropBody {
    /// The one with this id.
    #[schema(required = false, min_length = 1, max_length = 255)]
    id: String,
    /// Those that are dead for this reason.
    #[schema(required = false, min_length = 1, max_length = 300)]
    dead_for: String,
    /// `true`: all of the queue.
    #[schema(required = false)]
    all: bool,
    /// Why they are deleted.
    #[schema(value_type = words::StaffReason)]
    reason: String,
}

refusals!(ReadRefused: Admin);
refusals!(LetterRefused: Admin, NotFound);
refusals!(ActRefused: AdminBody, NotFound);

#[utoipa::path(
    get, path = "/admin/v1/queues", tag = "queues", operation_id = "listQueues",
    summary = "See the queues and their dead letters",
    description = "The queues as they are now, and their dead letters, the oldest first: the first 200 of each queue. The \
        filters are about the letters. Without pages: a broker has none.",
    params(LetterFilters),
    responses((status = 200, description = "The queues and the letters.", body = QueuesView), ReadRefused),
    security(("AdminKey" = [])),
)]
pub(super) async fn read(
    State(app): State<App>,
    by: ByKey,
    mut query: Query,
) -> Result<Json<QueuesView>, ApiError> {
    by.may(Act::See)?;
    let (reason, kind) = (query.text("reason"), query.text("type"));
    let filter = LetterFilter {
        queue: query.read("queue", "Send `otp-worker` or `sms-worker`.", |text| text.parse().ok()),
        reason: reason.as_deref(),
        kind: kind.as_deref(),
    };
    query.finish()?;
    Ok(Json(queues::read(&app, filter).await?))
}

#[utoipa::path(
    get, path = "/admin/v1/queues/{queue}/letters/{id}", tag = "queues", operation_id = "getLetter",
    summary = "Read a dead letter",
    description = "A dead letter with its headers and its envelope, without its sealed parts. While somebody else reads the \
        queue, the letter may be `not_found`: then call again.",
    params(QueueInPath, LetterInPath),
    responses((status = 200, description = "The letter.", body = LetterDetail), LetterRefused),
    security(("AdminKey" = [])),
)]
pub(super) async fn letter(
    State(app): State<App>,
    by: ByKey,
    PathPair(queue, LetterId(id)): PathPair<Queue, LetterId>,
    query: Query,
) -> Result<Json<LetterDetail>, ApiError> {
    by.may(Act::See)?;
    query.finish()?;
    let found = queues::letter(&app, queue, &id).await?;
    let found = found.map_err(|_| {
        ApiError::unavailable(anyhow::anyhow!("the broker does not show dead letters"))
    })?;
    found.map(Json).ok_or(ApiError::NotFound)
}

#[utoipa::path(
    post, path = "/admin/v1/queues/{queue}/replay", tag = "queues", operation_id = "replayLetters",
    summary = "Replay dead letters",
    description = "Puts dead letters back into their queue, with their attempts reset: one, those of one reason, or all. The \
        answer names each that was. One call does 1,000 at most and takes 2 seconds; `stopped` says whether more are left.",
    params(QueueInPath),
    request_body(content = ReplayBody, description = "Which ones."),
    responses((status = 200, description = "What was done to which letters.", body = Done), ActRefused),
    security(("AdminKey" = [])),
)]
pub(super) async fn replay(
    State(app): State<App>,
    by: ByKey,
    PathId(queue): PathId<Queue>,
    JsonBody(mut fields): JsonBody,
) -> Result<Json<Done>, ApiError> {
    by.may(Act::ReplayDead)?;
    let pick = pick(&mut fields);
    fields.finish()?;
    let pick = pick.ok_or_else(no_pick)?;
    Ok(Json(queues::replay(&app, by.actor(), queue, &pick).await?))
}

#[utoipa::path(
    post, path = "/admin/v1/queues/{queue}/drop", tag = "queues", operation_id = "dropLetters",
    summary = "Drop dead letters",
    description = "Deletes dead letters for good: one, those of one reason, or all. The answer names each that was, and the \
        audit the first 20. One call does 1,000 at most and takes 2 seconds; `stopped` says whether more are left.",
    params(QueueInPath),
    request_body(content = DropBody, description = "Which ones, and why."),
    responses((status = 200, description = "What was done to which letters.", body = Done), ActRefused),
    security(("AdminKey" = [])),
)]
pub(super) async fn drop_letters(
    State(app): State<App>,
    by: ByKey,
    PathId(queue): PathId<Queue>,
    JsonBody(mut fields): JsonBody,
) -> Result<Json<Done>, ApiError> {
    by.may(Act::ReplayDead)?;
    let pick = pick(&mut fields);
    let reason = fields.string("reason");
    fields.finish()?;
    let (pick, reason) = (pick.ok_or_else(no_pick)?, staff::reason(&reason)?);
    Ok(Json(queues::drop_letters(&app, by.actor(), queue, &pick, reason).await?))
}

/// Which letters a body names. Two ways at once would be read as the wider one by somebody.
fn pick(fields: &mut Fields) -> Option<Pick> {
    let id = fields.optional_checked("id", |text| of_length(text, LONGEST_ID));
    let dead_for = fields.optional_checked("dead_for", |text| of_length(text, LONGEST_REASON));
    let all = fields.optional_bool("all");
    let mut picks =
        [id.map(Pick::One), dead_for.map(Pick::Reason), all.filter(|all| *all).map(|_| Pick::All)]
            .into_iter()
            .flatten();
    let pick = picks.next();
    if picks.next().is_some() {
        fields.refuse("body", "invalid", ONE_OF);
    }
    pick
}

fn no_pick() -> ApiError {
    ApiError::body("required", ONE_OF)
}

fn of_length(text: &str, most: usize) -> Result<(), Fault> {
    match text.len() {
        0 => Err(Fault::new("required", "Send at least one character.")),
        length if length > most => Err(Fault::new("too_long", "Send a shorter text.")),
        _ => Ok(()),
    }
}
