//! Looking again after an injection, at the filesystem as it is then.

use std::collections::BTreeSet;

use super::apply::LARGEST_REPLACED;
use super::arrays::ArrayNames;
use super::identity::DeviceMap;
use super::kernels::KernelImage;
use super::named;
use super::network::{Knowledge, links};
use super::root::Root;
use super::supplements::drivers;
use crate::initrd::kmod_index::lookup;
use crate::initrd::modules::{ModuleTree, module_name};
use crate::initrd::supplement::{missing_modules, present_modules};
use crate::initrd::target::essential;
use crate::report::{Action, Check, Firmware, GuestReport, InjectRequest, Manifest};

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
    checks.push(identities_exist(root, guest, kernels));
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
    let wanted = Knowledge::of_guest(root)
        .and_then(|known| links::decide(&known, &request.nics, request.target.nic))
        .unwrap_or_default();
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

/// The judgement of the plan, made again of what is there now.
fn identities_exist(root: &Root, guest: &GuestReport, kernels: &[KernelImage]) -> Check {
    let map = DeviceMap::of_guest(guest, kernels).knowing_arrays(ArrayNames::of_guest(root));
    let judgement = named::judge(root, &map, |path| root.text_of(path, LARGEST_REPLACED));
    let problems: Vec<String> = judgement
        .missing
        .into_iter()
        .map(|named| format!("/{} names {}, {}", named.path, named.device, named.why))
        .collect();
    check(
        "boot loader and fstab name what exists".to_owned(),
        &problems,
        "every identity that the start needs exists",
    )
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
    let problems = if super::fallback_loader::is_there(root) {
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
