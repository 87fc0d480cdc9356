//! Sites.

use std::path::PathBuf;

use axum::extract::{Path, State};
use axum::response::Response;
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::long::{Wish, begin};
use super::{Answer, ApiError, Failure, Reach};
use crate::daemon::ongoing::{OperationKind, OperationView};
use crate::daemon::{Appliance, WrongUse};
use crate::events::Event;
use crate::prepare::{PrepareOptions, WhenAbandoned};
use crate::site::Site;
use crate::store::SiteRecord;

/// Which file to register.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AddSite {
    /// Absolute path of the `site.toml` on the appliance.
    #[schema(value_type = String)]
    pub file: PathBuf,
}

/// All registered sites.
#[utoipa::path(get, path = "/sites", operation_id = "list_sites", tag = "sites",
    responses((status = 200, body = Vec<SiteRecord>)))]
pub(super) async fn list(State(appliance): State<Appliance>) -> Answer<Vec<SiteRecord>> {
    Ok(Json(appliance.store.sites().await?))
}

/// Registers a site by its file, or moves it to another one. Only root, on the appliance itself,
/// may name any file.
#[utoipa::path(post, path = "/sites", operation_id = "add_site", tag = "sites", request_body = AddSite,
    responses((status = 200, body = Site), (status = 400, description = "file, line, key", body = ApiError)))]
pub(super) async fn add(
    State(appliance): State<Appliance>,
    Extension(reach): Extension<Reach>,
    Json(add): Json<AddSite>,
) -> Answer<Site> {
    if reach != Reach::Host {
        return Err(WrongUse(
            "a site file of the appliance is registered on the appliance itself: `lifeboat site add FILE`".into(),
        )
        .into());
    }
    Ok(Json(appliance.add_site(&add.file).await?))
}

/// A site as its file describes it.
#[utoipa::path(get, path = "/sites/{name}", operation_id = "show_site", tag = "sites",
    params(("name" = String, Path)),
    responses((status = 200, body = Site), (status = 404, body = ApiError)))]
pub(super) async fn show(
    State(appliance): State<Appliance>,
    Path(name): Path<String>,
) -> Answer<Site> {
    Ok(Json(appliance.site(&name).await?))
}

/// Forgets a site, and what was converted or unpacked for it alone; its volumes stay.
#[utoipa::path(delete, path = "/sites/{name}", operation_id = "remove_site", tag = "sites",
    params(("name" = String, Path)),
    responses((status = 200), (status = 404, body = ApiError)))]
pub(super) async fn remove(
    State(appliance): State<Appliance>,
    Path(name): Path<String>,
) -> Answer<()> {
    Ok(Json(appliance.remove_site(&name).await?))
}

/// Imports, verifies and injects every machine. The result: `PreparedMachine[]`.
#[utoipa::path(post, path = "/sites/{name}/prepare", operation_id = "prepare", tag = "sites",
    params(("name" = String, Path)), request_body = PrepareOptions, responses(
    (status = 200, description = "events, one a line", content_type = "application/x-ndjson", body = Event),
    (status = 202, description = "with `Prefer: respond-async`", body = OperationView)))]
pub(super) async fn prepare(
    State(appliance): State<Appliance>,
    Path(name): Path<String>,
    wish: Wish,
    Json(options): Json<PrepareOptions>,
) -> Result<Response, Failure> {
    let about = (OperationKind::Prepare, &*name.clone());
    begin(&appliance.clone(), wish, about, move |events| async move {
        let site = appliance.site(&name).await?;
        let prepared = appliance
            .prepare(&site, options, &events, WhenAbandoned::Cancel)
            .await?;
        Ok(serde_json::to_value(prepared)?)
    })
}
