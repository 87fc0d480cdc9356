//! Looking again after an injection, at the filesystem as it is then.

use std::collections::BTreeSet;

use super::apply::LARGEST_REPLACED;
use super::boot_loader;
use super::identity::{DeviceMap, is_volatile, root_argument};
use super::kernels::KernelImage;
use super::network::{Knowledge, links};
use super::root::Root;
use super::supplements::drivers;
use crate::initrd::kmod_index::lookup;
use crate::initrd::modules::{ModuleTree, module_name};
use crate::initrd::supplement::{missing_modules, present_modules};
use crate::initrd::target::essential;
use crate::report::{Action, Check, Firmware, GuestReport, InjectRequest, Manifest};

/// More lines say nothing more.
const MOST_PROBLEMS: usize = 20;

/// Proves that the guest holds what it needs.
pub fn verify(
    root: &Root,
    guest: &GuestReport,
    kernels: &[KernelImage],
    request: &InjectRequest,
    manifest: &Manifest,
) -> Vec<Check> {
    let mut checks = Vec::new();
    for kernel in kernels {
        checks.push(modules_present(kernel, request));
        if kernel.can_be_extended() {
            checks.push(dependencies_resolvable(kernel, request));
        }
        checks.push(links_inside(root, kernel, request));
    }
    checks.push(identities_exist(root, guest));
    checks.push(contents_as_written(root, kernels, manifest));
    if guest.firmware == Firmware::Uefi {
        checks.push(fallback_loader(root));
    }
    checks
}

fn check(what: String, problems: &[String], good: &str) -> Check {
    let ok = problems.is_empty();
    Check {
        what,
        ok,
        detail: if ok {
            good.to_owned()
        } else {
            problems.join("; ")
        },
    }
}

fn modules_present(kernel: &KernelImage, request: &InjectRequest) -> Check {
    let tree = ModuleTree::parse(&kernel.texts);
    let missing = if kernel.can_be_extended() {
        missing_modules(
            &tree,
            &kernel.contents,
            &kernel.report.version,
            request.target,
        )
    } else {
        let lacking = drivers(kernel, &tree).lacking(request.target.disk);
        lacking.map(str::to_owned).into_iter().collect()
    };
    let what = format!("{} holds all wanted modules", kernel.report.initrd);
    check(what, &missing, "all there or built in")
}

/// What modprobe inside the initramfs will find in its binary index.
fn dependencies_resolvable(kernel: &KernelImage, request: &InjectRequest) -> Check {
    let contents = &kernel.contents;
    let version = &kernel.report.version;
    let tree = ModuleTree::parse(&kernel.texts);
    let present: BTreeSet<String> = present_modules(contents, version).into_values().collect();
    let index = contents.file(&format!("lib/modules/{version}/modules.dep.bin"));
    let mut problems = Vec::new();
    for name in essential(request.target) {
        if tree.builtin.contains(name) {
            continue;
        }
        let lines = index
            .and_then(|index| lookup(index, name))
            .unwrap_or_default();
        let Some((path, needs)) = lines.first().and_then(|line| line.split_once(':')) else {
            problems.push(format!("{name} is not in modules.dep.bin"));
            continue;
        };
        let paths = std::iter::once(path).chain(needs.split_whitespace());
        let absent = paths.filter(|path| !present.contains(*path));
        problems.extend(absent.map(|path| format!("{name} needs {}", module_name(path))));
    }
    let what = format!("{} can load the essential modules", kernel.report.initrd);
    check(
        what,
        &problems,
        "every dependency is in the index and in the image",
    )
}

fn links_inside(root: &Root, kernel: &KernelImage, request: &InjectRequest) -> Check {
    let wanted = links::decide(&Knowledge::of_guest(root), &request.nics).unwrap_or_default();
    let problems: Vec<String> = wanted
        .files
        .iter()
        .filter(|(name, content)| {
            let path = format!("etc/systemd/network/{name}");
            let inside = kernel.contents.file(&path) == Some(content.as_bytes());
            root.text(&path) != **content || !inside && kernel.can_be_extended()
        })
        .map(|(name, _)| format!("{name} is missing"))
        .collect();
    let what = format!(
        "{} and the root keep the names of the cards",
        kernel.report.initrd
    );
    check(what, &problems, "every .link file is there")
}

/// Each identity in use exists, and no name that depends on the hardware is
/// left where one partition was meant.
fn identities_exist(root: &Root, guest: &GuestReport) -> Check {
    let known = Identities {
        guest,
        root_name: boot_loader::name_of_root(root),
    };
    let mut problems = Vec::new();
    for (path, field) in [("etc/fstab", 0), ("etc/crypttab", 1)] {
        let text = root.text(path);
        let lines = text
            .lines()
            .filter(|line| !line.trim_start().starts_with('#'));
        for line in lines {
            let fields: Vec<&str> = line.split_whitespace().take(8).collect();
            let device = fields.get(field).copied().unwrap_or_default();
            let optional =
                fields.contains(&"none") || line.contains("nofail") || line.contains("noauto");
            let is_root = fields.get(1) == Some(&"/");
            let problem = known
                .problem(device, is_root)
                .filter(|_| !optional || is_root);
            problems.extend(problem.map(|problem| format!("/{path} names {device}, {problem}")));
        }
    }
    for path in boot_loader::argument_files(root) {
        let argument = root_argument(&root.text_of(&path, LARGEST_REPLACED));
        let problem = argument
            .as_deref()
            .and_then(|argument| Some((argument, known.problem(argument, true)?)));
        problems.extend(
            problem.map(|(argument, problem)| format!("/{path} says root={argument}, {problem}")),
        );
    }
    problems.truncate(MOST_PROBLEMS);
    check(
        "boot loader and fstab name what exists".to_owned(),
        &problems,
        "every identity exists",
    )
}

struct Identities<'a> {
    guest: &'a GuestReport,
    root_name: Option<String>,
}

impl Identities<'_> {
    fn problem(&self, device: &str, is_root: bool) -> Option<&'static str> {
        if is_volatile(device) {
            let map = DeviceMap::new(&self.guest.partitions, self.guest.root.partition)
                .knowing_root_name(self.root_name.as_deref());
            let meant = is_root || map.stable_name(device).is_some();
            return meant.then_some("which depends on the hardware");
        }
        let device = device.replace('"', "");
        let (key, value) = device.split_once('=')?;
        let mut partitions = self.guest.partitions.iter();
        let found = match key {
            "UUID" => partitions.any(|known| same(&known.uuid, value)),
            "PARTUUID" => partitions.any(|known| same(&known.part_uuid, value)),
            "LABEL" => partitions.any(|known| known.label.as_deref() == Some(value)),
            _ => true,
        };
        (!found).then_some("which no captured partition has")
    }
}

fn same(known: &Option<String>, value: &str) -> bool {
    let known = known.as_deref();
    known.is_some_and(|known| known.eq_ignore_ascii_case(value))
}

fn contents_as_written(root: &Root, kernels: &[KernelImage], manifest: &Manifest) -> Check {
    let hash = |path: &str| {
        let image = kernels.iter().find(|kernel| kernel.report.initrd == path);
        match image {
            Some(kernel) => Some(kernel.hasher.finalize().to_hex().to_string()),
            None => root.hash(path).ok().flatten(),
        }
    };
    let problems: Vec<String> = manifest
        .changes
        .iter()
        .filter(|change| !matches!(change.action, Action::Linked | Action::DirectoryMade))
        .filter(|change| {
            let path = change.moved_to.as_ref().unwrap_or(&change.path);
            hash(path) != change.new_hash
        })
        .map(|change| format!("/{} differs from what was written", change.path))
        .collect();
    check(
        "files read back as they were written".to_owned(),
        &problems,
        "all hashes agree",
    )
}

fn fallback_loader(root: &Root) -> Check {
    let found = ["boot/efi", "efi", "boot"]
        .iter()
        .any(|mount| root.exists(&format!("{mount}/EFI/BOOT/BOOTX64.EFI")));
    let problems = if found {
        vec![]
    } else {
        vec!["EFI/BOOT/BOOTX64.EFI is missing".to_owned()]
    };
    check(
        "the EFI fallback loader exists".to_owned(),
        &problems,
        "EFI/BOOT/BOOTX64.EFI",
    )
}
