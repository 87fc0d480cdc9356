//! Long work over HTTP: its events as they come, or, for who prefers that, a name by which it is
//! found again.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;

use super::Failure;
use crate::daemon::Appliance;
use crate::daemon::ongoing::{Beginning, Operation, OperationKind};
use crate::events::{Event, Events};
use crate::telling::{Follower, Heard};

/// How far a reader may be behind before the next event waits for it.
const BEHIND: usize = 16;

/// How the asker wants to hear of the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// As it goes on; it ends when the asker leaves.
    Stay,
    /// Later: `Prefer: respond-async`.
    Leave,
}

impl<S: Sync> FromRequestParts<S> for Wish {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let preferences = parts.headers.get_all("prefer").iter();
        let mut words = preferences
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split([',', ';']));
        let leaves = words.any(|word| word.trim().eq_ignore_ascii_case("respond-async"));
        Ok(if leaves { Self::Leave } else { Self::Stay })
    }
}

/// Begins work and answers as the asker wishes.
pub fn begin<F, W>(
    appliance: &Appliance,
    wish: Wish,
    (kind, subject): (OperationKind, &str),
    work: F,
) -> Result<Response, Failure>
where
    F: FnOnce(Events) -> W,
    W: Future<Output = anyhow::Result<serde_json::Value>> + Send + 'static,
{
    let beginning = Beginning {
        kind,
        subject: subject.to_owned(),
        asynchronous: wish == Wish::Leave,
    };
    let operation = appliance.operations.begin(appliance, beginning, work)?;
    Ok(match wish {
        Wish::Stay => lines(operation),
        Wish::Leave => accepted(&operation),
    })
}

fn accepted(operation: &Operation) -> Response {
    let view = operation.view();
    let place = format!("/api/v1/operations/{}", view.id);
    let headers = [
        (header::LOCATION, place.as_str()),
        (
            header::HeaderName::from_static("preference-applied"),
            "respond-async",
        ),
    ];
    (StatusCode::ACCEPTED, headers, Json(view)).into_response()
}

/// One event a line, until the last. Work whose reader leaves is abandoned.
fn lines(operation: Arc<Operation>) -> Response {
    let follower = operation.follow(0);
    let leaving = Leaving(operation);
    let heard = followed(follower, leaving).filter_map(|heard| match heard {
        Heard::One(_, event) => Some(line(&event)),
        Heard::Missed(..) => None,
    });
    let kind = [(header::CONTENT_TYPE, "application/x-ndjson")];
    (kind, Body::from_stream(heard)).into_response()
}

fn line(event: &Event) -> serde_json::Result<String> {
    let mut line = serde_json::to_string(event)?;
    line.push('\n');
    Ok(line)
}

/// Whoever waited for the work is gone when this is.
struct Leaving(Arc<Operation>);

impl Drop for Leaving {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

/// What a follower hears as a stream; `held` is dropped at its end or when its reader leaves.
pub fn followed<T, H>(mut follower: Follower<T>, held: H) -> ReceiverStream<Heard<T>>
where
    T: Clone + Send + 'static,
    H: Send + 'static,
{
    let (sender, receiver) = mpsc::channel(BEHIND);
    tokio::spawn(async move {
        let _held = held;
        loop {
            let heard = tokio::select! {
                heard = follower.next() => heard,
                () = sender.closed() => None,
            };
            let Some(heard) = heard else { return };
            if sender.send(heard).await.is_err() {
                return;
            }
        }
    });
    ReceiverStream::new(receiver)
}
