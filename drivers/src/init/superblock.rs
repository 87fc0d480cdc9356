//! What a partition holds, by its first bytes.

use super::raid_superblock::raid_member;

/// How many bytes from a device's beginning are looked at.
pub const LOOKED_AT: usize = 0x10000 + 0x1000;

/// A filesystem or container.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Superblock {
    /// `ext4`, `xfs`, `luks`...
    pub kind: String,
    /// As the guest would write it.
    pub uuid: Option<String>,
    /// The label, if it has one.
    pub label: Option<String>,
}

/// Recognises what the bytes are the beginning of.
pub fn recognise(bytes: &[u8]) -> Option<Superblock> {
    // Containers first: a stale filesystem may lie beneath their header.
    luks(bytes)
        .or_else(|| lvm(bytes))
        .or_else(|| raid(bytes))
        .or_else(|| xfs(bytes))
        .or_else(|| btrfs(bytes))
        .or_else(|| ext(bytes))
        .or_else(|| swap(bytes))
        .or_else(|| windows(bytes))
        .or_else(|| named_only(bytes))
        .or_else(|| fat(bytes))
}

fn found(kind: &str, uuid: Option<String>, label: Option<String>) -> Option<Superblock> {
    Some(Superblock {
        kind: kind.to_owned(),
        uuid,
        label,
    })
}

fn at(bytes: &[u8], offset: usize, length: usize) -> Option<&[u8]> {
    bytes.get(offset..offset + length)
}

fn word(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_le_bytes(at(bytes, offset, 4)?.try_into().ok()?))
}

/// Sixteen bytes in their order, as Linux filesystems keep UUIDs.
pub(super) fn uuid(bytes: &[u8]) -> Option<String> {
    let bytes: [u8; 16] = bytes.try_into().ok()?;
    if bytes == [0; 16] {
        return None;
    }
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let groups = [
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..],
    ];
    Some(groups.join("-"))
}

fn label(bytes: &[u8]) -> Option<String> {
    let end = bytes
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(bytes.len());
    let text = String::from_utf8_lossy(&bytes[..end]).trim().to_owned();
    (!text.is_empty()).then_some(text)
}

fn ext(bytes: &[u8]) -> Option<Superblock> {
    if at(bytes, 1024 + 0x38, 2)? != [0x53, 0xef] {
        return None;
    }
    let (compatible, incompatible) = (word(bytes, 1024 + 0x5c)?, word(bytes, 1024 + 0x60)?);
    let kind = match (incompatible & !0x16, compatible & 4) {
        (0, 0) => "ext2",
        (0, _) => "ext3",
        _ => "ext4",
    };
    found(
        kind,
        uuid(at(bytes, 1024 + 0x68, 16)?),
        label(at(bytes, 1024 + 0x78, 16)?),
    )
}

/// Whether a filesystem was let go of in order, with nothing left to replay and
/// no error noted; nothing where its superblock does not say it.
pub fn is_clean(bytes: &[u8]) -> Option<bool> {
    if ext(bytes).is_some() {
        let state = word(bytes, 1024 + 0x3a)? & 0xffff;
        let needs_recovery = word(bytes, 1024 + 0x60)? & 4 != 0;
        return Some(state & 3 == 1 && !needs_recovery);
    }
    if btrfs(bytes).is_some() {
        let log_tree = at(bytes, 0x10060, 8)?;
        return Some(log_tree.iter().all(|byte| *byte == 0));
    }
    None
}

fn xfs(bytes: &[u8]) -> Option<Superblock> {
    if at(bytes, 0, 4)? != b"XFSB" {
        return None;
    }
    found("xfs", uuid(at(bytes, 32, 16)?), label(at(bytes, 108, 12)?))
}

fn btrfs(bytes: &[u8]) -> Option<Superblock> {
    if at(bytes, 0x10040, 8)? != b"_BHRfS_M" {
        return None;
    }
    found(
        "btrfs",
        uuid(at(bytes, 0x10020, 16)?),
        label(at(bytes, 0x1012b, 256)?),
    )
}

fn swap(bytes: &[u8]) -> Option<Superblock> {
    let kind = match at(bytes, 4086, 10)? {
        b"SWAPSPACE2" => "swap",
        b"S1SUSPEND\0" => "hibernation",
        _ => return None,
    };
    found(
        kind,
        uuid(at(bytes, 1036, 16)?),
        label(at(bytes, 1052, 16)?),
    )
}

fn luks(bytes: &[u8]) -> Option<Superblock> {
    if at(bytes, 0, 6)? != b"LUKS\xba\xbe" {
        return None;
    }
    found("luks", label(at(bytes, 168, 40)?), None)
}

fn lvm(bytes: &[u8]) -> Option<Superblock> {
    let label = (0..4).any(|sector| at(bytes, sector * 512, 8) == Some(b"LABELONE"));
    if label {
        found("lvm2", None, None)
    } else {
        None
    }
}

fn raid(bytes: &[u8]) -> Option<Superblock> {
    raid_member(bytes, &[], 0)?;
    found("raid", None, None)
}

fn windows(bytes: &[u8]) -> Option<Superblock> {
    match at(bytes, 3, 8)? {
        b"NTFS    " => {
            let serial = u64::from_le_bytes(at(bytes, 72, 8)?.try_into().ok()?);
            found("ntfs", Some(format!("{serial:016X}")), None)
        }
        b"-FVE-FS-" => found("bitlocker", None, None),
        _ => None,
    }
}

/// Filesystems that cannot be mounted here, so that a refusal can name them and
/// a line of fstab that means them is understood.
fn named_only(bytes: &[u8]) -> Option<Superblock> {
    const BCACHEFS: [u8; 16] = [
        0xc6, 0x85, 0x73, 0xf6, 0x4e, 0x1a, 0x45, 0xca, 0x82, 0x65, 0xf5, 0x7f, 0x48, 0xba, 0x6d,
        0x81,
    ];
    if at(bytes, 0x10034, 8)?.starts_with(b"ReIsEr") {
        let (uuid, label) = (
            uuid(at(bytes, 0x10054, 16)?),
            label(at(bytes, 0x10064, 16)?),
        );
        return found("reiserfs", uuid, label);
    }
    if at(bytes, 0x8000, 4)? == b"JFS1" {
        let (uuid, label) = (uuid(at(bytes, 0x8088, 16)?), label(at(bytes, 0x8098, 16)?));
        return found("jfs", uuid, label);
    }
    if at(bytes, 0x1018, 16)? == BCACHEFS {
        let (uuid, label) = (uuid(at(bytes, 0x1038, 16)?), label(at(bytes, 0x1048, 32)?));
        return found("bcachefs", uuid, label);
    }
    // A list of names and values behind a blank and a boot header.
    let list = at(bytes, 0x4000, 0x1000)?;
    let is_zfs = list[0] == 1 && list.windows(9).any(|some| some == b"pool_guid");
    if is_zfs {
        found("zfs", None, None)
    } else {
        None
    }
}

fn fat(bytes: &[u8]) -> Option<Superblock> {
    if at(bytes, 510, 2)? != [0x55, 0xaa] {
        return None;
    }
    let (serial, name) = if at(bytes, 82, 5)? == b"FAT32" {
        (67, 71)
    } else if at(bytes, 54, 3)? == b"FAT" {
        (39, 43)
    } else {
        return None;
    };
    let serial = word(bytes, serial)?;
    let uuid = format!("{:04X}-{:04X}", serial >> 16, serial & 0xffff);
    let name = label(at(bytes, name, 11)?).filter(|name| name != "NO NAME");
    found("vfat", Some(uuid), name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn with(parts: &[(usize, &[u8])]) -> Vec<u8> {
        let mut bytes = vec![0; LOOKED_AT];
        for (offset, part) in parts {
            bytes[*offset..offset + part.len()].copy_from_slice(part);
        }
        bytes
    }

    #[test]
    fn kinds() {
        let id: Vec<u8> = (1..17).collect();
        let uuid = "01020304-0506-0708-090a-0b0c0d0e0f10";
        let ext = with(&[
            (1080, &[0x53, 0xef]),
            (1120, &[0x42]),
            (1128, &id),
            (1144, b"root"),
        ]);
        let cases = [
            (ext, "ext4", Some(uuid), Some("root")),
            (with(&[(0, b"XFSB"), (32, &id)]), "xfs", Some(uuid), None),
            (
                with(&[(0x10040, b"_BHRfS_M"), (0x10020, &id)]),
                "btrfs",
                Some(uuid),
                None,
            ),
            (
                with(&[(4086, b"S1SUSPEND\0"), (1036, &id)]),
                "hibernation",
                Some(uuid),
                None,
            ),
            (
                with(&[(4086, b"SWAPSPACE2"), (1036, &id)]),
                "swap",
                Some(uuid),
                None,
            ),
            (
                with(&[(0, b"LUKS\xba\xbe"), (168, b"abc")]),
                "luks",
                Some("abc"),
                None,
            ),
            (with(&[(512, b"LABELONE")]), "lvm2", None, None),
            (with(&[(3, b"-FVE-FS-")]), "bitlocker", None, None),
            (
                with(&[(0x10034, b"ReIsEr2Fs"), (0x10054, &id), (0x10064, b"old")]),
                "reiserfs",
                Some(uuid),
                Some("old"),
            ),
            (
                with(&[(0x8000, b"JFS1"), (0x8088, &id), (0x8098, b"jay")]),
                "jfs",
                Some(uuid),
                Some("jay"),
            ),
            (
                with(&[
                    (0x1018, b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca"),
                    (0x1020, b"\x82\x65\xf5\x7f\x48\xba\x6d\x81"),
                    (0x1038, &id),
                ]),
                "bcachefs",
                Some(uuid),
                None,
            ),
            (
                with(&[(0x4000, &[1, 1]), (0x4100, b"pool_guid")]),
                "zfs",
                None,
                None,
            ),
            (
                with(&[
                    (510, &[0x55, 0xaa]),
                    (82, b"FAT32   "),
                    (67, &[0x78, 0x56, 0x34, 0x12]),
                    (71, b"ESP        "),
                ]),
                "vfat",
                Some("1234-5678"),
                Some("ESP"),
            ),
        ];
        for (bytes, kind, uuid, label) in cases {
            let found = recognise(&bytes).unwrap();
            assert_eq!(found.kind, kind);
            assert_eq!(found.uuid.as_deref(), uuid, "{kind}");
            assert_eq!(found.label.as_deref(), label, "{kind}");
        }
        assert_eq!(recognise(&vec![0; LOOKED_AT]), None);
    }

    #[test]
    fn clean_and_dirty_filesystems() {
        let mut ext4 = vec![0; 4096];
        ext4[1080..1082].copy_from_slice(&[0x53, 0xef]);
        ext4[1082] = 1;
        assert_eq!(is_clean(&ext4), Some(true));
        // An error was noted; mounted or never let go of; a journal to replay.
        for (place, value) in [(1082, 3), (1082, 0), (1024 + 0x60, 4)] {
            let mut dirty = ext4.clone();
            dirty[place] = value;
            assert_eq!(is_clean(&dirty), Some(false), "{place}");
        }
        assert_eq!(is_clean(&[0; 4096]), None);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..5000)) {
            recognise(&bytes);
        }
    }
}
