use bus::{Consumer, Queue, Settlement};
use domain::event::{ListedStatus, MAX_BYTES};
use domain::ids::{MessageId, RequestId};
use futures::FutureExt as _;

use super::*;

struct Fixture {
    group: Group,
    clock: Clock,
    /// Where otp-worker would take the events from.
    events: Consumer,
}

impl Fixture {
    async fn new() -> Self {
        let clock = Clock::manual();
        let bus = Bus::memory(clock.clone());
        let events = bus.consume(Queue::OtpWorker, 100).await.unwrap();
        Self { group: Group::new(bus, clock.clone()), clock, events }
    }

    fn status(&self, status: Status) -> SmsStatus {
        let request_id = RequestId::new(&self.clock);
        SmsStatus {
            message_id: MessageId::of_request(request_id),
            request_id: Some(request_id),
            status,
            reason: None,
            provider: "twilio".to_owned(),
            provider_message_id: Some("SM0123456789abcdef0123456789abcdef".to_owned()),
            segments: Some(1),
            traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned()),
        }
    }

    /// The statuses of each event that was published so far.
    async fn published(&mut self) -> Vec<Vec<SmsStatus>> {
        let mut events = Vec::new();
        while let Some(Some(message)) = self.events.next().now_or_never() {
            assert!(message.bytes.len() <= MAX_BYTES);
            let event = message.event::<SmsStatuses>().unwrap().unwrap();
            let read = |listed| match listed {
                ListedStatus::Read(status) => status,
                ListedStatus::Unreadable(value) => panic!("{value}"),
            };
            events.push(event.data.statuses.into_iter().map(read).collect());
            message.settle(Settlement::Ack).await.unwrap();
        }
        events
    }
}

// The clock of these tests stands still but for what everybody waits for.

#[tokio::test(start_paused = true)]
async fn a_full_event_waits_for_nothing() {
    let mut fixture = Fixture::new().await;
    let statuses: Vec<_> = (0..MOST_STATUSES).map(|_| fixture.status(Status::Sent)).collect();
    let began = Instant::now();
    let all = statuses.iter().map(|status| fixture.group.publish(status.clone()));
    assert!(join_all(all).await.iter().all(Result::is_ok));
    assert!(began.elapsed().is_zero(), "{:?}", began.elapsed());
    assert_eq!(fixture.published().await, [statuses]);
}

#[tokio::test(start_paused = true)]
async fn a_status_waits_a_moment_for_others_and_no_longer() {
    let mut fixture = Fixture::new().await;
    for (status, most) in
        [(Status::Sent, LINGER), (Status::Failed, LINGER), (Status::Delivered, LINGER_OF_RECEIPTS)]
    {
        let (one, began) = (fixture.status(status), Instant::now());
        fixture.group.publish(one.clone()).await.unwrap();
        // A timer has a resolution of a millisecond.
        let waited = began.elapsed();
        assert!(
            waited >= most && waited <= most + Duration::from_millis(1),
            "{status}: {waited:?}"
        );
        assert_eq!(fixture.published().await, [vec![one]]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_status_that_a_client_may_watch_does_not_wait_as_long_as_a_receipts() {
    let mut fixture = Fixture::new().await;
    let (delivered, sent) = (fixture.status(Status::Delivered), fixture.status(Status::Sent));
    let answer = fixture.group.put(delivered.clone());
    // The task waits for the first status by now.
    tokio::time::sleep(Duration::from_millis(5)).await;
    let began = Instant::now();
    fixture.group.publish(sent.clone()).await.unwrap();
    assert!(began.elapsed() <= LINGER + Duration::from_millis(1), "{:?}", began.elapsed());
    answer.await.unwrap().unwrap();
    assert_eq!(fixture.published().await, [vec![delivered, sent]]);
}

#[tokio::test(start_paused = true)]
async fn more_statuses_than_fit_go_in_several_events() {
    let mut fixture = Fixture::new().await;
    let long = |mut status: SmsStatus| {
        status.provider_message_id = Some("m".repeat(300));
        status
    };
    let statuses: Vec<_> = (0..30).map(|_| long(fixture.status(Status::Sent))).collect();
    let all = statuses.iter().map(|status| fixture.group.publish(status.clone()));
    assert!(join_all(all).await.iter().all(Result::is_ok));
    let events = fixture.published().await;
    assert!(events.iter().all(|statuses| statuses.len() <= MOST_STATUSES));
    assert!(events.len() < statuses.len(), "one event for each");
    assert_eq!(events.concat(), statuses);
}

#[tokio::test(start_paused = true)]
async fn p11_a_status_that_fits_into_no_event_takes_no_other_with_it() {
    let mut fixture = Fixture::new().await;
    let (first, last) = (fixture.status(Status::Sent), fixture.status(Status::Failed));
    let huge = SmsStatus { provider: "x".repeat(MAX_BYTES), ..fixture.status(Status::Sent) };
    let all = [&first, &huge, &last].map(|status| fixture.group.publish(status.clone()));
    let published = join_all(all).await;
    assert!(published[0].is_ok() && published[2].is_ok(), "{published:?}");
    assert!(matches!(published[1], Err(PublishError::Refused)), "{published:?}");
    assert_eq!(fixture.published().await.concat(), [first, last]);
    // And it does not come back.
    let next = fixture.status(Status::Sent);
    fixture.group.publish(next.clone()).await.unwrap();
    assert_eq!(fixture.published().await, [vec![next]]);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_leaves_loses_neither_its_status_nor_those_of_others() {
    let mut fixture = Fixture::new().await;
    let (left, kept) = (fixture.status(Status::Sent), fixture.status(Status::Sent));
    assert!(fixture.group.publish(left.clone()).now_or_never().is_none(), "it waits");
    fixture.group.publish(kept.clone()).await.unwrap();
    assert_eq!(fixture.published().await, [vec![left, kept]]);
}

#[tokio::test(start_paused = true)]
async fn p12_an_interrupted_publish_leaves_no_caller_waiting() {
    let mut fixture = Fixture::new().await;
    let interrupted = fixture.group.put(fixture.status(Status::Sent));
    drop(Publisher { shared: &fixture.group.0, done: false });
    assert!(interrupted.await.is_err());
    let next = fixture.status(Status::Sent);
    fixture.group.publish(next.clone()).await.unwrap();
    assert_eq!(fixture.published().await.concat(), [next]);
}
