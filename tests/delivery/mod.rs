//! Delivery through the fake Twilio: crashes of the worker, faults of the database and the provider, and receipts in
//! any order.

mod begins;
mod clocks;
mod fallback;
mod kills;
mod receipts;
mod routes;
mod silent;
mod statuses;
mod unreliable;
mod voice_fallback;
mod worker;

use std::sync::Arc;

use bus::{Bus, Delivery};
use domain::clock::Clock;
use domain::event::{Envelope, ListedStatus, SmsRequested, SmsStatus, SmsStatuses, Text};
use domain::ids::{MessageId, RequestId};
use domain::keys::Keys;
use domain::seal::Sealed;
use domain::vocabulary::Channel;
use fake_twilio::{Call, Fake};
use service::connections::Connections;
use service::health::Health;
use sql::Pool;
use store::Store;

use testkit::folder::Folder;
use testkit::http::Api;

const TEXT: &str = "Your code is 481516.";

/// The address given to Twilio; nothing listens there, so callbacks go to the test's gateway instead.
pub(crate) const PUBLIC_URL: &str = "https://auth.example.test/base";

/// The settings of a system that sends through the fake.
pub(crate) fn settings(fake: &Fake, base_url: &str) -> Vec<(&'static str, String)> {
    vec![
        ("LATCHKEY_SMS_ROUTES", "default=twilio".to_owned()),
        ("TWILIO_ACCOUNT_SID", fake.account.sid.clone()),
        ("TWILIO_AUTH_TOKEN", fake.account.auth_token.clone()),
        ("TWILIO_FROM", "+15005550006".to_owned()),
        ("TWILIO_BASE_URL", base_url.to_owned()),
        ("LATCHKEY_PUBLIC_URL", PUBLIC_URL.to_owned()),
    ]
}

pub(crate) fn borrowed<'a>(settings: &'a [(&'static str, String)]) -> Vec<(&'static str, &'a str)> {
    settings.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

/// The embedded engines on a manual clock, and the folder of their database.
async fn embedded_engines() -> (Connections, Folder) {
    let (folder, clock) = (Folder::new("delivery"), Clock::manual());
    let sql = Pool::sqlite(folder.path()).await.unwrap();
    sql.migrate(accounts::FUNCTIONS).await.unwrap();
    let engines = Connections {
        bus: Bus::memory(clock.clone()),
        store: Store::memory(clock.clone()),
        sql,
        keys: Arc::new(Keys::from_secret(&[7; 32], None)),
        clock,
        health: Health::default(),
        presence: service::presence::Presence::default(),
    };
    (engines, folder)
}

/// Builds a text for sms-worker that is valid for this long. Without a request it is a notice, which is always wanted.
fn job(
    keys: &Keys,
    clock: &Clock,
    request: Option<RequestId>,
    channel: Channel,
    phone: &str,
    text: &str,
    secs: i64,
) -> Envelope<SmsRequested> {
    let now = clock.now();
    let message = MessageId::of_request(request.unwrap_or_else(|| RequestId::new(clock)));
    let not_after = now.plus_secs(secs);
    let phone_number = phone.parse().unwrap();
    let text = Text { phone_number, text: text.to_owned(), of_deleted: false };
    let data = SmsRequested {
        message_id: message,
        request_id: request,
        channel,
        country: "IR".to_owned(),
        not_after,
        // Also one that comes too late was requested before its end.
        requested_at: request.map(|_| now.min(not_after.plus_secs(-1))),
        sealed: Sealed::none(),
    };
    Envelope::<SmsRequested>::sealing(keys, clock, "test", None, data, &text).unwrap()
}

/// The statuses that a message reports.
fn statuses_in(message: &Delivery) -> Vec<SmsStatus> {
    let event = message.event::<SmsStatuses>().unwrap().expect("statuses");
    let read = |listed| match listed {
        ListedStatus::Read(status) => status,
        ListedStatus::Unreadable(value) => panic!("{value}"),
    };
    event.data.statuses.into_iter().map(read).collect()
}

/// Returns the code in a text.
fn code(call: &Call) -> String {
    let runs = call.text().split(|c: char| !c.is_ascii_digit());
    runs.into_iter().find(|run| run.len() == 6).expect("a text has a code").to_owned()
}

/// Returns a request's public status.
async fn status(api: &Api, request_id: &str) -> String {
    api.status(request_id).await.expect(200).text("status")
}
