//! Applications: what is known of them, where they stand.

use std::path::PathBuf;

use axum::extract::{Path, Query, State};
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Answer, Newest, Operator, Problem, Reach};
use crate::autopilot::Change;
use crate::centre::Centre;
use crate::error::CentreError;
use crate::readiness::Readiness;
use crate::store::{AuditRecord, TransitionRecord};
use crate::view::{ApplicationView, Status};

/// Which file describes the application.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AddApplication {
    /// Absolute path of the `application.toml`, on the control centre's host.
    #[schema(value_type = String)]
    pub file: PathBuf,
}

/// What of Auto Pilot changes; what is left out stays.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AutoPilotChange {
    /// Whether it acts.
    pub enabled: Option<bool>,
    /// Whether it only says what it would do.
    pub shadow: Option<bool>,
    /// How long it waits, in seconds.
    pub wait_s: Option<u64>,
    /// How often it restarts services first.
    pub restarts: Option<u32>,
    /// Whether it also switches back.
    pub switch_back: Option<bool>,
    /// Ends a lock-out.
    #[serde(default)]
    pub unlock: bool,
}

impl From<AutoPilotChange> for Change {
    fn from(change: AutoPilotChange) -> Self {
        Self {
            enabled: change.enabled,
            shadow: change.shadow,
            wait_s: change.wait_s,
            restarts: change.restarts,
            switch_back: change.switch_back,
            unlock: change.unlock,
        }
    }
}

/// All applications, with their state.
#[utoipa::path(get, path = "/applications", responses((status = 200, description = "each with name, profile, state, hosts", body = Vec<Value>)))]
pub(super) async fn list(State(centre): State<Centre>) -> Json<Vec<ApplicationView>> {
    Json(centre.applications().await)
}

/// Registers an application by its file; a known one goes on with what the file says now. Only
/// root, on the host itself, may name files.
#[utoipa::path(post, path = "/applications", request_body = AddApplication, responses(
    (status = 200, description = "its name", body = String),
    (status = 400, description = "the file is wrong: file, line, key; or it was named from elsewhere", body = Problem),
    (status = 409, description = "a host belongs to another application", body = Problem)))]
pub(super) async fn add(
    State(centre): State<Centre>,
    Extension(reach): Extension<Reach>,
    Operator(who): Operator,
    Json(asked): Json<AddApplication>,
) -> Answer<String> {
    if reach != Reach::Host {
        return Err(CentreError::OnTheHost.into());
    }
    Ok(Json(centre.add_application(&asked.file, &who).await?))
}

/// Where an application stands: state, epoch, process, question, hosts, what is seen.
#[utoipa::path(get, path = "/applications/{name}", params(("name" = String, Path)), responses(
    (status = 200, body = Value), (status = 404, body = Problem)))]
pub(super) async fn status(
    State(centre): State<Centre>,
    Path(name): Path<String>,
) -> Answer<Status> {
    Ok(Json(centre.status(&name).await?))
}

/// Forgets an application; nothing on its hosts is touched.
#[utoipa::path(delete, path = "/applications/{name}", params(("name" = String, Path)), responses(
    (status = 200), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(super) async fn remove(
    State(centre): State<Centre>,
    Operator(who): Operator,
    Path(name): Path<String>,
) -> Answer<()> {
    Ok(Json(centre.remove_application(&name, &who).await?))
}

/// Whether the other side could take over now, and what was looked at.
#[utoipa::path(get, path = "/applications/{name}/ready", params(("name" = String, Path)), responses(
    (status = 200, description = "`ready`, and `looked`: each thing with `good`, `needed`, `text`", body = Value),
    (status = 404, body = Problem)))]
pub(super) async fn ready(
    State(centre): State<Centre>,
    Path(name): Path<String>,
) -> Answer<Readiness> {
    Ok(Json(centre.ready(&name).await?))
}

/// The changes of state, each with who, why and what was seen; the newest first.
#[utoipa::path(get, path = "/applications/{name}/history", params(("name" = String, Path), Newest), responses(
    (status = 200, body = Vec<Value>), (status = 404, body = Problem)))]
pub(super) async fn history(
    State(centre): State<Centre>,
    Path(name): Path<String>,
    Query(newest): Query<Newest>,
) -> Answer<Vec<TransitionRecord>> {
    Ok(Json(centre.history(&name, newest.at_most()).await?))
}

/// Who asked for what of an application or a host; the newest first.
#[utoipa::path(get, path = "/audit/{subject}", params(("subject" = String, Path), Newest), responses(
    (status = 200, body = Vec<Value>)))]
pub(super) async fn audit(
    State(centre): State<Centre>,
    Path(subject): Path<String>,
    Query(newest): Query<Newest>,
) -> Answer<Vec<AuditRecord>> {
    Ok(Json(centre.audit(&subject, newest.at_most()).await?))
}

/// Changes Auto Pilot.
#[utoipa::path(post, path = "/applications/{name}/autopilot", params(("name" = String, Path)),
    request_body = AutoPilotChange, responses((status = 200), (status = 404, body = Problem)))]
pub(super) async fn autopilot(
    State(centre): State<Centre>,
    Operator(who): Operator,
    Path(name): Path<String>,
    Json(change): Json<AutoPilotChange>,
) -> Answer<()> {
    Ok(Json(
        centre.set_autopilot(&name, change.into(), &who).await?,
    ))
}
