//! Every change in the audit trail: what is asked for before it happens, what came of it after.

use axum::body::Body;
use axum::extract::Request;
use axum::http::header;
use axum::middleware::Next;
use axum::response::Response;

use super::{Caller, body};
use crate::error::{AccessError, Reason, refused};
use crate::identity::Identity;
use crate::role::PREFIX;
use crate::trail::{Entry, EntryKind, Trail};

/// Longer bodies are not noted.
const NOTED_BODY: usize = 4096;

/// The entry of a request in the audit trail, for routes that have more to say. In every request
/// that changes something.
#[derive(Clone)]
pub struct Record {
    trail: Trail,
    intent: i64,
    who: String,
    role: &'static str,
    address: String,
}

/// Whether a request may change something: by its method, or a connection of its own.
pub(super) fn changes(request: &Request) -> bool {
    !request.method().is_safe() || is_upgrade(request)
}

pub(super) fn is_upgrade(request: &Request) -> bool {
    request.headers().contains_key(header::UPGRADE)
}

/// Has the route answer, with its entries before and after where it changes something.
pub(super) async fn run(
    mut request: Request,
    next: Next,
    identity: Identity,
    caller: &Caller,
) -> Result<Response, AccessError> {
    if !changes(&request) {
        request.extensions_mut().insert(identity);
        return Ok(next.run(request).await);
    }
    let (mut request, text) = noted(request).await?;
    // Without the query: it could hold what does not belong here.
    let what = format!("{} {}", request.method(), request.uri().path());
    let record = Record::begin(&identity, caller, what, text).await?;
    request.extensions_mut().insert(identity);
    request.extensions_mut().insert(record.clone());
    let mut unfinished = Unfinished(Some(record));
    let response = next.run(request).await;
    if let Some(record) = unfinished.0.take() {
        record.end(response.status().to_string()).await?;
    }
    Ok(response)
}

/// An entry without an outcome yet. An asker who leaves is one, too.
struct Unfinished(Option<Record>);

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(record) = self.0.take() {
            tokio::spawn(async move {
                let ended = record.end("the asker left before the answer".to_owned());
                if let Err(error) = ended.await {
                    tracing::error!(%error, "an outcome is missing in the audit trail");
                }
            });
        }
    }
}

impl Record {
    async fn begin(
        identity: &Identity,
        caller: &Caller,
        what: String,
        text: String,
    ) -> Result<Self, AccessError> {
        let trail = identity.access.trail().clone();
        let who = match &caller.behalf {
            Some(person) => format!("{} ({person})", identity.name()),
            None => identity.name().to_owned(),
        };
        let role = identity.role().word();
        let entry = Entry {
            kind: EntryKind::Intent,
            of: None,
            who: who.clone(),
            role: role.to_owned(),
            address: caller.address.clone(),
            what,
            text,
        };
        Ok(Self {
            intent: trail.append(entry).await?,
            trail,
            who,
            role,
            address: caller.address.clone(),
        })
    }

    /// Says what exactly is about to be done; on disk when this returns.
    pub async fn detail(&self, text: impl Into<String>) -> Result<(), AccessError> {
        self.add(EntryKind::Detail, text.into()).await
    }

    async fn end(&self, text: String) -> Result<(), AccessError> {
        self.add(EntryKind::Outcome, text).await
    }

    async fn add(&self, kind: EntryKind, text: String) -> Result<(), AccessError> {
        let entry = Entry {
            kind,
            of: Some(self.intent),
            who: self.who.clone(),
            role: self.role.to_owned(),
            address: self.address.clone(),
            what: String::new(),
            text,
        };
        self.trail.append(entry).await.map(drop)
    }
}

/// The request again, with what its body says as far as it is noted. What is sent to this crate's
/// own routes may be a password: they say themselves what they do.
async fn noted(request: Request) -> Result<(Request, String), AccessError> {
    let headers = request.headers();
    let length = headers.get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    let is_json = body::essence(headers).is_some_and(|kind| kind == "application/json");
    let is_own = request.uri().path().starts_with(PREFIX);
    let is_short = length.is_some_and(|length| (1..=NOTED_BODY).contains(&length));
    if is_own || !is_json || !is_short {
        return Ok((request, String::new()));
    }
    let (parts, body) = request.into_parts();
    let bytes = axum::body::to_bytes(body, NOTED_BODY).await;
    let bytes = bytes.map_err(|_| refused(Reason::Invalid, "the body broke off"))?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    Ok((Request::from_parts(parts, Body::from(bytes)), text))
}
