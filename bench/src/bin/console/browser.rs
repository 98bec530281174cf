//! A browser of staff: signs in at the console and fetches its pages.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use reqwest::header::{COOKIE, LOCATION, SET_COOKIE};
use testkit::http::Api;

/// Longer than any page should take.
const PATIENCE: Duration = Duration::from_secs(20);

pub struct Browser {
    api: Api,
    client: reqwest::Client,
    cookies: Vec<(String, String)>,
}

/// A page as it came.
pub struct Page {
    pub text: String,
    /// From the request to the last byte, in milliseconds.
    pub ms: f64,
    location: String,
}

impl Page {
    /// The value of the first field of this name.
    fn field(&self, name: &str) -> anyhow::Result<String> {
        let mark = format!("name=\"{name}\" value=\"");
        let rest = self.text.split_once(&mark).with_context(|| format!("no field {name}"))?.1;
        Ok(rest.split('"').next().unwrap_or_default().to_owned())
    }
}

impl Browser {
    pub fn new(api: Api) -> anyhow::Result<Self> {
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(PATIENCE)
            .build()?;
        Ok(Self { api, client, cookies: Vec::new() })
    }

    async fn send(&mut self, request: reqwest::RequestBuilder) -> anyhow::Result<Page> {
        let cookies: Vec<_> = self.cookies.iter().map(|(n, v)| format!("{n}={v}")).collect();
        let request =
            request.header(COOKIE, cookies.join("; ")).header("sec-fetch-site", "same-origin");
        let begun = Instant::now();
        let answer = request.send().await?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let text = answer.text().await?;
        let ms = begun.elapsed().as_secs_f64() * 1000.0;
        ensure!(status.is_success() || status.is_redirection(), "{status}: {text}");
        for set in headers.get_all(SET_COOKIE) {
            let (name, rest) = set.to_str()?.split_once('=').context("a cookie has a value")?;
            let value = rest.split(';').next().unwrap_or_default();
            self.cookies.retain(|(other, _)| other != name);
            self.cookies.push((name.to_owned(), value.to_owned()));
        }
        let location = headers.get(LOCATION).map(|to| to.to_str()).transpose()?.unwrap_or_default();
        Ok(Page { text, ms, location: location.to_owned() })
    }

    pub async fn get(&mut self, path: &str) -> anyhow::Result<Page> {
        let request = self.client.get(format!("{}{path}", self.api.url));
        self.send(request).await.with_context(|| format!("open {path}"))
    }

    async fn submit(&mut self, path: &str, fields: &[(&str, &str)]) -> anyhow::Result<Page> {
        let request = self.client.post(format!("{}{path}", self.api.url)).form(fields);
        self.send(request).await.with_context(|| format!("submit {path}"))
    }

    /// Signs in with the code that the inbox of development shows.
    pub async fn sign_in(&mut self, phone: &str) -> anyhow::Result<()> {
        let token = self.get("/console/login").await?.field("token")?;
        let fields = [("token", token.as_str()), ("phone_number", phone)];
        let page = self.submit("/console/login", &fields).await?;
        let code = self.api.code(phone, 1).await;
        let (token, request) = (page.field("token")?, page.field("request_id")?);
        let fields = [
            ("token", token.as_str()),
            ("phone_number", phone),
            ("request_id", &request),
            ("otp", &code),
            ("next", ""),
        ];
        let done = self.submit("/console/login/code", &fields).await?;
        ensure!(done.location == "/console", "not signed in: {}", done.text);
        Ok(())
    }

    /// Sends what the search box holds; returns how long it took and where it leads.
    pub async fn find(&mut self, what: &str) -> anyhow::Result<(Page, String)> {
        let token = self.get("/console/requests").await?.field("token")?;
        let page =
            self.submit("/console/find", &[("token", token.as_str()), ("what", what)]).await?;
        let to = page.location.clone();
        Ok((page, to))
    }
}
