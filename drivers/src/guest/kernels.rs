//! The guest's kernels and their initramfs images.

use super::root::{EntryKind, Root};
use crate::initrd::modules::{IndexTexts, ModuleTree};
use crate::initrd::supplement::{generator, missing_modules};
use crate::initrd::{Compressor, InitrdContents, scan};
use crate::report::{Generator, KernelReport, Refusal};

/// One initramfs with everything known about it.
#[derive(Debug)]
pub struct KernelImage {
    /// What the report says of it.
    pub report: KernelReport,
    /// Its size.
    pub size: u64,
    /// What is in it.
    pub contents: InitrdContents,
    /// The module indexes of its kernel.
    pub texts: IndexTexts,
}

/// Every initramfs of every kernel, rescue images included: a boot loader that
/// falls back to another entry must find that one prepared too.
pub fn find(root: &Root, warnings: &mut Vec<String>) -> Result<Vec<KernelImage>, Refusal> {
    let versions = kernel_versions(root);
    let mut found = Vec::new();
    for path in candidates(root) {
        let contents = read(root, &path)?;
        let Some(version) = version_of(&path, &contents, &versions) else {
            warnings.push(format!(
                "{path} belongs to no kernel under /lib/modules and is left alone"
            ));
            continue;
        };
        found.push(describe(root, path, version, contents)?);
    }
    if found.is_empty() {
        Err(Refusal::NoKernel)
    } else {
        Ok(found)
    }
}

fn kernel_versions(root: &Root) -> Vec<String> {
    let names = root.list("lib/modules").into_iter().map(|(name, _)| name);
    names
        .filter(|name| root.exists(&format!("lib/modules/{name}/modules.dep")))
        .collect()
}

/// Files in /boot, and in the machine-id directories of boot loader entries.
fn candidates(root: &Root) -> Vec<String> {
    let mut found = Vec::new();
    for directory in ["boot", "boot/efi", "efi"] {
        for (name, kind) in root.list(directory) {
            let path = format!("{directory}/{name}");
            match kind {
                EntryKind::File if directory == "boot" && is_initrd_name(&name) => found.push(path),
                EntryKind::Directory if name.len() == 32 => {
                    found.extend(below_machine_id(root, &path));
                }
                _ => {}
            }
        }
    }
    found
}

fn below_machine_id(root: &Root, directory: &str) -> Vec<String> {
    let versions = root
        .list(directory)
        .into_iter()
        .map(|(name, _)| format!("{directory}/{name}"));
    versions
        .flat_map(|version| {
            let names = root.list(&version).into_iter().map(|(name, _)| name);
            let names: Vec<String> = names.filter(|name| is_initrd_name(name)).collect();
            names
                .into_iter()
                .map(move |name| format!("{version}/{name}"))
        })
        .collect()
}

/// Crash-dump images are left alone: they run beside the kernel that crashed.
fn is_initrd_name(name: &str) -> bool {
    let begins = name.starts_with("initrd") || name.starts_with("initramfs-");
    let other = [".old-dkms", ".dpkg-bak", ".bak", "kdump", ".sha256", ".sig"];
    begins && !other.iter().any(|part| name.contains(part))
}

fn read(root: &Root, path: &str) -> Result<InitrdContents, Refusal> {
    let refuse = |detail: String| Refusal::UnknownInitrd {
        initrd: format!("/{path}"),
        detail,
    };
    let file = root
        .open_file(path)
        .map_err(|error| refuse(error.to_string()))?
        .ok_or_else(|| refuse("it cannot be read".to_owned()))?;
    scan(file).map_err(|error| refuse(crate::cause_chain(&error)))
}

/// The name decides where it can; a rescue image says it by what it holds.
fn version_of(path: &str, contents: &InitrdContents, versions: &[String]) -> Option<String> {
    let by_name = versions
        .iter()
        .filter(|version| path.contains(version.as_str()));
    let by_name = by_name.max_by_key(|version| version.len());
    by_name.cloned().or_else(|| {
        contents
            .kernel_versions()
            .into_iter()
            .find(|version| versions.contains(version))
    })
}

fn describe(
    root: &Root,
    path: String,
    version: String,
    contents: InitrdContents,
) -> Result<KernelImage, Refusal> {
    let texts = index_texts(root, &version);
    let tree = ModuleTree::parse(&texts);
    let size = root.size(&path).ok().flatten().unwrap_or_default();
    let generator = generator(&contents);
    if generator == Generator::Unknown {
        let detail = "it was built neither by initramfs-tools nor by dracut".to_owned();
        return Err(Refusal::UnknownInitrd {
            initrd: format!("/{path}"),
            detail,
        });
    }
    let report = KernelReport {
        virtio_present: missing_modules(&tree, &contents, &version).is_empty()
            && tree.offers("virtio_blk"),
        compressor: contents
            .compressor
            .unwrap_or(Compressor::None)
            .name()
            .to_owned(),
        initrd: path,
        generator,
        version,
    };
    Ok(KernelImage {
        report,
        size,
        contents,
        texts,
    })
}

fn index_texts(root: &Root, version: &str) -> IndexTexts {
    let text = |name: &str| root.text_of(&format!("lib/modules/{version}/{name}"), 16 << 20);
    IndexTexts {
        dep: text("modules.dep"),
        alias: text("modules.alias"),
        symbols: text("modules.symbols"),
        softdep: text("modules.softdep"),
        devname: text("modules.devname"),
        builtin: text("modules.builtin"),
    }
}
