//! Processes 500, 600 and 700.

use axum::Json;
use axum::extract::{Path, Query, State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Answer, Newest, Operator, Problem};
use crate::archive::ArchiveView;
use crate::autosync::AutoSyncView;
use crate::centre::Centre;
use crate::restore::{RestoreRequest, RestoreView};

/// On or off.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Turn {
    /// Whether it is on.
    pub on: bool,
}

/// Asks for a restore.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AskRestore {
    /// The image by its name, or a level, for the newest image of it.
    pub image: String,
    /// Why, for the history.
    #[serde(default)]
    pub why: String,
    /// What the primary had is not put into the archive first: it is lost.
    #[serde(default)]
    pub discard_newer: bool,
}

/// How a restore that stopped goes on.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TakeUpRestore {
    /// What the primary had is not put into the archive first: it is lost.
    #[serde(default)]
    pub discard_newer: bool,
}

/// What AutoSync sees and does (500).
#[utoipa::path(get, path = "/applications/{name}/autosync", params(("name" = String, Path)), responses(
    (status = 200, body = Value), (status = 404, body = Problem)))]
pub(super) async fn autosync(
    State(centre): State<Centre>,
    Path(name): Path<String>,
) -> Answer<AutoSyncView> {
    Ok(Json(centre.autosync(&name).await?))
}

/// Switches AutoSync on or off: off, nothing is sent to the other side.
#[utoipa::path(post, path = "/applications/{name}/autosync", params(("name" = String, Path)), request_body = Turn, responses(
    (status = 200), (status = 404, body = Problem)))]
pub(super) async fn set_autosync(
    State(centre): State<Centre>,
    Operator(who): Operator,
    Path(name): Path<String>,
    Json(turn): Json<Turn>,
) -> Answer<()> {
    Ok(Json(centre.set_autosync(&name, turn.on, &who).await?))
}

/// Images and levels of the archive (600).
#[utoipa::path(get, path = "/applications/{name}/archive", params(("name" = String, Path)), responses(
    (status = 200, body = Value), (status = 404, body = Problem)))]
pub(super) async fn archive(
    State(centre): State<Centre>,
    Path(name): Path<String>,
) -> Answer<ArchiveView> {
    Ok(Json(centre.archive(&name).await?))
}

/// Switches the archive's schedule on or off.
#[utoipa::path(post, path = "/applications/{name}/archive", params(("name" = String, Path)), request_body = Turn, responses(
    (status = 200), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(super) async fn set_archive(
    State(centre): State<Centre>,
    Operator(who): Operator,
    Path(name): Path<String>,
    Json(turn): Json<Turn>,
) -> Answer<()> {
    Ok(Json(centre.set_archive(&name, turn.on, &who).await?))
}

/// Takes an image now; answers with its name when it has begun.
#[utoipa::path(post, path = "/applications/{name}/archive/now", params(("name" = String, Path)), responses(
    (status = 200, body = String), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(super) async fn archive_now(
    State(centre): State<Centre>,
    Operator(who): Operator,
    Path(name): Path<String>,
) -> Answer<String> {
    Ok(Json(centre.archive_now(&name, &who).await?))
}

/// Gives up an image that is being made.
#[utoipa::path(post, path = "/applications/{name}/archive/abandon", params(("name" = String, Path)), responses(
    (status = 200), (status = 409, body = Problem)))]
pub(super) async fn abandon_archive(
    State(centre): State<Centre>,
    Operator(who): Operator,
    Path(name): Path<String>,
) -> Answer<()> {
    Ok(Json(centre.abandon_archive(&name, &who).await?))
}

/// The restores of an application; the newest first (700).
#[utoipa::path(get, path = "/applications/{name}/restores", params(("name" = String, Path), Newest), responses(
    (status = 200, body = Vec<Value>), (status = 404, body = Problem)))]
pub(super) async fn restores(
    State(centre): State<Centre>,
    Path(name): Path<String>,
    Query(newest): Query<Newest>,
) -> Answer<Vec<RestoreView>> {
    Ok(Json(centre.restores(&name, newest.at_most()).await?))
}

/// Has an image take the place of the data; answers with the restore's id.
#[utoipa::path(post, path = "/applications/{name}/restores", params(("name" = String, Path)), request_body = AskRestore, responses(
    (status = 200, body = String), (status = 404, body = Problem),
    (status = 409, description = "not now; nothing changed", body = Problem)))]
pub(super) async fn restore(
    State(centre): State<Centre>,
    Operator(who): Operator,
    Path(name): Path<String>,
    Json(asked): Json<AskRestore>,
) -> Answer<String> {
    let request = RestoreRequest {
        image: asked.image,
        who,
        why: asked.why,
        discard_newer: asked.discard_newer,
    };
    Ok(Json(centre.restore(&name, request).await?))
}

/// Takes a restore that stopped up again, at the stage where it stopped.
#[utoipa::path(post, path = "/applications/{name}/restores/take-up", params(("name" = String, Path)), request_body = TakeUpRestore, responses(
    (status = 200, body = String), (status = 409, body = Problem)))]
pub(super) async fn take_up_restore(
    State(centre): State<Centre>,
    Operator(who): Operator,
    Path(name): Path<String>,
    Json(asked): Json<TakeUpRestore>,
) -> Answer<String> {
    Ok(Json(
        centre
            .take_up_restore(&name, asked.discard_newer, &who)
            .await?,
    ))
}

/// Gives up a restore that stopped.
#[utoipa::path(post, path = "/applications/{name}/restores/abandon", params(("name" = String, Path)), responses(
    (status = 200), (status = 409, body = Problem)))]
pub(super) async fn abandon_restore(
    State(centre): State<Centre>,
    Operator(who): Operator,
    Path(name): Path<String>,
) -> Answer<()> {
    Ok(Json(centre.abandon_restore(&name, &who).await?))
}
