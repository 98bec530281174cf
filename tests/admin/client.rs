//! A program that calls the admin API, beside a whole running system.

use accounts::{AdminKeys, AuditEntry, AuditFilter, NewAdminKey, StaffRole};
use domain::admin_key::AdminKeyText;
use domain::timestamp::Timestamp;
use reqwest::Method;
use serde_json::Value;
use testkit::http::{Answer, Api, served};
use testkit::system::Side;

use crate::accounts::in_process::InProcessLatchkey;
use crate::console::browser::Console;

/// A running system whose admin API listens.
pub(crate) struct Admin {
    pub console: Console,
    pub api: Api,
}

impl Admin {
    pub async fn start(side: Side) -> Self {
        Self::start_with(side, &[]).await
    }

    pub async fn start_with(side: Side, more: &[(&str, &str)]) -> Self {
        let settings = [&[("LATCHKEY_ADMIN_LISTEN", "127.0.0.1:0")], more].concat();
        let latchkey = InProcessLatchkey::start_with(side, 1, &settings).await;
        Self { api: latchkey.admin_api(), console: Console::on(latchkey) }
    }

    pub fn now(&self) -> Timestamp {
        self.console.latchkey.clock.now()
    }

    pub fn keys(&self) -> AdminKeys {
        AdminKeys::new(&self.console.latchkey.engines.sql)
    }

    /// A key of this role, with the role's name.
    pub async fn key(&self, role: StaffRole) -> By<'_> {
        self.key_until(role.as_str(), role, None).await
    }

    pub async fn key_until(
        &self,
        name: &str,
        role: StaffRole,
        expires_at: Option<Timestamp>,
    ) -> By<'_> {
        let key = AdminKeyText::new();
        let new = NewAdminKey { id: key.id(), name, hash: &key.hash(), role, expires_at };
        assert!(self.keys().create(new, "test", self.now()).await.unwrap());
        By { admin: self, bearer: format!("Bearer {}", key.expose()), key, name: name.to_owned() }
    }

    /// A call with these headers and no others.
    pub async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
        headers: &[(&str, &str)],
    ) -> Answer {
        let call =
            async || self.api.try_call(method.clone(), path, body.as_ref(), headers).await.unwrap();
        served(call).await
    }

    /// Whatever this key did, as the audit has it, newest first.
    pub async fn acts_of(&self, name: &str) -> Vec<AuditEntry> {
        let actor = format!("admin-key:{name}");
        let filter = AuditFilter { actor: Some(&actor), ..Default::default() };
        self.console.audit.search(filter, None, 2_000).await.unwrap()
    }
}

/// A caller by a key.
pub(crate) struct By<'a> {
    admin: &'a Admin,
    pub bearer: String,
    pub key: AdminKeyText,
    pub name: String,
}

impl By<'_> {
    pub async fn send(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        self.admin.call(method, path, body, &[("authorization", &self.bearer)]).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, None).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(Method::POST, path, Some(body)).await
    }

    /// An act without a body.
    pub async fn act(&self, path: &str) -> Answer {
        self.send(Method::POST, path, None).await
    }
}
