//! The guest's kernels and their initramfs images.

use std::fs::File;
use std::io::{self, Read as _};

use super::root::{EntryKind, Root};
use crate::initrd::modules::{IndexTexts, ModuleTree};
use crate::initrd::supplement::{generator, missing_modules};
use crate::initrd::{Compressor, InitrdContents, scan, scan_onto};
use crate::report::{Generator, KernelReport, Refusal, Target};

/// One initramfs with everything known about it.
#[derive(Debug, Clone)]
pub struct KernelImage {
    /// What the report says of it.
    pub report: KernelReport,
    /// Its size.
    pub size: u64,
    /// The hash of all its bytes, ready to be continued by what is appended.
    pub hasher: blake3::Hasher,
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
        let read = read(root, &path)?;
        let Some(version) = version_of(&path, &read.contents, &versions) else {
            warnings.push(format!(
                "{path} belongs to no kernel under /lib/modules and is left alone"
            ));
            continue;
        };
        found.push(describe(root, path, version, read)?);
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

struct Read {
    contents: InitrdContents,
    hasher: blake3::Hasher,
    size: u64,
}

fn read(root: &Root, path: &str) -> Result<Read, Refusal> {
    let refuse = |detail: String| Refusal::UnknownInitrd {
        initrd: format!("/{path}"),
        detail,
    };
    let mut file = Hashing::new(open(root, path)?);
    let contents = scan(&mut file).map_err(|error| refuse(crate::cause_chain(&error)))?;
    Ok(Read {
        contents,
        size: file.size,
        hasher: file.hasher,
    })
}

fn open(root: &Root, path: &str) -> Result<File, Refusal> {
    let refuse = |detail: String| Refusal::UnknownInitrd {
        initrd: format!("/{path}"),
        detail,
    };
    root.open_file(path)
        .map_err(|error| refuse(error.to_string()))?
        .ok_or_else(|| refuse("it cannot be read".to_owned()))
}

/// Looks at an image again after bytes were appended to it. Where the old bytes
/// still have the old hash, their content is what it was and only the rest is
/// unpacked.
pub fn read_again(root: &Root, before: &KernelImage) -> Result<KernelImage, Refusal> {
    let path = &before.report.initrd;
    let refuse = |detail: String| Refusal::UnknownInitrd {
        initrd: format!("/{path}"),
        detail,
    };
    let mut file = Hashing::new(open(root, path)?);
    io::copy(&mut (&mut file).take(before.size), &mut io::sink())
        .map_err(|error| refuse(error.to_string()))?;
    let read = if file.hasher.finalize() == before.hasher.finalize() {
        let contents = scan_onto(before.contents.clone(), &mut file)
            .map_err(|error| refuse(crate::cause_chain(&error)))?;
        Read {
            contents,
            size: file.size,
            hasher: file.hasher,
        }
    } else {
        read(root, path)?
    };
    describe(root, path.clone(), before.report.version.clone(), read)
}

struct Hashing {
    file: File,
    hasher: blake3::Hasher,
    size: u64,
}

impl Hashing {
    fn new(file: File) -> Self {
        Self {
            file,
            hasher: blake3::Hasher::new(),
            size: 0,
        }
    }
}

impl io::Read for Hashing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        self.size += count as u64;
        Ok(count)
    }
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
    read: Read,
) -> Result<KernelImage, Refusal> {
    let Read {
        contents,
        hasher,
        size,
    } = read;
    let texts = index_texts(root, &version);
    let tree = ModuleTree::parse(&texts);
    let generator = generator(&contents);
    if generator == Generator::Unknown {
        let detail = "it was built neither by initramfs-tools nor by dracut".to_owned();
        return Err(Refusal::UnknownInitrd {
            initrd: format!("/{path}"),
            detail,
        });
    }
    let report = KernelReport {
        virtio_present: missing_modules(&tree, &contents, &version, Target::default()).is_empty()
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
        hasher,
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
