//! A provider that lists every text it took: it hides no duplicate, as the inbox would.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A text as the provider received it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Text {
    pub phone: String,
    pub code: String,
}

#[derive(Debug)]
pub(crate) struct Provider {
    pub url: String,
    taken: Arc<Mutex<Vec<Text>>>,
    server: JoinHandle<()>,
}

/// Long enough for a kill to find calls in flight.
const ANSWERS_AFTER: Duration = Duration::from_millis(40);

impl Provider {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind a port");
        let url = format!("http://{}/send", listener.local_addr().expect("it is bound"));
        let taken = Arc::new(Mutex::new(Vec::new()));
        let router = Router::new().route("/send", post(take)).with_state(Arc::clone(&taken));
        let server = tokio::spawn(async move {
            axum::serve(listener, router).await.expect("serve");
        });
        Self { url, taken, server }
    }

    /// The settings that make a system send through this provider.
    pub fn settings(&self) -> [(&str, &str); 3] {
        [
            ("LATCHKEY_SMS_ROUTES", "default=http"),
            ("LATCHKEY_HTTP_PROVIDER_URL", &self.url),
            ("LATCHKEY_HTTP_PROVIDER_SECRET", "a-secret-of-the-tests-that-is-long-enough"),
        ]
    }

    pub fn taken(&self) -> Vec<Text> {
        self.taken.lock().expect("no panic while held").clone()
    }

    /// The code of the newest text to a phone.
    pub fn code(&self, phone: &str) -> Option<String> {
        self.taken().into_iter().rfind(|text| text.phone == phone).map(|text| text.code)
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn take(State(taken): State<Arc<Mutex<Vec<Text>>>>, Json(body): Json<Value>) -> Json<Value> {
    let text = body["text"].as_str().expect("a text");
    let digits: String = text.chars().filter(char::is_ascii_digit).take(6).collect();
    let phone = body["phone_number"].as_str().expect("a number").to_owned();
    taken.lock().expect("no panic while held").push(Text { phone, code: digits });
    // The text is taken first and confirmed later: a worker that dies in between causes W1.
    tokio::time::sleep(ANSWERS_AFTER).await;
    Json(json!({ "id": body["attempt_id"], "segments": 1 }))
}
