//! Import, inspect and inject: from the captured volumes of a machine to its
//! prepared images. Made when a volume arrives, so that a recovery converts
//! nothing; made again only when something that went into it changed.

mod making;

use making::Preparation;

pub use making::{
    base_check, disk, disk_of, driver_format, micro_vm, overlay_over, read_only_disk,
    remove_unfinished, require_checks,
};

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use lifeboat_images::{CapturedVolume, Container, ImageError, Reading, ServedLayer};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::confined;
use crate::daemon::Appliance;
use crate::events::Events;
use crate::hardware::Hardware;
use crate::host::Host;
use crate::integrity::{BeforeBoot, DamagedConversion, UnreadableVolume};
use crate::site::{Machine, Site};

/// Raised whenever the same inputs would now give other prepared images.
const PREPARE_VERSION: u32 = 2;

/// How to prepare.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PrepareOptions {
    /// Take a captured volume that changed since its import as a new one.
    #[serde(default)]
    pub accept_changed: bool,
    /// What a session reads before it starts machines.
    #[serde(default)]
    pub verify: BeforeBoot,
}

/// A machine that can be started.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PreparedMachine {
    /// Its name.
    pub machine: String,
    /// Hash of everything that went into it.
    pub key: String,
    /// Its disks in order.
    pub disks: Vec<PreparedDisk>,
    /// The machine folder: `etc/`, journals, units.
    #[schema(value_type = String)]
    pub folder: PathBuf,
    /// Host name that the guest gives itself.
    pub hostname: String,
    /// What runs on it.
    pub operating_system: String,
    /// Seconds that inspection and injection took.
    pub inject_s: f64,
    /// Files of the guest that were changed or added.
    pub changed_files: usize,
    /// What was looked at again after the injection.
    pub checks_passed: usize,
    /// Odd things that were seen.
    pub warnings: Vec<String>,
    /// The hardware it was prepared for.
    #[serde(default)]
    pub hardware: Hardware,
    /// File that holds every change with its hashes, enough to undo it.
    #[serde(default)]
    #[schema(value_type = String)]
    pub manifest: PathBuf,
    /// MAC addresses in the order in which the cards are best attached.
    #[serde(default)]
    pub card_order: Vec<String>,
}

impl PreparedMachine {
    /// The same prepared images over the volumes as they lie there now: a copy
    /// has the same bytes under another inode and time.
    fn for_volumes(mut self, machine: &str, captured: Vec<CapturedVolume>) -> Self {
        machine.clone_into(&mut self.machine);
        for (disk, captured) in self.disks.iter_mut().zip(captured) {
            disk.captured = captured;
        }
        self
    }
}

/// One disk of it.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PreparedDisk {
    /// The captured volume.
    pub captured: CapturedVolume,
    /// The prepared image over it.
    #[schema(value_type = String)]
    pub overlay: PathBuf,
}

/// A captured volume is not what it was at import.
#[derive(Debug, thiserror::Error)]
#[error(
    "captured volume `{volume}` of machine `{machine}` changed since its import: restore it, or take it as a new capture with `--accept-changed`"
)]
pub struct VolumeChanged {
    volume: PathBuf,
    machine: String,
    source: Option<ImageError>,
}

/// Whether a preparation goes on when nobody waits for it any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenAbandoned {
    /// It is cancelled: its asker wanted nothing else.
    Cancel,
    /// It goes on, as a part of something larger.
    GoOn,
}

/// Between two looks at whether somebody still waits.
const WATCH: Duration = Duration::from_millis(250);

/// Prepares every machine of a site, as many at a time as this host can carry.
pub async fn prepare_site(
    appliance: &Appliance,
    site: &Site,
    options: PrepareOptions,
    events: &Events,
    when_abandoned: WhenAbandoned,
) -> anyhow::Result<Vec<PreparedMachine>> {
    let cancelled = Arc::new(AtomicBool::new(false));
    let prepared = prepare_unless(appliance, site, options, events, &cancelled);
    match when_abandoned {
        WhenAbandoned::GoOn => prepared.await,
        WhenAbandoned::Cancel => {
            let watch = cancel_when_abandoned(events.clone(), cancelled.clone());
            let watching = tokio::spawn(watch);
            let prepared = prepared.await;
            watching.abort();
            prepared
        }
    }
}

/// A captured volume of a machine as it lies there now, if every byte is known
/// to be what it was when `known` was imported.
pub async fn same_volume(
    appliance: &Appliance,
    site: &str,
    machine: &Machine,
    path: &Path,
    known: &CapturedVolume,
    events: &Events,
) -> anyhow::Result<CapturedVolume> {
    let _one_at_a_time = appliance.preparing.lock().await;
    let work = Work {
        appliance: appliance.clone(),
        site: site.to_owned(),
        machine: machine.clone(),
        options: PrepareOptions::default(),
        events: events.clone(),
        cancelled: Arc::default(),
    };
    let now = work.captured(path).await?;
    let places = |volume: &CapturedVolume| -> Vec<PathBuf> {
        let served = volume.served.iter();
        served.map(|layer| layer.file.path.clone()).collect()
    };
    if now.blake3 == known.blake3 && places(&now) == places(known) {
        return Ok(now);
    }
    Err(VolumeChanged {
        volume: path.to_path_buf(),
        machine: machine.name.clone(),
        source: None,
    }
    .into())
}

async fn cancel_when_abandoned(events: Events, cancelled: Arc<AtomicBool>) {
    while !events.is_abandoned() {
        tokio::time::sleep(WATCH).await;
    }
    cancelled.store(true, Ordering::Relaxed);
}

/// Micro-VMs that run at once: one for each core, as far as memory goes.
fn slots(host: &Host) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let fitting = host.memory_for_guests_mib() / making::MICRO_VM_MIB;
    cores
        .min(usize::try_from(fitting).unwrap_or(usize::MAX))
        .max(1)
}

async fn prepare_unless(
    appliance: &Appliance,
    site: &Site,
    options: PrepareOptions,
    events: &Events,
    cancelled: &Arc<AtomicBool>,
) -> anyhow::Result<Vec<PreparedMachine>> {
    let _one_at_a_time = appliance.preparing.lock().await;
    let slots = Arc::new(Semaphore::new(slots(&appliance.host)));
    let mut working = JoinSet::new();
    for (index, machine) in site.machines.iter().cloned().enumerate() {
        let work = Work {
            appliance: appliance.clone(),
            site: site.name.clone(),
            machine,
            options,
            events: events.clone(),
            cancelled: cancelled.clone(),
        };
        let slots = slots.clone();
        working.spawn(async move {
            let _slot = slots.acquire_owned().await?;
            let name = work.machine.name.clone();
            anyhow::ensure!(!work.is_cancelled(), "cancelled before machine `{name}`");
            let prepared = work
                .prepare()
                .await
                .with_context(|| format!("failed to prepare machine `{name}`"))?;
            anyhow::Ok((index, prepared))
        });
    }
    collect(working).await
}

/// Waits for every machine, also after one failed: work that goes on unseen
/// would meet the next request.
async fn collect(
    mut working: JoinSet<anyhow::Result<(usize, PreparedMachine)>>,
) -> anyhow::Result<Vec<PreparedMachine>> {
    let mut prepared = Vec::new();
    let mut first_failure = None;
    while let Some(done) = working.join_next().await {
        match done.map_err(anyhow::Error::from).and_then(|result| result) {
            Ok(machine) => prepared.push(machine),
            Err(error) => {
                tracing::error!(error = format!("{error:#}"), "a machine was not prepared");
                first_failure.get_or_insert(error);
            }
        }
    }
    if let Some(error) = first_failure {
        return Err(error);
    }
    prepared.sort_by_key(|(index, _)| *index);
    Ok(prepared.into_iter().map(|(_, machine)| machine).collect())
}

/// The name of a volume in progress lines.
pub fn file_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str());
    name.to_string_lossy().into_owned()
}

struct Work {
    appliance: Appliance,
    site: String,
    machine: Machine,
    options: PrepareOptions,
    events: Events,
    cancelled: Arc<AtomicBool>,
}

impl Work {
    fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    async fn prepare(&self) -> anyhow::Result<PreparedMachine> {
        let mut captured = Vec::new();
        for volume in &self.machine.volumes {
            captured.push(self.captured(volume).await?);
        }
        let key = self.key(&captured)?;
        if let Some(ready) = self.ready_before(&key).await? {
            self.events
                .done("prepare", &self.machine.name, "was prepared before");
            return Ok(ready.for_volumes(&self.machine.name, captured));
        }
        self.events.step("inject drivers", &self.machine.name);
        let verdict = self.appliance.verdict().await;
        let preparation = Preparation {
            vm: micro_vm(&self.appliance.host, verdict.accelerator),
            place: self.appliance.host.prepared_dir(&key),
            machine: self.machine.clone(),
            captured,
            key: key.clone(),
            cancelled: self.cancelled.clone(),
        };
        let made = tokio::task::spawn_blocking(move || preparation.make()).await??;
        self.appliance
            .store
            .put_prepared(&key, &self.site, &self.machine.name, &made)
            .await?;
        let detail = format!(
            "{} in {:.1} s, {} files changed, {} checks passed, boots on {}",
            made.operating_system,
            made.inject_s,
            made.changed_files,
            made.checks_passed,
            made.hardware.describe()
        );
        self.events
            .done("inject drivers", &self.machine.name, detail);
        Ok(made)
    }

    /// The volume as the catalogue knows it: imported now, or proven unchanged.
    async fn captured(&self, path: &Path) -> anyhow::Result<CapturedVolume> {
        let known: Option<CapturedVolume> = self.appliance.store.volume(path).await?;
        let Some(known) = known else {
            return self.import(path).await;
        };
        if !lifeboat_images::is_untouched(&known) || !self.has_its_chain(path, &known) {
            return self.changed(path, known).await;
        }
        match self.appliance.require_sound(path, &known).await {
            Err(error) if error.is::<DamagedConversion>() => {
                self.events.warning(format!(
                    "what was converted from `{}` is damaged; it is converted again",
                    path.display()
                ));
                self.imported_again(path, &known, None).await
            }
            Err(_) if self.options.accept_changed => self.import(path).await,
            // It may be there again.
            Err(error) if error.is::<UnreadableVolume>() => {
                let it = [(&path.to_path_buf(), &known)];
                let read = self
                    .appliance
                    .verify_before_boot(it, BeforeBoot::Always, &self.events);
                read.await.map(|()| known.clone())
            }
            sound => sound.map(|()| known),
        }
    }

    /// Whether it was imported over the files that are named for it now.
    fn has_its_chain(&self, path: &Path, known: &CapturedVolume) -> bool {
        is_over(known, self.machine.chain_of(path))
    }

    /// Its times or size differ. The same bytes under another time are the
    /// same volume, copied or touched.
    async fn changed(&self, path: &Path, known: CapturedVolume) -> anyhow::Result<CapturedVolume> {
        if !self.has_its_chain(path, &known) {
            return self.imported_again(path, &known, None).await;
        }
        let error = match self.readmit(path, known.clone()).await? {
            Ok(now) => {
                self.keep(path, &now).await?;
                return Ok(now);
            }
            Err(error) => error,
        };
        let is_its = |layer: &ServedLayer| error.path() == Some(&layer.file.path);
        if known.converted().any(is_its) {
            // It was made here, and is made again from the same bytes.
            return self.imported_again(path, &known, None).await;
        }
        match error {
            ImageError::Changed { .. } => self.imported_again(path, &known, Some(error)).await,
            error => Err(error.into()),
        }
    }

    /// Imports what is there now, if it is the known volume or may take its
    /// place. `changed` says that it is another one.
    async fn imported_again(
        &self,
        path: &Path,
        known: &CapturedVolume,
        changed: Option<ImageError>,
    ) -> anyhow::Result<CapturedVolume> {
        let refused = |source| VolumeChanged {
            volume: path.to_path_buf(),
            machine: self.machine.name.clone(),
            source,
        };
        if changed.is_some() && !self.options.accept_changed {
            return Err(refused(changed).into());
        }
        let now = self.import_only(path).await?;
        if now.blake3 != known.blake3 && !self.options.accept_changed {
            return Err(refused(None).into());
        }
        self.keep(path, &now).await?;
        Ok(now)
    }

    async fn readmit(
        &self,
        path: &Path,
        known: CapturedVolume,
    ) -> anyhow::Result<Result<CapturedVolume, ImageError>> {
        let name = file_name(path);
        self.events.step("compare", &name);
        let (events, trees) = (self.events.clone(), self.appliance.host.trees_dir());
        let cancelled = self.cancelled.clone();
        let compared = tokio::task::spawn_blocking(move || {
            let progress = |done, total| events.progress("compare", &name, done, total);
            lifeboat_images::readmit(&known, &trees, &Reading::fast(&progress, &cancelled))
        });
        Ok(compared.await?)
    }

    async fn import(&self, path: &Path) -> anyhow::Result<CapturedVolume> {
        let captured = self.import_only(path).await?;
        self.keep(path, &captured).await?;
        Ok(captured)
    }

    async fn keep(&self, path: &Path, captured: &CapturedVolume) -> anyhow::Result<()> {
        self.appliance.store.put_volume(path, captured).await?;
        self.appliance.note_intact(path, captured).await
    }

    async fn import_only(&self, path: &Path) -> anyhow::Result<CapturedVolume> {
        let name = file_name(path);
        self.events.step("import", &name);
        let (events, subject, path) = (self.events.clone(), name.clone(), path.to_path_buf());
        let cancelled = self.cancelled.clone();
        let trees = self.appliance.host.trees_dir();
        let conversions = self.appliance.host.conversions();
        let chain = self.machine.chain_of(&path).to_vec();
        let captured = tokio::task::spawn_blocking(move || {
            let progress = |done, total| events.progress("import", &subject, done, total);
            lifeboat_images::import(
                &confined::launcher(),
                &path,
                &chain,
                &conversions,
                Some(&trees),
                &Reading::fast(&progress, &cancelled),
            )
        })
        .await??;
        let detail = format!(
            "{}, {} MiB, BLAKE3 {}",
            captured.format,
            captured.virtual_size >> 20,
            &captured.blake3[..16.min(captured.blake3.len())]
        );
        self.events.done("import", &name, detail);
        Ok(captured)
    }

    fn key(&self, captured: &[CapturedVolume]) -> anyhow::Result<String> {
        let hashes: Vec<_> = captured
            .iter()
            .map(|volume| (&volume.blake3, volume.format))
            .collect();
        let injector = std::fs::read(self.appliance.host.program("lifeboat-injector"))
            .with_context(|| {
                format!(
                    "failed to read `{}`: build it with `./setup`",
                    self.appliance.host.program("lifeboat-injector").display()
                )
            })?;
        let injector = blake3::hash(&injector).to_hex().to_string();
        let drivers = std::fs::read(self.appliance.host.driver_catalogue());
        let drivers = drivers.map(|bytes| blake3::hash(&bytes).to_hex().to_string());
        let all = serde_json::to_vec(&(
            PREPARE_VERSION,
            injector,
            drivers.unwrap_or_default(),
            hashes,
            &self.machine.volumes,
            &self.machine.nics,
            self.machine.disk_bus,
            &self.machine.root,
        ))?;
        Ok(blake3::hash(&all).to_hex()[..32].to_owned())
    }

    async fn ready_before(&self, key: &str) -> anyhow::Result<Option<PreparedMachine>> {
        let found: Option<PreparedMachine> = self.appliance.store.prepared(key).await?;
        Ok(found.filter(|machine| {
            machine.disks.iter().all(|disk| disk.overlay.is_file()) && machine.folder.is_dir()
        }))
    }
}

/// Whether a volume was imported over these files, and over nothing further.
fn is_over(known: &CapturedVolume, chain: &[PathBuf]) -> bool {
    let sources = || known.sources.iter().map(|source| &source.path);
    let place = |named: &PathBuf| std::fs::canonicalize(named).ok();
    let container = match chain.last() {
        None => Ok(known.format),
        Some(last) => lifeboat_images::identify(last),
    };
    let ends = match container {
        // Only these lie over others, and they are one file each. What comes
        // after anything else are its own parts.
        Ok(Container::Qcow2 | Container::Vpc) => match chain.last() {
            None => known.sources.len() == 1,
            Some(last) => sources().next_back() == place(last).as_ref(),
        },
        _ => true,
    };
    // Its own file comes first, then one a layer; the last may have parts.
    ends && chain
        .iter()
        .enumerate()
        .all(|(below, named)| sources().nth(below + 1) == place(named).as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_that_became_shorter_is_another_one() {
        let folder = tempfile::tempdir().unwrap();
        let folder = std::fs::canonicalize(folder.path()).unwrap();
        let write = |name: &str, bytes: &[u8]| {
            let path = folder.join(name);
            std::fs::write(&path, bytes).unwrap();
            path
        };
        let head = b"QFI\xfb\0\0\0\x03";
        let (top, middle) = (write("top.qcow2", head), write("middle.qcow2", head));
        let bases = [write("base.000", b"1"), write("base.001", b"2")];
        let mut known = crate::injection::tests::raw_volume(&top);
        known.format = Container::Qcow2;
        for path in [&middle, &bases[0], &bases[1]] {
            known
                .sources
                .extend(crate::injection::tests::raw_volume(path).sources);
        }
        let [base, _] = bases;
        assert!(is_over(&known, &[middle.clone(), base.clone()]));
        assert!(!is_over(&known, std::slice::from_ref(&middle)));
        assert!(!is_over(&known, &[]));
        // Without its middle it is another chain, too.
        assert!(!is_over(&known, std::slice::from_ref(&base)));
        assert!(!is_over(&known, &[base.clone(), middle.clone()]));
        assert!(!is_over(
            &known,
            &[middle.clone(), base, folder.join("more")]
        ));
        known.sources.truncate(2);
        assert!(is_over(&known, &[middle]));
        known.sources.truncate(1);
        assert!(is_over(&known, &[]));
        // Parts of its own are no chain.
        known.format = Container::SplitRaw;
        known.sources.extend(known.sources.clone());
        assert!(is_over(&known, &[]));
    }
}
