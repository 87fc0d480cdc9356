//! OVF and OVA: machines with their disks, described by another hypervisor.
//!
//! ```text
//! .ovf   the descriptor, XML; its disks lie beside it
//! .ova   a tar archive of the descriptor, the disks and the manifest
//! .mf    the manifest: SHA-1 or SHA-256 of the others
//! ```
//!
//! Descriptor, manifest and archive are parsed in the confined child. Here only bytes at places
//! that it named are hashed and copied.

#[cfg(feature = "reader")]
pub(crate) mod archive;
#[cfg(feature = "reader")]
pub(crate) mod descriptor;
#[cfg(feature = "reader")]
mod hardware;
#[cfg(feature = "reader")]
pub(crate) mod manifest;

mod unpack;

pub use unpack::{disk_files, require_manifest};

use std::fs::File;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::confine::{Answer, Confined, FileQuestion, LayerQuestion, Question, Task};
use crate::error::{ImageError, Refusal, RefusalKind};
use crate::format::{Container, open_source};
use crate::inspection::Firmware;
use crate::source::{open_found, other_question};

/// What a package describes. Every string is bounded and printable; file names are plain names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Package {
    /// Its machines, in the order of the descriptor.
    pub machines: Vec<PackagedMachine>,
    /// What the manifest says about its files; empty without a manifest.
    pub digests: Vec<Digest>,
    /// Where its files are in the archive; empty when they lie beside the descriptor.
    pub members: Vec<Member>,
    /// What the draft leaves out, one sentence each.
    pub warnings: Vec<String>,
}

/// One machine of a package.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackagedMachine {
    /// Its name.
    pub name: String,
    /// Firmware, where the descriptor tells it.
    pub firmware: Option<Firmware>,
    /// Memory in MiB.
    pub memory_mib: Option<u64>,
    /// Number of virtual processors.
    pub vcpus: Option<u32>,
    /// Names of the files of its disks, in the order of controllers and places on them.
    pub disks: Vec<String>,
    /// Network cards, in the order of the descriptor.
    pub nics: Vec<PackagedNic>,
}

/// One network card of a packaged machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackagedNic {
    /// What the descriptor calls it.
    pub name: String,
    /// Name of its network.
    pub network: Option<String>,
    /// Hardware address, `52:54:00:12:34:56`.
    pub mac: Option<String>,
}

/// What the manifest says about a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digest {
    /// Name of the file.
    pub file: String,
    /// Which hash.
    pub algorithm: Algorithm,
    /// The hash in lower-case hexadecimal digits.
    pub hex: String,
}

/// The hashes that manifests use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are the documentation")]
pub enum Algorithm {
    Sha1,
    Sha256,
    Sha512,
}

/// A file inside an archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its plain name.
    pub name: String,
    /// First byte in the archive.
    pub offset: u64,
    /// Length in bytes.
    pub size: u64,
}

/// Reads the descriptor `X.ovf`, or the archive `X.ova` that contains one, and the manifest. What
/// lies at the names that it contains is not opened.
pub fn read_package(confined: &Confined, path: &Path) -> Result<Package, ImageError> {
    let archive = is_archive(path)?;
    let mut package = ask(
        confined,
        path,
        open_source(path)?,
        Task::Package { archive },
    )?;
    let manifest = path.with_extension("mf");
    let is_beside = !archive && manifest.symlink_metadata().is_ok();
    if is_beside {
        let opened = open_found(path, &manifest, "manifest")?;
        package.digests = ask(confined, &manifest, opened, Task::Manifest)?.digests;
    }
    if is_beside || !package.digests.is_empty() {
        let unlisted = package.unlisted();
        package.warnings.extend(unlisted);
    }
    Ok(package)
}

impl Package {
    fn unlisted(&self) -> Vec<String> {
        let disks = self.machines.iter().flat_map(|machine| &machine.disks);
        let listed = |disk: &String| self.digests.iter().any(|digest| digest.file == *disk);
        let unlisted = disks.filter(|disk| !listed(disk));
        unlisted
            .map(|disk| {
                format!("its manifest does not list the disk `{disk}`, whose bytes are not checked")
            })
            .collect()
    }
}

/// Whether the ending of the name is that of a package.
pub fn is_package(path: &Path) -> bool {
    is_archive(path).is_ok()
}

fn is_archive(path: &Path) -> Result<bool, ImageError> {
    let ending = path.extension().map(|ending| ending.to_ascii_lowercase());
    match ending.as_ref().and_then(|ending| ending.to_str()) {
        Some("ova") => Ok(true),
        Some("ovf") => Ok(false),
        _ => Err(ImageError::refused(
            path,
            Refusal::new(
                RefusalKind::UnsupportedFormat,
                "it is no OVF package by its name",
                "give a file that ends with `.ovf` or `.ova`",
            ),
        )),
    }
}

fn ask(
    confined: &Confined,
    path: &Path,
    (file, length): (File, u64),
    task: Task,
) -> Result<Package, ImageError> {
    // The bytes are read as they are; what they mean is the child's to find out.
    let layer = LayerQuestion {
        container: Container::Raw,
        files: vec![FileQuestion {
            name: String::new(),
            length,
        }],
    };
    let question = Question {
        task,
        layers: vec![layer],
        with_qemu: false,
        limits: confined.limits().clone(),
    };
    match confined.ask(path, &[&file], &question)? {
        Answer::Package(package) => Ok(package),
        _ => Err(other_question(path)),
    }
}

/// A name that is nothing but a name: no path, no protocol, nothing that a terminal or a shell
/// would take for something else.
pub(crate) fn is_plain_file_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    !matches!(name, "" | "." | "..")
        && name.len() <= 200
        && !name.starts_with('-')
        && !bytes.any(|byte| matches!(byte, b'/' | b'\\' | b':') || byte.is_ascii_control())
}
