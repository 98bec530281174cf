//! `/console/users/new`: staff create an account; its owner then signs in by code.

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse as _, Redirect, Response};
use http::StatusCode;

use super::PATH;
use crate::app::App;
use crate::console::form::StaffForm;
use crate::console::page::{Frame, html};
use crate::console::refused::{Refused, in_words};
use crate::console::session::Staff;
use crate::staff::rights::Act;
use crate::staff::users::create::{self, NewAccount};

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
    let new = NewAccount {
        phone_number: form.text("phone_number"),
        first_name: form.text("first_name"),
        last_name: form.text("last_name"),
        locale: form.text("locale"),
    };
    match create::create(&app, &staff.actor(), &new).await {
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
