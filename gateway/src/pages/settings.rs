//! `GET /pages/settings.json`: what the sign-in page must know of this deployment. Nothing in it is secret.

use axum::Json;
use axum::extract::State;
use domain::phone::{Country, countries};
use serde::Serialize;

use crate::app::App;

/// The region and calling code of a country, and how its mobile numbers are grouped.
type Row = (&'static str, u16, &'static str);

#[derive(Serialize)]
pub(crate) struct Settings {
    /// The served countries.
    countries: Vec<Row>,
    /// ISO 3166.
    default_region: Option<String>,
    /// Whether calls are offered.
    voice: bool,
    code_length: u8,
}

pub(crate) async fn document(State(app): State<App>) -> Json<Settings> {
    let config = &app.config;
    let is_served = |country: &Country| {
        config.countries.as_ref().is_none_or(|all| all.contains(country.region))
    };
    let row = |country: Country| (country.region, country.calling_code, country.groups);
    Json(Settings {
        countries: countries().filter(is_served).map(row).collect(),
        default_region: config.default_region.clone(),
        voice: config.sms.voice,
        code_length: config.otp.length,
    })
}
