//! Every route, asked by everybody: only what is listed passes.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, Response};
use lifeboat_access::{Access, Clock, Need, Role, Rule, SCOPES};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::rules;
use crate::daemon::api::Reach;
use crate::daemon::{Appliance, api, serve};
use crate::host::Host;
use crate::integrity::Settings;

const PASSWORD: &str = "correct horse battery";
const OWN: &str = "https://localhost:8443";

/// The whole API of one machine, and a clock that the test turns.
pub(super) struct Machine {
    pub folder: tempfile::TempDir,
    guarded: Router,
    trusted: Router,
    clock: Arc<AtomicI64>,
}

/// By what somebody asks.
#[derive(Debug, Clone, Default)]
pub(super) struct Asker {
    pub cookie: Option<String>,
    pub token: Option<String>,
    pub origin: Option<&'static str>,
}

impl Machine {
    pub async fn new() -> Self {
        // In memory: every change is flushed to the disk.
        let folder = tempfile::tempdir_in("/dev/shm").unwrap();
        let clock = Arc::new(AtomicI64::new(1_800_000_000_000));
        let told = clock.clone();
        let settings = lifeboat_access::Settings {
            clock: Clock::new(move || told.load(Ordering::SeqCst)),
            ..lifeboat_access::Settings::default()
        };
        let file = folder.path().join("access.db");
        let access = Access::open(&file, settings).await.unwrap();
        let host = Host::new(folder.path()).unwrap();
        let appliance = Appliance::open(host, Settings::default()).await.unwrap();
        let settings = lifeboat_centre::Settings::new(folder.path().to_owned(), None);
        let centre = lifeboat_centre::Centre::open(settings).await.unwrap();
        let routes = |reach| serve::routes(&appliance, Some(&centre), &access, reach);
        let guarded = routes(Reach::Network);
        Self {
            folder,
            guarded: lifeboat_access::guard(guarded, access.clone(), rules()),
            trusted: serve::for_root(routes(Reach::Host), &access),
            clock,
        }
    }

    pub async fn open(&self, request: Request<Body>) -> Response<Body> {
        self.guarded.clone().oneshot(request).await.unwrap()
    }

    /// Asks, and gives the status and the reason of a refusal.
    async fn ask(
        &self,
        asker: &Asker,
        method: &str,
        path: &str,
        body: &str,
    ) -> (u16, String, String) {
        let mut request = Request::builder().method(method).uri(path);
        request = request.header("host", "localhost:8443");
        if let Some(cookie) = &asker.cookie {
            request = request.header("cookie", cookie);
        }
        if let Some(token) = &asker.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if let Some(origin) = asker.origin {
            request = request.header("origin", origin);
        }
        request = request.header("content-type", "application/json");
        let request = request.body(Body::from(body.to_owned())).unwrap();
        let response = self.open(request).await;
        let cookie = response.headers().get("set-cookie");
        let cookie = cookie
            .map_or("", |cookie| cookie.to_str().unwrap())
            .to_owned();
        let status = response.status().as_u16();
        let kind = response.headers().get("content-type");
        if kind.is_none_or(|kind| kind != "application/json") {
            return (status, String::new(), cookie);
        }
        let bytes = axum::body::to_bytes(response.into_body(), 1 << 20)
            .await
            .unwrap();
        let body: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let reason = body["reason"].as_str().unwrap_or("").to_owned();
        (status, reason, cookie)
    }

    async fn as_root(&self, path: &str, body: Value) -> Value {
        let request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header("content-type", "application/json")
            .body(Body::from(body.to_string()))
            .unwrap();
        let response = self.trusted.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let bytes = axum::body::to_bytes(response.into_body(), 1 << 20)
            .await
            .unwrap();
        let text = String::from_utf8_lossy(&bytes);
        assert!(status.is_success(), "{path}: {status} {text}");
        serde_json::from_slice(&bytes).unwrap_or_default()
    }

    async fn make_users(&self) {
        for role in ROLES {
            let body = json!({ "name": role.word(), "role": role, "password": PASSWORD });
            self.as_root("/api/v1/access/users", body).await;
        }
    }

    /// A browser in which a user is logged in; `confirmed`: who gave the password again.
    async fn browser(&self, role: Role, confirmed: bool) -> Asker {
        let body = json!({ "name": role.word(), "password": PASSWORD }).to_string();
        let nobody = Asker::default();
        let answer = self
            .ask(&nobody, "POST", "/api/v1/access/login", &body)
            .await;
        assert_eq!(answer.0, 200, "{answer:?}");
        let browser = Asker {
            cookie: answer.2.split(';').next().map(str::to_owned),
            origin: Some(OWN),
            ..nobody
        };
        if confirmed {
            let body = json!({ "password": PASSWORD }).to_string();
            let answer = self
                .ask(&browser, "POST", "/api/v1/access/confirm", &body)
                .await;
            assert_eq!(answer.0, 200, "{answer:?}");
        }
        browser
    }

    pub async fn token(&self, role: Role, scopes: &[&str], destructive: bool) -> Asker {
        let name = format!("t{}", self.clock.fetch_add(1, Ordering::SeqCst));
        let body =
            json!({ "name": name, "role": role, "scopes": scopes, "destructive": destructive });
        let made = self.as_root("/api/v1/access/tokens", body).await;
        Asker {
            token: made["token"].as_str().map(str::to_owned),
            ..Asker::default()
        }
    }
}

const ROLES: [Role; 3] = [Role::Viewer, Role::Operator, Role::Administrator];

/// A path of a rule with something in the place of what varies.
pub(super) fn filled(path: &str, word: impl Fn() -> String) -> String {
    let parts = path.split('/').map(|part| match part.starts_with('{') {
        true => word(),
        false => part.to_owned(),
    });
    parts.collect::<Vec<_>>().join("/")
}

/// Expects every route to give this asker what `expected` says of its need; `None`: let through.
async fn expect(
    machine: &Machine,
    (who, asker): (&str, &Asker),
    expected: impl Fn(&Rule, &Need) -> Option<&'static str>,
) {
    let mut faults = Vec::new();
    for rule in rules() {
        let Some(need) = rule.need else { continue };
        let path = filled(rule.path, || "x".to_owned());
        let (status, reason, _) = machine.ask(asker, rule.method, &path, "{}").await;
        let is_refused =
            ["log_in", "role", "scope", "confirm", "origin"].contains(&reason.as_str());
        let found = is_refused.then_some(reason.as_str());
        let expected = expected(rule, &need);
        if found != expected || status == 405 || status >= 500 {
            faults.push(format!(
                "{who}: {} {}: {status} {found:?}, not {expected:?}",
                rule.method, rule.path
            ));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_lets_only_those_pass_who_may() {
    let machine = Machine::new().await;
    machine.make_users().await;
    let expired = machine.browser(Role::Administrator, true).await;
    machine.clock.fetch_add(31 * 60 * 1000, Ordering::SeqCst);
    let nobody = Asker::default();
    expect(&machine, ("nobody", &nobody), |_, _| Some("log_in")).await;
    expect(&machine, ("an expired session", &expired), |_, _| {
        Some("log_in")
    })
    .await;
    for role in ROLES {
        let browser = machine.browser(role, false).await;
        let refused = |need: &Need| (need.role > role).then_some("role");
        expect(&machine, (role.word(), &browser), |_, need| {
            refused(need).or(need.confirmed.then_some("confirm"))
        })
        .await;
        let confirmed = machine.browser(role, true).await;
        expect(&machine, (role.word(), &confirmed), |_, need| refused(need)).await;
    }
    let mut foreign = machine.browser(Role::Administrator, true).await;
    foreign.origin = Some("https://evil.example");
    expect(&machine, ("another page", &foreign), |_, _| Some("origin")).await;
    // A page that says nothing is none of ours, where something changes.
    foreign.origin = None;
    expect(&machine, ("a silent page", &foreign), |rule, _| {
        (rule.method != "GET").then_some("origin")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_asks_tokens_for_their_scope() {
    let machine = Machine::new().await;
    for scope in SCOPES {
        let token = machine.token(Role::Administrator, &[scope], true).await;
        expect(&machine, (scope, &token), |_, need| {
            (!need.scope.is_empty() && need.scope != scope).then_some("scope")
        })
        .await;
    }
    let token = machine.token(Role::Administrator, &SCOPES, false).await;
    expect(&machine, ("not for destruction", &token), |_, need| {
        need.confirmed.then_some("scope")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn open_routes_are_few_and_change_nothing_for_other_pages() {
    let machine = Machine::new().await;
    let foreign = Asker {
        origin: Some("https://evil.example"),
        ..Asker::default()
    };
    let open: Vec<_> = rules().iter().filter(|rule| rule.need.is_none()).collect();
    assert!(open.len() <= 8, "{open:?}");
    for rule in open {
        let path = filled(rule.path, || "x".to_owned());
        let (status, reason, _) = machine.ask(&foreign, rule.method, &path, "{}").await;
        match rule.method {
            "GET" => assert!(status < 400, "{path}: {status} {reason}"),
            _ => assert_eq!((status, reason.as_str()), (403, "origin"), "{path}"),
        }
    }
}

/// The document of the whole API.
pub(super) fn document() -> Value {
    serde_json::from_str(&api::printed().unwrap()).unwrap()
}

#[test]
fn every_documented_route_has_a_rule() {
    let mut missing = Vec::new();
    let document = document();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            let method = method.to_uppercase();
            let is = |rule: &Rule| rule.path == path && rule.method == method;
            if !rules().iter().any(is) {
                missing.push(format!("{method} {path}"));
            }
        }
    }
    assert!(missing.is_empty(), "no rule for: {missing:#?}");
}

#[test]
fn no_route_has_two_rules_and_every_scope_is_known() {
    for (index, rule) in rules().iter().enumerate() {
        let is = |other: &&Rule| (other.path, other.method) == (rule.path, rule.method);
        assert_eq!(rules().iter().filter(is).count(), 1, "{rule:?} of {index}");
        let scope = rule.need.map_or("", |need| need.scope);
        assert!(scope.is_empty() || SCOPES.contains(&scope), "{rule:?}");
    }
}
