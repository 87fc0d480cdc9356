//! From captured volumes to prepared images that are there whole or not at all.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::Context;
use lifeboat_drivers::{
    Check, Disk, InjectRequest, Layer, MicroVm, MicroVmError, NicIdentity, PrepareReport,
};
use lifeboat_images::{CapturedVolume, Format, OpenLayer};

use super::{PreparedDisk, PreparedMachine};
use crate::accelerator::Accelerator;
use crate::hardware::{Clock, Hardware};
use crate::host::Host;
use crate::session::making::replace_file;
use crate::site::Machine;

/// File of every change, in the folder of the prepared machine.
const MANIFEST: &str = "manifest.json";

/// What a micro-VM takes of this host, MiB.
pub(super) const MICRO_VM_MIB: u64 = 512 + 160;

/// The preparation of one machine.
pub(super) struct Preparation {
    pub vm: MicroVm,
    /// Folder that the prepared machine gets.
    pub place: PathBuf,
    pub machine: Machine,
    pub captured: Vec<CapturedVolume>,
    pub key: String,
    /// Ends it soon.
    pub cancelled: Arc<AtomicBool>,
}

/// What was made, and for which hardware.
struct Made {
    report: PrepareReport,
    hardware: Hardware,
}

impl Preparation {
    /// Makes the prepared images in a folder beside their place and moves it
    /// there whole, so that a crash leaves nothing that looks finished, and a
    /// failure leaves nothing at all.
    pub fn make(self) -> anyhow::Result<PreparedMachine> {
        let work = self.place.with_extension("part");
        clear(&work)?;
        clear(&self.place)?;
        let made = self
            .make_in(&work)
            .and_then(|made| publish(&work, &self.place).map(|()| made));
        match made {
            Ok(made) => Ok(self.described(made)),
            Err(error) => {
                clear(&work)?;
                Err(error)
            }
        }
    }

    /// Prepares for the hardware that is wanted; where the guest has no drivers
    /// for it, for what the injector offers instead.
    fn make_in(&self, work: &Path) -> anyhow::Result<Made> {
        let refusal = match self.attempt(work, Hardware::wanted(&self.machine)) {
            Err(error) => error,
            made => return made,
        };
        let Some(MicroVmError::Refused(reason)) = refusal.downcast_ref() else {
            return Err(refusal);
        };
        let offer = reason.fallback();
        let Some(other) = offer.and_then(|offer| Hardware::instead(&self.machine, offer)) else {
            return Err(refusal);
        };
        clear(work)?;
        self.attempt(work, other)
    }

    fn attempt(&self, work: &Path, hardware: Hardware) -> anyhow::Result<Made> {
        std::fs::create_dir_all(work)
            .with_context(|| format!("failed to make `{}`", work.display()))?;
        let overlays = make_overlays(work, &self.captured)?;
        let disks = self
            .captured
            .iter()
            .zip(&overlays)
            .map(|(volume, overlay)| disk(volume, overlay))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let request = request(&self.machine, &hardware);
        let folder = work.join("folder");
        let mut report =
            lifeboat_drivers::prepare_unless(&self.vm, &disks, &request, &folder, &self.cancelled)?;
        report.verified.push(base_check(&self.captured));
        require_checks(&report)?;
        for (name, content) in [
            ("report.json", serde_json::to_vec_pretty(&report)?),
            (MANIFEST, serde_json::to_vec_pretty(&report.changes)?),
        ] {
            replace_file(&work.join(name), &content)?;
        }
        Ok(Made { report, hardware })
    }

    fn described(self, made: Made) -> PreparedMachine {
        let Made {
            report,
            mut hardware,
        } = made;
        let windows = report.guest.windows.as_ref();
        if windows.is_some_and(|windows| windows.local_clock) {
            hardware.clock = Clock::Localtime;
        }
        let mut warnings = report.guest.warnings;
        warnings.extend(hardware.warning());
        let disks = self.captured.into_iter().enumerate();
        PreparedMachine {
            machine: self.machine.name,
            key: self.key,
            disks: disks
                .map(|(number, captured)| PreparedDisk {
                    captured,
                    overlay: self.place.join(overlay_name(number)),
                })
                .collect(),
            folder: self.place.join("folder"),
            hostname: report.guest.hostname,
            operating_system: report.guest.os.pretty_name,
            inject_s: report.seconds,
            changed_files: report.changes.changes.len(),
            checks_passed: report.verified.len(),
            warnings,
            hardware,
            manifest: self.place.join(MANIFEST),
            card_order: report.guest.card_order,
        }
    }
}

/// Moves a finished folder to its place, once all of it is on the disk: what
/// has the final name survives a power cut whole.
fn publish(work: &Path, place: &Path) -> anyhow::Result<()> {
    let publish = || {
        let folder = std::fs::File::open(work)?;
        nix::unistd::syncfs(&folder)?;
        std::fs::rename(work, place)?;
        place
            .parent()
            .map_or(Ok(()), |parent| std::fs::File::open(parent)?.sync_all())
    };
    publish().with_context(|| format!("failed to move `{}` to its place", work.display()))
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
    Ok(disk_of(lifeboat_images::open_read_only(captured)?))
}

/// Open layers as the micro-VM takes them.
pub fn disk_of(layers: Vec<OpenLayer>) -> Disk {
    let layer = |layer: OpenLayer| Layer {
        file: layer.file,
        format: driver_format(layer.format),
    };
    Disk {
        layers: layers.into_iter().map(layer).collect(),
    }
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

/// The format as the injector calls it.
pub fn driver_format(format: Format) -> lifeboat_drivers::Format {
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
        drivers: Some(host.driver_catalogue()).filter(|path| path.is_file()),
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

fn request(machine: &Machine, hardware: &Hardware) -> InjectRequest {
    let nic = |nic: &crate::site::Nic| NicIdentity {
        mac: nic.mac.to_string(),
        address: nic.address.map(Into::into),
    };
    InjectRequest {
        machine: machine.name.clone(),
        nics: machine.nics.iter().map(nic).collect(),
        target: hardware.target(),
        root: machine.root.clone(),
    }
}

/// Whether the captured volumes are what they were before the injection. Nobody
/// can set the time of the last change back.
pub fn base_check(captured: &[CapturedVolume]) -> Check {
    let touched = captured
        .iter()
        .filter(|volume| !lifeboat_images::is_untouched(volume));
    let touched: Vec<_> = touched
        .map(|volume| format!("`{}`", volume.path.display()))
        .collect();
    let files: usize = captured.iter().map(|volume| volume.files().count()).sum();
    Check {
        what: "base unchanged".into(),
        ok: touched.is_empty(),
        detail: match touched.is_empty() {
            true => format!("size, modification and change time are as before ({files} files)"),
            false => format!(
                "{} changed during the injection: make sure that nobody writes to it, and try again",
                touched.join(", ")
            ),
        },
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
