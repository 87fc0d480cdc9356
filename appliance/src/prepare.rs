//! Import, inspect and inject: from the captured volumes of a machine to its
//! prepared images. Made when a volume arrives, so that a recovery converts
//! nothing; made again only when something that went into it changed.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::Context;
use lifeboat_drivers::{Disk, InjectRequest, Layer, MicroVm, NicIdentity, PrepareReport, Target};
use lifeboat_images::{CapturedVolume, Format, OpenLayer, Reading};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::accelerator::Accelerator;
use crate::confined;
use crate::daemon::Appliance;
use crate::events::Events;
use crate::host::Host;
use crate::session::making::replace_file;
use crate::site::{Machine, Site};

/// Raised whenever the same inputs would now give other prepared images.
const PREPARE_VERSION: u32 = 1;

/// How to prepare.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrepareOptions {
    /// Take a captured volume that changed since its import as a new one.
    #[serde(default)]
    pub accept_changed: bool,
}

/// A machine that can be started.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PreparedMachine {
    /// Its name.
    pub machine: String,
    /// Hash of everything that went into it.
    pub key: String,
    /// Its disks in order.
    pub disks: Vec<PreparedDisk>,
    /// The machine folder: `etc/`, journals, units.
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
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PreparedDisk {
    /// The captured volume.
    pub captured: CapturedVolume,
    /// The prepared image over it.
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
}

/// Prepares every machine of a site, as many at a time as there are cores.
pub async fn prepare_site(
    appliance: &Appliance,
    site: &Site,
    options: PrepareOptions,
    events: &Events,
) -> anyhow::Result<Vec<PreparedMachine>> {
    let _one_at_a_time = appliance.preparing.lock().await;
    let slots = Arc::new(Semaphore::new(
        std::thread::available_parallelism().map_or(1, usize::from),
    ));
    let mut working = JoinSet::new();
    for (index, machine) in site.machines.iter().cloned().enumerate() {
        let work = Work {
            appliance: appliance.clone(),
            site: site.name.clone(),
            machine,
            options,
            events: events.clone(),
        };
        let slots = slots.clone();
        working.spawn(async move {
            let _slot = slots.acquire_owned().await?;
            let name = work.machine.name.clone();
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

struct Work {
    appliance: Appliance,
    site: String,
    machine: Machine,
    options: PrepareOptions,
    events: Events,
}

impl Work {
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
        let (host, machine, key_) = (
            self.appliance.host.clone(),
            self.machine.clone(),
            key.clone(),
        );
        let made = tokio::task::spawn_blocking(move || {
            make(&host, verdict.accelerator, &machine, captured, &key_)
        })
        .await??;
        self.appliance
            .store
            .put_prepared(&key, &self.site, &self.machine.name, &made)
            .await?;
        let detail = format!(
            "{} in {:.1} s, {} files changed, {} checks passed",
            made.operating_system, made.inject_s, made.changed_files, made.checks_passed
        );
        self.events
            .done("inject drivers", &self.machine.name, detail);
        Ok(made)
    }

    /// The volume as the catalogue knows it: imported now, or proven unchanged.
    async fn captured(&self, path: &Path) -> anyhow::Result<CapturedVolume> {
        let known: Option<CapturedVolume> = self.appliance.store.volume(path).await?;
        if let Some(known) = known {
            if lifeboat_images::is_untouched(&known) {
                return Ok(known);
            }
            return self.changed(path, known).await;
        }
        self.import(path).await
    }

    /// Its times or size differ. The same bytes under another time are the
    /// same volume, copied or touched.
    async fn changed(&self, path: &Path, known: CapturedVolume) -> anyhow::Result<CapturedVolume> {
        let now = self.import_only(path).await?;
        if now.blake3 != known.blake3 && !self.options.accept_changed {
            return Err(VolumeChanged {
                volume: path.to_path_buf(),
                machine: self.machine.name.clone(),
            }
            .into());
        }
        self.appliance.store.put_volume(path, &now).await?;
        Ok(now)
    }

    async fn import(&self, path: &Path) -> anyhow::Result<CapturedVolume> {
        let captured = self.import_only(path).await?;
        self.appliance.store.put_volume(path, &captured).await?;
        Ok(captured)
    }

    async fn import_only(&self, path: &Path) -> anyhow::Result<CapturedVolume> {
        let name = path.file_name().map_or_else(
            || path.display().to_string(),
            |name| name.to_string_lossy().into_owned(),
        );
        self.events.step("import", &name);
        let (events, subject, path) = (self.events.clone(), name.clone(), path.to_path_buf());
        let trees = self.appliance.host.trees_dir();
        let captured = tokio::task::spawn_blocking(move || {
            let progress = |done, total| events.progress("import", &subject, done, total);
            lifeboat_images::import(
                &confined::launcher(),
                &path,
                &[],
                Some(&trees),
                &Reading::fast(&progress, &AtomicBool::new(false)),
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
        let all = serde_json::to_vec(&(
            PREPARE_VERSION,
            injector,
            hashes,
            &self.machine.volumes,
            &self.machine.nics,
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

/// Makes the prepared images in a folder beside their place and moves it there
/// whole, so that a crash leaves nothing that looks finished, and a failure
/// leaves nothing at all.
fn make(
    host: &Host,
    accelerator: Accelerator,
    machine: &Machine,
    captured: Vec<CapturedVolume>,
    key: &str,
) -> anyhow::Result<PreparedMachine> {
    let place = host.prepared_dir(key);
    let work = place.with_extension("part");
    clear(&work)?;
    clear(&place)?;
    let made =
        make_in(&work, &micro_vm(host, accelerator), machine, &captured).and_then(|report| {
            std::fs::rename(&work, &place)
                .with_context(|| format!("failed to move `{}` to its place", work.display()))?;
            Ok(report)
        });
    match made {
        Ok(report) => Ok(described(machine, captured, key, &place, &report)),
        Err(error) => {
            clear(&work)?;
            Err(error)
        }
    }
}

fn make_in(
    work: &Path,
    vm: &MicroVm,
    machine: &Machine,
    captured: &[CapturedVolume],
) -> anyhow::Result<PrepareReport> {
    std::fs::create_dir_all(work)
        .with_context(|| format!("failed to make `{}`", work.display()))?;
    let overlays = make_overlays(work, captured)?;
    let disks = captured
        .iter()
        .zip(&overlays)
        .map(|(volume, overlay)| disk(volume, overlay))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let report = lifeboat_drivers::prepare(vm, &disks, &request(machine), &work.join("folder"))?;
    require_checks(&report)?;
    replace_file(
        &work.join("report.json"),
        &serde_json::to_vec_pretty(&report)?,
    )?;
    Ok(report)
}

fn clear(folder: &Path) -> anyhow::Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("failed to clear `{}`", folder.display()))
        }
        _ => Ok(()),
    }
}

/// Removes what a preparation left that ended in the middle. Only the daemon's
/// start may call it: nothing prepares then.
pub fn remove_unfinished(host: &Host) {
    let entries = std::fs::read_dir(host.state_dir.join("prepared"))
        .into_iter()
        .flatten();
    for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
        if path
            .extension()
            .is_some_and(|extension| extension == "part")
            && let Err(error) = clear(&path)
        {
            tracing::warn!(
                error = format!("{error:#}"),
                "an unfinished preparation stays"
            );
        }
    }
}

fn overlay_name(number: usize) -> String {
    format!("disk-{number}.qcow2")
}

fn make_overlays(folder: &Path, captured: &[CapturedVolume]) -> anyhow::Result<Vec<PathBuf>> {
    let overlays: Vec<_> = (0..captured.len())
        .map(|number| folder.join(overlay_name(number)))
        .collect();
    for (volume, overlay) in captured.iter().zip(&overlays) {
        overlay_over(volume, overlay)?;
    }
    Ok(overlays)
}

/// The descriptors of a disk for the micro-VM: the captured volume to read,
/// the overlay to write.
pub fn disk(captured: &CapturedVolume, overlay: &Path) -> anyhow::Result<Disk> {
    let mut disk = read_only_disk(captured)?;
    let overlay: OwnedFd = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(overlay)
        .with_context(|| format!("failed to open overlay `{}`", overlay.display()))?
        .into();
    let top = Layer {
        file: overlay,
        format: lifeboat_drivers::Format::Qcow2,
    };
    disk.layers.insert(0, top);
    Ok(disk)
}

/// A captured volume alone, to look at.
pub fn read_only_disk(captured: &CapturedVolume) -> anyhow::Result<Disk> {
    let layers = lifeboat_images::open_read_only(captured)?.into_iter();
    let layer = |layer: OpenLayer| Layer {
        file: layer.file,
        format: driver_format(layer.format),
    };
    Ok(Disk {
        layers: layers.map(layer).collect(),
    })
}

/// An overlay over what QEMU is given of the volume.
pub fn overlay_over(captured: &CapturedVolume, overlay: &Path) -> anyhow::Result<()> {
    let top = captured
        .served
        .first()
        .context("the catalogue does not say what QEMU is given of this volume: import it again")?;
    lifeboat_images::create_overlay(&top.file.path, top.format, captured.virtual_size, overlay)?;
    Ok(())
}

fn driver_format(format: Format) -> lifeboat_drivers::Format {
    match format {
        Format::Raw => lifeboat_drivers::Format::Raw,
        Format::Qcow2 => lifeboat_drivers::Format::Qcow2,
        Format::Vmdk => lifeboat_drivers::Format::Vmdk,
        Format::Vpc => lifeboat_drivers::Format::Vpc,
        Format::Vhdx => lifeboat_drivers::Format::Vhdx,
        Format::Vdi => lifeboat_drivers::Format::Vdi,
    }
}

/// The micro-VM of this host.
pub fn micro_vm(host: &Host, accelerator: Accelerator) -> MicroVm {
    MicroVm {
        qemu: PathBuf::from("qemu-system-x86_64"),
        kernel_dir: host.kernel_dir.clone(),
        injector: host.program("lifeboat-injector"),
        accelerator: match accelerator {
            Accelerator::Kvm => lifeboat_drivers::Accelerator::Kvm,
            Accelerator::Tcg => lifeboat_drivers::Accelerator::Tcg,
        },
        memory_mib: 512,
        timeout: Duration::from_secs(600),
        run_as: Some((host.switch_user().uid, host.switch_user().gid)),
    }
}

fn request(machine: &Machine) -> InjectRequest {
    let nic = |nic: &crate::site::Nic| NicIdentity {
        mac: nic.mac.to_string(),
        address: nic.address.map(Into::into),
    };
    InjectRequest {
        machine: machine.name.clone(),
        nics: machine.nics.iter().map(nic).collect(),
        target: Target::default(),
    }
}

/// An injection whose own look afterwards found a fault is a failure.
pub fn require_checks(report: &PrepareReport) -> anyhow::Result<()> {
    let failed: Vec<_> = report
        .verified
        .iter()
        .filter(|check| !check.ok)
        .map(|check| format!("{}: {}", check.what, check.detail))
        .collect();
    anyhow::ensure!(
        failed.is_empty(),
        "the injection did not prove itself: {}",
        failed.join("; ")
    );
    Ok(())
}

fn described(
    machine: &Machine,
    captured: Vec<CapturedVolume>,
    key: &str,
    place: &Path,
    report: &PrepareReport,
) -> PreparedMachine {
    let disks = captured.into_iter().enumerate();
    PreparedMachine {
        machine: machine.name.clone(),
        key: key.to_owned(),
        disks: disks
            .map(|(number, captured)| PreparedDisk {
                captured,
                overlay: place.join(overlay_name(number)),
            })
            .collect(),
        folder: place.join("folder"),
        hostname: report.guest.hostname.clone(),
        operating_system: report.guest.os.pretty_name.clone(),
        inject_s: report.seconds,
        changed_files: report.changes.changes.len(),
        checks_passed: report.verified.len(),
        warnings: report.guest.warnings.clone(),
    }
}
