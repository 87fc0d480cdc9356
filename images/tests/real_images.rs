//! Every real image that came with the project, with what is expected of it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fixture;

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use lifeboat_images::{
    Container, FilesystemKind, Firmware, Inspection, PartitionTable, RefusalKind,
};

enum Expect {
    /// Container, size of the disk, what lies on the whole of it.
    Whole(Container, u64, Option<FilesystemKind>),
    /// Container, size of the disk, number of partitions, what lies in the first.
    Mbr(Container, u64, usize, Option<FilesystemKind>),
    /// Kind and words of the refusal.
    Refused(RefusalKind, &'static str),
}

use Expect::{Mbr, Refused, Whole};

const MIB: u64 = 1 << 20;

const IMAGES: &[(&str, Expect)] = &[
    (
        "dfvfs/ext2.E01",
        Whole(Container::Ewf, 4 * MIB, Some(FilesystemKind::Ext2)),
    ),
    (
        "dfvfs/ext2.qcow2",
        Whole(Container::Qcow2, 4 * MIB, Some(FilesystemKind::Ext2)),
    ),
    (
        "dfvfs/ext2.splitraw.000",
        Whole(Container::SplitRaw, 4 * MIB, Some(FilesystemKind::Ext2)),
    ),
    (
        "dfvfs/ext2.splitraw.001",
        Refused(RefusalKind::SplitOverFiles, "first part"),
    ),
    (
        "dfvfs/ext2.vhd",
        Whole(Container::Vpc, 4_212_736, Some(FilesystemKind::Ext2)),
    ),
    (
        "dfvfs/ext2.vmdk",
        Whole(Container::Vmdk, 4 * MIB, Some(FilesystemKind::Ext2)),
    ),
    (
        "dfvfs/fat-differential.vhd",
        Refused(RefusalKind::BackingFile, "fat-parent.vhd"),
    ),
    (
        "dfvfs/image-differential.vhd",
        Refused(RefusalKind::Damaged, "checksum"),
    ),
    ("dfvfs/image.vhd", Refused(RefusalKind::Damaged, "checksum")),
    (
        "dfvfs/windows_volume.qcow2",
        Whole(Container::Qcow2, 35_913_728, Some(FilesystemKind::Ntfs)),
    ),
    (
        "go-vmdk/vmdk-invalid.img",
        Refused(RefusalKind::Truncated, "512"),
    ),
    (
        "go-vmdk/vmdk-monolith.img",
        Whole(Container::Vmdk, 65_536, None),
    ),
    (
        "go-vmdk/vmdk-streamoptimized.img",
        Whole(Container::Vmdk, 65_536, None),
    ),
    (
        "vmdk-rs/monolithicFlat.vmdk",
        Refused(RefusalKind::SplitOverFiles, "is missing"),
    ),
    (
        "vmdk-rs/monolithicSparse.vmdk",
        Mbr(Container::Vmdk, 10 * MIB, 1, Some(FilesystemKind::Ntfs)),
    ),
    (
        "vmdk-rs/streamOptimized.vmdk",
        Mbr(Container::Vmdk, 10 * MIB, 1, Some(FilesystemKind::Ntfs)),
    ),
    (
        "vmdk-rs/streamOptimizedWithMarkers.vmdk",
        Whole(Container::Vmdk, MIB, None),
    ),
    (
        "vmdk-rs/twoGbMaxExtentSparse-s001.vmdk",
        Refused(RefusalKind::SplitOverFiles, "it is an extent of a VMDK"),
    ),
    (
        "vmdk-rs/twoGbMaxExtentSparse.vmdk",
        Mbr(Container::Vmdk, 10 * MIB, 1, Some(FilesystemKind::Ntfs)),
    ),
    (
        "vmdk-rs/vmfs_thick-000001.vmdk",
        Refused(RefusalKind::BackingFile, "vmfs_thick.vmdk"),
    ),
    (
        "vmdk-rs/vmfs_thick-flat.vmdk",
        Mbr(Container::Raw, 2 * MIB, 1, Some(FilesystemKind::Ext4)),
    ),
    (
        "vmdk-rs/vmfs_thick.vmdk",
        Mbr(Container::Vmdk, 2 * MIB, 1, Some(FilesystemKind::Ext4)),
    ),
];

#[test]
fn every_real_image_is_taken_or_refused_as_expected() {
    let Some(root) = fixture::real_images() else {
        return;
    };
    for (name, expected) in IMAGES {
        let path = root.join(name);
        let before = fingerprint(&path);
        check(&path, expected);
        assert_eq!(before, fingerprint(&path), "{name} was changed");
    }
}

#[test]
fn no_real_image_is_forgotten() {
    let Some(root) = fixture::real_images() else {
        return;
    };
    let mut seen = 0;
    for directory in std::fs::read_dir(&root).unwrap() {
        for file in std::fs::read_dir(directory.unwrap().path()).unwrap() {
            let path = file.unwrap().path();
            let name = path.strip_prefix(&root).unwrap().to_str().unwrap();
            assert!(IMAGES.iter().any(|(known, _)| *known == name), "{name}");
            seen += 1;
        }
    }
    assert_eq!(seen, IMAGES.len());
}

fn fingerprint(path: &Path) -> (blake3::Hash, i64, i64) {
    let metadata = path.metadata().unwrap();
    let hash = blake3::hash(&std::fs::read(path).unwrap());
    (hash, metadata.mtime(), metadata.mtime_nsec())
}

#[track_caller]
fn check(path: &Path, expected: &Expect) {
    let found = fixture::look(path);
    match expected {
        Refused(kind, words) => {
            let error = found.expect_err(&path.display().to_string());
            fixture::assert_refusal(&error, path, *kind, &[words]);
        }
        Whole(format, size, kind) => {
            let found = found.unwrap();
            basics(path, &found, *format, *size);
            assert_eq!(found.partition_table, PartitionTable::None, "{found:?}");
            let whole = found.whole_disk.as_ref().map(|filesystem| filesystem.kind);
            assert_eq!(whole, *kind, "{found:?}");
        }
        Mbr(format, size, count, first) => {
            let found = found.unwrap();
            basics(path, &found, *format, *size);
            assert_eq!(found.partition_table, PartitionTable::Mbr, "{found:?}");
            assert_eq!(found.partitions.len(), *count, "{found:?}");
            let kind = found.partitions[0]
                .filesystem
                .as_ref()
                .map(|found| found.kind);
            assert_eq!(kind, *first, "{found:?}");
            assert_eq!(found.firmware_hint, Some(Firmware::Bios));
        }
    }
}

#[track_caller]
fn basics(path: &Path, found: &Inspection, format: Container, size: u64) {
    assert_eq!(found.format, format, "{}", path.display());
    assert_eq!(found.virtual_size, size, "{}", path.display());
    assert!(found.file_size >= path.metadata().unwrap().len());
}
