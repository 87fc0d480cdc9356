//! The guard and the routes behind it, asked as browsers and programs ask.

mod entering;
mod guarding;
mod managing;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use axum::routing::{delete, get};
use axum::{Json, Router};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::role::Role::{Operator, Viewer};
use crate::{Access, Clock, PREFIX, RULES, Role, Rule, Settings, guard, router, trusted};

const PASSWORD: &str = "correct horse battery";
const OTHER: &str = "a quite other password";
const MINUTE: i64 = 60 * 1000;

/// Some routes of another part, as the guard sees them.
const OTHERS: &[Rule] = &[
    Rule::open("GET", "/"),
    Rule::of(Viewer, "recovery", "GET", "/api/v1/sites"),
    Rule::of(Operator, "recovery", "POST", "/api/v1/sites"),
    Rule::confirmed(Operator, "recovery", "DELETE", "/api/v1/sites/{name}"),
    Rule::of(Viewer, "status", "GET", "/api/v1/events"),
];

fn rules() -> &'static [Rule] {
    [OTHERS, RULES].concat().leak()
}

/// A machine with users, and a clock that the test turns.
struct Bed {
    _folder: tempfile::TempDir,
    file: std::path::PathBuf,
    access: Access,
    clock: Arc<AtomicI64>,
}

/// An answer.
#[derive(Debug)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Value,
}

/// Somebody who asks: by cookie, by token, or as nobody.
#[derive(Clone, Default)]
struct Asker {
    cookie: Option<String>,
    token: Option<String>,
    address: Option<&'static str>,
    more: Vec<(&'static str, String)>,
}

impl Bed {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("access.db");
        let clock = Arc::new(AtomicI64::new(1_800_000_000_000));
        let told = clock.clone();
        let settings = Settings {
            names: vec!["boat.example".to_owned()],
            url: Some("https://boat.example:8443".to_owned()),
            clock: Clock::new(move || told.load(Ordering::SeqCst)),
            ..Settings::default()
        };
        Self {
            access: Access::open(&file, settings).await.unwrap(),
            _folder: folder,
            file,
            clock,
        }
    }

    /// One with a user of each role, named by it.
    async fn with_users() -> Self {
        let bed = Self::new().await;
        for role in [Role::Viewer, Role::Operator, Role::Administrator] {
            let made = bed.access.make_user(role.word(), role, PASSWORD).await;
            made.unwrap();
        }
        bed
    }

    fn wait(&self, millis: i64) {
        self.clock.fetch_add(millis, Ordering::SeqCst);
    }

    fn routes(&self) -> Router {
        let echo = |headers: HeaderMap| async move {
            let name = headers
                .get(crate::OPERATOR)
                .map(|name| name.to_str().unwrap().to_owned());
            Json(json!({ "operator": name, "sees_token": headers.contains_key("authorization") }))
        };
        let endless = || async {
            let never = tokio_stream::pending::<Result<String, std::convert::Infallible>>();
            (
                [("content-type", "text/event-stream")],
                Body::from_stream(never),
            )
        };
        Router::new()
            .route("/", get(|| async { "the page" }))
            .route("/api/v1/sites", get(echo).post(echo))
            .route("/api/v1/sites/{name}", delete(echo).get(echo))
            .route("/api/v1/unlisted", get(echo))
            .route("/api/v1/events", get(endless))
            .nest(PREFIX, router(self.access.clone()).into())
    }

    async fn ask(&self, asker: &Asker, method: Method, path: &str, body: Value) -> Answer {
        let response = self.open(asker, method, path, body).await;
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, 1 << 20).await.unwrap();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Answer {
            status: parts.status,
            headers: parts.headers,
            body: serde_json::from_str(&text).unwrap_or(Value::String(text)),
        }
    }

    async fn open(
        &self,
        asker: &Asker,
        method: Method,
        path: &str,
        body: Value,
    ) -> axum::response::Response {
        let router = guard(self.routes(), self.access.clone(), rules());
        let mut request = Request::builder().method(method).uri(path);
        let has = |name: &str| asker.more.iter().any(|(other, _)| *other == name);
        if !has("host") {
            request = request.header("host", "localhost:8443");
        }
        if asker.cookie.is_some() && !has("origin") {
            request = request.header("origin", "https://localhost:8443");
        }
        if let Some(cookie) = &asker.cookie {
            request = request.header("cookie", cookie);
        }
        if let Some(token) = &asker.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        for (name, value) in asker.more.iter().filter(|(_, value)| !value.is_empty()) {
            request = request.header(*name, value);
        }
        let text = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        if !text.is_empty() && !has("content-type") {
            request = request.header("content-type", "application/json");
        }
        request = request.header("content-length", text.len());
        let mut request = request.body(Body::from(text)).unwrap();
        let address: SocketAddr = asker.address.unwrap_or("10.0.0.1:4000").parse().unwrap();
        request.extensions_mut().insert(ConnectInfo(address));
        router.oneshot(request).await.unwrap()
    }

    async fn get(&self, asker: &Asker, path: &str) -> Answer {
        self.ask(asker, Method::GET, path, Value::Null).await
    }

    async fn post(&self, asker: &Asker, path: &str, body: Value) -> Answer {
        self.ask(asker, Method::POST, path, body).await
    }

    async fn log_in(&self, asker: &Asker, name: &str, password: &str) -> Answer {
        let body = json!({ "name": name, "password": password });
        self.post(asker, "/api/v1/access/login", body).await
    }

    /// A browser in which this user is logged in.
    async fn browser(&self, name: &str) -> Asker {
        let answer = self.log_in(&Asker::default(), name, PASSWORD).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        answer.browser()
    }

    /// The same, who gave the password again.
    async fn confirmed(&self, name: &str) -> Asker {
        let browser = self.browser(name).await;
        let body = json!({ "password": PASSWORD });
        let answer = self.post(&browser, "/api/v1/access/confirm", body).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        browser
    }

    /// Asks on root's socket.
    async fn as_root(&self, method: Method, path: &str, body: Value) -> Answer {
        let routes = self
            .routes()
            .nest(PREFIX, super::socket_router(self.access.clone()));
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", "application/json")
            .header(crate::OPERATOR, "alice")
            .body(Body::from(body.to_string()))
            .unwrap();
        let response = trusted(routes, self.access.clone())
            .oneshot(request)
            .await
            .unwrap();
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, 1 << 20).await.unwrap();
        Answer {
            status: parts.status,
            headers: parts.headers,
            body: serde_json::from_slice(&bytes).unwrap_or_default(),
        }
    }

    /// A token made by root.
    async fn token(&self, role: &str, scopes: &[&str], destructive: bool) -> Asker {
        let name = format!("t{}", crate::secret::identifier().unwrap());
        let body =
            json!({ "name": name, "role": role, "scopes": scopes, "destructive": destructive });
        let made = self
            .as_root(Method::POST, "/api/v1/access/tokens", body)
            .await;
        assert_eq!(made.status, StatusCode::OK, "{made:?}");
        Asker {
            token: made.body["token"].as_str().map(str::to_owned),
            ..Asker::default()
        }
    }

    async fn trail(&self) -> Vec<(String, String, String, String)> {
        let entries = self.access.trail().list(None, 1000).await.unwrap();
        let words = entries.into_iter().rev().map(|written| {
            let entry = written.entry;
            let kind = format!("{:?}", entry.kind).to_lowercase();
            (kind, entry.who, entry.what, entry.text)
        });
        words.collect()
    }
}

impl Answer {
    fn reason(&self) -> &str {
        self.body["reason"].as_str().unwrap_or("")
    }

    fn cookie(&self) -> String {
        let cookie = self.headers["set-cookie"].to_str().unwrap();
        cookie.split(';').next().unwrap().to_owned()
    }

    fn browser(&self) -> Asker {
        Asker {
            cookie: Some(self.cookie()),
            ..Asker::default()
        }
    }

    #[track_caller]
    fn expect(&self, status: u16, reason: &str) -> &Self {
        let found = (self.status.as_u16(), self.reason());
        assert_eq!(found, (status, reason), "{self:?}");
        self
    }
}

impl Asker {
    fn with(&self, name: &'static str, value: &str) -> Self {
        let mut asker = self.clone();
        asker.more.push((name, value.to_owned()));
        asker
    }

    fn at(&self, address: &'static str) -> Self {
        Self {
            address: Some(address),
            ..self.clone()
        }
    }
}
