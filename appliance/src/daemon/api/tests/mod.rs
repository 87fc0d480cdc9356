mod documents;
mod long_work;

use std::path::PathBuf;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;

use super::{Reach, router};
use crate::daemon::Appliance;
use crate::host::Host;
use crate::integrity::Settings;

/// A site of two machines on one volume that is not there.
const SITE: &str = r#"[site]
name = "small"
[[network]]
name = "lan"
cidr = "10.20.0.0/24"
gateway = "10.20.0.1"
[[machine]]
name = "one"
volumes = ["disk.raw"]
[[machine.nic]]
network = "lan"
mac = "52:54:00:20:00:10"
address = "10.20.0.10"
[[machine]]
name = "two"
volumes = ["disk.raw"]
[[machine.nic]]
network = "lan"
mac = "52:54:00:20:00:20"
address = "10.20.0.20"
"#;

/// An appliance in a folder of its own.
struct Bed {
    folder: tempfile::TempDir,
    appliance: Appliance,
}

/// An answer, read to its end.
struct Answered {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Answered {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    fn expect(self, status: StatusCode) -> Self {
        assert_eq!(self.status, status, "{}", self.text());
        self
    }
}

impl Bed {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let host = Host::new(&folder.path().join("state")).unwrap();
        let appliance = Appliance::open(host, Settings::default()).await.unwrap();
        Self { folder, appliance }
    }

    /// With the site registered.
    async fn with_site() -> Self {
        let bed = Self::new().await;
        let file = bed.file("site.toml", SITE);
        bed.file("disk.raw", "");
        bed.appliance.add_site(&file).await.unwrap();
        bed
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn router(&self, reach: Reach) -> Router {
        router(self.appliance.clone(), None, reach)
    }

    async fn ask(&self, method: Method, path: &str, body: Value) -> Answered {
        self.send(Reach::Host, request(method, path, body)).await
    }

    async fn get(&self, path: &str) -> Answered {
        self.ask(Method::GET, path, Value::Null).await
    }

    async fn send(&self, reach: Reach, request: Request<Body>) -> Answered {
        let response = self.router(reach).oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        Answered {
            status: parts.status,
            headers: parts.headers,
            body: body.collect().await.unwrap().to_bytes().to_vec(),
        }
    }
}

fn request(method: Method, path: &str, body: Value) -> Request<Body> {
    let path = match path.starts_with("/api") {
        true => path.to_owned(),
        false => format!("/api/v1{path}"),
    };
    Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", "application/json")
        .body(Body::from(body.to_string()))
        .unwrap()
}

#[tokio::test]
async fn what_is_not_there_is_not_found_and_what_is_wrong_is_said() {
    let bed = Bed::with_site().await;
    for path in [
        "/sites/nobody",
        "/sites/nobody/operator",
        "/sessions/x",
        "/sessions/x/report",
        "/operations/x",
        "/operations/x/events",
        "/operations/x/result",
    ] {
        let answer = bed.get(path).await.expect(StatusCode::NOT_FOUND).json();
        assert_eq!(answer["wrong_use"], true, "{path}");
        assert!(answer["chain"][0].is_string(), "{path}: {answer}");
    }
    let words = serde_json::json!({ "pin": ["one:three"] });
    let refused = bed.ask(Method::POST, "/sites/small/operator", words).await;
    let refused = refused.expect(StatusCode::BAD_REQUEST).json();
    assert!(refused["chain"][0].as_str().unwrap().contains("three"));
    let stopped = bed.ask(Method::POST, "/sessions/x/stop", Value::Null).await;
    stopped.expect(StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_file_of_the_host_is_named_by_root_alone() {
    let bed = Bed::with_site().await;
    let file = bed.folder.path().join("site.toml");
    let body = serde_json::json!({ "file": file });
    let ask = || request(Method::POST, "/sites", body.clone());
    bed.send(Reach::Host, ask()).await.expect(StatusCode::OK);
    let refused = bed.send(Reach::Network, ask()).await;
    refused.expect(StatusCode::BAD_REQUEST);
}
