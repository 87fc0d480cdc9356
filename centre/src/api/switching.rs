//! Process 300.

use axum::Json;
use axum::extract::{Path, Query, State};
use lifeboat_failover::process::Kind;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Answer, Newest, Operator, Problem};
use crate::centre::Centre;
use crate::state::{PlanView, SwitchRequest};
use crate::store::{ProcessRecord, Wishes};
use crate::view::ProcessView;

/// Which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// From the primary to the secondary.
    SwitchOver,
    /// And back.
    SwitchBack,
}

impl From<Way> for Kind {
    fn from(way: Way) -> Self {
        match way {
            Way::SwitchOver => Self::SwitchOver,
            Way::SwitchBack => Self::SwitchBack,
        }
    }
}

/// Asks for a switch.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AskSwitch {
    /// Which way.
    pub way: Way,
    /// Why, for the history.
    #[serde(default)]
    pub why: String,
    /// The answer to step 314, given beforehand.
    pub go_on: Option<bool>,
    /// The answer to step 364, given beforehand.
    pub replicate_back: Option<bool>,
    /// How long step 314 waits for a word, in milliseconds.
    pub confirmation_ms: Option<u64>,
}

/// An answer to the question of a process.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GiveAnswer {
    /// Yes or no.
    pub yes: bool,
}

/// What a switch would do now: every step, those that would be left out, and what is in its way.
/// Nothing is done.
#[utoipa::path(get, path = "/applications/{name}/plan/{way}", params(("name" = String, Path), ("way" = Way, Path)), responses(
    (status = 200, description = "`plan`, `bypassed`, `obstacles`", body = Value), (status = 404, body = Problem)))]
pub(super) async fn plan(
    State(centre): State<Centre>,
    Path((name, way)): Path<(String, Way)>,
) -> Answer<PlanView> {
    Ok(Json(centre.plan(&name, way.into()).await?))
}

/// Begins a switch; answers with the process's id. What becomes of it is told by the events.
#[utoipa::path(post, path = "/applications/{name}/switch", params(("name" = String, Path)), request_body = AskSwitch, responses(
    (status = 200, description = "the process", body = String), (status = 404, body = Problem),
    (status = 409, description = "not now, or the other side is not ready; nothing changed", body = Problem)))]
pub(super) async fn switch(
    State(centre): State<Centre>,
    Operator(who): Operator,
    Path(name): Path<String>,
    Json(asked): Json<AskSwitch>,
) -> Answer<String> {
    let request = SwitchRequest {
        kind: asked.way.into(),
        who,
        why: asked.why,
        wishes: Wishes {
            go_on: asked.go_on,
            replicate_back: asked.replicate_back,
        },
        confirmation_ms: asked.confirmation_ms,
        for_restore: false,
    };
    Ok(Json(centre.switch(&name, request).await?))
}

/// Answers the question that the running process asks (314, 364).
#[utoipa::path(post, path = "/applications/{name}/answer", params(("name" = String, Path)), request_body = GiveAnswer, responses(
    (status = 200), (status = 409, description = "nothing is asked", body = Problem)))]
pub(super) async fn answer(
    State(centre): State<Centre>,
    Operator(who): Operator,
    Path(name): Path<String>,
    Json(answer): Json<GiveAnswer>,
) -> Answer<()> {
    Ok(Json(centre.answer(&name, answer.yes, &who).await?))
}

/// Has the running switch taken back, as long as the new side does not serve (318).
#[utoipa::path(post, path = "/applications/{name}/abort", params(("name" = String, Path)), responses(
    (status = 200), (status = 409, body = Problem)))]
pub(super) async fn abort(
    State(centre): State<Centre>,
    Operator(who): Operator,
    Path(name): Path<String>,
) -> Answer<()> {
    Ok(Json(centre.abort(&name, &who).await?))
}

/// Takes a switch that stopped up again, where it stopped.
#[utoipa::path(post, path = "/applications/{name}/take-up", params(("name" = String, Path)), responses(
    (status = 200), (status = 409, body = Problem)))]
pub(super) async fn take_up(
    State(centre): State<Centre>,
    Operator(who): Operator,
    Path(name): Path<String>,
) -> Answer<()> {
    Ok(Json(centre.take_up(&name, &who).await?))
}

/// The switches of an application; the newest first.
#[utoipa::path(get, path = "/applications/{name}/processes", params(("name" = String, Path), Newest), responses(
    (status = 200, body = Vec<Value>), (status = 404, body = Problem)))]
pub(super) async fn processes(
    State(centre): State<Centre>,
    Path(name): Path<String>,
    Query(newest): Query<Newest>,
) -> Answer<Vec<ProcessRecord>> {
    Ok(Json(centre.processes(&name, newest.at_most()).await?))
}

/// A switch with its journal.
#[utoipa::path(get, path = "/processes/{id}", params(("id" = String, Path)), responses(
    (status = 200, body = Value), (status = 404, body = Problem)))]
pub(super) async fn process(
    State(centre): State<Centre>,
    Path(id): Path<String>,
) -> Answer<ProcessView> {
    Ok(Json(centre.process(&id).await?))
}
