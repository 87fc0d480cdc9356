use std::collections::BTreeSet;

use axum::http::StatusCode;
use serde_json::Value;

use crate::daemon::api::document::{document, printed};
use crate::daemon::api::effect::EFFECT;
use crate::daemon::testing::Bed;

const METHODS: [&str; 5] = ["get", "put", "post", "delete", "patch"];

fn as_json() -> Value {
    serde_json::to_value(document()).unwrap()
}

fn operations(document: &Value) -> Vec<(String, Value)> {
    let paths = document["paths"].as_object().unwrap();
    let each = paths.iter().flat_map(|(path, item)| {
        let item = item.as_object().unwrap();
        let own = item
            .iter()
            .filter(|(key, _)| METHODS.contains(&key.as_str()));
        own.map(move |(method, operation)| (format!("{method} {path}"), operation.clone()))
    });
    each.collect()
}

fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(keys) => {
            if let Some(Value::String(to)) = keys.get("$ref") {
                found.insert(to.clone());
            }
            keys.values().for_each(|inner| references(inner, found));
        }
        Value::Array(items) => items.iter().for_each(|inner| references(inner, found)),
        _ => {}
    }
}

#[test]
fn every_operation_has_a_name_and_an_effect() {
    let document = as_json();
    let operations = operations(&document);
    assert!(operations.len() > 40, "{}", operations.len());
    let mut names = BTreeSet::new();
    for (route, operation) in &operations {
        let name = operation["operationId"].as_str().unwrap();
        assert!(names.insert(name), "{route}: `{name}` twice");
        let effect = operation[EFFECT].as_str().unwrap_or_default();
        assert!(
            ["reads", "changes", "destroys"].contains(&effect),
            "{route}"
        );
        let reads = effect == "reads";
        assert!(!reads || route.starts_with("get "), "{route} only reads?");
    }
}

#[test]
fn everything_that_is_referred_to_is_there() {
    let document = as_json();
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    assert!(found.len() > 30, "{found:?}");
    for reference in found {
        let pointer = reference.trim_start_matches('#');
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
}

#[test]
fn the_printed_document_is_always_the_same() {
    let text = printed().unwrap();
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), as_json());
    assert_eq!(text, printed().unwrap());
}

#[tokio::test]
async fn the_document_is_browsed_without_anything_from_elsewhere() {
    let bed = Bed::new().await;
    let served = bed.get("/openapi.json").await.expect(StatusCode::OK);
    assert_eq!(served.json(), as_json());
    let page = bed.get("/api/docs/").await.expect(StatusCode::OK);
    let text = page.text();
    for (at, _) in text.match_indices("://") {
        let around = &text[at.saturating_sub(6)..(at + 14).min(text.len())];
        assert!(around.contains("www.w3.org"), "{around}");
    }
    let policy = page.headers["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("script-src 'self';"), "{policy}");
    assert!(!text.contains("<script>"), "a script is inline: {text}");
    for file in [
        "swagger-ui-bundle.js",
        "swagger-ui.css",
        "swagger-initializer.js",
    ] {
        let served = bed.get(&format!("/api/docs/{file}")).await;
        let served = served.expect(StatusCode::OK);
        assert_eq!(served.headers["x-content-type-options"], "nosniff");
    }
    let initializer = bed.get("/api/docs/swagger-initializer.js").await.text();
    assert!(
        initializer.contains("/api/v1/openapi.json"),
        "{initializer}"
    );
    for file in ["nothing.js", "../Cargo.toml", "..%2f..%2fCargo.toml"] {
        let answer = bed.get(&format!("/api/docs/{file}")).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{file}");
    }
}
