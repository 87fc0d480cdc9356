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
//! The child is the program `lifeboat-image-reader` beside the caller's own
//! ([`Confined::beside_this_program`]). Only it is built with the feature `reader`; without that
//! this crate contains no parser and links none.

mod captured;
pub mod confine;
#[cfg(feature = "reader")]
mod content;
mod conversion;
#[cfg(feature = "reader")]
mod convert;
#[cfg(feature = "reader")]
mod disk;
mod error;
mod format;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod hash_tree;
mod inspection;
mod integrity;
mod overlay;
mod package;
#[cfg(feature = "reader")]
mod partitions;
mod printable;
mod segments;
mod source;
mod sparse;
#[cfg(feature = "reader")]
mod structure;
#[cfg(feature = "reader")]
mod superblock;
mod verification;
mod volume;

pub use captured::{CapturedVolume, ServedLayer, SourceFile};
#[cfg(feature = "reader")]
pub use confine::confined_main;
pub use confine::{Confined, Limits, Proof, Walls};
pub use conversion::{ConversionLimits, Conversions};
pub use error::{Changed, ImageError, Refusal, RefusalKind};
pub use format::{Container, Format, identify, identify_beginning};
pub use hash_tree::root_of_tree;
pub use inspection::{
    AllocatedMap, Backing, Extent, Filesystem, FilesystemKind, Firmware, Inspection, Partition,
    PartitionTable,
};
pub use integrity::{Effort, Reading};
pub use overlay::{create_overlay, rename_without_replacing};
pub use package::{
    Algorithm, Digest, Member, Package, PackagedMachine, PackagedNic, disk_files, is_package,
    read_package, require_manifest,
};
pub use sparse::SparseFile;
pub use verification::{
    Damage, Position, Verification, is_untouched, quick_verify, readmit, verify,
};
pub use volume::{OpenLayer, allocated_map, import, inspect, open_read_only, open_to_look};
