//! What `lifeboat image inspect` says about an image. Plain data; it crosses the pipe from the
//! confined child and ends in reports, so every string in it is bounded and printable.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::format::Container;

/// Everything that is known about one image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inspection {
    /// The file, as named by the operator.
    pub path: PathBuf,
    /// Its format.
    pub format: Container,
    /// The flavour inside the format, for example `version 3, zlib` or `monolithicSparse`.
    pub variant: Option<String>,
    /// Bytes of the disk that a guest sees.
    pub virtual_size: u64,
    /// Length of the file.
    pub file_size: u64,
    /// Bytes that the file occupies on this host.
    pub allocated_size: u64,
    /// Unit of allocation of the format, where it has one.
    pub cluster_size: Option<u64>,
    /// The backing chain as the operator named it, nearest first.
    pub backing: Vec<Backing>,
    /// Which partition table was found.
    pub partition_table: PartitionTable,
    /// Its partitions, in the order of their numbers.
    pub partitions: Vec<Partition>,
    /// The filesystem of a disk without partition table.
    pub whole_disk: Option<Filesystem>,
    /// Which firmware the disk expects, if it looks like a boot disk.
    pub firmware_hint: Option<Firmware>,
    /// What may go wrong with this image, one sentence each.
    pub risks: Vec<String>,
}

/// One file below the image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backing {
    /// The file that the operator named.
    pub path: PathBuf,
    /// Its format.
    pub format: Container,
}

/// The partition table of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PartitionTable {
    /// DOS.
    Mbr,
    /// GUID partition table.
    Gpt,
    /// None: empty, or a filesystem over the whole disk.
    None,
}

/// One partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partition {
    /// Its number, as in `sda1`.
    pub number: u32,
    /// First byte.
    pub start: u64,
    /// Length in bytes.
    pub size: u64,
    /// Type: two hexadecimal digits (MBR) or a GUID (GPT).
    #[serde(rename = "type")]
    pub type_id: String,
    /// Name in the partition table (GPT only).
    pub name: Option<String>,
    /// GUID of the partition (GPT) or `SIGNATURE-NN` (MBR), as in `PARTUUID=`.
    pub part_uuid: Option<String>,
    /// Marked as the one to boot (MBR only).
    pub active: bool,
    /// What lies in it, if it was recognised.
    pub filesystem: Option<Filesystem>,
}

/// A filesystem or another recognised content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filesystem {
    /// Which.
    pub kind: FilesystemKind,
    /// UUID or serial number, in the spelling of `/dev/disk/by-uuid`.
    pub uuid: Option<String>,
    /// Label.
    pub label: Option<String>,
}

/// The contents that are recognised by their superblock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
#[expect(missing_docs, reason = "the names are the documentation")]
pub enum FilesystemKind {
    Ext2,
    Ext3,
    Ext4,
    Xfs,
    Btrfs,
    Vfat,
    Exfat,
    Ntfs,
    Refs,
    Swap,
    Lvm,
    Luks,
    Bitlocker,
    Mdraid,
    Iso9660,
    Squashfs,
}

/// The firmware that a disk is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Firmware {
    /// Boots through its boot sector.
    Bios,
    /// Boots through an EFI system partition.
    Uefi,
}

/// How much of an image file's own layer is written, apart from what lies below it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllocatedMap {
    /// Bytes of the disk that a guest sees.
    pub virtual_size: u64,
    /// Unit of allocation.
    pub cluster_size: u64,
    /// Bytes of the disk whose content lies in this layer.
    pub written: u64,
    /// Where they are, merged and ascending. Cut after [`AllocatedMap::MOST_EXTENTS`].
    pub extents: Vec<Extent>,
    /// Whether `extents` was cut. `written` never is.
    pub cut: bool,
}

impl AllocatedMap {
    /// Bound on the length of `extents`.
    pub const MOST_EXTENTS: usize = 20_000;
}

/// A range of the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Extent {
    /// First byte.
    pub start: u64,
    /// Length in bytes.
    pub length: u64,
}
