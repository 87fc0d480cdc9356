//! The confined child: where images are parsed.
//!
//! ```text
//! parent (Confined)                     child (confined_main)
//!   opens the files O_RDONLY
//!   starts the reader          ───►     stdin = a socket
//!   sends files and question   ───►     receives them; can open nothing itself
//!                                       raises the walls, for itself and for qemu-io
//!                                       parses
//!   notes how far it is        ◄───     stdout = lines of progress, of a conversion only
//!   reads a bounded answer     ◄───     stdout = one JSON answer
//!   kills the process group
//! ```
//!
//! A child that dies, works for too long or talks too much is an answer as well: the image is
//! refused. One that only gets nowhere is no word against the image.

#[cfg(feature = "reader")]
mod calls;
#[cfg(feature = "reader")]
mod chain;
#[cfg(feature = "reader")]
mod child;
mod launcher;
#[cfg(feature = "reader")]
mod walls;
mod wire;

use serde::{Deserialize, Serialize};

#[cfg(feature = "reader")]
pub use child::confined_main;
pub use launcher::Confined;
#[cfg(feature = "reader")]
pub(crate) use wire::Part;

use crate::conversion::{Checkpoint, ConversionLimits};
use crate::error::Refusal;
use crate::format::{Container, Format};
use crate::inspection::{AllocatedMap, Filesystem, Firmware, Partition, PartitionTable};
use crate::package::Package;

/// Bounds on one confined child.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Address space in bytes, for each process of the child.
    pub memory: u64,
    /// Processor time in seconds, for each process of the child. It judges the image.
    pub cpu_seconds: u64,
    /// Time on the clock in seconds without a step forward, after which the child is killed. It is
    /// for what neither works nor ends, and must be enough on a host that is busy.
    pub wall_seconds: u64,
    /// Longest answer in bytes.
    pub answer: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: 1 << 30,
            cpu_seconds: 60,
            wall_seconds: 1200,
            answer: 4 << 20,
        }
    }
}

/// What the parent asks. The descriptors follow in the order of the files.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Question {
    pub task: Task,
    /// The image and what the operator named below it, nearest first.
    pub layers: Vec<LayerQuestion>,
    /// Whether QEMU's programs may be used, which need to open the files again.
    pub with_qemu: bool,
    pub limits: Limits,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct LayerQuestion {
    pub container: Container,
    pub files: Vec<FileQuestion>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct FileQuestion {
    /// Without its folder; for messages, and to compare with names inside images.
    pub name: String,
    pub length: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Task {
    /// Say which files the descriptor names.
    Extents,
    /// Check the structure and look into the disk.
    Inspect,
    /// Map the top layer; a backing file is allowed and not opened.
    Map,
    /// Write the disk to the last descriptor, from a checkpoint on.
    Convert {
        from: Checkpoint,
        limits: ConversionLimits,
    },
    /// Read an OVF descriptor, or the archive that contains one.
    Package { archive: bool },
    /// Read the manifest of an OVF package.
    Manifest,
    /// Try what the walls forbid.
    Prove(Attempts),
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Attempts {
    pub read: std::path::PathBuf,
    pub write: std::path::PathBuf,
    pub connect: std::net::SocketAddr,
}

/// What the child answers.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// Plain names beside the descriptor.
    Extents(Vec<String>),
    Inspected(Findings),
    /// Not the last answer: the conversion is this far.
    Converting(Step),
    /// Bytes of the disk, all of them written.
    Converted(u64),
    Mapped(AllocatedMap),
    Package(Package),
    Refused(Refusal),
    Proof(Proof),
    /// Only QEMU can read this one: ask again with `with_qemu`.
    NeedsQemu,
    /// The walls could not be raised; nothing was parsed.
    NoWalls(String),
}

/// How far a conversion is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Step {
    pub done: u64,
    pub total: u64,
    /// Everything before it is written.
    pub written: Checkpoint,
    /// Whether it is on the disk as well, and not only in the memory of this host.
    pub synced: bool,
}

/// What QEMU is given of one layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Serving {
    /// Its file, or the only extent of its descriptor.
    File { index: usize, format: Format },
    /// What is converted from it and from so many layers below it.
    Converted { with_below: usize },
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Findings {
    /// One for each layer that is not converted together with one above it.
    pub serving: Vec<Serving>,
    pub variant: Option<String>,
    pub virtual_size: u64,
    pub cluster_size: Option<u64>,
    pub table: PartitionTable,
    pub partitions: Vec<Partition>,
    pub whole_disk: Option<Filesystem>,
    pub firmware_hint: Option<Firmware>,
    pub risks: Vec<String>,
}

/// What a confined child could do when it tried. Everything here should be `false`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// Which walls stood.
    pub walls: Walls,
    /// It read a file of the host.
    pub read_a_file: bool,
    /// It wrote a file of the host.
    pub wrote_a_file: bool,
    /// It connected to an address that was listening.
    pub connected: bool,
    /// It allocated more memory than it was given.
    pub exceeded_memory: bool,
    /// It started another process.
    pub started_a_process: bool,
    /// It left the group of processes that is killed with it.
    pub left_its_group: bool,
}

/// Which walls stand around a child.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Walls {
    /// It has a network namespace of its own, without interfaces.
    pub network_namespace: bool,
    /// Landlock limits its files; `partly` on older kernels.
    pub landlock: Landlock,
    /// The user it runs as.
    pub user: u32,
    /// The group it runs as.
    pub group: u32,
    /// It holds no privilege over the host.
    pub unprivileged: bool,
}

impl Walls {
    /// What this host lacks, one sentence each.
    #[cfg(feature = "reader")]
    pub(crate) fn gaps(&self) -> Vec<String> {
        let network = "this user may not make network namespaces on this host, so that the reader \
                       of this image was not cut off from the network by one";
        let files = "this kernel offers no Landlock, so that the reader of this image was kept \
                     from files by its user only";
        let gaps = [
            (!self.network_namespace, network),
            (self.landlock == Landlock::No, files),
        ];
        let open = gaps.into_iter().filter(|(is_open, _)| *is_open);
        open.map(|(_, gap)| gap.to_owned()).collect()
    }
}

/// How far Landlock is enforced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Landlock {
    /// All that was asked for.
    Fully,
    /// What this kernel knows.
    Partly,
    /// Not at all.
    No,
}
