//! Input that is refused before it is a request: hyper answers with a bare status, and we replace it by a problem (P8).

use crate::http::error::ApiError;

/// The refusal of what is no HTTP.
pub(crate) fn not_http() -> ApiError {
    let detail = "Send a request line and headers that conform to RFC 9112.";
    ApiError::field("request", "not_http", detail)
}

/// The complete answer in place of hyper's own, as bytes of HTTP/1.1; the connection ends after it. It is `flaw` if we
/// found one ourselves. `None` if these bytes are not hyper's own answer: ours have a content type, while hyper's has no
/// body and so none.
pub(crate) fn instead_of(answer: &[u8], flaw: Option<&ApiError>) -> Option<Vec<u8>> {
    let (line, headers) = std::str::from_utf8(answer).ok()?.split_once("\r\n")?;
    if !line.starts_with("HTTP/1.") || headers.contains("content-type:") {
        return None;
    }
    let hypers = match line.split(' ').nth(1)? {
        "400" => not_http(),
        "414" | "431" => ApiError::HeadTooLarge,
        _ => return None,
    };
    let refusal = flaw.unwrap_or(&hypers);
    let document = refusal.document(None);
    let mut lines = vec![
        format!("HTTP/1.1 {}", refusal.status()),
        "content-type: application/problem+json".to_owned(),
        format!("content-length: {}", document.len()),
        "cache-control: no-store".to_owned(),
        "x-content-type-options: nosniff".to_owned(),
        "referrer-policy: no-referrer".to_owned(),
        "connection: close".to_owned(),
    ];
    lines.extend(headers.split("\r\n").find(|line| line.starts_with("date:")).map(str::to_owned));
    Some([format!("{}\r\n\r\n", lines.join("\r\n")).into_bytes(), document].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hypers_own_refusals_are_replaced() {
        let bare = |status: &str| {
            format!(
                "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 0\r\ndate: today\r\n\r\n"
            )
        };
        for (status, ours) in [
            ("400 Bad Request", "HTTP/1.1 400 Bad Request\r\n"),
            ("414 URI Too Long", "HTTP/1.1 431 Request Header Fields Too Large\r\n"),
            (
                "431 Request Header Fields Too Large",
                "HTTP/1.1 431 Request Header Fields Too Large\r\n",
            ),
        ] {
            let words =
                String::from_utf8(instead_of(bare(status).as_bytes(), None).unwrap()).unwrap();
            assert!(words.starts_with(ours) && words.contains("\r\ndate: today\r\n"), "{words}");
        }
        let flaw = ApiError::field("Host", "invalid", "x");
        let words = instead_of(bare("400 Bad Request").as_bytes(), Some(&flaw)).unwrap();
        assert!(String::from_utf8(words).unwrap().contains("\"field\":\"Host\""));
        for other in [
            bare("204 No Content"),
            bare("100 Continue"),
            "HTTP/1.1 400 Bad Request\r\ncontent-type: application/problem+json\r\n\r\n{}"
                .to_owned(),
            "400 Bad Request".to_owned(),
            String::new(),
        ] {
            assert_eq!(instead_of(other.as_bytes(), None), None, "{other}");
        }
    }
}
