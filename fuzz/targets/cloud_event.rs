//! A message on the bus. Every event is read or refused, what is read is written back unchanged, and no sealed part opens
//! that we did not seal.
#![no_main]

use std::sync::LazyLock;

use domain::event::{
    AttemptsSuspicious, CarriesCodeRequest, DecodeError, Envelope, Event, GuardChanged,
    OtpRequested, OtpTexted, OtpVerified, PasswordRemoved, PasswordSet, PhoneLocked, PhoneUnlocked,
    SessionEnded, SessionStarted, SmsReceipt, SmsRequested, SmsStatus, SmsStatuses, UserCreated,
    UserDeleted, UserSignedUp,
};
use domain::keys::Keys;
use domain::trace_context::TraceContext;
use libfuzzer_sys::fuzz_target;

static KEYS: LazyLock<Keys> = LazyLock::new(|| Keys::from_secret(&[7; 32], None));

fuzz_target!(|bytes: &[u8]| {
    read_code_request::<OtpRequested>(bytes);
    read_code_request::<UserSignedUp>(bytes);
    read_code_request::<OtpTexted>(bytes);
    if let Some(event) = read::<SmsRequested>(bytes) {
        assert!(event.text(&KEYS).is_err(), "nobody sealed it");
    }
    if let Some(event) = read::<SmsReceipt>(bytes)
        && let Some(trace) = event.traceparent.as_deref().and_then(TraceContext::from_header)
    {
        assert_eq!(TraceContext::from_header(&trace.to_header()), Some(trace));
    }
    read::<AttemptsSuspicious>(bytes);
    read::<GuardChanged>(bytes);
    read::<OtpVerified>(bytes);
    read::<PasswordRemoved>(bytes);
    read::<PasswordSet>(bytes);
    read::<PhoneLocked>(bytes);
    read::<PhoneUnlocked>(bytes);
    read::<SessionEnded>(bytes);
    read::<SessionStarted>(bytes);
    read::<SmsStatus>(bytes);
    read::<SmsStatuses>(bytes);
    read::<UserCreated>(bytes);
    read::<UserDeleted>(bytes);
});

fn read_code_request<E: CarriesCodeRequest>(bytes: &[u8]) {
    if let Some(event) = read::<E>(bytes) {
        assert!(event.recipient(&KEYS).is_err(), "nobody sealed it");
    }
}

fn read<E: Event>(bytes: &[u8]) -> Option<Envelope<E>> {
    match Envelope::<E>::decode(bytes) {
        Ok(event) => {
            let written = serde_json::to_vec(&event).expect("an event is written");
            let again = Envelope::<E>::decode(&written).expect("our own writing");
            assert_eq!(serde_json::to_vec(&again).expect("an event is written"), written);
            Some(event)
        }
        Err(DecodeError::UnknownVersion) => None,
        Err(DecodeError::Unreadable(why)) => {
            // The log has this line: a position, and nothing of the message.
            assert!(why.len() < 100 && why.contains(" at line "));
            None
        }
    }
}
