//! One box that finds a user or a request by whatever staff have in hand. A phone number is searched by a form, so that it
//! stands in no address, history or log of a proxy.

use axum::extract::State;
use axum::response::{IntoResponse as _, Redirect, Response};
use http::StatusCode;
use uuid::Uuid;

use crate::app::App;
use crate::console::form::StaffForm;
use crate::console::params::PageId;
use crate::console::refused::{Explained, Refused};
use crate::console::session::Staff;
use crate::staff::find::{self, Found, FoundKind};
use crate::staff::rights::Act;

/// `POST /console/find`: leads to what was found.
pub(crate) async fn find(
    State(app): State<App>,
    StaffForm { staff, form }: StaffForm,
) -> Result<Response, Refused> {
    staff.may(Act::See)?;
    let what = form.text("what");
    if let Ok(id) = what.parse::<Uuid>() {
        return by_id(&app, id).await;
    }
    if let Some(user) = find::by_phone(&app, what).await? {
        return Ok(to(&format!("/console/users/{}", user.id)));
    }
    let digits = what.trim_start_matches(['*', '…', '.']);
    if digits.len() == 4 && digits.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(to(&format!("/console/users?digits={digits}")));
    }
    if let Some(found) = find::by_provider_id(&app, what).await? {
        return Ok(opened(&found));
    }
    if what.chars().any(char::is_alphabetic) {
        let name: String = url::form_urlencoded::byte_serialize(what.as_bytes()).collect();
        return Ok(to(&format!("/console/users?name={name}")));
    }
    Ok(nothing())
}

/// `GET /console/find/{id}`: where an id from a log leads.
pub(crate) async fn open(
    State(app): State<App>,
    staff: Staff,
    PageId(id): PageId<Uuid>,
) -> Result<Response, Refused> {
    staff.may(Act::See)?;
    by_id(&app, id).await
}

async fn by_id(app: &App, id: Uuid) -> Result<Response, Refused> {
    Ok(find::by_id(app, id).await?.map_or_else(nothing, |found| opened(&found)))
}

fn opened(found: &Found) -> Response {
    match found {
        Found { kind: FoundKind::User, id } => to(&format!("/console/users/{id}")),
        Found { kind: FoundKind::Request, id } => to(&format!("/console/requests/{id}")),
    }
}

fn to(address: &str) -> Response {
    Redirect::to(address).into_response()
}

/// It does not repeat what was searched for: it may be a phone number.
fn nothing() -> Response {
    let mut response = StatusCode::NOT_FOUND.into_response();
    response.extensions_mut().insert(Explained {
        title: "Nothing found".to_owned(),
        detail: "Search by a whole phone number, its last four digits, a name, the id of a user or request, or a provider's id of a message."
            .to_owned(),
    });
    response
}
