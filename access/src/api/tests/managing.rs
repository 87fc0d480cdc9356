use axum::http::Method;
use serde_json::{Value, json};

use super::{Asker, Bed, MINUTE, OTHER, PASSWORD};

const USERS: &str = "/api/v1/access/users";
const TOKENS: &str = "/api/v1/access/tokens";

#[tokio::test]
async fn administrators_make_change_and_remove_users() {
    let bed = Bed::with_users().await;
    let boss = bed.confirmed("administrator").await;
    let ask = |name: &str, password: &str| json!({ "name": name, "role": "viewer", "password": password });
    let made = bed.post(&boss, USERS, ask("bob", PASSWORD)).await;
    made.expect(200, "");
    assert_eq!(made.body["role"], "viewer");
    bed.post(&boss, USERS, ask("bob", PASSWORD))
        .await
        .expect(409, "conflict");
    for name in [
        "",
        "Bob",
        "root",
        "daemon",
        "a b",
        "-x",
        "a/b",
        "\u{202e}bob",
        &"x".repeat(33),
    ] {
        bed.post(&boss, USERS, ask(name, PASSWORD))
            .await
            .expect(400, "invalid");
    }
    bed.post(&boss, USERS, ask("carl", "short"))
        .await
        .expect(400, "invalid");
    let unknown = json!({ "name": "carl", "role": "king", "password": PASSWORD });
    bed.post(&boss, USERS, unknown).await.expect(400, "invalid");
    let bob = bed.browser("bob").await;
    let path = format!("{USERS}/bob");
    bed.post(&boss, &path, json!({ "role": "operator" }))
        .await
        .expect(200, "");
    bed.get(&bob, "/api/v1/access/me")
        .await
        .expect(401, "log_in");
    assert_eq!(
        bed.get(&bed.browser("bob").await, "/api/v1/access/me")
            .await
            .body["role"],
        "operator"
    );
    bed.post(&boss, &format!("{USERS}/nobody"), json!({}))
        .await
        .expect(404, "not_found");
    let removed = bed.ask(&boss, Method::DELETE, &path, Value::Null).await;
    assert_eq!(removed.body, true);
    let again = bed.ask(&boss, Method::DELETE, &path, Value::Null).await;
    assert_eq!(again.body, false);
}

#[tokio::test]
async fn an_administrator_always_remains() {
    let bed = Bed::with_users().await;
    let boss = bed.confirmed("administrator").await;
    let path = format!("{USERS}/administrator");
    for change in [json!({ "role": "viewer" }), json!({ "disabled": true })] {
        bed.post(&boss, &path, change).await.expect(409, "conflict");
    }
    bed.ask(&boss, Method::DELETE, &path, Value::Null)
        .await
        .expect(409, "conflict");
    bed.get(&boss, USERS).await.expect(200, "");
    let second = json!({ "name": "second", "role": "administrator", "password": PASSWORD });
    bed.post(&boss, USERS, second).await.expect(200, "");
    bed.post(&boss, &path, json!({ "role": "viewer" }))
        .await
        .expect(200, "");
    bed.get(&boss, USERS).await.expect(401, "log_in");
}

#[tokio::test]
async fn a_new_password_ends_the_other_sessions() {
    let bed = Bed::with_users().await;
    let (here, there) = (bed.browser("viewer").await, bed.browser("viewer").await);
    let path = "/api/v1/access/me/password";
    let change = |current: &str, new: &str| json!({ "current": current, "new": new });
    bed.post(&here, path, change(OTHER, OTHER))
        .await
        .expect(401, "wrong");
    bed.post(&here, path, change(PASSWORD, "short"))
        .await
        .expect(400, "invalid");
    bed.get(&there, "/api/v1/access/me").await.expect(200, "");
    bed.post(&here, path, change(PASSWORD, OTHER))
        .await
        .expect(200, "");
    bed.get(&here, "/api/v1/access/me").await.expect(200, "");
    bed.get(&there, "/api/v1/access/me")
        .await
        .expect(401, "log_in");
    bed.log_in(&Asker::default(), "viewer", PASSWORD)
        .await
        .expect(401, "wrong");
}

#[tokio::test]
async fn sessions_are_shown_and_ended() {
    let bed = Bed::with_users().await;
    let (viewer, boss) = (
        bed.browser("viewer").await,
        bed.browser("administrator").await,
    );
    let own = bed.get(&viewer, "/api/v1/access/me/sessions").await;
    let own = own.body.as_array().unwrap().clone();
    assert_eq!(own.len(), 1);
    assert_eq!(
        (&own[0]["this"], &own[0]["user"]),
        (&json!(true), &json!("viewer"))
    );
    let all = bed.get(&boss, "/api/v1/access/sessions").await;
    let all = all.body.as_array().unwrap().clone();
    assert_eq!(all.len(), 2);
    let id = |name: &str| {
        let found = all.iter().find(|one| one["user"] == name).unwrap();
        found["id"].as_str().unwrap().to_owned()
    };
    // Nobody ends what is another's, but administrators.
    let path = format!("/api/v1/access/me/sessions/{}", id("administrator"));
    let ended = bed.ask(&viewer, Method::DELETE, &path, Value::Null).await;
    assert_eq!(ended.body, false);
    bed.get(&boss, USERS).await.expect(200, "");
    let path = format!("/api/v1/access/sessions/{}", id("viewer"));
    let ended = bed.ask(&boss, Method::DELETE, &path, Value::Null).await;
    assert_eq!(ended.body, true);
    bed.get(&viewer, "/api/v1/access/me")
        .await
        .expect(401, "log_in");
}

#[tokio::test]
async fn tokens_never_exceed_their_owner() {
    let bed = Bed::with_users().await;
    let operator = bed.confirmed("operator").await;
    let ask = |name: &str, role: &str| json!({ "name": name, "role": role, "scopes": ["recovery"], "days": 1 });
    bed.post(&operator, TOKENS, ask("ci", "administrator"))
        .await
        .expect(403, "role");
    let made = bed.post(&operator, TOKENS, ask("ci", "operator")).await;
    made.expect(200, "");
    bed.post(&operator, TOKENS, ask("ci", "viewer"))
        .await
        .expect(409, "conflict");
    let none = json!({ "name": "x", "role": "viewer", "scopes": ["everything"] });
    bed.post(&operator, TOKENS, none)
        .await
        .expect(400, "invalid");
    let token = Asker {
        token: made.body["token"].as_str().map(str::to_owned),
        ..Asker::default()
    };
    let sites = "/api/v1/sites";
    bed.post(&token, sites, json!({})).await.expect(200, "");
    // Its owner may less, and so may it; its owner is out, and so is it.
    let change = |body| bed.as_root(Method::POST, "/api/v1/access/users/operator", body);
    change(json!({ "role": "viewer" })).await.expect(200, "");
    bed.post(&token, sites, json!({})).await.expect(403, "role");
    change(json!({ "disabled": true })).await.expect(200, "");
    bed.get(&token, sites).await.expect(401, "log_in");
    change(json!({ "disabled": false })).await.expect(200, "");
    bed.get(&token, sites).await.expect(200, "");
    bed.wait(24 * 60 * MINUTE);
    bed.get(&token, sites).await.expect(401, "log_in");
}

#[tokio::test]
async fn a_token_makes_none_that_may_more() {
    let bed = Bed::with_users().await;
    let token = bed.token("administrator", &["access"], true).await;
    let ask = |scope: &str| json!({ "name": "more", "role": "viewer", "scopes": [scope] });
    bed.post(&token, TOKENS, ask("failover"))
        .await
        .expect(403, "role");
    bed.post(&token, TOKENS, ask("access"))
        .await
        .expect(200, "");
}

#[tokio::test]
async fn tokens_of_others_are_not_seen_nor_removed() {
    let bed = Bed::with_users().await;
    bed.token("viewer", &["recovery"], false).await;
    let operator = bed.confirmed("operator").await;
    assert_eq!(bed.get(&operator, TOKENS).await.body, json!([]));
    let boss = bed.browser("administrator").await;
    let all = bed.get(&boss, TOKENS).await;
    let path = format!("{TOKENS}/{}", all.body[0]["id"].as_str().unwrap());
    assert_eq!(
        bed.ask(&operator, Method::DELETE, &path, Value::Null)
            .await
            .body,
        false
    );
    assert_eq!(
        bed.ask(&boss, Method::DELETE, &path, Value::Null)
            .await
            .body,
        true
    );
    assert!(!all.body.to_string().contains("hash"), "{all:?}");
}

#[tokio::test]
async fn changes_are_noted_before_and_after() {
    let bed = Bed::with_users().await;
    let operator = bed.browser("operator").await;
    bed.get(&operator, "/api/v1/sites").await;
    bed.post(&operator, "/api/v1/sites", json!({ "file": "/srv/a" }))
        .await;
    bed.ask(&operator, Method::DELETE, "/api/v1/sites/x", Value::Null)
        .await
        .expect(403, "confirm");
    bed.log_in(&Asker::default(), "viewer", OTHER).await;
    let boss = bed.confirmed("administrator").await;
    let user = json!({ "name": "bob", "role": "viewer", "password": PASSWORD });
    bed.post(&boss, USERS, user).await.expect(200, "");
    let word = |text: &str| text.to_owned();
    let line = |kind: &str, who: &str, what: &str, text: &str| {
        (word(kind), word(who), word(what), word(text))
    };
    let expected = [
        line("event", "operator", "log-in", ""),
        line(
            "intent",
            "operator",
            "POST /api/v1/sites",
            r#"{"file":"/srv/a"}"#,
        ),
        line("outcome", "operator", "", "200 OK"),
        line("event", "viewer", "log-in", "refused"),
        line("event", "administrator", "log-in", ""),
        line("intent", "administrator", "POST /api/v1/access/confirm", ""),
        line("outcome", "administrator", "", "200 OK"),
        line("intent", "administrator", "POST /api/v1/access/users", ""),
        line("detail", "administrator", "", "user bob, viewer"),
        line("outcome", "administrator", "", "200 OK"),
    ];
    let trail = bed.trail().await;
    assert_eq!(trail, expected);
    assert!(!format!("{trail:?}").contains(PASSWORD));
    let verdict = bed.get(&boss, "/api/v1/access/audit/verify").await;
    assert_eq!(
        (&verdict.body["ok"], &verdict.body["entries"]),
        (&json!(true), &json!(10))
    );
    let page = bed
        .get(&boss, "/api/v1/access/audit?before=3&limit=1")
        .await;
    assert_eq!(page.body[0]["seq"], 2);
    assert_eq!(page.body[0]["kind"], "intent");
}

#[tokio::test]
async fn what_cannot_be_noted_is_not_done() {
    let bed = Bed::with_users().await;
    let operator = bed.browser("operator").await;
    bed.post(&operator, "/api/v1/sites", json!({}))
        .await
        .expect(200, "");
    sqlx::query(
        "CREATE TRIGGER full BEFORE INSERT ON trail BEGIN SELECT RAISE(ABORT, 'disk full'); END",
    )
    .execute(&bed.access.store().pool)
    .await
    .unwrap();
    let answer = bed.post(&operator, "/api/v1/sites", json!({})).await;
    answer.expect(500, "internal");
    assert!(
        answer.body.get("operator").is_none(),
        "the route was reached: {answer:?}"
    );
    bed.get(&operator, "/api/v1/sites").await.expect(200, "");
}

#[tokio::test]
async fn root_is_noted_with_the_person_behind() {
    let bed = Bed::new().await;
    bed.as_root(Method::POST, "/api/v1/sites", json!({}))
        .await
        .expect(200, "");
    let trail = bed.trail().await;
    assert_eq!(trail[0].1, "root (alice)");
    let link = bed
        .as_root(Method::POST, "/api/v1/access/first-user/link", json!(null))
        .await;
    assert!(
        link.body["url"].as_str().unwrap().contains("/first-user#"),
        "{link:?}"
    );
    let me = bed
        .as_root(Method::GET, "/api/v1/access/me", json!(null))
        .await;
    assert_eq!(
        (&me.body["name"], &me.body["kind"]),
        (&json!("root"), &json!("root"))
    );
}

#[tokio::test]
async fn nothing_that_opens_anything_is_kept() {
    let bed = Bed::with_users().await;
    let browser = bed.browser("viewer").await;
    let token = bed.token("viewer", &["recovery"], false).await;
    bed.access.close().await;
    let kept = std::fs::read(&bed.file).unwrap();
    let holds = |word: &str| {
        kept.windows(word.len())
            .any(|window| window == word.as_bytes())
    };
    assert!(holds("viewer"), "control: what is kept is readable");
    let cookie = browser.cookie.unwrap();
    let secrets = [
        cookie.split_once('=').unwrap().1,
        &token.token.unwrap()[26..],
        PASSWORD,
    ];
    for secret in secrets {
        assert!(!holds(secret), "{secret} is in the database");
    }
    let mode = std::os::unix::fs::PermissionsExt::mode(&bed.file.metadata().unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
}
