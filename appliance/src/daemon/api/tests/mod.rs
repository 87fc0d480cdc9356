mod documents;
mod incoming;
mod long_work;
mod recovery;

use axum::http::{Method, StatusCode};
use serde_json::Value;

use super::Reach;
use crate::daemon::testing::{Bed, request};

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
