use std::time::Duration;

use axum::http::Method;
use serde_json::{Value, json};

use super::{Asker, Bed, MINUTE, PASSWORD};

const SITES: &str = "/api/v1/sites";

#[tokio::test]
async fn what_no_rule_names_is_refused() {
    let bed = Bed::with_users().await;
    let nobody = Asker::default();
    let everything = bed.confirmed("administrator").await;
    for path in ["/api/v1/unlisted", "/api/v1/nothing", "/api/v1/sites/x"] {
        bed.get(&nobody, path).await.expect(401, "log_in");
    }
    bed.get(&everything, "/api/v1/unlisted")
        .await
        .expect(405, "not_allowed");
    bed.get(&everything, "/api/v1/nothing")
        .await
        .expect(404, "not_found");
    bed.get(&everything, "/api/v1/sites/x")
        .await
        .expect(405, "not_allowed");
    bed.get(&nobody, "/").await.expect(200, "");
    // HEAD is what GET is.
    let head = bed.ask(&nobody, Method::HEAD, SITES, Value::Null).await;
    assert_eq!(head.status, 401);
    let head = bed.ask(&everything, Method::HEAD, SITES, Value::Null).await;
    assert_eq!(head.status, 200);
    // What only root's socket has is not here.
    let link = "/api/v1/access/first-user/link";
    bed.post(&everything, link, json!(null))
        .await
        .expect(404, "not_found");
}

#[tokio::test]
async fn roles_may_what_is_theirs() {
    let bed = Bed::with_users().await;
    let viewer = bed.browser("viewer").await;
    bed.get(&viewer, SITES).await.expect(200, "");
    bed.post(&viewer, SITES, json!({}))
        .await
        .expect(403, "role");
    bed.get(&viewer, "/api/v1/access/users")
        .await
        .expect(403, "role");
    let operator = bed.browser("operator").await;
    bed.post(&operator, SITES, json!({})).await.expect(200, "");
    bed.get(&operator, "/api/v1/access/audit")
        .await
        .expect(403, "role");
    let administrator = bed.browser("administrator").await;
    bed.post(&administrator, SITES, json!({}))
        .await
        .expect(200, "");
    bed.get(&administrator, "/api/v1/access/audit")
        .await
        .expect(200, "");
}

#[tokio::test]
async fn what_cannot_be_taken_back_needs_the_password_again() {
    let bed = Bed::with_users().await;
    let browser = bed.browser("operator").await;
    let remove = || bed.ask(&browser, Method::DELETE, "/api/v1/sites/x", Value::Null);
    remove().await.expect(403, "confirm");
    let confirm = |password: &str| json!({ "password": password });
    let path = "/api/v1/access/confirm";
    bed.post(&browser, path, confirm("something else"))
        .await
        .expect(401, "wrong");
    remove().await.expect(403, "confirm");
    let me = bed.post(&browser, path, confirm(PASSWORD)).await;
    assert!(me.body["confirmed_until"].is_i64(), "{me:?}");
    remove().await.expect(200, "");
    bed.wait(5 * MINUTE);
    remove().await.expect(403, "confirm");
    for _ in 0..4 {
        bed.post(&browser, path, confirm("something else"))
            .await
            .expect(401, "wrong");
    }
    bed.post(&browser, path, confirm("something else"))
        .await
        .expect(429, "locked");
    bed.post(&browser, path, confirm(PASSWORD))
        .await
        .expect(429, "locked");
}

#[tokio::test]
async fn pages_of_others_change_nothing() {
    let bed = Bed::with_users().await;
    let browser = bed.browser("operator").await;
    bed.post(&browser, SITES, json!({})).await.expect(200, "");
    for origin in [
        "https://evil.example",
        "https://localhost:9090",
        "http://localhost:8443",
        "https://localhost:8443.evil.example",
        "null",
        "",
    ] {
        let foreign = browser.with("origin", origin);
        bed.post(&foreign, SITES, json!({}))
            .await
            .expect(403, "origin");
    }
    for site in ["cross-site", "same-site", "nonsense"] {
        let foreign = browser.with("sec-fetch-site", site);
        bed.post(&foreign, SITES, json!({}))
            .await
            .expect(403, "origin");
        bed.get(&foreign, SITES).await.expect(403, "origin");
    }
    // Nor does it log anybody in, whoever they are.
    let foreign = Asker::default().with("origin", "https://evil.example");
    bed.log_in(&foreign, "viewer", PASSWORD)
        .await
        .expect(403, "origin");
    // A page may link here.
    let link = Asker::default().with("sec-fetch-site", "cross-site");
    bed.get(&link, "/").await.expect(200, "");
    // A form of another page sends such bodies.
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
    ] {
        let form = browser.with("content-type", kind);
        bed.post(&form, SITES, json!({})).await.expect(415, "media");
    }
    // A connection of its own is a change, though it begins with GET.
    let socket = browser
        .with("upgrade", "websocket")
        .with("connection", "upgrade");
    bed.get(&socket.with("origin", "https://evil.example"), SITES)
        .await
        .expect(403, "origin");
    bed.get(&socket.with("origin", ""), SITES)
        .await
        .expect(403, "origin");
    bed.get(&socket, SITES).await.expect(200, "");
    let token = bed.token("operator", &["recovery"], false).await;
    bed.post(
        &token.with("origin", "https://evil.example"),
        SITES,
        json!({}),
    )
    .await
    .expect(403, "origin");
    bed.post(&token, SITES, json!({})).await.expect(200, "");
}

#[tokio::test]
async fn names_of_others_are_not_answered() {
    let bed = Bed::with_users().await;
    let browser = bed.browser("viewer").await;
    for (host, is_ours) in [
        ("localhost:8443", true),
        ("boat.example:8443", true),
        ("192.0.2.7", true),
        ("evil.example:8443", false),
        ("", false),
    ] {
        let asker = browser
            .with("host", host)
            .with("origin", &format!("https://{host}"));
        let status = bed.get(&asker, SITES).await.status;
        assert_eq!(status == 200, is_ours, "{host}: {status}");
        // Not even the page: its script would run under that name.
        let page = bed
            .get(&Asker::default().with("host", host), "/")
            .await
            .status;
        assert_eq!(page == 200, is_ours, "{host}: {page}");
    }
}

#[tokio::test]
async fn tokens_may_what_they_were_made_for() {
    let bed = Bed::with_users().await;
    let token = bed.token("operator", &["recovery"], false).await;
    bed.get(&token, SITES).await.expect(200, "");
    bed.post(&token, SITES, json!({})).await.expect(200, "");
    bed.ask(&token, Method::DELETE, "/api/v1/sites/x", Value::Null)
        .await
        .expect(403, "scope");
    bed.get(&token, "/api/v1/access/me").await.expect(200, "");
    let looks = bed.token("viewer", &["recovery"], false).await;
    bed.post(&looks, SITES, json!({})).await.expect(403, "role");
    let other = bed.token("administrator", &["failover"], true).await;
    bed.get(&other, SITES).await.expect(403, "scope");
    bed.get(&other, "/api/v1/access/users")
        .await
        .expect(403, "scope");
    let all = bed.token("operator", &["recovery"], true).await;
    bed.ask(&all, Method::DELETE, "/api/v1/sites/x", Value::Null)
        .await
        .expect(200, "");
    // Only in the header: in an address it would be in logs and histories.
    let word = all.token.clone().unwrap();
    for path in [
        format!("{SITES}?token={word}"),
        format!("{SITES}?access_token={word}"),
        format!("{SITES}?authorization=Bearer%20{word}"),
    ] {
        bed.get(&Asker::default(), &path)
            .await
            .expect(401, "log_in");
    }
    // A wrong token beside a good cookie counts, not the cookie.
    let mut both = bed.browser("administrator").await;
    both.token = Some("lifeboat_0000000000000000_wrong".to_owned());
    bed.get(&both, SITES).await.expect(401, "log_in");
}

#[tokio::test]
async fn who_asks_is_told_by_the_guard_alone() {
    let bed = Bed::with_users().await;
    let liar = bed
        .browser("operator")
        .await
        .with("lifeboat-operator", "administrator");
    let answer = bed.post(&liar, SITES, json!({})).await;
    assert_eq!(answer.body["operator"], "operator");
    let token = bed.token("operator", &["recovery"], false).await;
    let answer = bed.post(&token, SITES, json!({})).await;
    let name = answer.body["operator"].as_str().unwrap();
    assert!(name.starts_with("root:t"), "{name}");
    assert_eq!(answer.body["sees_token"], false);
}

#[tokio::test]
async fn every_answer_tells_browsers_what_not_to_do() {
    let bed = Bed::with_users().await;
    let browser = bed.browser("viewer").await;
    let foreign = Asker::default().with("host", "evil.example");
    for answer in [
        bed.get(&browser, SITES).await,
        bed.get(&Asker::default(), "/").await,
        bed.get(&Asker::default(), SITES).await,
        bed.get(&foreign, "/").await,
    ] {
        let text = |name: &str| answer.headers[name].to_str().unwrap().to_owned();
        assert!(text("content-security-policy").starts_with("default-src 'none'"));
        assert!(!text("content-security-policy").contains("unsafe"));
        assert_eq!(text("x-content-type-options"), "nosniff");
        assert_eq!(text("x-frame-options"), "DENY");
        assert_eq!(text("referrer-policy"), "no-referrer");
        assert_eq!(text("cache-control"), "no-store");
        assert!(text("strict-transport-security").starts_with("max-age="));
        assert!(!answer.headers.contains_key("access-control-allow-origin"));
    }
}

#[tokio::test]
async fn a_stream_ends_with_its_session() {
    let bed = Bed::with_users().await;
    let browser = bed.browser("viewer").await;
    let stream = bed
        .open(&browser, Method::GET, "/api/v1/events", Value::Null)
        .await;
    assert_eq!(stream.status(), 200);
    let mut read = tokio::spawn(axum::body::to_bytes(stream.into_body(), 1024));
    let early = tokio::time::timeout(Duration::from_millis(200), &mut read).await;
    assert!(early.is_err(), "control: it goes on while the session does");
    bed.post(&browser, "/api/v1/access/logout", json!(null))
        .await
        .expect(200, "");
    let ended = tokio::time::timeout(Duration::from_secs(10), read).await;
    assert!(ended.is_ok(), "the stream goes on without its session");
}

#[tokio::test]
async fn large_bodies_are_refused() {
    let bed = Bed::with_users().await;
    let body = json!({ "name": "x".repeat(2 << 20), "password": "y" });
    let answer = bed
        .post(&Asker::default(), "/api/v1/access/login", body)
        .await;
    answer.expect(413, "too_large");
}
