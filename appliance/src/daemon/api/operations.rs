//! Long work that goes on, or ended.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::Sse;
use axum::response::sse::{self, KeepAlive};
use serde::Deserialize;
use serde_json::json;
use tokio_stream::{Stream, StreamExt};

use super::long::followed;
use super::{Answer, ApiError, Failure};
use crate::daemon::ongoing::{Operation, OperationState, OperationView};
use crate::daemon::{Appliance, Missing, NotNow};
use crate::events::Event;
use crate::telling::Heard;

/// What a browser sends when it connects again.
pub(super) const LAST_EVENT: &str = "last-event-id";

/// Long work that goes on, and some that ended; the newest first.
#[utoipa::path(get, path = "/operations", operation_id = "list_operations", tag = "operations",
    responses((status = 200, body = Vec<OperationView>)))]
pub(super) async fn list(State(appliance): State<Appliance>) -> Json<Vec<OperationView>> {
    Json(appliance.operations.list())
}

/// One of them.
#[utoipa::path(get, path = "/operations/{id}", operation_id = "show_operation", tag = "operations",
    params(("id" = String, Path)),
    responses((status = 200, body = OperationView), (status = 404, body = ApiError)))]
pub(super) async fn show(
    State(appliance): State<Appliance>,
    Path(id): Path<String>,
) -> Answer<OperationView> {
    Ok(Json(find(&appliance, &id)?.view()))
}

/// Its result: what the route that began it answers.
#[utoipa::path(get, path = "/operations/{id}/result", operation_id = "operation_result", tag = "operations",
    params(("id" = String, Path)),
    responses((status = 200, body = serde_json::Value), (status = 404, body = ApiError),
        (status = 409, description = "it has none: it goes on, or failed", body = ApiError)))]
pub(super) async fn result(
    State(appliance): State<Appliance>,
    Path(id): Path<String>,
) -> Answer<serde_json::Value> {
    let operation = find(&appliance, &id)?;
    let none = || match operation.view().state {
        OperationState::Running => NotNow(format!("operation `{id}` still goes on")),
        _ => NotNow(format!(
            "operation `{id}` has no result: it did not succeed"
        )),
    };
    Ok(Json(operation.result().ok_or_else(none)?))
}

/// From which of its events on.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct After {
    /// From what comes behind the event with this number; from the first when left out. The
    /// header `Last-Event-ID` counts more.
    after: Option<u64>,
}

/// Its events as they come, from the first or from behind `Last-Event-ID`; the stream ends with
/// `result` or `failed`. The event `missed` says that some are kept no more.
#[utoipa::path(get, path = "/operations/{id}/events", operation_id = "operation_events", tag = "operations",
    params(("id" = String, Path), After),
    responses((status = 200, content_type = "text/event-stream", body = Event), (status = 404, body = ApiError)))]
pub(super) async fn events(
    State(appliance): State<Appliance>,
    Path(id): Path<String>,
    Query(asked): Query<After>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<sse::Event, Infallible>>>, Failure> {
    let operation = find(&appliance, &id)?;
    let number = |value: &axum::http::HeaderValue| value.to_str().ok()?.parse().ok();
    let last = headers.get(LAST_EVENT).and_then(number);
    let follower = operation.follow(last.or(asked.after).unwrap_or(0));
    let events = followed(follower, ()).filter_map(|heard| shown(&heard).map(Ok));
    Ok(Sse::new(events).keep_alive(KeepAlive::default()))
}

fn shown(heard: &Heard<Event>) -> Option<sse::Event> {
    match heard {
        Heard::One(number, event) => {
            let shown = sse::Event::default()
                .id(number.to_string())
                .event(event.word());
            shown.json_data(event).ok()
        }
        Heard::Missed(from, to) => {
            let missed = sse::Event::default().event("missed");
            missed.json_data(json!({ "from": from, "to": to })).ok()
        }
    }
}

/// Tells it to stop. What it had begun ends: a session is torn down.
#[utoipa::path(post, path = "/operations/{id}/cancel", operation_id = "cancel_operation", tag = "operations",
    params(("id" = String, Path)),
    responses((status = 200, body = OperationView), (status = 404, body = ApiError)))]
pub(super) async fn cancel(
    State(appliance): State<Appliance>,
    Path(id): Path<String>,
) -> Answer<OperationView> {
    let operation = find(&appliance, &id)?;
    appliance.store.audit("operation cancel", &id).await?;
    appliance.operations.cancel(&appliance, &operation).await?;
    Ok(Json(operation.view()))
}

fn find(appliance: &Appliance, id: &str) -> Result<Arc<Operation>, Missing> {
    let gone = || {
        Missing(format!(
            "no operation has the id `{id}`: it ended long ago, or before the daemon was started again"
        ))
    };
    appliance.operations.find(id).ok_or_else(gone)
}
