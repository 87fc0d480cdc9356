//! What changes, as it changes: server-sent events.

use std::convert::Infallible;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Sse;
use axum::response::sse::{self, KeepAlive};
use tokio_stream::{Stream, StreamExt};

use super::long::followed;
use super::operations::LAST_EVENT;
use crate::daemon::Appliance;
use crate::notices::{Notice, Notices};
use crate::telling::Heard;

/// Everything that changes from now on, or from behind `Last-Event-ID`. The event `missed` says
/// that something in between cannot be told any more: look anew.
#[utoipa::path(get, path = "/events", operation_id = "events", tag = "appliance",
    responses((status = 200, content_type = "text/event-stream", body = Notice)))]
pub(super) async fn all(
    State(appliance): State<Appliance>,
    headers: HeaderMap,
) -> Sse<impl Stream<Item = Result<sse::Event, Infallible>>> {
    let notices = appliance.store.notices().clone();
    let last = headers
        .get(LAST_EVENT)
        .map(|id| id.to_str().unwrap_or_default());
    let (follower, lost) = notices.follow(last);
    let first = tokio_stream::iter(lost.then(missed));
    let rest = followed(follower, ()).filter_map(move |heard| shown(&notices, &heard));
    Sse::new(first.chain(rest).map(Ok)).keep_alive(KeepAlive::default())
}

fn missed() -> sse::Event {
    sse::Event::default().event("missed").data("{}")
}

fn shown(notices: &Notices, heard: &Heard<Notice>) -> Option<sse::Event> {
    match heard {
        Heard::One(number, notice) => {
            let shown = sse::Event::default().id(notices.id(*number));
            shown.event(notice.what.kind()).json_data(notice).ok()
        }
        Heard::Missed(..) => Some(missed()),
    }
}
