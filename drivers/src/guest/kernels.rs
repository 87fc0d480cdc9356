//! The guest's kernels and their initramfs images.

use std::fs::File;
use std::io::{self, Read as _};

use super::budget::Budget;
use super::root::Root;
use super::unified::UnifiedImage;
use super::{images, installed};
use crate::initrd::modules::{IndexTexts, ModuleTree};
use crate::initrd::supplement::{generator, missing_modules, present_modules};
use crate::initrd::{Compressor, InitrdContents, scan, scan_onto, scan_within};
use crate::refusal::Refusal;
use crate::report::{Generator, KernelReport, Target};

/// Whether an initramfs can be given more than it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// By appending to its file.
    Appendable,
    /// It is part of a signed unified kernel image.
    Unified,
    /// The kernel starts without any.
    Absent,
}

/// One initramfs with everything known about it.
#[derive(Debug, Clone)]
pub struct KernelImage {
    /// What the report says of it.
    pub report: KernelReport,
    /// Whether it can be extended.
    pub form: Form,
    /// Its size.
    pub size: u64,
    /// The hash of all its bytes, ready to be continued by what is appended.
    pub hasher: blake3::Hasher,
    /// What is in it.
    pub contents: InitrdContents,
    /// The module indexes of its kernel.
    pub texts: IndexTexts,
    /// The kernel's arguments, where they are part of a signed image.
    pub arguments: String,
}

impl KernelImage {
    /// Whether something can be appended that its own programs will use.
    pub fn can_be_extended(&self) -> bool {
        self.form == Form::Appendable && self.report.generator != Generator::Unknown
    }
}

/// Every initramfs of every kernel, rescue images included: a boot loader that
/// falls back to another entry must find that one prepared too.
pub fn find(root: &Root, warnings: &mut Vec<String>) -> Result<Vec<KernelImage>, Refusal> {
    find_within(root, warnings, Budget::default())
}

/// Like [`find`], with what the micro-VM has memory for.
pub fn find_within(
    root: &Root,
    warnings: &mut Vec<String>,
    budget: Budget,
) -> Result<Vec<KernelImage>, Refusal> {
    let versions = installed::versions(root);
    let mut search = Search {
        root,
        warnings,
        xen: None,
        found: Vec::new(),
        kept: 0,
        most: budget.images,
    };
    for path in images::initramfs_images(root) {
        search.initramfs(path, &versions)?;
    }
    for path in images::unified_images(root) {
        search.unified(path, &versions)?;
    }
    search.without_initramfs()?;
    match (search.found.is_empty(), search.xen) {
        (false, _) => Ok(search.found),
        (true, Some(version)) => Err(Refusal::XenOnly { version }),
        (true, None) => Err(Refusal::NoKernel),
    }
}

struct Search<'a> {
    root: &'a Root,
    warnings: &'a mut Vec<String>,
    xen: Option<String>,
    found: Vec<KernelImage>,
    kept: usize,
    most: usize,
}

impl Search<'_> {
    fn initramfs(&mut self, path: String, versions: &[String]) -> Result<(), Refusal> {
        let read = self.read(&path)?;
        let inside = read.contents.kernel_versions();
        let version = installed::version_of(self.root, &path, &inside, versions);
        let Some(version) = version else {
            self.unknown_kernel(&path, &read.contents);
            return Ok(());
        };
        if !self.is_for_xen(&version) {
            let image = self.describe(path, version, read, Form::Appendable)?;
            self.keep(image)?;
        }
        Ok(())
    }

    fn keep(&mut self, image: KernelImage) -> Result<(), Refusal> {
        self.kept += image.contents.size() + image.texts.size();
        if self.kept > self.most {
            return Err(self.too_much());
        }
        self.found.push(image);
        Ok(())
    }

    fn too_much(&self) -> Refusal {
        Refusal::TooMuch {
            what: "initramfs images and indexes of kernel modules".to_owned(),
            limit: self.most as u64 >> 20,
            by_memory: true,
        }
    }

    /// No more of an image than is left for all.
    fn scan(&self, path: &str, input: impl io::Read) -> Result<InitrdContents, Refusal> {
        let left = self.most.saturating_sub(self.kept);
        scan_within(input, left).map_err(|error| match error.is_too_much() {
            true => self.too_much(),
            false => refuse(path)(crate::cause_chain(&error)),
        })
    }

    fn read(&self, path: &str) -> Result<Read, Refusal> {
        let mut file = Hashing::new(open(self.root, path)?);
        let contents = self.scan(path, &mut file)?;
        Ok(Read {
            contents,
            size: file.size,
            hasher: file.hasher,
        })
    }

    fn describe(
        &self,
        path: String,
        version: String,
        read: Read,
        form: Form,
    ) -> Result<KernelImage, Refusal> {
        let index = installed::index_size(self.root, &version);
        let all = (self.kept + read.contents.size()) as u64 + index;
        if all > self.most as u64 {
            return Err(self.too_much());
        }
        Ok(describe(self.root, path, version, read, form))
    }

    /// A rescue image may outlive the modules of its kernel, and boots if it
    /// holds what it needs.
    fn unknown_kernel(&mut self, path: &str, contents: &InitrdContents) {
        let disk = ["virtio_pci", "virtio_blk"];
        let ready = contents.kernel_versions().iter().any(|version| {
            let present = present_modules(contents, version);
            disk.iter().all(|name| present.contains_key(*name))
        });
        if !ready {
            self.warnings.push(format!(
                "{path} belongs to no kernel under /lib/modules, lacks virtio and is left alone"
            ));
        }
    }

    fn is_for_xen(&mut self, version: &str) -> bool {
        let xen = installed::is_xen_only(self.root, version);
        if xen && self.xen.as_deref() != Some(version) {
            self.warnings.push(format!(
                "kernel {version} runs on Xen only and is left alone"
            ));
            self.xen = Some(version.to_owned());
        }
        xen
    }

    fn unified(&mut self, path: String, versions: &[String]) -> Result<(), Refusal> {
        let refuse = refuse(&path);
        let unified = UnifiedImage::read(&mut open(self.root, &path)?)
            .map_err(|error| refuse(error.to_string()))?;
        let Some(unified) = unified else {
            return Ok(());
        };
        let inside = unified
            .initramfs(open(self.root, &path)?)
            .map_err(|error| refuse(error.to_string()))?;
        let contents = self.scan(&path, inside)?;
        let named = unified.version.clone().unwrap_or_default();
        let known = versions.iter().find(|version| **version == named).cloned();
        let inside = contents.kernel_versions();
        let version = known
            .or_else(|| installed::version_of(self.root, &path, &inside, versions))
            .or_else(|| inside.first().cloned())
            .unwrap_or(named);
        let read = Read {
            contents,
            ..hashed(self.root, &path)?
        };
        let mut image = self.describe(path, version, read, Form::Unified)?;
        image.arguments = unified.arguments;
        self.keep(image)
    }

    /// Kernels without an initramfs. Beside others, one that cannot start on the
    /// new hardware by itself is no reason to refuse the guest.
    fn without_initramfs(&mut self) -> Result<(), Refusal> {
        let alone = self.found.is_empty();
        let images = images::initramfs_images(self.root);
        for (path, version) in images::kernels(self.root) {
            let known = |image: &KernelImage| image.report.version == version;
            let has_image = |path: &String| installed::is_named_for(path, &version);
            if self.found.iter().any(known)
                || images.iter().any(has_image)
                || !installed::is_release(&version)
                || self.is_for_xen(&version)
            {
                continue;
            }
            let read = hashed(self.root, &path)?;
            let image = self.describe(path, version, read, Form::Absent)?;
            if alone || starts_by_itself(&image) {
                self.keep(image)?;
            } else {
                self.warnings.push(format!(
                    "/{} has neither an initramfs nor all of virtio built in; it does not start on \
                     virtio and is left alone",
                    image.report.initrd
                ));
            }
        }
        Ok(())
    }
}

fn starts_by_itself(image: &KernelImage) -> bool {
    let tree = ModuleTree::parse(&image.texts);
    let disk = ["virtio_pci", "virtio_blk"];
    disk.iter().all(|name| tree.builtin.contains(*name))
}

fn refuse(path: &str) -> impl Fn(String) -> Refusal + use<> {
    let initrd = format!("/{path}");
    move |detail| Refusal::UnknownInitrd {
        initrd: initrd.clone(),
        detail,
        fallback: None,
    }
}

struct Read {
    contents: InitrdContents,
    hasher: blake3::Hasher,
    size: u64,
}

fn read(root: &Root, path: &str) -> Result<Read, Refusal> {
    let refuse = refuse(path);
    let mut file = Hashing::new(open(root, path)?);
    let contents = scan(&mut file).map_err(|error| refuse(crate::cause_chain(&error)))?;
    Ok(Read {
        contents,
        size: file.size,
        hasher: file.hasher,
    })
}

/// A file of which only the hash matters.
fn hashed(root: &Root, path: &str) -> Result<Read, Refusal> {
    let refuse = refuse(path);
    let mut file = Hashing::new(open(root, path)?);
    io::copy(&mut file, &mut io::sink()).map_err(|error| refuse(error.to_string()))?;
    Ok(Read {
        contents: InitrdContents::default(),
        size: file.size,
        hasher: file.hasher,
    })
}

fn open(root: &Root, path: &str) -> Result<File, Refusal> {
    let refuse = refuse(path);
    root.open_file(path)
        .map_err(|error| refuse(error.to_string()))?
        .ok_or_else(|| refuse("it cannot be read".to_owned()))
}

/// Looks at an image again after bytes were appended to it. Where the old bytes
/// still have the old hash, their content is what it was and only the rest is
/// unpacked.
pub fn read_again(root: &Root, before: &KernelImage) -> Result<KernelImage, Refusal> {
    let path = &before.report.initrd;
    let refuse = refuse(path);
    if before.form != Form::Appendable {
        // Nothing can be appended to it: its hash says that it is the same.
        let read = hashed(root, path)?;
        let mut after = before.clone();
        (after.size, after.hasher) = (read.size, read.hasher);
        return Ok(after);
    }
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
    let version = before.report.version.clone();
    Ok(describe(root, path.clone(), version, read, before.form))
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

fn describe(root: &Root, path: String, version: String, read: Read, form: Form) -> KernelImage {
    let Read {
        contents,
        hasher,
        size,
    } = read;
    let texts = installed::index_texts(root, &version);
    let tree = ModuleTree::parse(&texts);
    let missing = missing_modules(&tree, &contents, &version, Target::default());
    let report = KernelReport {
        virtio_present: missing.is_empty() && tree.offers("virtio_blk"),
        compressor: contents
            .compressor
            .unwrap_or(Compressor::None)
            .name()
            .to_owned(),
        initrd: path,
        generator: generator(&contents),
        version,
    };
    KernelImage {
        report,
        form,
        size,
        hasher,
        contents,
        texts,
        arguments: String::new(),
    }
}
