//! `/console/users/new`: staff create an account; its owner then signs in by code.

use accounts::{Creation, NewUser};
use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse as _, Redirect, Response};
use domain::ids::UserId;
use http::StatusCode;

use super::PATH;
use crate::app::App;
use crate::console::form::{Form, StaffForm};
use crate::console::page::{Frame, html};
use crate::console::refused::{Refused, in_words};
use crate::console::rights::Act;
use crate::console::session::Staff;
use crate::http::error::ApiError;
use crate::http::validate;

#[derive(Template)]
#[template(path = "console/users/new.html")]
struct NewPage<'a> {
    frame: Frame,
    phone_number: &'a str,
    first_name: &'a str,
    last_name: &'a str,
    locale: &'a str,
    error: Option<String>,
}

pub(crate) async fn show(staff: Staff) -> Result<Response, Refused> {
    staff.may(Act::CreateUser)?;
    html(&NewPage {
        frame: Frame::new(&staff, PATH, "Create a user"),
        phone_number: "",
        first_name: "",
        last_name: "",
        locale: "en",
        error: None,
    })
}

pub(crate) async fn create(
    State(app): State<App>,
    StaffForm { staff, form }: StaffForm,
) -> Result<Response, Refused> {
    staff.may(Act::CreateUser)?;
    match make(&app, &staff, &form).await {
        Ok(id) => Ok(Redirect::to(&format!("{PATH}/{id}?done=created")).into_response()),
        Err(error) if error.status().is_server_error() => Err(error.into()),
        Err(error) => {
            let page = NewPage {
                frame: Frame::new(&staff, PATH, "Create a user"),
                phone_number: form.text("phone_number"),
                first_name: form.text("first_name"),
                last_name: form.text("last_name"),
                locale: form.text("locale"),
                error: Some(in_words(&error)),
            };
            Ok((StatusCode::BAD_REQUEST, html(&page)?).into_response())
        }
    }
}

async fn make(app: &App, staff: &Staff, form: &Form) -> Result<UserId, ApiError> {
    let phone = app.phone(form.text("phone_number"))?;
    for field in ["first_name", "last_name"] {
        let name = form.text(field);
        if !name.is_empty() {
            validate::name(name)
                .map_err(|fault| ApiError::field(field, fault.code, fault.detail))?;
        }
    }
    let locale = Some(form.text("locale")).filter(|locale| !locale.is_empty()).unwrap_or("en");
    validate::locale(locale)
        .map_err(|fault| ApiError::field("locale", fault.code, fault.detail))?;
    let now = app.engines.clock.now();
    let id = UserId::new(&app.engines.clock);
    let new = NewUser {
        id,
        phone_number: phone.e164(),
        first_name: form.text("first_name"),
        last_name: form.text("last_name"),
        locale,
        country: phone.region(),
        password_hash: None,
        created_at: now,
        block_reason: None,
    };
    match app.accounts.create(new, &staff.actor(), now).await? {
        Creation::Created(_) => {
            app.outbox_filled.notify_one();
            Ok(id)
        }
        Creation::Exists => {
            Err(ApiError::field("phone_number", "taken", "This number has an account already."))
        }
    }
}
