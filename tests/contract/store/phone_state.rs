//! What staff may see of a phone: the same on memory and on Redis.

use domain::ids::CodeId;
use domain::limits::Limits;
use domain::timestamp::Timestamp;
use store::{Answered, Closing, CodeState, PhoneState, Scope};

use super::codes::{ATTEMPTS, CodesFixture, PLACE, TTL_MS};

mod embedded {
    #[tokio::test]
    async fn p13_the_state_of_a_phone_follows_its_code_from_request_to_use() {
        super::follows(super::CodesFixture::memory()).await;
    }
}

mod on_the_engines {
    #[tokio::test]
    async fn p13_the_state_of_a_phone_follows_its_code_from_request_to_use() {
        super::follows(super::CodesFixture::redis().await).await;
    }
}

impl CodesFixture {
    /// The state, without the time at which it was read.
    async fn state(&self) -> PhoneState {
        let state = self.store.codes().phone_state(&self.phone, Scope::Login).await.unwrap();
        PhoneState { now: Timestamp::from_ms(0), ..state }
    }
}

async fn follows(mut fixture: CodesFixture) {
    let nothing = PhoneState {
        now: Timestamp::from_ms(0),
        code: None,
        uncoded: None,
        cooldown_until: None,
        sends_hour: 0,
        sends_day: 0,
    };
    assert_eq!(fixture.state().await, nothing);
    fixture.limits = Limits {
        resend_cooldown_secs: 30,
        sends_per_phone_hour: 5,
        sends_per_phone_day: 10,
        ..Limits::NONE
    };
    let asked = fixture.code_request().await;
    let requested = fixture.state().await;
    let code = |id: CodeId, attempts, used, issued| {
        Some(CodeState { id, expires_at: asked.expires_at, attempts, used, issued })
    };
    assert_eq!(requested.code, code(asked.code, 0, false, false));
    assert_eq!((requested.sends_hour, requested.sends_day), (1, 1));
    let cooldown = requested.cooldown_until.expect("a cooldown");
    assert_eq!(cooldown.ms() - asked.expires_at.ms(), 30_000 - TTL_MS);
    fixture.issue(&asked, "123456").await;
    assert_eq!(fixture.state().await.code, code(asked.code, 0, false, true));
    for made in 1..=ATTEMPTS {
        fixture.attempt("000000").await;
        assert_eq!(fixture.state().await.code, code(asked.code, made, false, true));
    }
    fixture.attempt("000000").await;
    assert_eq!(fixture.state().await.code, code(asked.code, ATTEMPTS, false, true));
    let closing = Closing::Used(Some(Answered::named(asked.request)));
    let codes = fixture.store.codes();
    codes.close(&fixture.phone, Scope::Login, asked.code, closing, PLACE).await.unwrap();
    let used = fixture.state().await;
    assert_eq!(used.code, code(asked.code, ATTEMPTS, true, false));
    assert_eq!(used.uncoded, Some((ATTEMPTS - 1, asked.expires_at)), "its count goes on");
    fixture.clock.advance(std::time::Duration::from_hours(1));
    let later = fixture.state().await;
    assert_eq!((later.uncoded, later.cooldown_until), (None, None));
    assert_eq!((later.sends_hour, later.sends_day), (0, 1));
}
