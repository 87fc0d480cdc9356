//! Disks that were made of captured ones, converted or unpacked, live as long as
//! something names them: the catalogue, a site, a session, or a draft.
//!
//! ```text
//! STATE/converted/      by key, see `lifeboat_images::Conversions`
//! STATE/unpacked/ID/    the disks of one OVF archive
//! STATE/drafts/ID.json  what the draft of a site file named, and when
//! STATE/drafts/lock     shared by drafts at work, exclusive while removing
//! ```

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::Context;
use lifeboat_images::CapturedVolume;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use crate::daemon::Appliance;
use crate::host::Host;
use crate::session::making::{read_plan, replace_file};
use crate::site::Site;
use crate::store::SessionState;

/// How long a draft may wait for becoming a site.
const DRAFT: Duration = Duration::from_secs(30 * 86_400);
/// How long a conversion that was interrupted may wait for being gone on with.
const CONVERSION: Duration = Duration::from_secs(7 * 86_400);

/// A draft at work: nothing is removed meanwhile.
pub struct Drafting {
    folder: PathBuf,
    _lock: Flock<File>,
}

/// What a draft named.
#[derive(Debug, Serialize, Deserialize)]
struct Named {
    /// The volume, as it stands in the site file.
    volume: PathBuf,
    /// What was converted from it.
    converted: Vec<PathBuf>,
}

impl Drafting {
    /// Waits while disks are being removed.
    pub fn begin(host: &Host) -> anyhow::Result<Self> {
        let folder = host.drafts_dir();
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("failed to make `{}`", folder.display()))?;
        let lock = lock(&folder, FlockArg::LockShared)
            .with_context(|| format!("failed to lock `{}`", folder.display()))?;
        Ok(Self {
            folder,
            _lock: lock,
        })
    }

    /// Keeps a volume, and what was converted from it, for the site to come.
    pub fn name(&self, volume: &Path, captured: Option<&CapturedVolume>) -> anyhow::Result<()> {
        let converted = captured.into_iter().flat_map(CapturedVolume::converted);
        let volume = std::path::absolute(volume)?;
        let id = blake3::hash(volume.as_os_str().as_encoded_bytes()).to_hex();
        let named = Named {
            converted: converted.map(|layer| layer.file.path.clone()).collect(),
            volume,
        };
        let file = self.folder.join(format!("{}.json", &id[..32]));
        replace_file(&file, &serde_json::to_vec(&named)?)
    }
}

fn lock(folder: &Path, how: FlockArg) -> std::io::Result<Flock<File>> {
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(folder.join("lock"))?;
    Flock::lock(file, how).map_err(|(_, error)| error.into())
}

/// Forgets the volumes that no site names any more, and what drafts named for
/// the site that went. Conversions and unpacked disks that nothing names then
/// are removed.
pub async fn after_site(appliance: &Appliance, removed: Option<&Site>) -> anyhow::Result<()> {
    let _nothing_is_prepared = appliance.preparing.lock().await;
    let Some(sites) = volumes_of_sites(appliance).await? else {
        return Ok(());
    };
    for (path, _) in appliance.store.volumes().await? {
        let place = std::fs::canonicalize(&path).unwrap_or_else(|_| path.clone());
        if !sites.contains(&path) && !sites.contains(&place) {
            appliance.store.forget_volume(&path).await?;
        }
    }
    let gone = removed.map(volumes_of).unwrap_or_default();
    remove(appliance, sites, &gone).await
}

/// Removes what nothing names. Nothing may be prepared meanwhile.
pub async fn at_start(appliance: &Appliance) -> anyhow::Result<()> {
    match volumes_of_sites(appliance).await? {
        Some(sites) => remove(appliance, sites, &HashSet::new()).await,
        None => Ok(()),
    }
}

async fn remove(
    appliance: &Appliance,
    sites: HashSet<PathBuf>,
    gone: &HashSet<PathBuf>,
) -> anyhow::Result<()> {
    let Some(sessions) = disks_of_sessions(appliance).await? else {
        return Ok(());
    };
    let mut used = sites;
    for volume in sessions.iter().chain(&catalogue(appliance).await?) {
        used.extend(volume.files().map(|file| file.path.clone()));
    }
    let (host, gone) = (appliance.host.clone(), gone.clone());
    tokio::task::spawn_blocking(move || remove_from(&host, used, &gone)).await?
}

fn remove_from(
    host: &Host,
    mut used: HashSet<PathBuf>,
    gone: &HashSet<PathBuf>,
) -> anyhow::Result<()> {
    let drafts = host.drafts_dir();
    let _lock = match drafts.is_dir() {
        // Locked by a draft at work; the next daemon tries again.
        true => match lock(&drafts, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Some(lock),
            Err(_) => return Ok(()),
        },
        false => None,
    };
    used.extend(named_by_drafts(&drafts, gone));
    host.conversions().remove_unused(&used, CONVERSION)?;
    remove_unpacked(&host.unpacked_dir(), &used)
        .with_context(|| format!("failed to clear `{}`", host.unpacked_dir().display()))
}

async fn catalogue(appliance: &Appliance) -> anyhow::Result<Vec<CapturedVolume>> {
    let volumes = appliance.store.volumes().await?;
    Ok(volumes.into_iter().map(|(_, volume)| volume).collect())
}

/// None where a site cannot be read: nobody knows what it names.
async fn volumes_of_sites(appliance: &Appliance) -> anyhow::Result<Option<HashSet<PathBuf>>> {
    let mut volumes = HashSet::new();
    for record in appliance.store.sites().await? {
        let Ok(site) = Site::load(&record.file) else {
            tracing::info!(site = record.name, "is not readable; no disks are removed");
            return Ok(None);
        };
        volumes.extend(volumes_of(&site));
    }
    Ok(Some(volumes))
}

/// As they are named, and where that is.
fn volumes_of(site: &Site) -> HashSet<PathBuf> {
    let mut volumes = HashSet::new();
    for machine in &site.machines {
        let chains = machine
            .volumes
            .iter()
            .flat_map(|path| machine.chain_of(path));
        for path in machine.volumes.iter().chain(chains) {
            volumes.extend(std::fs::canonicalize(path));
            volumes.insert(path.clone());
        }
    }
    volumes
}

/// None where a session is alive whose disks nobody knows.
async fn disks_of_sessions(appliance: &Appliance) -> anyhow::Result<Option<Vec<CapturedVolume>>> {
    let mut disks = Vec::new();
    for record in appliance.store.sessions().await? {
        if matches!(
            record.state,
            SessionState::Ended | SessionState::Interrupted
        ) {
            continue;
        }
        let Ok(plan) = read_plan(&appliance.host, &record.id) else {
            tracing::info!(session = record.id, "is not readable; no disks are removed");
            return Ok(None);
        };
        let machines = plan.machines.into_iter();
        disks.extend(
            machines.flat_map(|machine| machine.disks.into_iter().map(|disk| disk.captured)),
        );
    }
    Ok(Some(disks))
}

/// What the drafts name that are neither old nor became one of the sites that
/// are gone; the others are removed.
fn named_by_drafts(drafts: &Path, gone: &HashSet<PathBuf>) -> HashSet<PathBuf> {
    let mut named = HashSet::new();
    let entries = std::fs::read_dir(drafts).into_iter().flatten().flatten();
    for path in entries.map(|entry| entry.path()) {
        if !is_draft(&path) {
            continue;
        }
        match read_draft(&path).filter(|draft| !gone.contains(&draft.volume)) {
            Some(draft) => {
                named.extend(draft.converted);
                named.extend(std::fs::canonicalize(&draft.volume));
            }
            None => drop(std::fs::remove_file(&path)),
        }
    }
    named
}

fn is_draft(path: &Path) -> bool {
    let name = path.file_name().and_then(OsStr::to_str);
    let id = name.and_then(|name| name.strip_suffix(".json"));
    id.is_some_and(|id| is_hash(id, 32))
}

fn is_hash(name: &str, digits: usize) -> bool {
    name.len() == digits
        && name
            .bytes()
            .all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
}

fn read_draft(path: &Path) -> Option<Named> {
    let written = path.metadata().and_then(|metadata| metadata.modified());
    let is_old = SystemTime::now()
        .duration_since(written.ok()?)
        .unwrap_or_default()
        > DRAFT;
    let named = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
    (!is_old).then_some(named)
}

/// Removes the archives of which nothing is used, and of the others what was
/// unpacked by halves: no draft is at work. What has not the name of an archive
/// is not Lifeboat's.
fn remove_unpacked(folder: &Path, used: &HashSet<PathBuf>) -> std::io::Result<()> {
    let Ok(folder) = std::fs::canonicalize(folder) else {
        return Ok(());
    };
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let is_ours = entry.file_name().to_str().is_some_and(|id| is_hash(id, 16));
        if !is_ours || !entry.file_type()?.is_dir() {
            continue;
        }
        let archive = entry.path();
        if !used.iter().any(|path| path.starts_with(&archive)) {
            std::fs::remove_dir_all(&archive)?;
            continue;
        }
        for entry in std::fs::read_dir(&archive)? {
            let name = entry?.file_name();
            let text = name.to_string_lossy();
            if text.starts_with('.') && text.ends_with(".part") {
                std::fs::remove_file(archive.join(&name))?;
            }
        }
    }
    Ok(())
}
