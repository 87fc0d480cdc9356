//! What happens, as it happens: server-sent events.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Sse;
use axum::response::sse::{self, KeepAlive};
use serde_json::json;
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::wrappers::errors::BroadcastStreamRecvError;
use tokio_stream::{Stream, StreamExt};

use super::{Failure, Problem};
use crate::centre::Centre;
use crate::event::{Event, What};

/// Everything that happens from now on, one JSON object an event. The event `missed` says that the
/// reader was too slow and has to look anew.
#[utoipa::path(get, path = "/events", responses(
    (status = 200, content_type = "text/event-stream", body = String)))]
pub(super) async fn all(
    State(centre): State<Centre>,
) -> Sse<impl Stream<Item = Result<sse::Event, Infallible>>> {
    stream(&centre, None)
}

/// The same of one application.
#[utoipa::path(get, path = "/applications/{name}/events", params(("name" = String, Path)), responses(
    (status = 200, content_type = "text/event-stream", body = String), (status = 404, body = Problem)))]
pub(super) async fn of_application(
    State(centre): State<Centre>,
    Path(name): Path<String>,
) -> Result<Sse<impl Stream<Item = Result<sse::Event, Infallible>>>, Failure> {
    centre.handle(&name)?;
    Ok(stream(&centre, Some(name)))
}

fn stream(
    centre: &Centre,
    application: Option<String>,
) -> Sse<impl Stream<Item = Result<sse::Event, Infallible>> + use<>> {
    let wanted = move |event: &Event| {
        application.is_none() || event.application.is_none() || event.application == application
    };
    let events = BroadcastStream::new(centre.events().subscribe());
    let closes = |event: &Result<Arc<Event>, _>| matches!(event, Ok(event) if matches!(event.what, What::Closes));
    let events = events.take_while(move |event| !closes(event)).filter_map(
        move |event: Result<Arc<Event>, BroadcastStreamRecvError>| match event {
            Ok(event) if !wanted(&event) => None,
            Ok(event) => sse::Event::default().json_data(&*event).ok().map(Ok),
            Err(BroadcastStreamRecvError::Lagged(count)) => {
                let missed = sse::Event::default().event("missed");
                missed.json_data(json!({ "count": count })).ok().map(Ok)
            }
        },
    );
    Sse::new(events).keep_alive(KeepAlive::default())
}
