//! `/admin/v1/users`: accounts, and what staff do with them.

use accounts::{Find, User};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use domain::ids::{RequestId, SessionId, UserId};
use serde::Serialize;
use utoipa::ToSchema;

use super::by_key::ByKey;
use super::list::Query;
use crate::app::App;
use crate::codes::caller::Caller;
use crate::codes::request::read_channel;
use crate::http::body::{JsonBody, OptionalJsonBody};
use crate::http::error::ApiError;
use crate::http::fields::Fields;
use crate::http::path_params::PathId;
use crate::openapi::params::{IdempotencyKey, UserFilters};
use crate::openapi::refusals::refusals;
use crate::openapi::words;
use crate::staff;
use crate::staff::audit::ActorKind;
use crate::staff::rights::Act;
use crate::staff::users::create::NewAccount;
use crate::staff::users::export::{self, AccountExport};
use crate::staff::users::notes::{self, UserNote};
use crate::staff::users::one::{self, UserView};
use crate::staff::users::{self, UserList, UserRow, acts};

/// What a deletion without the account's id is told.
const NOT_CONFIRMED: &str = "Send the id of the account once more. Nothing was deleted.";

/// Whether an act changed anything.
#[derive(Serialize, ToSchema)]
#[schema(as = Changed, examples(json!({ "changed": true })))]
pub(super) struct Changed {
    /// False: it was so already, and the audit has no entry of it.
    pub changed: bool,
}

/// A new account.
#[derive(ToSchema)]
#[schema(as = NewUser, examples(json!({
    "phone_number": "+14155552671",
    "first_name": "Ada",
    "last_name": "Lovelace",
    "locale": "en",
})))]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "the handler reads the fields one by one; this describes them")]
struct NewUserBody {
    #[schema(value_type = words::AnyPhoneNumber)]
    phone_number: String,
    #[schema(value_type = words::Name, required = false)]
    first_name: String,
    #[schema(value_type = words::Name, required = false)]
    last_name: String,
    /// Of texts to the user; `en` if it is left out.
    #[schema(value_type = words::Locale, required = false)]
    locale: String,
}

/// A number.
#[derive(ToSchema)]
#[schema(as = PhoneToFind, examples(json!({ "phone_number": "+14155552671" })))]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "the handler reads the fields one by one; this describes them")]
struct PhoneToFind {
    /// In any writing, also of a country that is not served.
    #[schema(value_type = words::AnyPhoneNumber)]
    phone_number: String,
}

/// Why something is done: the audit keeps it.
#[derive(ToSchema)]
#[schema(as = Why, examples(json!({ "reason": "sold on a market, ticket 4711" })))]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "the handler reads the fields one by one; this describes them")]
struct WhyBody {
    #[schema(value_type = words::StaffReason)]
    reason: String,
}

/// A note to write.
#[derive(ToSchema)]
#[schema(as = NoteToWrite, examples(json!({ "note": "called about a lost phone, ticket 4711" })))]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "the handler reads the fields one by one; this describes them")]
struct NoteBody {
    #[schema(value_type = words::StaffNote)]
    note: String,
}

/// Which account to delete, once more, and why.
#[derive(ToSchema)]
#[schema(as = Deletion, examples(json!({
    "reason": "the owner asked, ticket 4711",
    "confirm": "019c2b7f-02a9-7d10-a3c4-6e8f1b2d3c54",
})))]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "the handler reads the fields one by one; this describes them")]
struct DeletionBody {
    #[schema(value_type = words::StaffReason)]
    reason: String,
    /// The `user_id` of the address: so no slip deletes an account.
    #[schema(value_type = uuid::Uuid)]
    confirm: String,
}

/// An account that is no more.
#[derive(Serialize, ToSchema)]
#[schema(as = DeletedUser, examples(json!({ "user_id": "019c2b7f-02a9-7d10-a3c4-6e8f1b2d3c54", "deleted": true })))]
pub(super) struct DeletedUser {
    #[schema(value_type = uuid::Uuid)]
    user_id: UserId,
    deleted: bool,
}

/// Which session to end.
#[derive(ToSchema)]
#[schema(as = SessionToEnd, examples(json!({ "session_id": "019c2b7f-02a9-7d10-a3c4-6e8f1b2d3c55" })))]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "the handler reads the fields one by one; this describes them")]
struct SessionToEnd {
    /// Left out: all.
    #[schema(value_type = uuid::Uuid, required = false)]
    session_id: String,
}

/// How many sessions were ended.
#[derive(Serialize, ToSchema)]
#[schema(as = EndedSessions, examples(json!({ "ended": 2 })))]
pub(super) struct EndedSessions {
    ended: u64,
}

/// How to send a code.
#[derive(ToSchema)]
#[schema(as = CodeToSend, examples(json!({ "channel": "sms" })))]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "the handler reads the fields one by one; this describes them")]
struct CodeToSend {
    /// `sms` if it is left out.
    #[schema(value_type = words::Channel, required = false)]
    channel: String,
}

/// The request of a code that was sent.
#[derive(Serialize, ToSchema)]
#[schema(as = SentCode, examples(json!({ "request_id": "019c2b7e-8f00-7a31-9d2c-5b1f0e6c4a11" })))]
pub(super) struct SentCode {
    #[schema(value_type = uuid::Uuid)]
    request_id: RequestId,
}

/// A whole number.
#[derive(Serialize, ToSchema)]
#[schema(as = RevealedPhone, examples(json!({ "phone_number": "+14155552671" })))]
pub(super) struct RevealedPhone {
    #[schema(value_type = words::PhoneNumber)]
    phone_number: String,
}

refusals!(ListRefused: Admin);
refusals!(CreateRefused: AdminBody, InvalidPhoneNumber, PhoneNumberNotSupported);
refusals!(FindRefused: AdminBody, NotFound);
refusals!(ReadRefused: Admin, NotFound);
refusals!(ActRefused: Admin, NotFound, HigherRole);
refusals!(WhyRefused: AdminBody, NotFound, HigherRole);
refusals!(SendRefused: AdminBody, NotFound, ResendTooSoon, TooManyRequests, OtpAttemptsExhausted, IdempotencyKeyReused);
refusals!(RevealRefused: AdminBody, NotFound);

#[utoipa::path(
    get, path = "/admin/v1/users", tag = "users", operation_id = "listUsers",
    summary = "List accounts",
    description = "Accounts by pages, the newest first. For a number there is `findUser`: a number is in no address.",
    params(UserFilters),
    responses((status = 200, description = "A page of accounts.", body = UserList), ListRefused),
    security(("AdminKey" = [])),
)]
pub(super) async fn list(
    State(app): State<App>,
    by: ByKey,
    mut query: Query,
) -> Result<Json<UserList>, ApiError> {
    by.may(Act::See)?;
    let is_four = |text: &str| text.len() == 4 && text.bytes().all(|b| b.is_ascii_digit());
    let digits = query.read("digits", "Send the last four digits.", |text| {
        is_four(text).then(|| text.to_owned())
    });
    let name = query.text("name");
    let rows = query.rows();
    let before = query.read("before", "Send the `next` of a page.", |text| text.parse().ok());
    query.finish()?;
    let find = match (&digits, &name) {
        (Some(_), Some(_)) => {
            return Err(ApiError::field("name", "invalid", "Send `digits` or `name`, not both."));
        }
        (Some(digits), None) => Find::LastDigits(digits),
        (None, Some(name)) => Find::Name(name),
        (None, None) => Find::All,
    };
    Ok(Json(users::list(&app, find, before, rows).await?))
}

#[utoipa::path(
    post, path = "/admin/v1/users", tag = "users", operation_id = "createUser",
    summary = "Create an account",
    description = "Creates an account, whose owner then signs in by code. Nothing is sent. A number with an account is \
        refused: `phone_number`, `taken`.",
    request_body(content = NewUserBody, description = "The account."),
    responses((status = 201, description = "The account.", body = UserRow), CreateRefused),
    security(("AdminKey" = [])),
)]
pub(super) async fn create(
    State(app): State<App>,
    by: ByKey,
    JsonBody(mut fields): JsonBody,
) -> Result<Response, ApiError> {
    by.may(Act::CreateUser)?;
    let phone_number = fields.string("phone_number");
    let mut text = |name| fields.optional_string(name).unwrap_or_default();
    let (first_name, last_name, locale) = (text("first_name"), text("last_name"), text("locale"));
    fields.finish()?;
    let new = NewAccount {
        phone_number: &phone_number,
        first_name: &first_name,
        last_name: &last_name,
        locale: &locale,
    };
    let id = users::create::create(&app, by.actor(), &new).await?;
    Ok((StatusCode::CREATED, Json(row(&app, id).await?)).into_response())
}

#[utoipa::path(
    post, path = "/admin/v1/users/find", tag = "users", operation_id = "findUser",
    summary = "Find the account of a number",
    description = "The account that has this number now. The number is in the body, so that no log of a proxy has it.",
    request_body(content = PhoneToFind, description = "The number."),
    responses((status = 200, description = "The account.", body = UserRow), FindRefused),
    security(("AdminKey" = [])),
)]
pub(super) async fn find(
    State(app): State<App>,
    by: ByKey,
    JsonBody(mut fields): JsonBody,
) -> Result<Json<UserRow>, ApiError> {
    by.may(Act::See)?;
    let phone_number = fields.string("phone_number");
    fields.finish()?;
    let user = staff::find::by_phone(&app, &phone_number).await?.ok_or(ApiError::NotFound)?;
    Ok(Json(row(&app, user.id).await?))
}

#[utoipa::path(
    get, path = "/admin/v1/users/{user_id}", tag = "users", operation_id = "getUser",
    summary = "Read an account",
    description = "An account: why its owner cannot sign in now, the state of its code (never the code), its sessions, \
        its last texts and what happened.",
    params(("user_id" = uuid::Uuid, Path, description = "The `id` of an account.")),
    responses((status = 200, description = "The account.", body = UserView), ReadRefused),
    security(("AdminKey" = [])),
)]
pub(super) async fn read(
    State(app): State<App>,
    by: ByKey,
    PathId(id): PathId<UserId>,
) -> Result<Json<UserView>, ApiError> {
    by.may(Act::See)?;
    Ok(Json(one::read(&app, id).await?))
}

#[utoipa::path(
    post, path = "/admin/v1/users/{user_id}/block", tag = "users", operation_id = "blockUser",
    summary = "Block an account",
    description = "Blocks an account and ends its sessions.",
    params(("user_id" = uuid::Uuid, Path, description = "The `id` of an account.")),
    request_body(content = WhyBody, description = "The reason."),
    responses((status = 200, description = "Whether anything had to be changed.", body = Changed), WhyRefused),
    security(("AdminKey" = [])),
)]
pub(super) async fn block(
    State(app): State<App>,
    by: ByKey,
    PathId(id): PathId<UserId>,
    JsonBody(fields): JsonBody,
) -> Result<Json<Changed>, ApiError> {
    let user = account(&app, &by, Act::BlockUser, id).await?;
    let reason = why(fields)?;
    let changed = acts::block(&app, by.actor(), &user, staff::reason(&reason)?).await?;
    Ok(Json(Changed { changed }))
}

#[utoipa::path(
    post, path = "/admin/v1/users/{user_id}/unblock", tag = "users", operation_id = "unblockUser",
    summary = "Unblock an account",
    description = "Lets a blocked account sign in again.",
    params(("user_id" = uuid::Uuid, Path, description = "The `id` of an account.")),
    responses((status = 200, description = "Whether anything had to be changed.", body = Changed), ActRefused),
    security(("AdminKey" = [])),
)]
pub(super) async fn unblock(
    State(app): State<App>,
    by: ByKey,
    PathId(id): PathId<UserId>,
) -> Result<Json<Changed>, ApiError> {
    let user = account(&app, &by, Act::BlockUser, id).await?;
    Ok(Json(Changed { changed: acts::unblock(&app, by.actor(), &user).await? }))
}

#[utoipa::path(
    post, path = "/admin/v1/users/{user_id}/unlock", tag = "users", operation_id = "unlockUser",
    summary = "Open the lock of an account's number",
    description = "Resets the count of wrong attempts at codes and passwords. A lock slows down whoever guesses: be sure \
        that it was the owner.",
    params(("user_id" = uuid::Uuid, Path, description = "The `id` of an account.")),
    responses((status = 200, description = "Whether anything had to be changed.", body = Changed), ActRefused),
    security(("AdminKey" = [])),
)]
pub(super) async fn unlock(
    State(app): State<App>,
    by: ByKey,
    PathId(id): PathId<UserId>,
) -> Result<Json<Changed>, ApiError> {
    let user = account(&app, &by, Act::OpenLock, id).await?;
    Ok(Json(Changed { changed: acts::unlock(&app, by.actor(), &user).await? }))
}

#[utoipa::path(
    post, path = "/admin/v1/users/{user_id}/clear-password", tag = "users", operation_id = "clearPassword",
    summary = "Remove an account's password",
    description = "Removes the password, ends the sessions that it started, and tells the owner by text.",
    params(("user_id" = uuid::Uuid, Path, description = "The `id` of an account.")),
    responses((status = 200, description = "Whether anything had to be changed.", body = Changed), ActRefused),
    security(("AdminKey" = [])),
)]
pub(super) async fn clear_password(
    State(app): State<App>,
    by: ByKey,
    PathId(id): PathId<UserId>,
) -> Result<Json<Changed>, ApiError> {
    let user = account(&app, &by, Act::ClearPassword, id).await?;
    Ok(Json(Changed { changed: acts::clear_password(&app, by.actor(), &user).await? }))
}

#[utoipa::path(
    post, path = "/admin/v1/users/{user_id}/end-sessions", tag = "users", operation_id = "endSessions",
    summary = "End one session of an account, or all",
    description = "Ends one session, or all: of the app, and of the console with all. Nobody's device is known any more.",
    params(("user_id" = uuid::Uuid, Path, description = "The `id` of an account.")),
    request_body(content = Option<SessionToEnd>, description = "Which one; without a body all."),
    responses((status = 200, description = "They have ended.", body = EndedSessions), WhyRefused),
    security(("AdminKey" = [])),
)]
pub(super) async fn end_sessions(
    State(app): State<App>,
    by: ByKey,
    PathId(id): PathId<UserId>,
    OptionalJsonBody(mut fields): OptionalJsonBody,
) -> Result<Json<EndedSessions>, ApiError> {
    let user = account(&app, &by, Act::EndSessions, id).await?;
    let only: Option<SessionId> = fields.optional_parsed("session_id", "Send the id of a session.");
    fields.finish()?;
    let ended = acts::end_sessions(&app, by.actor(), &user, only).await?;
    Ok(Json(EndedSessions { ended }))
}

#[utoipa::path(
    post, path = "/admin/v1/users/{user_id}/send-code", tag = "users", operation_id = "sendCode",
    summary = "Send a code to an account's number",
    description = "Sends a code, within the limits that hold for everybody: those of the number, and of the address that \
        this call comes from.",
    params(("user_id" = uuid::Uuid, Path, description = "The `id` of an account."), IdempotencyKey),
    request_body(content = Option<CodeToSend>, description = "How; without a body as a text."),
    responses((status = 202, description = "The request was accepted.", body = SentCode), SendRefused),
    security(("AdminKey" = [])),
)]
pub(super) async fn send_code(
    State(app): State<App>,
    by: ByKey,
    caller: Caller,
    PathId(id): PathId<UserId>,
    OptionalJsonBody(mut fields): OptionalJsonBody,
) -> Result<Response, ApiError> {
    by.may(Act::Resend)?;
    let user = app.accounts.get(id).await?.ok_or(ApiError::NotFound)?;
    let channel = read_channel(&app, &mut fields);
    fields.finish()?;
    let request_id = acts::send_code(&app, by.actor(), &user, channel, &caller).await?;
    Ok((StatusCode::ACCEPTED, Json(SentCode { request_id })).into_response())
}

#[utoipa::path(
    post, path = "/admin/v1/users/{user_id}/reveal", tag = "users", operation_id = "revealPhone",
    summary = "See an account's whole number",
    description = "Answers with the whole number, which every other answer masks. The audit has the reason before the \
        answer has the number.",
    params(("user_id" = uuid::Uuid, Path, description = "The `id` of an account.")),
    request_body(content = WhyBody, description = "The reason."),
    responses((status = 200, description = "The number.", body = RevealedPhone), RevealRefused),
    security(("AdminKey" = [])),
)]
pub(super) async fn reveal(
    State(app): State<App>,
    by: ByKey,
    PathId(id): PathId<UserId>,
    JsonBody(fields): JsonBody,
) -> Result<Json<RevealedPhone>, ApiError> {
    by.may(Act::Reveal)?;
    let user = app.accounts.get(id).await?.ok_or(ApiError::NotFound)?;
    let reason = why(fields)?;
    let number = acts::reveal(&app, by.actor(), &user, staff::reason(&reason)?).await?;
    Ok(Json(RevealedPhone { phone_number: number.to_owned() }))
}

#[utoipa::path(
    post, path = "/admin/v1/users/{user_id}/notes", tag = "users", operation_id = "addNote",
    summary = "Write a note about an account",
    description = "Writes a note for other staff: an entry `note_added` of the audit. The account's owner does not see it, \
        and its text is deleted with the account.",
    params(("user_id" = uuid::Uuid, Path, description = "The `id` of an account.")),
    request_body(content = NoteBody, description = "The note."),
    responses((status = 201, description = "The note.", body = UserNote), WhyRefused),
    security(("AdminKey" = [])),
)]
pub(super) async fn add_note(
    State(app): State<App>,
    by: ByKey,
    PathId(id): PathId<UserId>,
    JsonBody(mut fields): JsonBody,
) -> Result<Response, ApiError> {
    let user = account(&app, &by, Act::AddNote, id).await?;
    let note = fields.string("note");
    fields.finish()?;
    let (actor, note) = (by.actor(), staff::note(&note)?);
    let written = UserNote {
        at: notes::add(&app, actor, user.id, note).await?,
        actor: actor.to_owned(),
        actor_kind: ActorKind::Key,
        // A key has no account.
        actor_name: None,
        note: note.to_owned(),
    };
    Ok((StatusCode::CREATED, Json(written)).into_response())
}

#[utoipa::path(
    post, path = "/admin/v1/users/{user_id}/export", tag = "users", operation_id = "exportUser",
    summary = "Export all that is stored about an account",
    description = "Answers with all that is stored about the account, its whole number included, but with no secret. The \
        audit has the reason before the answer has anything.",
    params(("user_id" = uuid::Uuid, Path, description = "The `id` of an account.")),
    request_body(content = WhyBody, description = "The reason."),
    responses((status = 200, description = "All that is stored.", body = AccountExport), WhyRefused),
    security(("AdminKey" = [])),
)]
pub(super) async fn export(
    State(app): State<App>,
    by: ByKey,
    PathId(id): PathId<UserId>,
    JsonBody(fields): JsonBody,
) -> Result<Json<AccountExport>, ApiError> {
    let user = account(&app, &by, Act::ExportUser, id).await?;
    let reason = why(fields)?;
    let reason = staff::reason(&reason)?;
    Ok(Json(export::export(&app, by.actor(), user.id, reason).await?))
}

#[utoipa::path(
    post, path = "/admin/v1/users/{user_id}/delete", tag = "users", operation_id = "deleteUser",
    summary = "Delete an account",
    description = "Deletes the account, its sessions and every trace of its phone, and tells its owner by text. It cannot \
        be undone. The number can sign up again, even if the account was blocked.",
    params(("user_id" = uuid::Uuid, Path, description = "The `id` of an account.")),
    request_body(content = DeletionBody, description = "The reason, and the id once more."),
    responses((status = 200, description = "It is deleted.", body = DeletedUser), WhyRefused),
    security(("AdminKey" = [])),
)]
pub(super) async fn delete(
    State(app): State<App>,
    by: ByKey,
    PathId(id): PathId<UserId>,
    JsonBody(mut fields): JsonBody,
) -> Result<Json<DeletedUser>, ApiError> {
    let user = account(&app, &by, Act::DeleteUser, id).await?;
    let reason = fields.string("reason");
    let confirm: Option<UserId> = fields.parsed("confirm", NOT_CONFIRMED);
    if confirm != Some(id) {
        fields.refuse("confirm", "invalid", NOT_CONFIRMED);
    }
    fields.finish()?;
    acts::delete(&app, by.actor(), &user, staff::reason(&reason)?).await?;
    Ok(Json(DeletedUser { user_id: id, deleted: true }))
}

/// The account that an act is about, if the key may do it to that account.
async fn account(app: &App, by: &ByKey, act: Act, id: UserId) -> Result<User, ApiError> {
    by.may(act)?;
    let user = app.accounts.get(id).await?.ok_or(ApiError::NotFound)?;
    by.may_on(act, &user)?;
    Ok(user)
}

/// The reason in a body of nothing else.
fn why(mut fields: Fields) -> Result<String, ApiError> {
    let reason = fields.string("reason");
    fields.finish()?;
    Ok(reason)
}

async fn row(app: &App, id: UserId) -> Result<UserRow, ApiError> {
    let now = app.engines.clock.now();
    let person = app.accounts.person(id, now).await?.ok_or(ApiError::NotFound)?;
    users::row(app, person, now).await
}
