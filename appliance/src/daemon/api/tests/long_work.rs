use std::sync::Arc;

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::sync::{Notify, oneshot};
use tower::ServiceExt;

use crate::daemon::api::Reach;
use crate::daemon::api::long::{Wish, begin};
use crate::daemon::ongoing::{Beginning, Operation, OperationKind, OperationState};
use crate::daemon::testing::{Bed, request};
use crate::events::{Event, Events};
use crate::notices::{SiteChange, What};

fn beginning(asynchronous: bool) -> Beginning {
    Beginning {
        kind: OperationKind::Prepare,
        subject: "small".into(),
        asynchronous,
    }
}

/// Work that says how far it is and then waits for a word, or until nobody waits for it.
fn waiting(bed: &Bed, go_on: Arc<Notify>) -> Arc<Operation> {
    let work = move |events: Events| async move {
        events.step("look", "one");
        for done in 1..=3 {
            events.progress("look", "one", done, 3);
        }
        go_on.notified().await;
        anyhow::ensure!(!events.is_abandoned(), "nobody waits");
        Ok(json!({ "found": 7 }))
    };
    let operations = &bed.appliance.operations;
    operations
        .begin(&bed.appliance, beginning(true), work)
        .unwrap()
}

/// The events of an operation, to the end.
async fn heard(bed: &Bed, path: &str, last: Option<&str>) -> Vec<(String, Value)> {
    let mut asked = request(Method::GET, path, Value::Null);
    if let Some(last) = last {
        asked
            .headers_mut()
            .insert("last-event-id", last.parse().unwrap());
    }
    let answer = bed.send(Reach::Host, asked).await.expect(StatusCode::OK);
    assert_eq!(answer.headers["content-type"], "text/event-stream");
    let text = answer.text();
    let field = |block: &str, name: &str| {
        let line = block.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_default().trim().to_owned()
    };
    let blocks = text.split("\n\n").filter(|block| block.contains("data:"));
    let event = |block: &str| {
        let data = serde_json::from_str(&field(block, "data:")).unwrap();
        (
            format!("{} {}", field(block, "id:"), field(block, "event:")),
            data,
        )
    };
    blocks.map(event).collect()
}

#[tokio::test]
async fn work_goes_on_without_its_asker_and_is_followed_from_anywhere() {
    let bed = Bed::new().await;
    let go_on = Arc::new(Notify::new());
    let operation = waiting(&bed, go_on.clone());
    let id = operation.view().id;
    let path = format!("/operations/{id}");
    let shown = bed.get(&path).await.expect(StatusCode::OK).json();
    assert_eq!(
        (&shown["state"], &shown["kind"]),
        (&json!("running"), &json!("prepare"))
    );
    let early = bed.get(&format!("{path}/result")).await;
    early.expect(StatusCode::CONFLICT);
    go_on.notify_one();
    let events = heard(&bed, &format!("{path}/events"), None).await;
    let names: Vec<&str> = events.iter().map(|(name, _)| name.as_str()).collect();
    // Of how far it is only the newest is kept.
    assert_eq!(names.first(), Some(&"1 step"));
    assert_eq!(names[names.len() - 2..], ["4 progress", "5 result"]);
    assert_eq!(events.last().unwrap().1["value"]["found"], 7);
    let rest = heard(&bed, &format!("{path}/events"), Some("4")).await;
    assert_eq!(rest.len(), 1);
    let rest = heard(&bed, &format!("{path}/events?after=4"), None).await;
    assert_eq!(rest[0].0, "5 result");
    let shown = bed.get(&path).await.json();
    assert_eq!(
        (&shown["state"], &shown["last_event"]),
        (&json!("succeeded"), &json!(5))
    );
    assert!(shown["ended_ms"].is_u64());
    let result = bed
        .get(&format!("{path}/result"))
        .await
        .expect(StatusCode::OK);
    assert_eq!(result.json(), json!({ "found": 7 }));
    let list = bed.get("/operations").await.json();
    assert_eq!(
        (list.as_array().unwrap().len(), &list[0]["id"]),
        (1, &json!(id))
    );
}

#[tokio::test]
async fn cancelled_work_ends_and_says_so() {
    let bed = Bed::new().await;
    let go_on = Arc::new(Notify::new());
    let operation = waiting(&bed, go_on.clone());
    let path = format!("/operations/{}", operation.view().id);
    let cancel = format!("{path}/cancel");
    let cancelled = bed.ask(Method::POST, &cancel, Value::Null).await;
    let cancelled = cancelled.expect(StatusCode::OK).json();
    assert_eq!(cancelled["state"], "running");
    go_on.notify_one();
    let events = heard(&bed, &format!("{path}/events"), None).await;
    assert_eq!(events.last().unwrap().1["chain"], json!(["nobody waits"]));
    assert_eq!(operation.view().state, OperationState::Cancelled);
    let result = bed.get(&format!("{path}/result")).await;
    result.expect(StatusCode::CONFLICT);
    // Once more changes nothing.
    bed.ask(Method::POST, &cancel, Value::Null)
        .await
        .expect(StatusCode::OK);
}

#[tokio::test]
async fn work_that_breaks_off_has_failed() {
    let bed = Bed::new().await;
    let (broken, breaks) = oneshot::channel::<()>();
    let work = |_: Events| async {
        breaks.await.unwrap();
        Ok(Value::Null)
    };
    let operations = &bed.appliance.operations;
    let operation = operations
        .begin(&bed.appliance, beginning(true), work)
        .unwrap();
    drop(broken);
    let path = format!("/operations/{}/events", operation.view().id);
    let events = heard(&bed, &path, None).await;
    assert!(events.last().unwrap().0.ends_with("failed"), "{events:?}");
    assert_eq!(operation.view().state, OperationState::Failed);
    assert!(!bed.appliance.is_working());
}

fn ask_prepare(prefer: Option<&str>) -> Request<Body> {
    let mut asked = request(Method::POST, "/sites/small/prepare", json!({}));
    if let Some(prefer) = prefer {
        asked
            .headers_mut()
            .insert("prefer", prefer.parse().unwrap());
    }
    asked
}

#[tokio::test]
async fn a_browser_gets_a_name_and_a_command_the_events() {
    let bed = Bed::new().await;
    // The site is not there, so that the work ends at once.
    let lines = bed
        .send(Reach::Host, ask_prepare(None))
        .await
        .expect(StatusCode::OK);
    assert_eq!(lines.headers["content-type"], "application/x-ndjson");
    let last: Event = serde_json::from_str(lines.text().lines().last().unwrap()).unwrap();
    assert!(matches!(
        last,
        Event::Failed {
            wrong_use: true,
            ..
        }
    ));
    let preferred = ask_prepare(Some("wait=10, respond-async"));
    let accepted = bed
        .send(Reach::Network, preferred)
        .await
        .expect(StatusCode::ACCEPTED);
    let id = accepted.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(
        accepted.headers["location"],
        format!("/api/v1/operations/{id}")
    );
    let events = heard(&bed, &format!("/operations/{id}/events"), None).await;
    assert!(events.last().unwrap().0.ends_with("failed"));
    assert_eq!(bed.get("/operations").await.json()[0]["asynchronous"], true);
}

async fn until_abandoned(events: &Events) {
    while !events.is_abandoned() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn work_whose_reader_leaves_is_abandoned_unless_it_was_asked_to_go_on() {
    let bed = Bed::new().await;
    for (asynchronous, expected) in [(false, true), (true, false)] {
        let (told, abandoned) = oneshot::channel();
        let go_on = Arc::new(Notify::new());
        let wait = go_on.clone();
        let work = move |events: Events| async move {
            events.step("begin", "");
            tokio::select! {
                () = wait.notified() => {}
                () = until_abandoned(&events) => {}
            }
            told.send(events.is_abandoned()).unwrap();
            Ok(Value::Null)
        };
        let wish = match asynchronous {
            true => Wish::Leave,
            false => Wish::Stay,
        };
        let about = (OperationKind::Prepare, "small");
        let response = begin(&bed.appliance, wish, about, work).ok().unwrap();
        let mut body = response.into_body();
        body.frame().await.unwrap().unwrap();
        drop(body);
        if asynchronous {
            go_on.notify_one();
        }
        assert_eq!(
            abandoned.await.unwrap(),
            expected,
            "asynchronous: {asynchronous}"
        );
    }
}

#[tokio::test]
async fn watchers_hear_changes_and_do_not_hold_up_the_end() {
    let bed = Bed::with_site().await;
    let response = bed.router(Reach::Host);
    let response = response
        .oneshot(request(Method::GET, "/events", Value::Null))
        .await
        .unwrap();
    let store = &bed.appliance.store;
    store
        .create_session("s1", "small", crate::report::Mode::Test)
        .await
        .unwrap();
    store
        .log_step("s1", "booting", "<b>one</b>", "")
        .await
        .unwrap();
    let words = bed.ask(
        Method::POST,
        "/sites/small/operator",
        json!({ "pin": ["one:two"] }),
    );
    words.await.expect(StatusCode::OK);
    bed.appliance.end();
    let all = response.into_body().collect().await.unwrap().to_bytes();
    let text = String::from_utf8(all.to_vec()).unwrap();
    let kinds: Vec<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix("event: "))
        .collect();
    assert_eq!(kinds, ["session", "step", "site"], "{text}");
    assert!(text.contains("\"subject\":\"<b>one</b>\""), "{text}");
}

#[tokio::test]
async fn a_watcher_of_another_life_is_told_to_look_anew() {
    let bed = Bed::new().await;
    bed.appliance.store.notices().tell(What::Site {
        name: "small".into(),
        change: SiteChange::Added,
    });
    let mut asked = request(Method::GET, "/events", Value::Null);
    asked
        .headers_mut()
        .insert("last-event-id", "0123456789ab-1".parse().unwrap());
    let response = bed.router(Reach::Host).oneshot(asked).await.unwrap();
    bed.appliance.end();
    let all = response.into_body().collect().await.unwrap().to_bytes();
    assert!(all.starts_with(b"event: missed\ndata: {}"), "{all:?}");
}
