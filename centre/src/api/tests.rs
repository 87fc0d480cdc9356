use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::{OPERATOR, Reach, document, router};
use crate::centre::{Centre, Settings};

async fn opened() -> (tempfile::TempDir, Centre) {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = Settings::new(folder.path().to_owned(), None);
    (folder, Centre::open(settings).await.expect("opens"))
}

async fn ask(centre: &Centre, method: Method, path: &str, body: Value) -> (StatusCode, Value) {
    ask_over(Reach::Host, centre, method, path, body).await
}

async fn ask_over(
    reach: Reach,
    centre: &Centre,
    method: Method,
    path: &str,
    body: Value,
) -> (StatusCode, Value) {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", "application/json")
        .header(OPERATOR, "somebody");
    let request = request
        .body(Body::from(body.to_string()))
        .expect("a request");
    let response = router(centre.clone(), reach)
        .oneshot(request)
        .await
        .expect("an answer");
    let status = response.status();
    let bytes = response
        .into_body()
        .collect()
        .await
        .expect("a body")
        .to_bytes();
    (status, serde_json::from_slice(&bytes).unwrap_or_default())
}

#[tokio::test]
async fn what_is_not_there_is_said_so_and_who_asked_is_kept() {
    let (_folder, centre) = opened().await;
    for path in [
        "/applications/nobody",
        "/applications/nobody/ready",
        "/processes/none",
    ] {
        let (status, problem) = ask(&centre, Method::GET, path, Value::Null).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
        assert_eq!(problem["wrong_use"], true);
        assert!(
            problem["chain"][0]
                .as_str()
                .is_some_and(|text| text.contains("is known here")),
            "{problem}"
        );
    }
    let (status, made) = ask(&centre, Method::POST, "/agents/host-1/token", Value::Null).await;
    assert_eq!(status, StatusCode::OK, "{made}");
    assert!(made["token"].is_string());
    let (_, audit) = ask(&centre, Method::GET, "/audit/host-1", Value::Null).await;
    assert_eq!(audit[0]["who"], "somebody");
    let (status, _) = ask(&centre, Method::POST, "/agents/HOST_1/token", Value::Null).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_wrong_file_is_the_askers_mistake() {
    let (folder, centre) = opened().await;
    let file = folder.path().join("application.toml");
    std::fs::write(&file, "[application]\nnam = \"mail\"\n").expect("written");
    let body = json!({ "file": file });
    let (status, problem) = ask(&centre, Method::POST, "/applications", body).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(problem["chain"].to_string().contains("nam"), "{problem}");
    let unknown = json!({ "file": file, "other": 1 });
    let (status, _) = ask(&centre, Method::POST, "/applications", unknown).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    let (_, all) = ask(&centre, Method::GET, "/applications", Value::Null).await;
    assert_eq!(all, json!([]));
}

#[tokio::test]
async fn nobody_elsewhere_learns_what_a_file_holds() {
    let (folder, centre) = opened().await;
    let file = folder.path().join("secret");
    std::fs::write(&file, "[application]\nsecret = 1\n").expect("written");
    let body = json!({ "file": file });
    let asked = async |reach| {
        let body = body.clone();
        let answer = ask_over(reach, &centre, Method::POST, "/applications", body).await;
        assert_eq!(answer.0, StatusCode::BAD_REQUEST);
        answer.1["chain"].to_string().contains("`secret`")
    };
    assert!(!asked(Reach::Network).await);
    // Root, who may read it anyway, is shown the line that is wrong.
    assert!(asked(Reach::Host).await);
}

#[tokio::test]
async fn the_document_names_every_route() {
    let (_folder, centre) = opened().await;
    let (status, served) = ask(&centre, Method::GET, "/openapi.json", Value::Null).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(served, serde_json::to_value(document()).expect("JSON"));
    let paths = served["paths"].as_object().expect("paths");
    for path in [
        "/applications/{name}/switch",
        "/applications/{name}/events",
        "/agents/{host}/token",
    ] {
        assert!(paths.contains_key(path), "{path} of {paths:?}");
    }
}

#[tokio::test]
async fn readers_of_events_do_not_hold_up_the_end() {
    let (_folder, centre) = opened().await;
    let request = Request::builder()
        .uri("/events")
        .body(Body::empty())
        .expect("a request");
    let response = router(centre.clone(), Reach::Host)
        .oneshot(request)
        .await
        .expect("an answer");
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    centre.close().await;
    let read = tokio::time::timeout(
        std::time::Duration::from_secs(30),
        response.into_body().collect(),
    );
    assert!(read.await.is_ok(), "the stream ends");
}
