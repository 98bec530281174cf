//! `/console/developers`: this server's addresses, the last calls to its webhook, a client in one language at a time, and
//! the Postman files.

mod calls;

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use self::calls::Calls;
use crate::app::App;
use crate::console::page::{Frame, JSON, download, html};
use crate::console::params::Params;
use crate::console::refused::Refused;
use crate::console::session::Staff;
use crate::console::time::Moment;
use crate::staff::developers::{self, DevelopersView, LANGUAGES};
use crate::staff::rights::Act;
use crate::staff::webhook_calls;

const PATH: &str = "/console/developers";

#[derive(Template)]
#[template(path = "console/developers/list.html")]
struct DevelopersPage {
    frame: Frame,
    view: DevelopersView,
    calls: Calls,
    /// Address and name of each language, and whether it is shown.
    languages: Vec<(String, &'static str, bool)>,
    /// Phone, code, end.
    numbers: Vec<(String, Option<String>, Option<Moment>)>,
    as_of: Moment,
}

pub(crate) async fn show(
    State(app): State<App>,
    staff: Staff,
    params: Params,
) -> Result<Response, Refused> {
    staff.may(Act::See)?;
    let now = app.engines.clock.now();
    let mut view = developers::read(&app, params.shown("language"));
    let language = |(id, name, _): (&str, &'static str, &str)| {
        (params.link(PATH, "language", id), name, id == view.language)
    };
    let languages = LANGUAGES.map(language).into();
    let numbers = std::mem::take(&mut view.test_numbers)
        .into_iter()
        .map(|it| (it.phone_number, it.code, Moment::maybe(it.until, now)))
        .collect();
    html(&DevelopersPage {
        frame: Frame::new(&staff, PATH, "For developers"),
        calls: Calls::of(webhook_calls::read(&app)),
        languages,
        numbers,
        as_of: Moment::of(now, now),
        view,
    })
}

pub(crate) async fn collection(staff: Staff) -> Result<Response, Refused> {
    staff.may(Act::See)?;
    Ok(download("latchkey.postman_collection.json", JSON, developers::COLLECTION.to_owned()))
}

pub(crate) async fn environment(State(app): State<App>, staff: Staff) -> Result<Response, Refused> {
    staff.may(Act::See)?;
    let text = developers::postman_environment(&app);
    Ok(download("latchkey.postman_environment.json", JSON, text))
}
