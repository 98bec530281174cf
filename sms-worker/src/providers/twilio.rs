//! Twilio: texts and calls. Only this file uses twilio-async, which builds and signs the requests.
//!
//! Its own client is not used: it has no time-outs, loses status and headers, and treats an accepted message as an
//! error if a field is missing. Our client sends the signed request instead.

use anyhow::{Context as _, anyhow, ensure};
use config::TwilioAccount;
use domain::twilio_sid::is_message_sid;
use domain::vocabulary::Channel;
use futures::TryStreamExt as _;
use hyper_014::{Body, Method, Request as HyperRequest};
use reqwest::Client;
use reqwest::header::HeaderValue;
use secrecy::ExposeSecret as _;
use twilio_async::twiml::{Response as Twiml, Say, Twiml as _};
use twilio_async::{Execute as _, encode_pairs};
use url::Url;

use self::answer::{Answer, outcome};
use super::{Attempt, LookUp, Outcome, Reply, client};

mod answer;
mod speech;

/// The request that twilio-async builds.
type Signed = HyperRequest<Body>;
/// The start of every resource's path; the account follows.
const API: &str = "/2010-04-01/Accounts/";
/// The languages of the voice `man`, in exactly this spelling (twilio.com/docs/voice/twiml/say).
const PLAIN_VOICE: [&str; 4] = ["en", "es", "fr", "de"];

/// Twilio's REST API.
pub struct Twilio {
    account_sid: String,
    from: Option<String>,
    /// The number that calls come from.
    caller: Option<String>,
    messaging_service_sid: Option<String>,
    url: Url,
    base_url: String,
    builder: twilio_async::Twilio,
    client: Client,
}

impl Twilio {
    /// # Errors
    /// Fails if the credentials cannot be sent in a header, or if no sender is named.
    pub fn new(settings: &TwilioAccount, client: Client) -> anyhow::Result<Self> {
        ensure!(
            settings.from.is_some() || settings.messaging_service_sid.is_some(),
            "Twilio needs a sender: a number or a messaging service"
        );
        // An API key is preferred over the account's own token: it can be revoked on its own.
        let (user, password) = match &settings.api_key {
            Some((key, secret)) => (key, secret),
            None => (&settings.account_sid, &settings.auth_token),
        };
        // The cause is dropped: its message may quote the credentials.
        let builder = twilio_async::Twilio::new(user.as_str(), password.expose_secret())
            .map_err(|_| anyhow!("Twilio's credentials are not valid in a header"))?;
        Ok(Self {
            account_sid: settings.account_sid.clone(),
            from: settings.from.clone(),
            caller: settings.caller().map(str::to_owned),
            messaging_service_sid: settings.messaging_service_sid.clone(),
            url: settings.base_url.clone(),
            base_url: settings.base_url.as_str().trim_end_matches('/').to_owned(),
            builder,
            client,
        })
    }

    /// Where it is.
    pub(super) const fn url(&self) -> &Url {
        &self.url
    }

    pub(super) async fn send(&self, attempt: &Attempt<'_>) -> Reply {
        let request = match attempt.channel {
            Channel::Sms => self.message(attempt).await,
            Channel::Voice => match self.call(attempt).await {
                Ok(Some(request)) => Ok(request),
                Ok(None) => {
                    // Neither a messaging service nor an alphanumeric sender can call.
                    return Outcome::RejectedUntilOps {
                        provider_code: Some("no caller".to_owned()),
                        whole_account: false,
                    }
                    .into();
                }
                Err(cause) => Err(cause),
            },
        };
        let Ok(request) = request else {
            return Outcome::Unavailable("the request could not be built").into();
        };
        let mut response = match self.client.execute(request).await {
            Ok(response) => response,
            Err(error) => return client::without_answer(&error).into(),
        };
        let in_use = response
            .headers()
            .get("twilio-concurrent-requests")
            .and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let status = response.status().as_u16();
        traces::note("http.response.status_code", i64::from(status));
        let retry_after = client::retry_after(&response);
        let answer = Answer::read(&client::body(&mut response).await);
        let outcome = match (outcome(status, &answer), retry_after) {
            (Outcome::Throttled { .. }, retry_after) => Outcome::Throttled { retry_after },
            (other, _) => other,
        };
        Reply { outcome, in_use }
    }

    async fn message(&self, attempt: &Attempt<'_>) -> anyhow::Result<reqwest::Request> {
        let from = self.from.as_deref().unwrap_or_default();
        let (sender, name) = match &self.messaging_service_sid {
            Some(service) => (service.as_str(), "MessagingServiceSid"),
            None => (from, "From"),
        };
        // 1 to 36000 s; below 6 is not advised. Twilio drops a text that is still queued after this (P7).
        let validity = attempt.life_left_secs().clamp(6, 36_000).to_string();
        let number = attempt.number.to_string();
        let mut form = vec![
            ("To", attempt.to.expose()),
            (name, sender),
            ("Body", attempt.text),
            ("ValidityPeriod", &validity),
            ("Attempt", &number),
        ];
        let callback = attempt.status_callback.as_ref().map(with_retries);
        if let Some(callback) = &callback {
            form.push(("StatusCallback", callback));
        }
        let form = encode_pairs(&form).context("encode a form")?;
        let message = self.builder.send_msg(from, attempt.to.expose(), attempt.text);
        let signed = message.request(Method::POST, "Messages.json", Some(form));
        self.ours(signed.map_err(|_| anyhow!("build a message request"))?).await
    }

    async fn call(&self, attempt: &Attempt<'_>) -> anyhow::Result<Option<reqwest::Request>> {
        let Some(from) = &self.caller else { return Ok(None) };
        let twiml = spoken(attempt.text, attempt.language)?;
        // Rings no longer than the code is valid; Twilio's default is 60 s.
        let timeout = attempt.life_left_secs().clamp(5, 60).to_string();
        let mut form = vec![
            ("To", attempt.to.expose()),
            ("From", from),
            ("Twiml", &twiml),
            ("Timeout", &timeout),
        ];
        let callback = attempt.status_callback.as_ref().map(with_retries);
        if let Some(callback) = &callback {
            form.push(("StatusCallback", callback));
        }
        let form = encode_pairs(&form).context("encode a form")?;
        let call = self.builder.call(from, attempt.to.expose(), "");
        let signed = call.request(Method::POST, "Calls.json", Some(form));
        self.ours(signed.map_err(|_| anyhow!("build a call request"))?).await.map(Some)
    }

    pub(super) async fn look_up(
        &self,
        id: &str,
        channel: Channel,
    ) -> anyhow::Result<Option<LookUp>> {
        // An id of another form would be another path, called with our credentials. Twilio has no such message.
        if !is_message_sid(id) {
            return Ok(None);
        }
        let path = match channel {
            Channel::Sms => format!("Messages/{id}.json"),
            Channel::Voice => format!("Calls/{id}.json"),
        };
        let signed = self.builder.msg(id).request(Method::GET, path, None);
        let request = self.ours(signed.map_err(|_| anyhow!("build a look-up"))?).await?;
        self.query(request).await
    }

    pub(super) async fn forget(&self, id: &str) -> anyhow::Result<Option<LookUp>> {
        if !is_message_sid(id) {
            return Ok(None);
        }
        let form = Some("Body=".to_owned());
        let path = format!("Messages/{id}.json");
        let signed = self.builder.msg(id).request(Method::POST, path, form);
        let request = self.ours(signed.map_err(|_| anyhow!("build a redaction"))?).await?;
        self.query(request).await
    }

    async fn query(&self, request: reqwest::Request) -> anyhow::Result<Option<LookUp>> {
        let response = self.client.execute(request).await;
        let mut response =
            response.map_err(reqwest::Error::without_url).context("query Twilio about a text")?;
        let status = response.status();
        if status == reqwest::StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let answer = Answer::read(&client::body(&mut response).await);
        ensure!(status.is_success(), "Twilio answered a query with {status}");
        Ok(answer.found())
    }

    /// Rebuilds the signed request for our client, at the configured address and for the account: with an API key, the
    /// builder writes the key's id into the path.
    async fn ours(&self, signed: Signed) -> anyhow::Result<reqwest::Request> {
        let (head, body) = signed.into_parts();
        let resource = head.uri.path().strip_prefix(API);
        let resource = resource.and_then(|path| Some(path.split_once('/')?.1));
        let resource = resource.context("find the resource in a request's path")?;
        let url = format!("{}{API}{}/{resource}", self.base_url, self.account_sid);
        let signature = head.headers.get("authorization").context("find the signature")?;
        let mut signature = HeaderValue::from_bytes(signature.as_bytes())?;
        signature.set_sensitive(true);
        let body = body.map_ok(|chunk| chunk.to_vec()).try_concat().await.context("read a form")?;
        let method = head.method.as_str().parse().context("read the method")?;
        let request = self.client.request(method, url).header("authorization", signature);
        let request = if body.is_empty() {
            request
        } else {
            request.header("content-type", "application/x-www-form-urlencoded").body(body)
        };
        request.build().map_err(|error| anyhow!(error.without_url()))
    }
}

/// Asks Twilio, in the URL's fragment, to retry a callback that did not get through. The default is one retry
/// (twilio.com/docs/usage/webhooks/webhooks-connection-overrides).
fn with_retries(callback: &Url) -> String {
    format!("{callback}#rc=3")
}

/// Builds the text as `TwiML`.
fn spoken(text: &str, language: Option<&str>) -> anyhow::Result<String> {
    let twice = speech::spell_digits(text);
    let language = language.unwrap_or("en");
    let of = |language| Twiml::new().say(Say::new(&twice).lang(language)).build();
    let primary = language.split('-').next().unwrap_or_default();
    let twiml = if PLAIN_VOICE.contains(&primary) {
        of(primary)
    } else {
        // A voice that does not know the language stays silent, while the account's default voice speaks it. The
        // builder cannot omit the voice, so remove it afterwards.
        of(language).map(|twiml| twiml.replacen(" voice=\"man\"", "", 1))
    };
    twiml.map_err(|_| anyhow!("write TwiML"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_speaks_the_digits_one_by_one_and_twice() -> anyhow::Result<()> {
        let twiml = spoken("Your <Latchkey> & co code is 012345. Valid 5 min.\n", None)?;
        assert!(twiml.starts_with("<Response><Say"), "{twiml}");
        assert_eq!(twiml.matches("0, 1, 2, 3, 4, 5.").count(), 2, "{twiml}");
        assert!(twiml.contains("&lt;Latchkey") && twiml.contains("&amp; co"), "{twiml}");
        assert!(twiml.contains("Valid 5 min"), "{twiml}");
        let spelt = "Your code: 1, 2, 3, 4. Again: 1, 2, 3, 4.";
        let twiml = spoken(spelt, Some("en"))?;
        assert_eq!(twiml.matches(spelt).count(), 1);
        assert!(twiml.contains(r#"voice="man" language="en""#), "{twiml}");
        let twiml = spoken(spelt, Some("en-GB"))?;
        assert!(twiml.contains(r#"voice="man" language="en""#), "{twiml}");
        let twiml = spoken("کد شما: 1, 2, 3, 4.", Some("fa"))?;
        assert!(twiml.starts_with(r#"<Response><Say language="fa""#), "{twiml}");
        Ok(())
    }
}
