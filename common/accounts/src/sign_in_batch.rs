//! Sign-ins that arrive together, written by one statement and one commit: each is judged by itself, one after the
//! other, as if it were alone.

use std::sync::Arc;

use super::document;
use super::redeem::{Denied, UsedCode};
use super::sessions::{Method, NewSession, Session};
use super::sign_in::LoginOutcome;
use super::sign_in_document::{Document, LoginKey, SignIn};
use super::sign_in_sqlite::sign_in_sqlite;
use super::throttle::{AttemptLimits, Claimant, KnownDevice, Throttle};
use super::users;
use domain::engine_error::EngineError;
use domain::ids::{RequestId, SessionId, UserId};
use domain::keys::PhoneKey;
use domain::phone::E164;
use domain::timestamp::Timestamp;
use sql::batch::{Act, column};
use sql::{LIMIT, Pool, Row, Work, args};

pub(super) const SIGN_IN: &str = "sign in";

/// The function judges each sign-in by statements of its own. It is volatile, so each of them has a snapshot of its own:
/// it sees what the calls before it wrote, and what other gateways committed meanwhile.
///
/// The calls are made in the order of the array: a call depends on its row, so only a nested loop can join them, which
/// takes the rows as `unnest` gives them. All gateways lock rows in the order of phones, so none waits in a circle. If
/// one ever did, a batch's short wait for a lock would end it.
const SIGN_IN_POSTGRES: &str = "SELECT j.nr, l.verdict, l.until_ms, l.created, (l.account).id AS u_id,
        (l.account).phone_number, (l.account).first_name, (l.account).last_name, (l.account).locale,
        (l.account).country, (l.account).role, (l.account).created_at AS u_created_at,
        (l.account).blocked_at IS NOT NULL AS blocked
    FROM unnest($1::text[]) WITH ORDINALITY AS j (doc, nr), LATERAL latchkey_sign_in_4(j.doc::jsonb) AS l";

/// A [`SignIn`] that owns what it says.
#[derive(Clone)]
pub(super) struct Login {
    phone: Arc<str>,
    phone_number: E164,
    phone_key: PhoneKey,
    known_device: Option<(UserId, String)>,
    code: UsedCode,
    request_id: Option<RequestId>,
    limits: AttemptLimits,
    new_user: UserId,
    profile: Option<(String, String)>,
    locale: String,
    country: String,
    session_id: SessionId,
    method: Method,
    device: String,
    ip: String,
    idle_secs: i64,
    max_secs: i64,
    jkt: Option<String>,
    key: Option<(String, String)>,
    traceparent: Option<String>,
    now: Timestamp,
}

impl Login {
    pub(super) fn of(sign_in: &SignIn<'_>) -> Self {
        let SignIn { claimant, session, .. } = *sign_in;
        let text = str::to_owned;
        Self {
            phone: claimant.phone_number.expose().into(),
            phone_number: claimant.phone_number.clone(),
            phone_key: claimant.phone_key.clone(),
            known_device: claimant.known_device.map(|device| (device.user, text(device.key))),
            code: sign_in.code,
            request_id: sign_in.request_id,
            limits: sign_in.limits,
            new_user: sign_in.new_user,
            profile: sign_in.profile.map(|(first, last)| (text(first), text(last))),
            locale: text(sign_in.locale),
            country: text(sign_in.country),
            session_id: session.id,
            method: session.method,
            device: text(session.device),
            ip: text(session.ip),
            idle_secs: session.idle_secs,
            max_secs: session.max_secs,
            jkt: session.jkt.map(text),
            key: sign_in.key.map(|key| (text(key.key_hash), text(key.body_hash))),
            traceparent: sign_in.traceparent.map(text),
            now: sign_in.now,
        }
    }

    pub(super) fn sign_in(&self) -> SignIn<'_> {
        SignIn {
            claimant: Claimant {
                phone_number: &self.phone_number,
                phone_key: &self.phone_key,
                // Its count was carried over.
                former_key: None,
                known_device: self
                    .known_device
                    .as_ref()
                    .map(|(user, key)| KnownDevice { user: *user, key }),
            },
            code: self.code,
            request_id: self.request_id,
            limits: self.limits,
            new_user: self.new_user,
            profile: self.profile.as_ref().map(|(first, last)| (first.as_str(), last.as_str())),
            locale: &self.locale,
            country: &self.country,
            session: NewSession {
                id: self.session_id,
                method: self.method,
                device: &self.device,
                ip: &self.ip,
                idle_secs: self.idle_secs,
                max_secs: self.max_secs,
                jkt: self.jkt.as_deref(),
            },
            key: self.key.as_ref().map(|(key_hash, body_hash)| LoginKey { key_hash, body_hash }),
            traceparent: self.traceparent.as_deref(),
            now: self.now,
        }
    }

    /// The session that it starts, if the account is new.
    pub(super) fn session(&self) -> Session {
        self.sign_in().session.of(self.new_user, self.now)
    }
}

impl Act for Login {
    /// The phone: one account's sign-ins follow one another. Nothing else ties two sign-ins together: a code and a key
    /// of a repeated login belong to one phone.
    type Key = Arc<str>;
    /// An error here is about this one alone: what was written stays written, and its neighbours have their answers.
    type Answer = Result<Result<LoginOutcome, Denied>, sqlx::Error>;
    const NAME: &'static str = "sign in";
    /// A client that has gone away does not get its tokens: its code stays good.
    const FOR_ITS_CALLER: bool = true;
    const PATIENCE: Option<std::time::Duration> = Some(LIMIT);

    fn key(&self) -> Arc<str> {
        Arc::clone(&self.phone)
    }

    async fn write(db: &Pool, acts: &[Self]) -> Result<Vec<Option<Self::Answer>>, EngineError> {
        db.statement(SIGN_IN, async |work| {
            let sessions: Vec<Session> = acts.iter().map(Self::session).collect();
            let documents = acts.iter().zip(&sessions);
            let documents = documents
                .map(|(login, session)| Document::of(&login.sign_in(), session))
                .collect::<Result<Vec<_>, _>>()?;
            if work.is_postgres() {
                return sign_in_postgres(work, &documents, &sessions).await;
            }
            let steps = async |work: &mut Work| sign_in_sqlite(work, &documents, &sessions).await;
            let outcomes = work.transaction(steps).await?;
            Ok(outcomes.into_iter().map(|outcome| Some(Ok(outcome))).collect())
        })
        .await
    }
}

async fn sign_in_postgres(
    work: &mut Work,
    documents: &[Document<'_>],
    sessions: &[Session],
) -> Result<Vec<Option<<Login as Act>::Answer>>, sqlx::Error> {
    let texts = documents.iter().map(document::text).collect::<Result<Vec<_>, _>>()?;
    let texts = column(&texts, |text| Some(text.as_str()));
    let rows = work.rows(SIGN_IN_POSTGRES, args![&texts]).await?;
    let mut answers: Vec<_> = sessions.iter().map(|_| None).collect();
    for row in &rows {
        // Committed: no error from here on may repeat it.
        let nr = usize::try_from(row.get::<i64>("nr")? - 1).unwrap_or(usize::MAX);
        if let (Some(answer), Some(session)) = (answers.get_mut(nr), sessions.get(nr)) {
            *answer = Some(outcome(row, session));
        }
    }
    Ok(answers)
}

fn outcome(row: &Row, session: &Session) -> <Login as Act>::Answer {
    let verdict: String = row.get("verdict")?;
    match verdict.as_str() {
        "signed_in" => {
            let user = users::user(row)?;
            let session = Session { user_id: user.id, ..session.clone() };
            Ok(Ok(LoginOutcome::SignedIn { user, created: row.get("created")?, session }))
        }
        "blocked" => Ok(Ok(LoginOutcome::Blocked)),
        "code_used" => Ok(Err(Denied::CodeUsed)),
        other => Throttle::read(other, row.maybe_time("until_ms")?)
            .map(|throttle| Err(Denied::Throttled(throttle)))
            .ok_or_else(|| sqlx::Error::Decode(format!("unknown verdict {other:?}").into())),
    }
}
