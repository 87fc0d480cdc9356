//! The confined child: where images are parsed.
//!
//! ```text
//! parent (Confined)                     child (confined_main)
//!   opens the image O_RDONLY
//!   starts the reader          ───►     stdin = the image, argv = the question
//!                                       opens what the operator named, nothing else
//!                                       raises the walls, for itself and for qemu-io
//!                                       parses
//!   reads a bounded answer     ◄───     stdout = one JSON answer
//!   kills the process group
//! ```
//!
//! A child that dies, hangs or talks too much is an answer as well: the image is refused.

#[cfg(feature = "reader")]
mod child;
mod launcher;
#[cfg(feature = "reader")]
mod walls;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

#[cfg(feature = "reader")]
pub use child::confined_main;
pub use launcher::Confined;

use crate::error::Refusal;
use crate::format::Format;
use crate::inspection::{AllocatedMap, Filesystem, Firmware, Partition, PartitionTable};

/// Bounds on one confined child.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Address space in bytes, for each process of the child.
    pub memory: u64,
    /// Processor time in seconds, for each process of the child.
    pub cpu_seconds: u64,
    /// Time on the clock in seconds, after which the child is killed.
    pub wall_seconds: u64,
    /// Longest answer in bytes.
    pub answer: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: 1 << 30,
            cpu_seconds: 60,
            wall_seconds: 180,
            answer: 4 << 20,
        }
    }
}

/// What the parent asks.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Question {
    pub task: Task,
    pub format: Format,
    pub length: u64,
    /// Whether QEMU's programs may be used, which need to open the image again.
    pub with_qemu: bool,
    /// Files below the image that the operator named, nearest first.
    pub chain: Vec<ChainLink>,
    pub limits: Limits,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ChainLink {
    pub path: PathBuf,
    pub format: Format,
    pub length: u64,
    pub device: u64,
    pub inode: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Task {
    /// Check the structure and look into the disk.
    Inspect,
    /// Map the top layer; a backing file is allowed and not opened.
    Map,
    /// Try what the walls forbid.
    Prove(Attempts),
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Attempts {
    pub read: PathBuf,
    pub write: PathBuf,
    pub connect: std::net::SocketAddr,
}

/// What the child answers.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    Inspected(Findings),
    Mapped(AllocatedMap),
    Refused(Refusal),
    Proof(Proof),
    /// Only QEMU can read this one: ask again with `with_qemu`.
    NeedsQemu,
    /// The walls could not be raised; nothing was parsed.
    NoWalls(String),
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Findings {
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
