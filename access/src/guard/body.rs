//! What goes over the wire beside the headers: of which kind, how slowly, how long.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, BodyDataStream, Bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, header};
use axum::response::Response;
use tokio_stream::{Stream, StreamExt};

use crate::error::{AccessError, Reason, refused};

/// A body of which nothing comes for so long is given up.
const PACE: Duration = Duration::from_secs(30);

/// Refuses bodies of the kinds that a form of a foreign page can send.
pub(super) fn check_kind(request: &Request) -> Result<(), AccessError> {
    let headers = request.headers();
    let kind = essence(headers).unwrap_or_default();
    let is_wanted = ["application/json", "application/octet-stream"].contains(&kind.as_str());
    match has_body(headers) && !is_wanted {
        true => Err(refused(
            Reason::Media,
            "the body of a request is `Content-Type: application/json`",
        )),
        false => Ok(()),
    }
}

fn has_body(headers: &HeaderMap) -> bool {
    let length = headers.get(header::CONTENT_LENGTH);
    length.is_some_and(|length| length != "0") || headers.contains_key(header::TRANSFER_ENCODING)
}

/// The media type without its parameters.
pub(super) fn essence(headers: &HeaderMap) -> Option<String> {
    let kind = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let kind = kind.split(';').next().unwrap_or_default();
    Some(kind.trim().to_ascii_lowercase())
}

/// A request whose body fails when nothing of it comes.
pub(super) fn paced(request: Request) -> Request {
    request.map(|body| {
        let stream = body.into_data_stream().timeout(PACE);
        Body::from_stream(stream.map(|data| match data {
            Ok(data) => data.map_err(std::io::Error::other),
            Err(_) => Err(std::io::ErrorKind::TimedOut.into()),
        }))
    })
}

/// Whether an answer goes on until somebody ends it.
pub(super) fn is_endless(response: &Response) -> bool {
    essence(response.headers()).is_some_and(|kind| kind == "text/event-stream")
}

/// An answer that ends when `end` comes.
pub(super) fn until(
    response: Response,
    end: impl Future<Output = ()> + Send + 'static,
) -> Response {
    response.map(|body| {
        Body::from_stream(Until {
            data: body.into_data_stream(),
            end: Box::pin(end),
        })
    })
}

struct Until {
    data: BodyDataStream,
    end: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Stream for Until {
    type Item = Result<Bytes, axum::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.end.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(None),
            Poll::Pending => Pin::new(&mut self.data).poll_next(context),
        }
    }
}
