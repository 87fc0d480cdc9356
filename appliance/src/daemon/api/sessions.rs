//! Sessions, running and past.

use std::path::PathBuf;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::long::{Wish, begin as begin_work};
use super::{Answer, ApiError, Failure};
use crate::daemon::Appliance;
use crate::daemon::ongoing::{OperationKind, OperationView};
use crate::events::Event;
use crate::prepare::PrepareOptions;
use crate::report::{Mode, Report};
use crate::store::{Resource, SessionRecord};

/// What a session is asked for.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SessionRequest {
    /// Test or recovery.
    pub mode: Mode,
    /// How to prepare before.
    #[serde(default)]
    pub prepare: PrepareOptions,
}

/// A session and what it did.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SessionDetails {
    /// The session.
    pub session: SessionRecord,
    /// What it made and has not removed, the newest first.
    pub resources: Vec<Resource>,
    /// What it did, the oldest first: time (seconds since 1970), step, subject, detail.
    pub steps: Vec<[String; 4]>,
    /// Its folder on the appliance.
    #[schema(value_type = String)]
    pub folder: PathBuf,
}

/// Begins a session and runs it to its report: the site boots isolated, or for production. The
/// result: `Report`.
#[utoipa::path(post, path = "/sites/{name}/sessions", operation_id = "begin_session", tag = "sessions",
    params(("name" = String, Path)), request_body = SessionRequest, responses(
    (status = 200, description = "events, one a line", content_type = "application/x-ndjson", body = Event),
    (status = 202, description = "with `Prefer: respond-async`", body = OperationView)))]
pub(super) async fn begin(
    State(appliance): State<Appliance>,
    Path(name): Path<String>,
    wish: Wish,
    Json(request): Json<SessionRequest>,
) -> Result<Response, Failure> {
    let about = (OperationKind::Session, &*name.clone());
    begin_work(&appliance.clone(), wish, about, move |events| async move {
        let site = appliance.site(&name).await?;
        let report = appliance
            .run_session(&site, request.mode, request.prepare, &events)
            .await?;
        Ok(serde_json::to_value(report)?)
    })
}

/// All sessions, the newest first.
#[utoipa::path(get, path = "/sessions", operation_id = "list_sessions", tag = "sessions",
    responses((status = 200, body = Vec<SessionRecord>)))]
pub(super) async fn list(State(appliance): State<Appliance>) -> Answer<Vec<SessionRecord>> {
    Ok(Json(appliance.store.sessions().await?))
}

/// One session with what it did and made.
#[utoipa::path(get, path = "/sessions/{id}", operation_id = "show_session", tag = "sessions",
    params(("id" = String, Path)),
    responses((status = 200, body = SessionDetails), (status = 404, body = ApiError)))]
pub(super) async fn show(
    State(appliance): State<Appliance>,
    Path(id): Path<String>,
) -> Answer<SessionDetails> {
    let session = appliance.session(&id).await?;
    let resources = appliance.store.resources(&id).await?;
    Ok(Json(SessionDetails {
        resources: resources
            .into_iter()
            .map(|(_, resource)| resource)
            .collect(),
        steps: appliance.store.steps(&id).await?,
        folder: appliance.host.session_dir(&session.id),
        session,
    }))
}

/// Starts the machines of a kept recovery that are off, in order. The result: `Report`.
#[utoipa::path(post, path = "/sessions/{id}/start", operation_id = "start_session", tag = "sessions",
    params(("id" = String, Path)), request_body = PrepareOptions, responses(
    (status = 200, description = "events, one a line", content_type = "application/x-ndjson", body = Event),
    (status = 202, description = "with `Prefer: respond-async`", body = OperationView)))]
pub(super) async fn start(
    State(appliance): State<Appliance>,
    Path(id): Path<String>,
    wish: Wish,
    Json(options): Json<PrepareOptions>,
) -> Result<Response, Failure> {
    let about = (OperationKind::Start, &*id.clone());
    begin_work(&appliance.clone(), wish, about, move |events| async move {
        let report =
            crate::session::recover::start_again(&appliance, &id, options, &events).await?;
        Ok(serde_json::to_value(report)?)
    })
}

/// Ends a session and removes everything it made, also what the machines of a recovery wrote.
#[utoipa::path(post, path = "/sessions/{id}/stop", operation_id = "stop_session", tag = "sessions",
    params(("id" = String, Path)),
    responses((status = 200, description = "what was done", body = String), (status = 404, body = ApiError)))]
pub(super) async fn stop(
    State(appliance): State<Appliance>,
    Path(id): Path<String>,
) -> Answer<String> {
    Ok(Json(appliance.stop_session(&id).await?))
}

/// The report of a session.
#[utoipa::path(get, path = "/sessions/{id}/report", operation_id = "report", tag = "sessions",
    params(("id" = String, Path)),
    responses((status = 200, body = Report), (status = 404, body = ApiError)))]
pub(super) async fn report(
    State(appliance): State<Appliance>,
    Path(id): Path<String>,
) -> Answer<Report> {
    Ok(Json(appliance.report(&id).await?))
}

/// The report as one page that can be printed, kept and sent: timeline and pictures are in it.
#[utoipa::path(get, path = "/sessions/{id}/report.html", operation_id = "report_page", tag = "sessions",
    params(("id" = String, Path)),
    responses((status = 200, content_type = "text/html", body = String), (status = 404, body = ApiError)))]
pub(super) async fn report_page(
    State(appliance): State<Appliance>,
    Path(id): Path<String>,
) -> Result<Response, Failure> {
    let page = appliance.report_page(&id).await?;
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (
            header::CONTENT_SECURITY_POLICY,
            crate::report::POLICY.as_str(),
        ),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "private, no-cache"),
    ];
    Ok((headers, page).into_response())
}
