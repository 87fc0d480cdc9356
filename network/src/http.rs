//! The little HTTP that a probe needs. The answer comes from a guest: bounded and never trusted.

use std::time::Duration;

use crate::probe::{ProbeResult, milliseconds};

/// More of an answer than this is not read.
pub const MAX_ANSWER: usize = (1 << 20) + MAX_HEADERS;
const MAX_HEADERS: usize = 64 << 10;
const MAX_BODY: usize = 1 << 20;
const SHOWN_BODY: usize = 4 << 10;
const MAX_REQUEST: usize = 3 << 10;

/// A complete answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its body, without transfer coding.
    pub body: Vec<u8>,
}

/// How far an answer has come.
#[derive(Debug, PartialEq, Eq)]
pub enum Progress {
    /// Read on.
    More,
    /// Complete.
    Done(Answer),
    /// Not HTTP.
    Bad(&'static str),
}

/// A request for a page, or why it cannot be made.
pub fn request(host: &str, path: &str) -> Result<Vec<u8>, &'static str> {
    let clean = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    if !clean(host) || !clean(path) || !path.starts_with('/') {
        return Err(
            "host and path must be printable ASCII without spaces, and the path must start with `/`",
        );
    }
    if host.len() + path.len() > MAX_REQUEST {
        return Err("host and path are too long");
    }
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: lifeboat-probe\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    );
    Ok(request.into_bytes())
}

/// Looks at what has been read so far; `closed` when no more will come.
#[must_use]
pub fn progress(bytes: &[u8], closed: bool) -> Progress {
    let mut headers = [httparse::EMPTY_HEADER; 96];
    let mut response = httparse::Response::new(&mut headers);
    let head = match response.parse(bytes) {
        Ok(httparse::Status::Complete(head)) => head,
        Ok(httparse::Status::Partial) if closed => {
            return Progress::Bad("the connection ended before the headers did");
        }
        Ok(httparse::Status::Partial) if bytes.len() > MAX_HEADERS => {
            return Progress::Bad("the headers are too long");
        }
        Ok(httparse::Status::Partial) => return Progress::More,
        Err(_) => return Progress::Bad("the answer is not HTTP"),
    };
    let Some(status) = response.code else {
        return Progress::Bad("the answer has no status");
    };
    let rest = bytes.get(head..).unwrap_or_default();
    match body(response.headers, rest, closed, status) {
        Some(body) => Progress::Done(Answer { status, body }),
        None => Progress::More,
    }
}

fn body(
    headers: &[httparse::Header<'_>],
    rest: &[u8],
    closed: bool,
    status: u16,
) -> Option<Vec<u8>> {
    let header = |name: &str| {
        let found = headers
            .iter()
            .find(|header| header.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(found.value).ok()
    };
    if matches!(status, 204 | 304) {
        return Some(Vec::new());
    }
    let full = closed || rest.len() >= MAX_BODY;
    if header("transfer-encoding")
        .is_some_and(|coding| coding.to_ascii_lowercase().contains("chunked"))
    {
        let (body, complete) = unchunk(rest);
        return (complete || full).then_some(body);
    }
    let announced = header("content-length").and_then(|length| length.trim().parse::<usize>().ok());
    let wanted = announced.unwrap_or(usize::MAX).min(MAX_BODY);
    let body = &rest[..rest.len().min(wanted)];
    (body.len() == wanted || full).then(|| body.to_vec())
}

/// Joins chunks; the flag says whether the last one was seen (or nothing sensible can follow).
fn unchunk(mut rest: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    loop {
        let (start, size) = match httparse::parse_chunk_size(rest) {
            Ok(httparse::Status::Complete(found)) => found,
            Ok(httparse::Status::Partial) => return (body, false),
            Err(_) => return (body, true),
        };
        if size == 0 || body.len() >= MAX_BODY {
            return (body, true);
        }
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let chunk = rest.get(start..).unwrap_or_default();
        body.extend_from_slice(&chunk[..chunk.len().min(size).min(MAX_BODY)]);
        match size.checked_add(2).and_then(|next| chunk.get(next..)) {
            Some(next) => rest = next,
            None => return (body, false),
        }
    }
}

/// What an answer means for the probe.
#[must_use]
pub fn judge(answer: &Answer, expect: Option<&str>, elapsed: Duration) -> ProbeResult {
    let good = (200..400).contains(&answer.status);
    let found = expect.is_none_or(|text| contains(&answer.body, text.as_bytes()));
    let detail = match (good, found) {
        (false, _) => format!("status {}", answer.status),
        (true, true) => format!("status {}, {} bytes", answer.status, answer.body.len()),
        (true, false) => format!(
            "status {}, but the page does not contain `{}`",
            answer.status,
            expect.unwrap_or_default()
        ),
    };
    let shown = &answer.body[..answer.body.len().min(SHOWN_BODY)];
    ProbeResult {
        ok: good && found,
        elapsed_ms: milliseconds(elapsed),
        detail,
        status: Some(answer.status),
        body: Some(String::from_utf8_lossy(shown).into_owned()),
    }
}

fn contains(body: &[u8], text: &[u8]) -> bool {
    text.is_empty() || body.windows(text.len()).any(|window| window == text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn done(bytes: &[u8], closed: bool) -> Answer {
        match progress(bytes, closed) {
            Progress::Done(answer) => answer,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_length_ends_the_answer() {
        let whole = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
        assert_eq!(done(whole, false).body, b"hello");
        assert_eq!(progress(&whole[..whole.len() - 1], false), Progress::More);
    }

    #[test]
    fn the_end_of_the_connection_ends_the_answer() {
        let whole = b"HTTP/1.0 200 OK\r\n\r\nhello";
        assert_eq!(progress(whole, false), Progress::More);
        assert_eq!(done(whole, true).body, b"hello");
    }

    #[test]
    fn chunks_are_joined() {
        let whole = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n";
        assert_eq!(done(whole, false).body, b"hello world");
        assert_eq!(progress(&whole[..60], false), Progress::More);
    }

    #[test]
    fn expectation_decides() {
        let answer = Answer {
            status: 200,
            body: b"the row: 42".to_vec(),
        };
        assert!(judge(&answer, Some("row: 42"), Duration::ZERO).ok);
        let missing = judge(&answer, Some("43"), Duration::ZERO);
        assert!(!missing.ok && missing.detail.contains("43"));
        assert!(
            !judge(
                &Answer {
                    status: 500,
                    body: vec![]
                },
                None,
                Duration::ZERO
            )
            .ok
        );
    }

    #[test]
    fn requests_cannot_be_split() {
        assert!(request("a", "/\r\nX: y").is_err());
        assert!(request("a b", "/").is_err());
        assert!(request("a", "/?q=1").is_ok());
    }

    proptest! {
        #[test]
        fn hostile_answers_never_panic(head in "HTTP/1.[01] [0-9]{3} OK\r\n(Transfer-Encoding: chunked\r\n|Content-Length: [0-9]{1,30}\r\n)?\r\n", tail: Vec<u8>, closed: bool) {
            let whole = [head.as_bytes(), &tail].concat();
            let _ = progress(&whole, closed);
            let _ = progress(&tail, closed);
            let (body, _) = unchunk(&tail);
            prop_assert!(body.len() <= tail.len());
        }
    }
}
