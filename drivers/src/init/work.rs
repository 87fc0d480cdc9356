//! One task, from the disks to the report.

use std::io::Read as _;

use super::disks::{self, Attached, Found};
use super::kit::Kit;
use super::mounts::{self, Guest};
use super::output::Output;
use super::tools::Tools;
use super::{volumes, windows};
use crate::guest::apply;
use crate::guest::extract::{Limits, extract};
use crate::guest::kernels::{self, KernelImage};
use crate::guest::network;
use crate::guest::plan;
use crate::guest::root::Root;
use crate::guest::verify::verify;
use crate::guest::{boot_loader, facts};
use crate::refusal::Refusal;
use crate::report::{
    Check, Firmware, GuestReport, InjectRequest, Manifest, Outcome, RootFilesystem, Task,
};
use crate::{Described, describe};

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
    let kernels = kernels::find(&root, &mut warnings);
    let mut report = inspect(&root, &found, guest.root, warnings);
    let Some(request) = &task.inject else {
        match kernels {
            Ok(kernels) => report.kernels = reports(&kernels),
            Err(refusal) => report.warnings.push(refusal.to_string()),
        }
        return Ok(Outcome::Inspected(report));
    };
    let kernels = kernels?;
    report.kernels = reports(&kernels);
    let mut outcome = inject(&guest, root, report, &kernels, request)?;
    if let Outcome::Prepared { verified, .. } = &mut outcome {
        verified.extend(let_go_of(&found[guest.root]));
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
) -> Result<Outcome, Stop> {
    step("planning");
    let plan = plan::plan(&root, &report, kernels, request)?;
    report.warnings.extend(plan.warnings.iter().cloned());
    report.card_order.clone_from(&plan.cards);
    step("writing");
    guest
        .make_writable()
        .map_err(describe("making the guest writable"))?;
    let changes = apply::apply(&root, &plan).map_err(describe("changing the guest"))?;
    drop(root);
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

/// Nothing is left for the guest to repair.
fn let_go_of(root: &Found) -> Option<Check> {
    let mut bytes = Vec::new();
    let device = std::fs::File::open(&root.device).ok()?;
    let limit = super::superblock::LOOKED_AT as u64;
    device.take(limit).read_to_end(&mut bytes).ok()?;
    let ok = super::superblock::is_clean(&bytes)?;
    let detail = if ok {
        "no error and no journal to replay"
    } else {
        "its superblock notes an error or a journal to replay"
    };
    Some(Check {
        what: "the root filesystem is clean".to_owned(),
        ok,
        detail: detail.to_owned(),
    })
}

fn reports(kernels: &[KernelImage]) -> Vec<crate::report::KernelReport> {
    kernels.iter().map(|kernel| kernel.report.clone()).collect()
}

fn inspect(root: &Root, found: &[Found], of: usize, warnings: Vec<String>) -> GuestReport {
    let partitions: Vec<_> = found.iter().map(|each| each.partition.clone()).collect();
    let own = &partitions[of];
    let (enabled_units, masked_units) = facts::units(root);
    let uefi = partitions.iter().any(|partition| partition.efi_system)
        && ["boot/efi/EFI", "efi/EFI", "boot/EFI"]
            .iter()
            .any(|path| root.exists(path));
    GuestReport {
        os: facts::operating_system(root).unwrap_or_default(),
        hostname: facts::hostname(root),
        firmware: if uefi { Firmware::Uefi } else { Firmware::Bios },
        root: RootFilesystem {
            partition: (own.disk, own.number),
            uuid: own.uuid.clone().unwrap_or_default(),
            filesystem: own.filesystem.clone().unwrap_or_default(),
            root_argument: boot_loader::written_root(root),
        },
        kernels: Vec::new(),
        windows: None,
        interfaces: network::configured(root)
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
    }
}

/// What is being done, for the console: its last lines are all that is left
/// when the micro-VM dies.
pub(super) fn step(doing: &str) {
    let uptime = std::fs::read_to_string("/proc/uptime").unwrap_or_default();
    let seconds = uptime.split(' ').next().unwrap_or_default();
    println!("lifeboat-injector: {seconds} s: {doing}");
}
