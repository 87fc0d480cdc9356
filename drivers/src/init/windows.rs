//! A Windows guest inside the micro-VM: its NTFS through FUSE, the catalogue of drivers on a disk.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::disks::{Attached, Found};
use super::kit::KitError;
use super::mounts::name;
use super::output::Output;
use super::root_search;
use super::tools::Tools;
use super::work::{Stop, step};
use crate::describe;
use crate::guest::extract::Limits;
use crate::guest::fstab::is_called;
use crate::guest::root::Root;
use crate::refusal::Refusal;
use crate::report::{
    Firmware, GuestReport, InjectRequest, OperatingSystem, Outcome, Partition, RootFilesystem, Task,
};
use crate::windows::apply::{Volumes, apply};
use crate::windows::catalogue::{Catalogue, contents};
use crate::windows::extract::extract;
use crate::windows::hives::{memory_needed, require_memory};
use crate::windows::plan::{Input, Plan, PlanError, has_loader, plan};
use crate::windows::report::WindowsRefusal;
use crate::windows::system::{System, identify, system_root};
use crate::windows::tree::WindowsTree;
use crate::windows::verify::verify;

const GUEST: &str = "/guest";
const ESP: &str = "/esp";
const UNCLEAN: i32 = 15;
const HIBERNATED: i32 = 14;

/// A Windows that was found.
pub(super) struct WindowsGuest {
    /// Its partition among all.
    root: usize,
    esp: Option<usize>,
}

/// Looks for a Windows on every NTFS; what cannot be mounted becomes a problem.
pub(super) fn find(
    found: &[Found],
    tools: &Tools,
    problems: &mut Vec<Refusal>,
) -> Result<Option<WindowsGuest>, Refusal> {
    let mut roots = Vec::new();
    for (index, each) in found.iter().enumerate() {
        if each.partition.filesystem.as_deref() != Some("ntfs") {
            continue;
        }
        match holds_windows(each, tools) {
            Ok(true) => roots.push(index),
            Ok(false) => {}
            Err(problem) => problems.push(problem),
        }
    }
    if let Some(wanted) = tools.wanted_root() {
        // Where it is none of these, the search for Linux has the word.
        roots.retain(|root| {
            is_called(&found[*root].partition, wanted) || name(&found[*root].partition) == wanted
        });
    } else if !roots.is_empty() {
        match root_search::find(found, &[], tools, &mut Vec::new()) {
            Ok(linux) => roots.push(linux.index),
            Err(several @ Refusal::SeveralRoots { .. }) => return Err(several),
            Err(_) => {}
        }
    }
    let Some(root) = roots.first().copied() else {
        return Ok(None);
    };
    if roots.len() > 1 {
        let names: Vec<String> = roots
            .iter()
            .map(|root| name(&found[*root].partition))
            .collect();
        return Err(Refusal::SeveralRoots {
            roots: names.join(", "),
        });
    }
    let loaders = found
        .iter()
        .enumerate()
        .filter(|(_, each)| is_esp(each))
        .map(|(index, each)| Loader {
            index,
            disk: each.partition.disk,
            is_there: holds_loader(each, tools),
        });
    let esp = choose_esp(found[root].partition.disk, &loaders.collect::<Vec<_>>());
    Ok(Some(WindowsGuest { root, esp }))
}

fn is_esp(each: &Found) -> bool {
    let partition = &each.partition;
    partition.efi_system && partition.filesystem.as_deref() == Some("vfat")
}

/// An EFI system partition, by its place among all partitions, and whether it can start Windows.
struct Loader {
    index: usize,
    disk: usize,
    is_there: bool,
}

/// That of the disk of Windows, else the only one of the other disks from which Windows starts; an
/// empty one on the own disk stays when there is no better.
fn choose_esp(disk: usize, all: &[Loader]) -> Option<usize> {
    let own = |loader: &&Loader| loader.disk == disk;
    let best = all.iter().find(|loader| own(loader) && loader.is_there);
    let mut others = all.iter().filter(|loader| loader.is_there);
    let only = match (others.next(), others.next()) {
        (Some(only), None) => Some(only),
        _ => None,
    };
    let chosen = best.or(only).or_else(|| all.iter().find(own))?;
    Some(chosen.index)
}

/// What cannot be mounted starts nothing.
fn holds_loader(each: &Found, tools: &Tools) -> bool {
    let Ok(mounted) = Mounted::esp(each, tools, Access::Look) else {
        return false;
    };
    let root = mounted.root();
    let verdict = root.is_ok_and(|root| has_loader(&WindowsTree::new(&root)));
    mounted.unmount().is_ok() && verdict
}

/// A disk with a GUID partition table starts by UEFI alone.
fn require_loader(report: &GuestReport, own: &Partition) -> Result<(), Refusal> {
    let is_guid = |id: &String| id.len() == 36;
    match report.firmware {
        Firmware::Bios if own.part_uuid.as_ref().is_some_and(is_guid) => {
            let product = report.os.pretty_name.clone();
            Err(WindowsRefusal::NoLoader { product }.into())
        }
        _ => Ok(()),
    }
}

fn holds_windows(each: &Found, tools: &Tools) -> Result<bool, Refusal> {
    let mounted = Mounted::ntfs(each, tools, Access::Look)?;
    let verdict = mounted
        .root()
        .map(|root| system_root(&WindowsTree::new(&root)).is_some());
    let partition = name(&each.partition);
    verdict
        .and_then(|verdict| mounted.unmount().map(|()| verdict))
        .map_err(|error| unclean(partition, error.to_string()))
}

fn unclean(partition: String, detail: String) -> Refusal {
    WindowsRefusal::UncleanNtfs { partition, detail }.into()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    Look,
    Change,
}

struct Mounted {
    target: PathBuf,
}

impl Mounted {
    /// Through ntfs-3g. New files get the rights of their directory.
    fn ntfs(each: &Found, tools: &Tools, access: Access) -> Result<Self, Refusal> {
        let partition = name(&each.partition);
        let _ = fs::create_dir(GUEST);
        let failed = |detail: String| unclean(partition.clone(), detail);
        tools
            .load("fuse")
            .map_err(|error| failed(error.to_string()))?;
        let device = each.device.to_string_lossy();
        let options = match access {
            Access::Look => "ro,norecover,streams_interface=none,nosuid,nodev,noexec",
            Access::Change => {
                "norecover,streams_interface=none,permissions,inherit,big_writes,nosuid,nodev,noexec"
            }
        };
        let mounted = tools.kit.run("ntfs-3g", &["-o", options, &device, GUEST]);
        mounted.map_err(|error| match error {
            KitError::Missing => Refusal::NoKit {
                partition: partition.clone(),
            },
            other => failed(crate::cause_chain(&other)),
        })?;
        Ok(Self {
            target: PathBuf::from(GUEST),
        })
    }

    fn esp(each: &Found, tools: &Tools, access: Access) -> io::Result<Self> {
        let _ = fs::create_dir(ESP);
        tools.load("vfat")?;
        let mut flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        if access == Access::Look {
            flags |= MsFlags::MS_RDONLY;
        }
        mount(Some(&each.device), ESP, Some("vfat"), flags, None::<&str>)?;
        Ok(Self {
            target: PathBuf::from(ESP),
        })
    }

    fn root(&self) -> io::Result<Root> {
        Root::open(&self.target)
    }

    fn unmount(self) -> io::Result<()> {
        nix::unistd::sync();
        Ok(umount2(&self.target, MntFlags::empty())?)
    }
}

/// Both filesystems of the guest.
struct Both {
    system: Mounted,
    esp: Option<Mounted>,
}

impl Both {
    fn mount(
        guest: &WindowsGuest,
        found: &[Found],
        tools: &Tools,
        access: Access,
    ) -> Result<Self, Stop> {
        let system = Mounted::ntfs(&found[guest.root], tools, access)?;
        let esp = guest
            .esp
            .map(|esp| Mounted::esp(&found[esp], tools, access));
        let esp = esp
            .transpose()
            .map_err(describe("mounting the EFI system partition"))?;
        Ok(Self { system, esp })
    }

    fn roots(&self) -> Result<(Root, Option<Root>), Stop> {
        let opened = describe("opening the guest's root");
        let system = self.system.root().map_err(opened)?;
        let esp = self.esp.as_ref().map(Mounted::root).transpose();
        Ok((
            system,
            esp.map_err(describe("opening the EFI system partition"))?,
        ))
    }

    fn unmount(self) -> Result<(), Stop> {
        let esp = self.esp.map_or(Ok(()), Mounted::unmount);
        let unmounted = self.system.unmount().and(esp);
        Ok(unmounted.map_err(describe("unmounting the guest"))?)
    }
}

/// Inspects, extracts, and where asked injects and verifies.
pub(super) fn perform(
    guest: &WindowsGuest,
    found: &[Found],
    task: &Task,
    attached: &Attached,
    tools: &Tools,
    output: &mut Output,
    warnings: Vec<String>,
) -> Result<Outcome, Stop> {
    if task.undo.is_some() {
        let why =
            io::Error::other("registry hives are too large to keep; drop the overlay instead");
        return Err(describe("taking back the injection of a Windows guest")(why).into());
    }
    let both = Both::mount(guest, found, tools, Access::Look)?;
    let (root, esp) = both.roots()?;
    let tree = WindowsTree::new(&root);
    step("looking at Windows");
    if let Some(folder) = system_root(&tree) {
        require_memory(memory_needed(&tree, &folder), available_memory())?;
    }
    let (system, hives) = identify(&tree)?;
    let mut report = inspect(guest, found, &system, esp.as_ref(), warnings);
    if task.machine_folder {
        step("reading out the machine folder");
        let software = hives.software.editor.hive();
        let folder = &system.report.system_root;
        let extracted = extract(&tree, folder, software, Limits::default(), output);
        report
            .warnings
            .extend(extracted.map_err(describe("reading out the machine folder"))?);
    }
    let Some(request) = &task.inject else {
        return Ok(Outcome::Inspected(report));
    };
    if !task.overlaid {
        return Err(Refusal::from(WindowsRefusal::NoOverlay).into());
    }
    require_loader(&report, &found[guest.root].partition)?;
    step("planning");
    let catalogue = read_catalogue(attached.drivers.as_deref())?;
    let made = decide(
        &tree,
        esp.as_ref(),
        &system,
        hives,
        request,
        &catalogue,
        attached,
    )?;
    drop((root, esp));
    both.unmount()?;
    let job = Job {
        guest,
        found,
        tools,
        attached,
        request,
        catalogue: &catalogue,
    };
    job.inject(report, system, made)
}

/// Bytes that the kernel says can be had.
fn available_memory() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let mut lines = text.lines();
    let line = lines.find_map(|line| line.strip_prefix("MemAvailable:"));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    number.map_or(u64::MAX, |kib| kib << 10)
}

fn read_catalogue(device: Option<&Path>) -> Result<Catalogue, Stop> {
    let Some(device) = device else {
        return Ok(Catalogue::default());
    };
    let file = File::open(device).map_err(describe("opening the catalogue of drivers"))?;
    let read = Catalogue::read(BufReader::with_capacity(1 << 20, file));
    Ok(read
        .map_err(|error| describe("reading the catalogue of drivers")(io::Error::other(error)))?)
}

fn decide(
    tree: &WindowsTree,
    esp: Option<&Root>,
    system: &System,
    hives: crate::windows::hives::Hives,
    request: &InjectRequest,
    catalogue: &Catalogue,
    attached: &Attached,
) -> Result<Plan, Stop> {
    let esp = esp.map(WindowsTree::new);
    let device = attached.drivers.clone().unwrap_or_default();
    let read = |wanted: &BTreeSet<&str>| {
        let file = File::open(&device).map_err(|source| {
            crate::windows::catalogue::CatalogueError::Io {
                attempted: "opening the catalogue of drivers".to_owned(),
                source,
            }
        })?;
        contents(file, wanted)
    };
    let input = Input {
        tree,
        esp: esp.as_ref(),
        system,
        request,
        catalogue,
        contents: &read,
    };
    plan(&input, hives).map_err(|error| match error {
        PlanError::Refused(refusal) => Stop::Refused(refusal),
        other => Stop::Failed(describe("planning the injection")(io::Error::other(other))),
    })
}

/// What writing and looking again need.
struct Job<'j> {
    guest: &'j WindowsGuest,
    found: &'j [Found],
    tools: &'j Tools<'j>,
    attached: &'j Attached,
    request: &'j InjectRequest,
    catalogue: &'j Catalogue,
}

impl Job<'_> {
    fn inject(
        &self,
        mut report: GuestReport,
        mut system: System,
        mut made: Plan,
    ) -> Result<Outcome, Stop> {
        let recovered = self.recover()?;
        step("writing");
        let both = Both::mount(self.guest, self.found, self.tools, Access::Change)?;
        let (root, esp) = both.roots()?;
        if recovered {
            // What the journal held may be what the plan was made from.
            let tree = WindowsTree::new(&root);
            let (again, hives) = identify(&tree)?;
            made = decide(
                &tree,
                esp.as_ref(),
                &again,
                hives,
                self.request,
                self.catalogue,
                self.attached,
            )?;
            report
                .warnings
                .push("NTFS was not unmounted cleanly; its journal was replayed".to_owned());
            report.windows = Some(again.report.clone());
            system = again;
        }
        report.warnings.extend(made.warnings.iter().cloned());
        let volumes = Volumes {
            system: &root,
            esp: esp.as_ref(),
        };
        let changes = apply(volumes, &made).map_err(describe("changing the guest"))?;
        drop((root, esp));
        both.unmount()?;
        step("verifying");
        let verified = self.look_again(&system, &made)?;
        Ok(Outcome::Prepared {
            guest: report,
            changes,
            verified,
        })
    }

    /// Replays the journal of NTFS where it was not unmounted; true when it was replayed.
    fn recover(&self) -> Result<bool, Stop> {
        let each = &self.found[self.guest.root];
        let device = each.device.to_string_lossy();
        let partition = || name(&each.partition);
        match self.probe(&device)? {
            HIBERNATED => Err(Refusal::from(WindowsRefusal::Hibernated).into()),
            UNCLEAN => {
                step("replaying the journal of NTFS");
                let replayed = self.tools.kit.run("ntfsrecover", &[&device]);
                replayed.map_err(|error| unclean(partition(), crate::cause_chain(&error)))?;
                match self.probe(&device)? {
                    0 => Ok(true),
                    other => Err(unclean(
                        partition(),
                        format!("after its journal was replayed, ntfs-3g.probe says {other}"),
                    )
                    .into()),
                }
            }
            0 => Ok(false),
            other => Err(unclean(partition(), format!("ntfs-3g.probe says {other}")).into()),
        }
    }

    fn probe(&self, device: &str) -> Result<i32, Stop> {
        let program = self.tools.kit.program("ntfs-3g.probe");
        let mut program = program.map_err(|error| error.refusal(device, "ntfs"))?;
        let status = program.args(["--readwrite", device]).status();
        Ok(status
            .map_err(describe("starting ntfs-3g.probe"))?
            .code()
            .unwrap_or(-1))
    }

    fn look_again(&self, system: &System, made: &Plan) -> Result<Vec<crate::report::Check>, Stop> {
        let code = self.probe(&self.found[self.guest.root].device.to_string_lossy())?;
        let both = Both::mount(self.guest, self.found, self.tools, Access::Look)?;
        let (root, esp) = both.roots()?;
        let esp_tree = esp.as_ref().map(WindowsTree::new);
        let mut verified = verify(&WindowsTree::new(&root), esp_tree.as_ref(), system, made);
        verified.push(crate::report::Check {
            what: "NTFS mounts again without recovery".to_owned(),
            ok: code == 0,
            detail: format!("ntfs-3g.probe says {code}"),
        });
        drop(esp_tree);
        drop((root, esp));
        both.unmount()?;
        Ok(verified)
    }
}

fn inspect(
    guest: &WindowsGuest,
    found: &[Found],
    system: &System,
    esp: Option<&Root>,
    warnings: Vec<String>,
) -> GuestReport {
    let partitions: Vec<_> = found.iter().map(|each| each.partition.clone()).collect();
    let own = &partitions[guest.root];
    let windows = &system.report;
    let can_start = |esp: &Root| has_loader(&WindowsTree::new(esp));
    GuestReport {
        os: OperatingSystem {
            id: "windows".to_owned(),
            version_id: format!("{}.{}", windows.version, windows.build),
            pretty_name: windows.product.clone(),
        },
        hostname: windows.host_name.clone(),
        firmware: match esp.is_some_and(can_start) {
            true => Firmware::Uefi,
            false => Firmware::Bios,
        },
        root: RootFilesystem {
            partition: (own.disk, own.number),
            uuid: own.uuid.clone().unwrap_or_default(),
            filesystem: "ntfs".to_owned(),
            root_argument: None,
        },
        interfaces: system.interfaces.clone(),
        windows: Some(windows.clone()),
        warnings,
        partitions,
        ..GuestReport::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_starts_from_the_partition_that_holds_its_loader() {
        let loader = |index, disk, is_there| Loader {
            index,
            disk,
            is_there,
        };
        let cases: [(&[Loader], Option<usize>); 6] = [
            (&[], None),
            (&[loader(3, 1, false)], None),
            (&[loader(1, 0, false), loader(3, 1, true)], Some(3)),
            (&[loader(1, 0, true), loader(3, 1, true)], Some(1)),
            (
                &[loader(1, 0, false), loader(3, 1, true), loader(4, 2, true)],
                Some(1),
            ),
            (&[loader(3, 1, true), loader(4, 2, true)], None),
        ];
        for (all, expected) in cases {
            let found = choose_esp(0, all);
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn a_guid_partition_table_without_a_loader_is_refused() {
        let refused = |firmware, id: &str| {
            let report = GuestReport {
                firmware,
                ..GuestReport::default()
            };
            let own = Partition {
                part_uuid: Some(id.to_owned()),
                ..Partition::default()
            };
            require_loader(&report, &own).is_err()
        };
        let gpt = "7d1a2c3e-0001-4a5b-8c9d-0123456789ab";
        assert!(refused(Firmware::Bios, gpt));
        assert!(!refused(Firmware::Uefi, gpt));
        assert!(!refused(Firmware::Bios, "5c9e1a2b-01"));
    }
}
