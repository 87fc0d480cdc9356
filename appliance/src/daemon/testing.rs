//! An appliance of its own for tests, and its API.

use std::path::PathBuf;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;

use super::Appliance;
use super::api::{Reach, router};
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
pub struct Bed {
    /// Everything lies in it.
    pub folder: tempfile::TempDir,
    /// The appliance.
    pub appliance: Appliance,
}

/// An answer, read to its end.
pub struct Answered {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    body: Vec<u8>,
}

impl Answered {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub fn expect(self, status: StatusCode) -> Self {
        assert_eq!(self.status, status, "{}", self.text());
        self
    }
}

impl Bed {
    pub async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let host = Host::new(&folder.path().join("state")).unwrap();
        let appliance = Appliance::open(host, Settings::default()).await.unwrap();
        Self { folder, appliance }
    }

    /// With the site registered.
    pub async fn with_site() -> Self {
        let bed = Self::new().await;
        let file = bed.file("site.toml", SITE);
        bed.file("disk.raw", "");
        bed.appliance.add_site(&file).await.unwrap();
        bed
    }

    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    pub fn router(&self, reach: Reach) -> Router {
        router(self.appliance.clone(), None, reach)
    }

    pub async fn ask(&self, method: Method, path: &str, body: Value) -> Answered {
        self.send(Reach::Host, request(method, path, body)).await
    }

    pub async fn get(&self, path: &str) -> Answered {
        self.ask(Method::GET, path, Value::Null).await
    }

    pub async fn send(&self, reach: Reach, request: Request<Body>) -> Answered {
        let response = self.router(reach).oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        Answered {
            status: parts.status,
            headers: parts.headers,
            body: body.collect().await.unwrap().to_bytes().to_vec(),
        }
    }
}

/// A request with a JSON body, below `/api/v1` unless it says so itself.
pub fn request(method: Method, path: &str, body: Value) -> Request<Body> {
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
