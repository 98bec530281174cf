//! The form of a provider's receipt. Only named fields go on the bus, and the event stays small.
#![no_main]

use domain::clock::Clock;
use domain::event::{Envelope, SmsReceipt};
use domain::ids::AttemptId;
use domain::twilio_sid::is_message_sid;
use domain::twilio_signature;
use gateway::fuzzing;
use libfuzzer_sys::fuzz_target;
use secrecy::SecretString;

fuzz_target!(|form: &[u8]| {
    let fields = fuzzing::receipt_fields(form);
    assert!(fields.len() <= 10);
    for (name, value) in &fields {
        assert!(value.chars().count() <= 64);
        assert!(!name.ends_with("Sid") || name == "AccountSid" || is_message_sid(value));
        assert!(!["To", "From", "Body", "WaId"].contains(&name.as_str()));
    }
    let clock = Clock::manual();
    let receipt =
        SmsReceipt { provider: "twilio".to_owned(), attempt_id: AttemptId::new(&clock), fields };
    let bytes = Envelope::new(&clock, "gateway", None, receipt.clone()).encode().expect("small");
    let read = Envelope::<SmsReceipt>::decode(&bytes).expect("our own event");
    assert_eq!(read.data.fields, receipt.fields);

    let form: Vec<(String, String)> = url::form_urlencoded::parse(form).into_owned().collect();
    let token = SecretString::from("a token".to_owned());
    // What the sender chooses: the fields, and the signature.
    let signature = form.first().map_or("", |(_, value)| value);
    let url = "https://id.example.test/webhooks/twilio/status/1";
    assert!(!twilio_signature::verify(&[&token], url, &form, signature), "a signature by chance");
});
