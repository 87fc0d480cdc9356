//! Captured volumes: what they are, whether they may be used, whether they are still the same,
//! and the overlays that go above them.
//!
//! A captured volume is hostile until proven otherwise. Three rules carry this crate:
//!
//! - A source is opened read-only and never written. Overlays go to other files.
//! - A format is decided once, by [`identify`], and named explicitly ever after.
//! - Every parse of an image happens in a confined child process ([`Confined`]): it holds the
//!   image as an open descriptor and has no network, no files of the host, little memory and
//!   little time. The parent only ever sees a bounded JSON answer.
//!
//! The child is the caller's own program: it calls [`confined_main`] from a hidden subcommand and
//! names that subcommand to [`Confined::new`].

pub mod confine;
mod disk;
mod error;
mod format;
mod inspection;
mod integrity;
mod overlay;
mod partitions;
mod printable;
mod structure;
mod superblock;
mod volume;

pub use confine::{Confined, Limits, Proof, Walls, confined_main};
pub use error::{Changed, ImageError, Refusal, RefusalKind};
pub use format::{Format, identify};
pub use inspection::{
    AllocatedMap, Backing, Extent, Filesystem, FilesystemKind, Firmware, Inspection, Partition,
    PartitionTable,
};
pub use overlay::create_overlay;
pub use volume::{
    BackingFile, CapturedVolume, allocated_map, import, inspect, open_read_only, quick_verify,
    verify,
};
