//! Initial RAM filesystems: reading what is in one, and building what it lacks.
//!
//! Everything here is pure: bytes in, facts or bytes out.

pub mod cpio;
pub mod kmod_index;
pub mod lz4_legacy;
mod lzop;
pub mod modules;
pub mod scan;
pub mod supplement;
pub mod target;
pub mod xz;

pub use scan::{Compressor, InitrdContents, ScanError, scan, scan_onto, scan_within};
