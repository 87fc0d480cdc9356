//! Agents and the tokens by which they join.

use axum::Json;
use axum::extract::{Path, State};

use super::{Answer, Operator, Problem};
use crate::centre::Centre;
use crate::view::{AgentView, MadeToken};

/// Every host that belongs to an application or whose agent joined.
#[utoipa::path(get, path = "/agents", responses((status = 200, body = Vec<Value>)))]
pub(super) async fn list(State(centre): State<Centre>) -> Answer<Vec<AgentView>> {
    Ok(Json(centre.agents().await?))
}

/// Makes a token by which the agent of a host joins: one use, ten minutes. It is shown once.
#[utoipa::path(post, path = "/agents/{host}/token", params(("host" = String, Path)), responses(
    (status = 200, description = "`host`, `token`, `expires`", body = Value), (status = 400, body = Problem)))]
pub(super) async fn token(
    State(centre): State<Centre>,
    Operator(who): Operator,
    Path(host): Path<String>,
) -> Answer<MadeToken> {
    Ok(Json(centre.make_token(&host, &who).await?))
}

/// Forgets a host: its certificate counts no more.
#[utoipa::path(delete, path = "/agents/{host}", params(("host" = String, Path)), responses(
    (status = 200), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(super) async fn remove(
    State(centre): State<Centre>,
    Operator(who): Operator,
    Path(host): Path<String>,
) -> Answer<()> {
    Ok(Json(centre.remove_agent(&host, &who).await?))
}
