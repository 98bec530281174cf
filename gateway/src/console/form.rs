//! Forms of the console. No form is read unless this browser opened it: the token in it belongs to the browser's cookie, and
//! the browser says that no other site sent it.

use std::collections::BTreeMap;

use axum::extract::{FromRequest, Request};
use domain::keys::is_same_secret;
use http::header::{CONTENT_TYPE, HOST, ORIGIN};
use http::{HeaderMap, HeaderName};

use crate::app::App;
use crate::console::refused::Refused;
use crate::console::secret::{SESSION, Secret, VISIT};
use crate::console::session::Staff;
use crate::http::body;
use crate::http::browser::SEC_FETCH_SITE;
use crate::http::error::ApiError;
use crate::staff;

/// The field with the form's token.
const TOKEN: &str = "token";

/// The fields of a form.
pub(crate) struct Form(BTreeMap<String, String>);

impl Form {
    /// A field without the space around it; empty if it is missing.
    pub fn text(&self, name: &str) -> &str {
        self.0.get(name).map_or("", |text| text.trim())
    }

    /// A field as it was typed, for passwords.
    pub fn exact(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// A reason, for the audit: it must say something.
    pub fn reason(&self) -> Result<&str, ApiError> {
        staff::reason(self.text("reason"))
    }

    /// The names of its fields.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

/// A form that a signed-in member of staff sent.
pub(crate) struct StaffForm {
    pub staff: Staff,
    pub form: Form,
}

impl FromRequest<App> for StaffForm {
    type Rejection = Refused;

    async fn from_request(request: Request, app: &App) -> Result<Self, Refused> {
        let secret = sender(app, request.headers(), SESSION)?;
        let staff = Staff::of(app, &secret, true).await?;
        let form = read(app, request, &secret).await?;
        Ok(Self { staff, form })
    }
}

/// A form of the sign-in before its code was right.
pub(crate) struct VisitForm {
    pub visit: Secret,
    pub form: Form,
}

impl FromRequest<App> for VisitForm {
    type Rejection = Refused;

    async fn from_request(request: Request, app: &App) -> Result<Self, Refused> {
        let visit = sender(app, request.headers(), VISIT)?;
        let form = read(app, request, &visit).await?;
        Ok(Self { visit, form })
    }
}

/// The secret of the browser that sends a form. Nothing of the form is read yet: a stranger's takes no room.
pub(crate) fn sender(app: &App, headers: &HeaderMap, cookie: &str) -> Result<Secret, Refused> {
    if !is_own(headers, app.config.public_url.as_ref().map(|_| &*app.public_url)) {
        return Err(Refused::Site);
    }
    Secret::of(headers, cookie).ok_or(match cookie {
        SESSION => Refused::SignIn { next: None },
        _ => Refused::Form,
    })
}

/// Reads a form of the browser that holds this secret.
pub(crate) async fn read(app: &App, request: Request, secret: &Secret) -> Result<Form, Refused> {
    let media_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = media_type.and_then(|value| value.split(';').next()).unwrap_or_default();
    if !media_type.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        let detail = "Send a form.";
        return Err(ApiError::UnsupportedMediaType { detail }.into());
    }
    let form = parse(&body::read(request).await?)?;
    if !is_same_secret(form.exact(TOKEN), &secret.form_token(app)) {
        return Err(Refused::Form);
    }
    Ok(form)
}

fn parse(body: &[u8]) -> Result<Form, ApiError> {
    let mut fields = BTreeMap::new();
    for (name, value) in url::form_urlencoded::parse(body).into_owned() {
        if value.contains('\0') {
            return Err(ApiError::field(
                name,
                "invalid_characters",
                "Remove the character U+0000.",
            ));
        }
        if fields.insert(name, value).is_some() {
            return Err(ApiError::body("duplicate_field", "A field must not be there twice."));
        }
    }
    Ok(Form(fields))
}

/// Whether the console's own pages may have sent this. Every browser of the last years says which site a request is from;
/// what says nothing is no browser, or an old one, which sends its `Origin`. Pages that send no referrer send the origin
/// `null`, the console's own too: it says nothing.
fn is_own(headers: &HeaderMap, public_url: Option<&str>) -> bool {
    let of = |name: HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let site = of(SEC_FETCH_SITE);
    if site.is_some_and(|site| site != "same-origin") {
        return false;
    }
    match of(ORIGIN) {
        None => true,
        Some("null") => site.is_some(),
        Some(origin) => match public_url {
            Some(url) => origin_of(url) == Some(origin),
            // In development there may be no public URL.
            None => of(HOST).is_some_and(|host| origin.strip_prefix("http://") == Some(host)),
        },
    }
}

/// The origin of a URL: what stands before its path.
fn origin_of(url: &str) -> Option<&str> {
    let after = url.find("://")? + 3;
    Some(url[after..].find('/').map_or(url, |path| &url[..after + path]))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn own(headers: &[(HeaderName, &str)], public_url: Option<&str>) -> bool {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap()))
            .collect();
        is_own(&headers, public_url)
    }

    #[test]
    fn a_form_of_another_site_is_refused_whatever_token_it_has() {
        let url = Some("https://id.example.com/base");
        for (headers, is_ours) in [
            (vec![], true),
            (vec![(SEC_FETCH_SITE, "same-origin")], true),
            (vec![(SEC_FETCH_SITE, "same-origin"), (ORIGIN, "null")], true),
            (vec![(SEC_FETCH_SITE, "same-origin"), (ORIGIN, "https://id.example.com")], true),
            (vec![(ORIGIN, "https://id.example.com")], true),
            (vec![(SEC_FETCH_SITE, "same-origin"), (ORIGIN, "https://evil.example")], false),
            (vec![(SEC_FETCH_SITE, "same-site")], false),
            (vec![(SEC_FETCH_SITE, "cross-site")], false),
            (vec![(SEC_FETCH_SITE, "none")], false),
            (vec![(ORIGIN, "null")], false),
            (vec![(ORIGIN, "http://id.example.com")], false),
            (vec![(ORIGIN, "https://id.example.com.evil.example")], false),
            (vec![(ORIGIN, "")], false),
        ] {
            assert_eq!(own(&headers, url), is_ours, "{headers:?}");
        }
        let host = (HOST, "127.0.0.1:8080");
        assert!(own(&[host.clone(), (ORIGIN, "http://127.0.0.1:8080")], None));
        assert!(!own(&[host.clone(), (ORIGIN, "http://127.0.0.1:8081")], None));
        assert!(!own(&[host, (ORIGIN, "https://evil.example")], None));
    }

    #[test]
    fn a_field_that_comes_twice_is_refused() {
        assert_eq!(parse(b"a=1&b=+x+&a").err().map(|error| error.code()), Some("invalid_request"));
        let form = parse(b"a=1&b=+x+").unwrap_or_else(|_| panic!("a form"));
        assert_eq!((form.text("b"), form.exact("b"), form.text("c")), ("x", " x ", ""));
    }
}
