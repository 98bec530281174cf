//! Whether a password is known from a breach, by a range service in the manner of Have I Been Pwned (contract, ruling
//! 51): it learns the first five digits of a SHA-1, which 1 in a million passwords share, and so no password.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode};
use url::Url;

/// The longest wait for the service (contract, ruling 51): setting a password must not depend on it.
const LIMIT: Duration = Duration::from_secs(1);
/// A padded answer has at most 1,000 lines of 50 bytes; a longer one is not from such a service.
const MAX_ANSWER: usize = 512 * 1024;
/// The digits that the service is asked for.
const PREFIX: usize = 5;

/// A client of the range service.
#[derive(Clone, Debug)]
pub(crate) struct Breaches {
    client: Client,
    /// Without a trailing slash.
    url: Url,
}

impl Breaches {
    pub fn new(url: Url) -> anyhow::Result<Self> {
        let client = Client::builder()
            .timeout(LIMIT)
            .redirect(Policy::none())
            .no_proxy()
            .user_agent(concat!("latchkey/", env!("CARGO_PKG_VERSION")))
            .build()
            .context("build the client of the breached passwords' service")?;
        Ok(Self { client, url })
    }

    /// Whether the service knows the password. If it does not answer in time, the password counts as unknown.
    pub async fn know(&self, password: &str) -> bool {
        let sha1 = hex::encode_upper(digest(&SHA1_FOR_LEGACY_USE_ONLY, password.as_bytes()));
        let (prefix, suffix) = sha1.split_at(PREFIX);
        let known = self.range(prefix).await.map(|range| lists(&range, suffix));
        let outcome = match &known {
            Ok(true) => "found",
            Ok(false) => "not_found",
            Err(error) => {
                tracing::warn!(
                    error = format!("{error:#}"),
                    "cannot check a password for breaches, it is accepted"
                );
                "unavailable"
            }
        };
        metrics::counter!("latchkey_breached_passwords_total", "outcome" => outcome).increment(1);
        known.unwrap_or(false)
    }

    /// The digests that begin with these digits, without them: lines of `SUFFIX:COUNT`.
    async fn range(&self, prefix: &str) -> anyhow::Result<String> {
        let url = format!("{}/{prefix}", self.url.as_str().trim_end_matches('/'));
        // Padding hides from an eavesdropper how many there are.
        let request = self.client.get(url).header("Add-Padding", "true");
        // The URL, which an error names, has the digits of the digest.
        let mut answer = request.send().await.map_err(reqwest::Error::without_url)?;
        ensure!(answer.status() == StatusCode::OK, "the service answered {}", answer.status());
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(reqwest::Error::without_url)? {
            ensure!(body.len() + chunk.len() <= MAX_ANSWER, "the answer is too long");
            body.extend_from_slice(&chunk);
        }
        String::from_utf8(body).context("read the answer")
    }
}

/// Whether a range lists the digest. A count of 0 is padding.
fn lists(range: &str, suffix: &str) -> bool {
    range.lines().filter_map(|line| line.trim().split_once(':')).any(|(listed, count)| {
        listed.eq_ignore_ascii_case(suffix)
            && count.trim().parse().is_ok_and(|count: u64| count > 0)
    })
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// SHA-1 of `password`: 5BAA61E4C9B93F3F0682250B6CF8331B7EE68FD8.
    const SUFFIX: &str = "1E4C9B93F3F0682250B6CF8331B7EE68FD8";

    /// A service that answers one call so; returns its URL, and the call's head. `None`: it never answers.
    async fn service(
        answer: Option<&'static str>,
    ) -> (Url, tokio::task::JoinHandle<std::io::Result<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/range", listener.local_addr().unwrap()).parse().unwrap();
        let served = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await?;
            let mut head = vec![0; 4096];
            let read = stream.read(&mut head).await?;
            match answer {
                Some(answer) => stream.write_all(answer.as_bytes()).await?,
                None => drop(stream.read(&mut [0; 1]).await?),
            }
            Ok(String::from_utf8_lossy(&head[..read]).into_owned())
        });
        (url, served)
    }

    fn ok(body: &str) -> &'static str {
        let length = body.len();
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}");
        Box::leak(answer.into_boxed_str())
    }

    #[tokio::test]
    async fn f19_a_listed_password_is_known_and_padding_is_not() {
        for (body, known) in [
            (format!("0018A45C4D1DEF81644B54AB7F969B88D65:10\r\n{SUFFIX}:52256179\r\n"), true),
            (format!("{}:3", SUFFIX.to_lowercase()), true),
            (format!("{SUFFIX}:0\r\n"), false),
            ("0018A45C4D1DEF81644B54AB7F969B88D65:10\r\n".to_owned(), false),
            ("nonsense".to_owned(), false),
        ] {
            let (url, served) = service(Some(ok(&body))).await;
            assert_eq!(Breaches::new(url).unwrap().know("password").await, known, "{body}");
            let head = served.await.unwrap().unwrap().to_lowercase();
            assert!(head.starts_with("get /range/5baa6 http/1.1"), "{head}");
            assert!(head.contains("add-padding: true"), "{head}");
            assert!(!head.contains("1e4c9b"), "only five digits: {head}");
        }
    }

    #[tokio::test]
    async fn f19_without_an_answer_a_password_is_accepted() {
        let refusals = [
            Some("HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n"),
            Some("HTTP/1.1 302 Found\r\nlocation: /x\r\ncontent-length: 0\r\n\r\n"),
            Some("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\ncut"),
            None,
        ];
        for answer in refusals {
            let (url, _served) = service(answer).await;
            assert!(!Breaches::new(url).unwrap().know("password").await, "{answer:?}");
        }
        let nobody = "http://127.0.0.1:1/range".parse().unwrap();
        assert!(!Breaches::new(nobody).unwrap().know("password").await);
    }
}
