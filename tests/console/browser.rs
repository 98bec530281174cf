//! A browser of staff: keeps cookies, fills in forms with their token, follows no redirect by itself.

use std::collections::BTreeMap;

use accounts::{Accounts, Audit, AuditEntry, NewUser, StaffRole};
use domain::ids::UserId;
use fake_twilio::Fake;
use reqwest::header::HeaderMap;
use reqwest::{Method, Response};
use testkit::http::{Api, new_phone};
use testkit::system::Side;
use testkit::{PATIENCE, eventually};

use crate::accounts::in_process::InProcessLatchkey;

pub(crate) const SESSION: &str = "__Host-latchkey_console";
pub(crate) const VISIT: &str = "__Host-latchkey_visit";

/// A page as it came.
#[derive(Debug, Clone)]
pub(crate) struct Page {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
}

impl Page {
    /// The page, if it has this status.
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text);
        self
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Where it leads.
    pub fn leads_to(&self) -> &str {
        assert_eq!(self.status, 303, "{}", self.text);
        self.header("location")
    }

    /// The value of the first field of this name.
    pub fn field(&self, name: &str) -> String {
        let mark = format!("name=\"{name}\" value=\"");
        let from = self.text.find(&mark).unwrap_or_else(|| panic!("no {name}: {}", self.text));
        let rest = &self.text[from + mark.len()..];
        rest[..rest.find('"').unwrap()].to_owned()
    }

    #[track_caller]
    pub fn shows(&self, text: &str) {
        assert!(self.text.contains(text), "no {text:?} in {}", self.text);
    }

    #[track_caller]
    pub fn hides(&self, text: &str) {
        assert!(!self.text.contains(text), "{text:?} in {}", self.text);
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Browser {
    pub api: Api,
    pub cookies: BTreeMap<String, String>,
    client: reqwest::Client,
}

impl Browser {
    pub fn new(api: &Api) -> Self {
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(PATIENCE)
            .build()
            .unwrap();
        Self { api: api.clone(), cookies: BTreeMap::new(), client }
    }

    pub async fn send(
        &mut self,
        method: Method,
        path: &str,
        fields: Option<&[(&str, &str)]>,
        headers: &[(&str, &str)],
    ) -> Page {
        let answer = self.request(method, path, fields, headers).await;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        Page { status, headers, text: answer.text().await.unwrap() }
    }

    /// Sends a request; its answer is still to be read.
    pub async fn request(
        &mut self,
        method: Method,
        path: &str,
        fields: Option<&[(&str, &str)]>,
        headers: &[(&str, &str)],
    ) -> Response {
        let mut request = self.client.request(method, format!("{}{path}", self.api.url));
        let cookies: Vec<_> = self.cookies.iter().map(|(n, v)| format!("{n}={v}")).collect();
        request = request.header("user-agent", "Firefox/1 <b>bold</b>");
        if !cookies.is_empty() {
            request = request.header("cookie", cookies.join("; "));
        }
        if fields.is_some() && !headers.iter().any(|(name, _)| *name == "sec-fetch-site") {
            request = request.header("sec-fetch-site", "same-origin").header("origin", "null");
        }
        for (name, value) in headers.iter().filter(|(_, value)| !value.is_empty()) {
            request = request.header(*name, *value);
        }
        if let Some(fields) = fields {
            let body =
                url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
            request =
                request.header("content-type", "application/x-www-form-urlencoded").body(body);
        }
        let answer = request.send().await.unwrap();
        for set in answer.headers().get_all("set-cookie") {
            let set = set.to_str().unwrap();
            let (name, rest) = set.split_once('=').unwrap();
            let value = rest.split(';').next().unwrap();
            if set.contains("Max-Age=0") {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        answer
    }

    /// Reads a page, again as often as a busy machine does not serve it (P12).
    pub async fn get(&mut self, path: &str) -> Page {
        eventually("a page", PATIENCE, async || {
            Some(self.send(Method::GET, path, None, &[]).await).filter(|page| page.status != 503)
        })
        .await
    }

    /// Sends a form with the token of the page that it stands on.
    pub async fn submit(&mut self, page: &Page, path: &str, fields: &[(&str, &str)]) -> Page {
        let token = page.field("token");
        let fields: Vec<_> =
            [("token", token.as_str())].into_iter().chain(fields.iter().copied()).collect();
        self.send(Method::POST, path, Some(&fields), &[]).await
    }

    /// Asks for a code on the first page; returns the second and the code.
    pub async fn ask(&mut self, phone: &str) -> (Page, String) {
        let first = self.get("/console/login").await.expect(200);
        let second =
            self.submit(&first, "/console/login", &[("phone_number", phone)]).await.expect(200);
        let request = second.field("request_id");
        let text = eventually("the text", PATIENCE, async || {
            self.api
                .messages(phone)
                .await
                .into_iter()
                .find(|it| it["request_id"] == request.as_str())
        })
        .await;
        (second, text["code"].as_str().unwrap().to_owned())
    }

    /// Sends the code from the second page.
    pub async fn enter(&mut self, second: &Page, code: &str) -> Page {
        let (phone, request) = (second.field("phone_number"), second.field("request_id"));
        let fields = [
            ("phone_number", phone.as_str()),
            ("request_id", request.as_str()),
            ("otp", code),
            ("next", &second.field("next")),
        ];
        self.submit(second, "/console/login/code", &fields).await
    }

    /// Signs in as far as a code leads.
    pub async fn sign_in(&mut self, phone: &str) -> Page {
        let (second, code) = self.ask(phone).await;
        self.enter(&second, &code).await
    }
}

/// A running system with what its tests look into.
pub(crate) struct Console {
    pub latchkey: InProcessLatchkey,
    pub accounts: Accounts,
    pub audit: Audit,
}

/// A member of staff at the console.
pub(crate) struct Member {
    pub browser: Browser,
    pub id: UserId,
    /// The tokens of the app.
    pub access: String,
    pub refresh: String,
}

impl Console {
    pub async fn start(side: Side) -> Self {
        Self::on(InProcessLatchkey::start(side, 1).await)
    }

    /// One that sends by a fake Twilio, but for texts to Iran, such as those of staff; `more` settings override the others.
    pub async fn with_twilio(side: Side, more: &[(&str, &str)]) -> (Self, Fake) {
        let fake = Fake::start().await.unwrap();
        let url = fake.url();
        let settings = [
            ("LATCHKEY_SMS_ROUTES", "default=twilio;98=inbox"),
            ("TWILIO_ACCOUNT_SID", fake.account.sid.as_str()),
            ("TWILIO_AUTH_TOKEN", fake.account.auth_token.as_str()),
            ("TWILIO_FROM", "+15005550006"),
            ("TWILIO_BASE_URL", url.as_str()),
        ];
        let settings = [&settings, more].concat();
        (Self::on(InProcessLatchkey::start_with(side, 1, &settings).await), fake)
    }

    pub fn on(latchkey: InProcessLatchkey) -> Self {
        let sql = &latchkey.engines.sql;
        Self { accounts: Accounts::new(sql), audit: Audit::new(sql), latchkey }
    }

    pub fn browser(&self) -> Browser {
        Browser::new(&self.latchkey.api())
    }

    /// An account of the app, perhaps with a role: who is it, and its phone.
    pub async fn account(&self, role: Option<StaffRole>) -> (UserId, String, serde_json::Value) {
        let (api, phone) = (self.latchkey.api(), new_phone());
        api.signup(&phone, "Ada", "Lovelace").await.expect(202);
        let code = api.code(&phone, 1).await;
        let login = api.login(&phone, &code).await.expect(200).body;
        let id: UserId = login["user"]["id"].as_str().unwrap().parse().unwrap();
        if let Some(role) = role {
            let now = self.latchkey.clock.now();
            assert!(self.accounts.grant_role(id, role, "test", now).await.unwrap());
        }
        (id, phone, login)
    }

    /// An account without a sign-in: its id and its phone.
    pub async fn created(&self) -> (String, String) {
        let phone = new_phone();
        (self.created_as(&phone, "IR").await, phone)
    }

    /// An account of this number, as an import may bring it: its id.
    pub async fn created_as(&self, phone: &str, country: &str) -> String {
        let (id, now) = (UserId::new(&self.latchkey.clock), self.latchkey.clock.now());
        let user = NewUser {
            id,
            phone_number: &phone.parse().unwrap(),
            first_name: "Cleo",
            last_name: "",
            locale: "en",
            country,
            password_hash: None,
            created_at: now,
            block_reason: None,
        };
        self.accounts.create(user, "test", now).await.unwrap();
        id.to_string()
    }

    /// A member of staff who has signed in at the console.
    pub async fn member(&self, role: StaffRole) -> Member {
        let (id, phone, login) = self.account(Some(role)).await;
        let mut browser = self.browser();
        assert_eq!(browser.sign_in(&phone).await.leads_to(), "/console");
        let token = |name: &str| login[name].as_str().unwrap().to_owned();
        Member { browser, id, access: token("access"), refresh: token("refresh") }
    }

    /// What the audit says that this account did, or that was done to it: newest first.
    pub async fn acts(&self, subject: &str) -> Vec<AuditEntry> {
        self.audit.page(Some(subject), None, 50).await.unwrap()
    }

    /// How often the audit has this act of this subject.
    pub async fn count(&self, subject: &str, act: &str) -> usize {
        self.acts(subject).await.iter().filter(|entry| entry.act == act).count()
    }
}

/// A text as a part of a query.
pub(crate) fn encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}
