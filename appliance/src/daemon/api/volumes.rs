//! The captured volumes in the REST interface: their state, and reading them
//! again.

use std::path::{Path as FilePath, PathBuf};

use axum::Json;
use axum::extract::{Path, State};
use axum::response::Response;
use lifeboat_images::CapturedVolume;
use serde::{Deserialize, Serialize};

use super::long::{Wish, begin};
use super::{Answer, ApiError, Failure};
use crate::daemon::ongoing::{OperationKind, OperationView};
use crate::daemon::{Appliance, Missing};
use crate::events::{Event, Events};
use crate::integrity::VolumeStatus;

/// How to read.
#[derive(Debug, Clone, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VerifySite {
    /// Go on where an unfinished reading stopped.
    #[serde(default)]
    pub resume: bool,
}

/// Which volume to read, and how.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VerifyFile {
    /// Absolute path.
    #[schema(value_type = String)]
    pub file: PathBuf,
    /// Go on where an unfinished reading stopped.
    #[serde(default)]
    pub resume: bool,
}

/// The state of all volumes of the catalogue.
#[utoipa::path(get, path = "/volumes", operation_id = "list_volumes", tag = "volumes",
    responses((status = 200, body = Vec<VolumeStatus>)))]
pub(super) async fn list(State(appliance): State<Appliance>) -> Answer<Vec<VolumeStatus>> {
    let mut all = Vec::new();
    for (path, volume) in appliance.store.volumes().await? {
        let record = appliance.integrity_record(&path, &volume).await?;
        all.push(VolumeStatus::new(&path, &volume, &record));
    }
    Ok(Json(all))
}

/// Reads every byte of the captured volumes of a site and compares them with their import. The
/// result: `VolumeStatus[]`.
#[utoipa::path(post, path = "/sites/{name}/verify", operation_id = "verify_site", tag = "volumes",
    params(("name" = String, Path)), request_body = VerifySite, responses(
    (status = 200, description = "events, one a line", content_type = "application/x-ndjson", body = Event),
    (status = 202, description = "with `Prefer: respond-async`", body = OperationView)))]
pub(super) async fn verify_site(
    State(appliance): State<Appliance>,
    Path(name): Path<String>,
    wish: Wish,
    Json(asked): Json<VerifySite>,
) -> Result<Response, Failure> {
    let about = (OperationKind::Verify, &*name.clone());
    begin(&appliance.clone(), wish, about, move |events| async move {
        let volumes = volumes_of(&appliance, &name).await?;
        verified(&appliance, volumes, asked.resume, &events).await
    })
}

/// The same of one volume, which a site must have imported. The result: `VolumeStatus[]`.
#[utoipa::path(post, path = "/volumes/verify", operation_id = "verify_volume", tag = "volumes",
    request_body = VerifyFile, responses(
    (status = 200, description = "events, one a line", content_type = "application/x-ndjson", body = Event),
    (status = 202, description = "with `Prefer: respond-async`", body = OperationView),
    (status = 400, body = ApiError)))]
pub(super) async fn verify_file(
    State(appliance): State<Appliance>,
    wish: Wish,
    Json(asked): Json<VerifyFile>,
) -> Result<Response, Failure> {
    let subject = asked.file.to_string_lossy().into_owned();
    let about = (OperationKind::Verify, &*subject);
    begin(&appliance.clone(), wish, about, move |events| async move {
        let volume = find(&appliance, &asked.file).await?;
        verified(&appliance, vec![volume], asked.resume, &events).await
    })
}

async fn verified(
    appliance: &Appliance,
    volumes: Vec<(PathBuf, CapturedVolume)>,
    resume: bool,
    events: &Events,
) -> anyhow::Result<serde_json::Value> {
    let mut all = Vec::new();
    for (path, volume) in volumes {
        appliance
            .store
            .audit("verify", &path.to_string_lossy())
            .await?;
        all.push(
            appliance
                .verify_asked(&path, &volume, resume, events)
                .await?,
        );
    }
    Ok(serde_json::to_value(all)?)
}

/// The volumes of a site, each once, in the order of its machines.
async fn volumes_of(
    appliance: &Appliance,
    name: &str,
) -> anyhow::Result<Vec<(PathBuf, CapturedVolume)>> {
    let site = appliance.site(name).await?;
    let mut volumes: Vec<(PathBuf, CapturedVolume)> = Vec::new();
    for path in site
        .machines
        .into_iter()
        .flat_map(|machine| machine.volumes)
    {
        if volumes.iter().any(|(other, _)| *other == path) {
            continue;
        }
        let Some(volume) = appliance.store.volume(&path).await? else {
            return Err(never_imported(&path).into());
        };
        volumes.push((path, volume));
    }
    Ok(volumes)
}

/// The volume that a file belongs to.
async fn find(appliance: &Appliance, file: &FilePath) -> anyhow::Result<(PathBuf, CapturedVolume)> {
    let real = std::fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    let is_it = |path: &FilePath, volume: &CapturedVolume| {
        path == file || volume.sources.iter().any(|source| source.path == real)
    };
    let mut volumes = appliance.store.volumes().await?.into_iter();
    let found = volumes.find(|(path, volume)| is_it(path, volume));
    found.ok_or_else(|| never_imported(file).into())
}

fn never_imported(path: &FilePath) -> Missing {
    Missing(format!(
        "`{}` was never imported, so there is nothing to compare it with: `lifeboat prepare` of its site imports it",
        path.display()
    ))
}
