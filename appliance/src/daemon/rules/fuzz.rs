//! Requests that nobody sends: made from the API's own documents, then spoilt. No answer may be a
//! failure of the daemon, and nothing may panic.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::Body;
use axum::http::{HeaderValue, Request, Response};
use fastrand::Rng;
use lifeboat_access::{Role, Rule, SCOPES};
use serde_json::{Map, Value, json};

use super::rules;
use super::tests::{Asker, Machine, document, filled};

/// How many in a usual run; `LIFEBOAT_FUZZ` sets another number.
const USUALLY: usize = 3000;
const DEEPEST: usize = 4;

/// What has gone wrong at such places elsewhere.
const WORDS: [&str; 24] = [
    "",
    "x",
    "0",
    "-1",
    "18446744073709551616",
    "9223372036854775807",
    "1e400",
    "null",
    "true",
    "../../../../etc/passwd",
    "/etc/passwd",
    "/dev/zero",
    "/proc/self/mem",
    "a/b",
    "%00",
    "%2e%2e%2f",
    "' OR 1=1 --",
    "\"; DROP TABLE users; --",
    "<script>alert(1)</script>",
    "\u{202e}\u{0}\u{7}\u{1b}[2J",
    "\u{1f6f6}\u{1f6f6}",
    "${jndi:ldap://x}",
    "{{7*7}}",
    "switch-over",
];

struct Fuzzer {
    rng: Rng,
    document: Arc<Value>,
    askers: Vec<Asker>,
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_makes_the_daemon_fail() {
    let count = std::env::var("LIFEBOAT_FUZZ").ok();
    let count = count.map_or(USUALLY, |count| count.parse().expect("a number"));
    let seed = std::env::var("LIFEBOAT_FUZZ_SEED").ok();
    let seed = seed.map_or_else(|| fastrand::u64(..), |seed| seed.parse().expect("a number"));
    println!("LIFEBOAT_FUZZ_SEED={seed}");
    let panics = Arc::new(AtomicUsize::new(0));
    let counted = panics.clone();
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        counted.fetch_add(1, Ordering::SeqCst);
        before(panic);
    }));
    let machine = Machine::new().await;
    let mut fuzzer = Fuzzer::new(&machine, seed).await;
    let mut statuses = std::collections::BTreeMap::<u16, usize>::new();
    for number in 0..count {
        let (told, request) = fuzzer.request();
        let response = machine.open(request).await;
        let status = response.status().as_u16();
        *statuses.entry(status).or_default() += 1;
        let now = panics.load(Ordering::SeqCst);
        assert!(now == 0, "request {number} of seed {seed} panicked: {told}");
        if status >= 500 {
            let text = text(response).await;
            panic!("request {number} of seed {seed}: {told}\nwas answered {status}: {text}");
        }
    }
    println!("{count} requests: {statuses:?}");
    // Controls: some did what they asked for, and some were refused.
    for status in [200, 400, 401, 403, 404] {
        assert!(
            statuses.contains_key(&status),
            "no answer was {status}: {statuses:?}"
        );
    }
    assert!(machine.folder.path().join("access.db").exists());
}

async fn text(response: Response<Body>) -> String {
    let bytes = axum::body::to_bytes(response.into_body(), 1 << 16).await;
    String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned()
}

impl Fuzzer {
    async fn new(machine: &Machine, seed: u64) -> Self {
        let mut askers = vec![Asker::default()];
        for role in [Role::Viewer, Role::Operator, Role::Administrator] {
            askers.push(machine.token(role, &SCOPES, false).await);
        }
        // Most get through: what lies behind the guard is to be tried, too.
        for _ in 0..6 {
            askers.push(machine.token(Role::Administrator, &SCOPES, true).await);
        }
        Self {
            rng: Rng::with_seed(seed),
            document: Arc::new(document()),
            askers,
        }
    }

    fn request(&mut self) -> (String, Request<Body>) {
        let rule = *self.pick(rules());
        let body = self.body(&rule);
        let method = match self.one_in(20) {
            true => *self.pick(&[
                "GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "X",
            ]),
            false => rule.method,
        };
        let words: Vec<_> = (0..8).map(|_| percent(&self.word())).collect();
        let taken = std::cell::Cell::new(0);
        let path = filled(rule.path, || {
            let word = words[taken.get() % words.len()].clone();
            taken.set(taken.get() + 1);
            if word.is_empty() {
                "x".to_owned()
            } else {
                word
            }
        });
        let uri = format!("{path}{}", self.query());
        let told = format!("{method} {uri} {}", String::from_utf8_lossy(&body));
        let mut request = Request::builder().method(method).uri(&uri);
        for (name, value) in self.headers() {
            if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
                request = request.header(name, value);
            }
        }
        let request = request
            .body(Body::from(body))
            .expect("a request that HTTP knows");
        (told, request)
    }

    fn headers(&mut self) -> Vec<(&'static str, String)> {
        let host = match self.one_in(30) {
            true => self.word(),
            false => "localhost".to_owned(),
        };
        let mut headers = vec![("host", host)];
        let kind = match self.one_in(20) {
            true => self.word(),
            false => "application/json".to_owned(),
        };
        headers.push(("content-type", kind));
        let asker = self.rng.usize(..self.askers.len());
        if let Some(token) = &self.askers[asker].token {
            headers.push(("authorization", format!("Bearer {token}")));
        }
        let strange = [
            "cookie",
            "origin",
            "sec-fetch-site",
            "upgrade",
            "prefer",
            "last-event-id",
            "range",
            "if-none-match",
            "content-length",
            "accept",
            "lifeboat-operator",
            "authorization",
            "x-forwarded-for",
            "content-encoding",
            "sec-websocket-key",
            "accept-language",
        ];
        if self.one_in(4) {
            let name = *self.pick(&strange);
            headers.push((name, self.word()));
        }
        headers
    }

    fn query(&mut self) -> String {
        let names = [
            "limit", "before", "from", "to", "points", "seq", "hash", "path", "offset", "after",
            "lines", "width", "x",
        ];
        let pairs: Vec<_> = (0..self.rng.usize(..3))
            .map(|_| format!("{}={}", self.pick(&names), percent(&self.word())))
            .collect();
        match pairs.is_empty() {
            true => String::new(),
            false => format!("?{}", pairs.join("&")),
        }
    }

    fn body(&mut self, rule: &Rule) -> Vec<u8> {
        if rule.method == "GET" && !self.one_in(20) {
            return Vec::new();
        }
        let value = match self.schema(rule) {
            Some(schema) => self.of_schema(&schema, 0),
            None => self.any(0),
        };
        let mut bytes = value.to_string().into_bytes();
        if self.one_in(15) && !bytes.is_empty() {
            let at = self.rng.usize(..bytes.len());
            bytes[at] = self.rng.u8(..);
        }
        if self.one_in(40) {
            bytes.truncate(self.rng.usize(..=bytes.len()));
        }
        bytes
    }

    /// What the document says of the body of a route.
    fn schema(&self, rule: &Rule) -> Option<Value> {
        let operation = &self.document["paths"][rule.path][rule.method.to_lowercase()];
        let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
        (!schema.is_null()).then(|| schema.clone())
    }

    fn of_schema(&mut self, schema: &Value, depth: usize) -> Value {
        if self.one_in(12) || depth > DEEPEST {
            return self.any(depth);
        }
        if let Some(name) = schema["$ref"]
            .as_str()
            .and_then(|name| name.rsplit('/').next())
        {
            let schema = self.document["components"]["schemas"][name].clone();
            return self.of_schema(&schema, depth + 1);
        }
        for choice in ["oneOf", "anyOf", "allOf", "enum"] {
            if let Some(choices) = schema[choice].as_array().filter(|all| !all.is_empty()) {
                let one = self.pick(choices).clone();
                return match choice {
                    "enum" => one,
                    _ => self.of_schema(&one, depth + 1),
                };
            }
        }
        if let Some(properties) = schema["properties"].as_object() {
            return self.object(properties, depth);
        }
        let kind = match &schema["type"] {
            Value::Array(kinds) => self.pick(kinds).clone(),
            kind => kind.clone(),
        };
        match kind.as_str().unwrap_or_default() {
            "array" => {
                let count = self.rng.usize(..4);
                (0..count)
                    .map(|_| self.of_schema(&schema["items"], depth + 1))
                    .collect()
            }
            "string" => Value::String(self.word()),
            "integer" | "number" => self.number(),
            "boolean" => json!(self.rng.bool()),
            "null" => Value::Null,
            _ => self.any(depth),
        }
    }

    fn object(&mut self, properties: &Map<String, Value>, depth: usize) -> Value {
        let mut object = Map::new();
        for (name, schema) in properties {
            if !self.one_in(8) {
                let value = self.of_schema(schema, depth + 1);
                object.insert(name.clone(), value);
            }
        }
        if self.one_in(15) {
            object.insert(self.word(), self.any(depth + 1));
        }
        Value::Object(object)
    }

    fn any(&mut self, depth: usize) -> Value {
        let keys = [
            "file",
            "name",
            "mode",
            "prepare",
            "resume",
            "pin",
            "reject",
            "forget",
            "explain",
            "literal",
            "accept_changed",
            "verify",
            "kind",
        ];
        match self.rng.usize(..if depth > DEEPEST { 4 } else { 6 }) {
            0 => Value::Null,
            1 => json!(self.rng.bool()),
            2 => self.number(),
            3 => Value::String(self.word()),
            4 => (0..self.rng.usize(..3))
                .map(|_| self.any(depth + 1))
                .collect(),
            _ => {
                let count = self.rng.usize(..4);
                let pairs =
                    (0..count).map(|_| ((*self.pick(&keys)).to_owned(), self.any(depth + 1)));
                Value::Object(pairs.collect())
            }
        }
    }

    fn number(&mut self) -> Value {
        let numbers = [
            json!(0),
            json!(1),
            json!(-1),
            json!(i64::MAX),
            json!(i64::MIN),
            json!(u64::MAX),
            json!(1e300),
            json!(0.5),
            json!(u32::MAX),
            json!(10_000),
        ];
        self.pick(&numbers).clone()
    }

    fn word(&mut self) -> String {
        match self.rng.usize(..12) {
            0 => self.pick(&WORDS).repeat(200),
            1 => (0..self.rng.usize(..40))
                .map(|_| self.rng.char(..))
                .collect(),
            2 => (0..self.rng.usize(1..12))
                .map(|_| self.rng.lowercase())
                .collect(),
            _ => (*self.pick(&WORDS)).to_owned(),
        }
    }

    fn one_in(&mut self, many: usize) -> bool {
        self.rng.usize(..many) == 0
    }

    fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.rng.usize(..all.len())]
    }
}

/// A word as it can stand in a path; sometimes with what decodes to no text.
fn percent(word: &str) -> String {
    let encode = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'%' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    };
    word.bytes().take(2000).map(encode).collect()
}
