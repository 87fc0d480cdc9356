//! Volumes that come in, and drafts of sites made of them.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::long::{Wish, begin};
use super::{Answer, ApiError, Failure};
use crate::daemon::ongoing::{OperationKind, OperationView};
use crate::daemon::{Appliance, NotNow, WrongUse};
use crate::events::Event;
use crate::imports::{ImportEntry, ImportFolder, VolumeRef};
use crate::site::{Site, is_plain_name};
use crate::uploads::{self, AskUpload, Upload};

/// A piece of an upload.
const PIECE: usize = 8 << 20;
/// Machines of a draft, and disks of one of them.
const MACHINES: usize = 256;
const DISKS: usize = 64;

/// The folders from which volumes may be taken.
#[utoipa::path(get, path = "/imports", operation_id = "list_imports", tag = "imports",
    responses((status = 200, body = Vec<ImportFolder>)))]
pub(super) async fn folders(State(appliance): State<Appliance>) -> Json<Vec<ImportFolder>> {
    Json(appliance.host.imports.clone())
}

/// Which folder of it.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct Below {
    /// The path below the import folder; the folder itself when left out.
    #[serde(default)]
    path: String,
}

/// What lies in such a folder; links and hidden files are left out.
#[utoipa::path(get, path = "/imports/{import}/files", operation_id = "list_import", tag = "imports",
    params(("import" = String, Path), Below), responses(
    (status = 200, body = Vec<ImportEntry>), (status = 400, body = ApiError), (status = 404, body = ApiError)))]
pub(super) async fn files(
    State(appliance): State<Appliance>,
    Path(import): Path<String>,
    Query(below): Query<Below>,
) -> Answer<Vec<ImportEntry>> {
    let folder = appliance.import(&import)?.clone();
    let list = move || folder.list(&below.path);
    Ok(Json(tokio::task::spawn_blocking(list).await??))
}

/// Volumes that were sent or are being sent, the oldest first.
#[utoipa::path(get, path = "/uploads", operation_id = "list_uploads", tag = "imports",
    responses((status = 200, body = Vec<Upload>)))]
pub(super) async fn list(State(appliance): State<Appliance>) -> Json<Vec<Upload>> {
    Json(uploads::list(&appliance.host))
}

/// Begins to send a volume.
#[utoipa::path(post, path = "/uploads", operation_id = "begin_upload", tag = "imports",
    request_body = AskUpload, responses((status = 200, body = Upload), (status = 400, body = ApiError),
    (status = 409, description = "there is no room for it", body = ApiError)))]
pub(super) async fn begin_upload(
    State(appliance): State<Appliance>,
    Json(asked): Json<AskUpload>,
) -> Answer<Upload> {
    appliance.store.audit("upload", &asked.name).await?;
    let _turn = appliance.uploading.lock().await;
    Ok(Json(uploads::begin(&appliance.host, &asked)?))
}

/// Where a piece begins.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct Offset {
    /// At this byte: as many as were received so far.
    offset: u64,
}

/// Sends the next piece, at most 8 MiB.
#[utoipa::path(put, path = "/uploads/{id}", operation_id = "upload_chunk", tag = "imports",
    params(("id" = String, Path), Offset),
    request_body(content = [u8], content_type = "application/octet-stream"), responses(
    (status = 200, body = Upload), (status = 400, body = ApiError), (status = 404, body = ApiError),
    (status = 409, description = "another piece is next", body = ApiError)))]
pub(super) async fn piece(
    State(appliance): State<Appliance>,
    Path(id): Path<String>,
    Query(at): Query<Offset>,
    piece: Bytes,
) -> Answer<Upload> {
    let turn = appliance.uploading.clone().lock_owned().await;
    let host = appliance.host.clone();
    let add = move || {
        let _turn = turn;
        uploads::add(&host, &id, at.offset, &piece)
    };
    Ok(Json(tokio::task::spawn_blocking(add).await??))
}

/// How large a piece may be.
pub(super) fn limit() -> DefaultBodyLimit {
    DefaultBodyLimit::max(PIECE)
}

/// Removes an upload that no site uses.
#[utoipa::path(delete, path = "/uploads/{id}", operation_id = "remove_upload", tag = "imports",
    params(("id" = String, Path)), responses((status = 200), (status = 404, body = ApiError),
    (status = 409, description = "a site uses it", body = ApiError)))]
pub(super) async fn remove(
    State(appliance): State<Appliance>,
    Path(id): Path<String>,
) -> Answer<()> {
    let upload = uploads::find(&appliance.host, &id)?;
    if let Some(site) = appliance.user_of(&upload).await? {
        return Err(NotNow(format!(
            "site `{site}` uses upload `{id}`: remove the site first"
        ))
        .into());
    }
    appliance.store.audit("upload remove", &id).await?;
    let _turn = appliance.uploading.lock().await;
    Ok(Json(uploads::remove(&appliance.host, &id)?))
}

/// Of what a draft is made.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DraftRequest {
    /// Name of the site.
    pub name: String,
    /// The disks of each machine, in order; an OVF package brings its machines along.
    pub machines: Vec<Vec<VolumeRef>>,
}

/// A first description of a site, to be looked through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Draft {
    /// Name of the site.
    pub name: String,
    /// Text of a `site.toml`.
    pub text: String,
}

/// Drafts a site from what volumes say; nothing is registered. The result: `Draft`.
#[utoipa::path(post, path = "/drafts", operation_id = "draft_site", tag = "imports",
    request_body = DraftRequest, responses(
    (status = 200, description = "events, one a line", content_type = "application/x-ndjson", body = Event),
    (status = 202, description = "with `Prefer: respond-async`", body = OperationView),
    (status = 400, body = ApiError), (status = 404, body = ApiError)))]
pub(super) async fn draft(
    State(appliance): State<Appliance>,
    wish: Wish,
    Json(asked): Json<DraftRequest>,
) -> Result<Response, Failure> {
    let volumes = volumes_of(&appliance, &asked)?;
    let about = (OperationKind::Draft, &*asked.name.clone());
    begin(&appliance.clone(), wish, about, move |events| async move {
        let text = appliance.draft(&asked.name, volumes, &events).await?;
        let name = asked.name;
        Ok(serde_json::to_value(Draft { name, text })?)
    })
}

fn volumes_of(
    appliance: &Appliance,
    asked: &DraftRequest,
) -> anyhow::Result<Vec<Vec<std::path::PathBuf>>> {
    if !is_plain_name(&asked.name) {
        return Err(WrongUse("a site's name has letters, digits, `-`, `_` and `.`".into()).into());
    }
    let sound = |disks: &Vec<VolumeRef>| (1..=DISKS).contains(&disks.len());
    if !(1..=MACHINES).contains(&asked.machines.len()) || !asked.machines.iter().all(sound) {
        return Err(WrongUse(format!(
            "a draft has 1 to {MACHINES} machines with 1 to {DISKS} disks each"
        ))
        .into());
    }
    let machines = asked.machines.iter();
    machines
        .map(|disks| disks.iter().map(|disk| appliance.volume_of(disk)).collect())
        .collect()
}

/// A description of a site.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SiteText {
    /// Text of a `site.toml`. Its volumes are uploads, or lie in import folders.
    pub text: String,
}

/// Registers a site by its description, which the appliance keeps. A site that is described so
/// already gets the new description.
#[utoipa::path(post, path = "/sites/text", operation_id = "add_site_text", tag = "sites",
    request_body = SiteText, responses((status = 200, body = Site),
    (status = 400, description = "line, key and problem, or a volume that may not be used", body = ApiError),
    (status = 409, description = "a site of that name has a file of its own", body = ApiError)))]
pub(super) async fn add_text(
    State(appliance): State<Appliance>,
    Json(asked): Json<SiteText>,
) -> Answer<Site> {
    Ok(Json(appliance.add_site_text(&asked.text).await?))
}
