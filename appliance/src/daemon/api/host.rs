//! The appliance itself.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Answer, Appliance};
use crate::accelerator::Verdict;
use crate::check::Fitness;
use crate::store::SessionState;

/// What the appliance is doing.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = ApplianceStatus)]
pub struct Status {
    /// Its version.
    pub version: String,
    /// How guests run, and why.
    pub accelerator: Verdict,
    /// A session has a driver.
    pub busy: bool,
    /// Registered sites.
    pub sites: usize,
    /// Sessions that have machines.
    pub sessions_alive: usize,
    /// Long work that goes on.
    pub operations_running: usize,
}

/// What the appliance is doing.
#[utoipa::path(get, path = "/status", operation_id = "status", tag = "appliance",
    responses((status = 200, body = Status)))]
pub(super) async fn status(State(appliance): State<Appliance>) -> Answer<Status> {
    let sessions = appliance.store.sessions().await?;
    let is_over = |state| matches!(state, SessionState::Ended | SessionState::Interrupted);
    Ok(Json(Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        accelerator: appliance.verdict().await,
        busy: appliance.is_busy(),
        sites: appliance.store.sites().await?.len(),
        sessions_alive: sessions.iter().filter(|one| !is_over(one.state)).count(),
        operations_running: appliance.operations.running(),
    }))
}

/// Whether this host is fit to run sessions, and what to do if not.
#[utoipa::path(get, path = "/check", operation_id = "check_host", tag = "appliance",
    responses((status = 200, body = Fitness)))]
pub(super) async fn check(State(appliance): State<Appliance>) -> Json<Fitness> {
    let verdict = appliance.verdict().await;
    Json(crate::check::check(&appliance.host, verdict).await)
}
