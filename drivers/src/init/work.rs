//! One task, from the disks to the report.

use super::disks::{self, Attached, Found};
use super::kit::Kit;
use super::mounts::{self, Guest};
use super::output::Output;
use super::tools::Tools;
use super::{soundness, volumes, windows};
use crate::guest::apply;
use crate::guest::budget::Budget;
use crate::guest::changeable;
use crate::guest::extract::{Limits, extract};
use crate::guest::kernels::{self, KernelImage};
use crate::guest::network;
use crate::guest::plan;
use crate::guest::root::Root;
use crate::guest::verify::verify;
use crate::guest::{boot_loader, facts};
use crate::refusal::Refusal;
use crate::report::{
    Firmware, GuestReport, InjectRequest, Manifest, Outcome, RootFilesystem, Task,
};
use crate::{Described, describe, partition_table};

/// Why the work ended early.
pub(super) enum Stop {
    /// The guest is not touched.
    Refused(Refusal),
    /// Something failed.
    Failed(Described),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Described> for Stop {
    fn from(error: Described) -> Self {
        Self::Failed(error)
    }
}

/// Inspects, extracts, and where asked injects and verifies.
pub(super) fn perform(
    task: &Task,
    attached: &Attached,
    output: &mut Output,
) -> Result<Outcome, Stop> {
    step("looking at the disks");
    let mut found = disks::partitions(attached).map_err(describe("reading the partitions"))?;
    let mut warnings = Vec::new();
    let tools = Tools::new(task, Kit::on(attached.kit.clone()));
    let mut volumes = volumes::assemble(&mut found, &tools, &mut warnings);
    if task.check {
        let checks = soundness::as_captured(&found, &tools);
        volumes.release(&tools);
        return Ok(Outcome::Checked(checks));
    }
    if let Some(guest) = windows::find(&found, &tools, &mut volumes.problems)? {
        return windows::perform(&guest, &found, task, attached, &tools, output, warnings);
    }
    let guest = mounts::mount_guest(&found, &volumes.problems, &tools, &mut warnings)?;
    warnings.extend(volumes.problems.iter().map(ToString::to_string));
    let root = guest.open().map_err(describe("opening the guest's root"))?;
    if let Some(architecture) = facts::foreign_architecture(&root) {
        return Err(Refusal::ForeignArchitecture { architecture }.into());
    }
    if let Some(manifest) = &task.undo {
        let outcome = undo(&guest, root, manifest)?;
        volumes.release(&tools);
        return Ok(outcome);
    }
    if task.machine_folder {
        step("reading out the machine folder");
        let extracted = extract(&root, Limits::default(), output);
        warnings.extend(extracted.map_err(describe("reading out the machine folder"))?);
    }
    step("reading the initramfs images");
    let budget = Budget::of_memory(task.memory_mib);
    let kernels = kernels::find_within(&root, &mut warnings, budget);
    let firmware = firmware(&root, &found, &|disk| boots_bios(attached, disk));
    let mut report = inspect(&root, &found, guest.root, warnings)?;
    report.closed_volumes = volumes.hide_something();
    report.firmware = match firmware {
        Ok(firmware) => firmware,
        Err(refusal) if task.inject.is_some() => return Err(refusal.into()),
        Err(refusal) => {
            report.warnings.push(refusal.to_string());
            Firmware::Uefi
        }
    };
    let Some(request) = &task.inject else {
        match kernels {
            Ok(kernels) => report.kernels = reports(&kernels),
            Err(refusal) => report.warnings.push(refusal.to_string()),
        }
        return Ok(Outcome::Inspected(report));
    };
    let kernels = kernels?;
    report.kernels = reports(&kernels);
    let mut outcome = inject(&guest, root, report, &kernels, request, budget)?;
    if let Outcome::Prepared { verified, .. } = &mut outcome {
        step("checking the filesystems");
        verified.extend(soundness::look(&found, &tools));
    }
    volumes.release(&tools);
    Ok(outcome)
}

fn undo(guest: &Guest, root: Root, manifest: &Manifest) -> Result<Outcome, Stop> {
    step("taking back");
    guest
        .make_writable()
        .map_err(describe("making the guest writable"))?;
    apply::undo(&root, manifest).map_err(describe("taking an injection back"))?;
    drop(root);
    guest.unmount().map_err(describe("unmounting the guest"))?;
    Ok(Outcome::Undone {
        changes: manifest.changes.len(),
    })
}

fn inject(
    guest: &Guest,
    root: Root,
    mut report: GuestReport,
    kernels: &[KernelImage],
    request: &InjectRequest,
    budget: Budget,
) -> Result<Outcome, Stop> {
    step("planning");
    let plan = plan::plan_within(&root, &report, kernels, request, budget)?;
    report.warnings.extend(plan.warnings.iter().cloned());
    report.card_order.clone_from(&plan.cards);
    step("writing");
    guest
        .make_writable()
        .map_err(describe("making the guest writable"))?;
    changeable::check_writable(&root, &plan)?;
    let changes = apply::apply(&root, &plan).map_err(describe("changing the guest"))?;
    drop((root, plan));
    guest
        .mount_again()
        .map_err(describe("mounting the guest again"))?;
    step("verifying");
    let root = guest
        .open()
        .map_err(describe("opening the guest's root again"))?;
    let after = kernels
        .iter()
        .map(|kernel| kernels::read_again(&root, kernel));
    let after = after.collect::<Result<Vec<_>, _>>()?;
    let verified = verify(&root, &report, &after, request, &changes);
    drop(root);
    guest.unmount().map_err(describe("unmounting the guest"))?;
    Ok(Outcome::Prepared {
        guest: report,
        changes,
        verified,
    })
}

fn reports(kernels: &[KernelImage]) -> Vec<crate::report::KernelReport> {
    kernels.iter().map(|kernel| kernel.report.clone()).collect()
}

/// What the guest starts with: UEFI where its loaders are, or where only they can be.
fn firmware(
    root: &Root,
    found: &[Found],
    boots_bios: &dyn Fn(usize) -> bool,
) -> Result<Firmware, Refusal> {
    let system = found.iter().find(|each| each.partition.efi_system);
    let declared = efi_in_fstab(&root.text("etc/fstab"), system.is_some());
    let places = ["boot/efi/EFI", "efi/EFI", "boot/EFI"];
    if places.iter().any(|path| root.exists(path)) && (system.is_some() || declared.is_some()) {
        return Ok(Firmware::Uefi);
    }
    match (system, declared) {
        // Nothing is on it that could be started.
        (Some(system), _) if mounts::is_mounted(&system.device) => Ok(Firmware::Bios),
        (Some(system), declared) => {
            let mut disks = found.iter().map(|each| each.partition.disk);
            if declared.is_none() && disks.any(boots_bios) {
                return Ok(Firmware::Bios);
            }
            let partition = &system.partition;
            Err(Refusal::UnsupportedFilesystem {
                partition: mounts::name(partition),
                filesystem: partition
                    .filesystem
                    .clone()
                    .unwrap_or("nothing known".into()),
                detail: "it is the EFI system partition that the machine starts from".to_owned(),
            })
        }
        (None, Some((mount, device))) => Err(Refusal::MissingFilesystem { mount, device }),
        (None, None) => Ok(Firmware::Bios),
    }
}

/// Where fstab puts the EFI system partition, and from which device.
fn efi_in_fstab(fstab: &str, is_there: bool) -> Option<(String, String)> {
    let lines = fstab.lines().map(str::trim_start);
    let mut lines = lines
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| {
            let mut fields = line.split_whitespace();
            let (device, mount) = (fields.next()?, fields.next()?.trim_end_matches('/'));
            let mut options = fields.nth(1).unwrap_or_default().split(',');
            let is_optional = options.any(|option| option == "nofail" || option == "noauto");
            (["/boot/efi", "/efi"].contains(&mount) && (is_there || !is_optional))
                .then(|| (mount.to_owned(), device.to_owned()))
        });
    lines.next()
}

fn boots_bios(attached: &Attached, disk: usize) -> bool {
    let Some(name) = attached.disks.get(disk) else {
        return false;
    };
    let device = std::fs::File::open(std::path::Path::new("/dev").join(name));
    device
        .and_then(|mut device| partition_table::boots_bios(&mut device))
        .unwrap_or(false)
}

fn inspect(
    root: &Root,
    found: &[Found],
    of: usize,
    warnings: Vec<String>,
) -> Result<GuestReport, Refusal> {
    let partitions: Vec<_> = found.iter().map(|each| each.partition.clone()).collect();
    let own = &partitions[of];
    let (enabled_units, masked_units) = facts::units(root);
    Ok(GuestReport {
        os: facts::operating_system(root).unwrap_or_default(),
        hostname: facts::hostname(root),
        firmware: Firmware::Bios,
        closed_volumes: false,
        root: RootFilesystem {
            partition: (own.disk, own.number),
            uuid: own.uuid.clone().unwrap_or_default(),
            filesystem: own.filesystem.clone().unwrap_or_default(),
            root_argument: boot_loader::written_root(root),
        },
        kernels: Vec::new(),
        windows: None,
        interfaces: network::configured(root)?
            .into_iter()
            .map(|found| found.interface)
            .collect(),
        card_order: Vec::new(),
        enabled_units,
        masked_units,
        packages: facts::packages(root),
        cloud_init: facts::has_cloud_init(root),
        warnings,
        partitions,
    })
}

/// What is being done, for the console: its last lines are all that is left
/// when the micro-VM dies.
pub(super) fn step(doing: &str) {
    let uptime = std::fs::read_to_string("/proc/uptime").unwrap_or_default();
    let seconds = uptime.split(' ').next().unwrap_or_default();
    println!("lifeboat-injector: {seconds} s: {doing}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Partition;

    const LINE: &str = "UUID=1 /boot/efi vfat umask=0077 0 1\n";

    fn decide(files: &[(&str, &str)], system: bool, bios: bool) -> Result<Firmware, Refusal> {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::open(directory.path()).unwrap();
        for (path, content) in files {
            root.write(path, content.as_bytes()).unwrap();
        }
        let found = [Found {
            partition: Partition {
                efi_system: system,
                ..Partition::default()
            },
            device: "/dev/not-mounted".into(),
            raid: None,
        }];
        firmware(&root, &found, &|_| bios)
    }

    #[test]
    fn the_firmware_is_what_the_disks_start_with() {
        let loader = ("boot/efi/EFI/x/grubx64.efi", "x");
        let fstab = ("etc/fstab", LINE);
        assert_eq!(decide(&[], false, true), Ok(Firmware::Bios));
        assert_eq!(decide(&[loader], true, false), Ok(Firmware::Uefi));
        assert_eq!(decide(&[], true, true), Ok(Firmware::Bios));
        // On an array: no partition is called what it is.
        assert_eq!(decide(&[loader, fstab], false, true), Ok(Firmware::Uefi));
        for (files, system) in [(vec![], true), (vec![fstab], true), (vec![fstab], false)] {
            decide(&files, system, false).unwrap_err();
        }
        let optional = LINE.replace("umask", "nofail,umask");
        let optional = ("etc/fstab", optional.as_str());
        assert_eq!(decide(&[optional], false, true), Ok(Firmware::Bios));
        decide(&[optional], true, true).unwrap_err();
    }
}
