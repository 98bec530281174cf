//! Receipts over HTTP: in any order, duplicated, early, forged.

use std::time::Duration;

use domain::ids::{MessageId, RequestId};
use domain::vocabulary::Status;
use fake_twilio::callback::sign;
use fake_twilio::{Act, Call, Fake, Script};
use futures::future::join_all;
use ledger::Ledger;
use secrecy::SecretString;
use sql::Pool;

use super::{PUBLIC_URL, borrowed, settings, status};
use testkit::both_sides;
use testkit::eventually;
use testkit::http::{Api, new_phone};
use testkit::system::{Side, System};

const LIMIT: Duration = testkit::PATIENCE;

both_sides!(
    duplicate_receipts_in_any_order_lead_to_one_final_status,
    a_receipt_before_the_answer_counts,
    a_forged_receipt_is_refused_and_changes_nothing,
    f23_a_receipt_of_another_account_is_refused_and_an_odd_id_is_not_kept,
);

struct SendingSystem {
    system: System,
    api: Api,
    fake: Fake,
}

impl SendingSystem {
    async fn start(side: Side) -> Self {
        let fake = Fake::start().await.unwrap();
        let settings = settings(&fake, &fake.url());
        let system = System::start(side, &borrowed(&settings)).await;
        let api = system.api();
        fake.post_instead(PUBLIC_URL, &api.url);
        Self { system, api, fake }
    }

    async fn ledger(&self) -> Ledger {
        let db = match &self.system.engines {
            Some(engines) => {
                Pool::postgres(&SecretString::from(engines.database_url.clone())).await
            }
            None => Pool::sqlite(self.system.env["LATCHKEY_DATA_DIR"].as_ref()).await,
        };
        Ledger::new(&db.unwrap())
    }

    /// A request whose text was taken, and its call.
    async fn sent(&self) -> (String, Call) {
        let phone = new_phone();
        let request = self.api.otp(&phone).await.expect(202).text("request_id");
        self.reaches(&request, "sent").await;
        let call = self.fake.calls_to(&phone).pop().unwrap();
        (request, call)
    }

    async fn reaches(&self, request: &str, wanted: &str) {
        eventually(wanted, LIMIT, async || {
            (status(&self.api, request).await == wanted).then_some(())
        })
        .await;
    }
}

fn permutations(states: &[&'static str]) -> Vec<Vec<&'static str>> {
    if states.is_empty() {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for at in 0..states.len() {
        let mut rest = states.to_vec();
        let first = rest.remove(at);
        for mut permutation in permutations(&rest) {
            permutation.insert(0, first);
            all.push(permutation);
        }
    }
    all
}

async fn duplicate_receipts_in_any_order_lead_to_one_final_status(side: Side) {
    let sending = SendingSystem::start(side).await;
    let ledger = sending.ledger().await;
    let orders = permutations(&["queued", "sent", "undelivered", "delivered"]);
    assert_eq!(orders.len(), 24);
    let sending = &sending;
    let runs = orders.iter().map(|order| async move {
        let (request, call) = sending.sent().await;
        let mut delivered = false;
        for state in order.iter().flat_map(|state| [state, state]).chain(order) {
            assert_eq!(sending.fake.post(&call, state).await, Some(204), "{order:?}");
            // The worker handles receipts side by side: the next one could overtake it.
            delivered |= *state == "delivered";
            if delivered || *state == "undelivered" {
                sending.reaches(&request, if delivered { "delivered" } else { state }).await;
            }
        }
        (order, request)
    });
    for (order, request) in join_all(runs).await {
        sending.reaches(&request, "delivered").await;
        let message = MessageId::of_request(request.parse::<RequestId>().unwrap());
        let message_state = ledger.message_state(message).await.unwrap().unwrap();
        assert_eq!(message_state.status, Status::Delivered, "{order:?}");
        let history = ledger.history(message).await.unwrap();
        let mut changes: Vec<_> = history.iter().map(|change| change.status.as_str()).collect();
        let was_lost = order.iter().position(|s| *s == "undelivered")
            < order.iter().position(|s| *s == "delivered");
        let wanted = if was_lost {
            &["sending", "sent", "undelivered", "delivered"][..]
        } else {
            &["sending", "sent", "delivered"]
        };
        assert_eq!(changes, wanted, "{order:?}: one row per change");
        changes.dedup();
        assert_eq!(changes.len(), history.len());
    }
}

async fn a_receipt_before_the_answer_counts(side: Side) {
    let sending = SendingSystem::start(side).await;
    let script = Script {
        receipts: ["queued", "sent", "delivered"].map(str::to_owned).to_vec(),
        doubled: true,
        disordered: true,
        early: true,
        ..Script::of([Act::Take])
    };
    sending.fake.script("", script);
    let phone = new_phone();
    let request = sending.api.otp(&phone).await.expect(202).text("request_id");
    sending.reaches(&request, "delivered").await;
    assert_eq!(sending.fake.calls_to(&phone).len(), 1);
}

async fn a_forged_receipt_is_refused_and_changes_nothing(side: Side) {
    let sending = SendingSystem::start(side).await;
    let (request, call) = sending.sent().await;
    let (_, other) = sending.sent().await;
    let url = call.callback().unwrap().to_owned();
    let form = sending.fake.form(&call, "delivered");
    let token = &sending.fake.account.auth_token;
    let right = sign(token, &url, &form);
    let mut bent = right.clone().into_bytes();
    bent[3] = if bent[3] == b'A' { b'B' } else { b'A' };
    let bent = String::from_utf8(bent).unwrap();
    let local = url.replacen(PUBLIC_URL, &sending.api.url, 1);
    let mut more = form.clone();
    more.push(("ErrorCode".to_owned(), "30003".to_owned()));
    let signature = |value: &str| vec![("X-Twilio-Signature", value.to_owned())];
    let with = |value: &str, name: &'static str, claim: &str| {
        vec![("X-Twilio-Signature", value.to_owned()), (name, claim.to_owned())]
    };
    let of_local = sign(token, &local, &form);
    let forgeries = [
        ("unsigned", &form, vec![]),
        ("empty", &form, signature("")),
        ("one byte off", &form, signature(&bent)),
        ("another account's", &form, signature(&sign("another token", &url, &form))),
        ("another attempt's", &form, signature(&sign(token, other.callback().unwrap(), &form))),
        ("over another form", &form, signature(&sign(token, &url, &more))),
        ("a field added", &more, signature(&right)),
        ("over the local address", &form, signature(&of_local)),
        ("with its host claimed", &form, with(&of_local, "X-Forwarded-Host", "auth.example.test")),
        ("with the public host claimed", &form, with(&of_local, "Host", "auth.example.test")),
    ];
    for (forgery, form, headers) in forgeries {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, &**value)).collect();
        let answer = sending.fake.post_form(&url, form, &headers).await;
        println!("{side:?}: {forgery:32} {answer:?}");
        assert_eq!(answer, Some(403), "{forgery}");
    }
    assert_eq!(status(&sending.api, &request).await, "sent");
    // The same receipt with its own signature is accepted, so the signatures caused the refusals.
    assert_eq!(sending.fake.post(&call, "delivered").await, Some(204));
    sending.reaches(&request, "delivered").await;
}

async fn f23_a_receipt_of_another_account_is_refused_and_an_odd_id_is_not_kept(side: Side) {
    let sending = SendingSystem::start(side).await;
    let (request, call) = sending.sent().await;
    let url = call.callback().unwrap().to_owned();
    let altered = |name: &str, value: &str| {
        let mut form = sending.fake.form(&call, "delivered");
        form.retain(|(given, _)| given != name);
        form.push((name.to_owned(), value.to_owned()));
        form
    };
    let post = async |form: &[(String, String)]| {
        let signature = sign(&sending.fake.account.auth_token, &url, form);
        sending.fake.post_form(&url, form, &[("X-Twilio-Signature", &signature)]).await
    };
    let another = altered("AccountSid", "AC99999999999999999999999999999999");
    assert_eq!(post(&another).await, Some(403));
    assert_eq!(status(&sending.api, &request).await, "sent");

    assert_eq!(post(&altered("MessageSid", "../../../../Accounts")).await, Some(204));
    sending.reaches(&request, "delivered").await;
    let message = MessageId::of_request(request.parse::<RequestId>().unwrap());
    let attempts = sending.ledger().await.attempts(message).await.unwrap();
    assert_eq!(attempts[0].provider_message_id.as_deref(), Some(&*call.sid));
}
