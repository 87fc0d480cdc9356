//! What lies in a partition, by the magic numbers of superblocks. Pure: bytes in, facts out.

use crate::disk::Disk;
use crate::inspection::{Filesystem, FilesystemKind};
use crate::printable::{printable, printable_bytes};

/// The superblock that lies deepest is that of btrfs.
const HEAD: u64 = 68 * 1024;
const MD_MAGIC: u32 = 0xa92b_4efc;

/// The bytes of a partition that hold superblocks.
#[derive(Debug, Default)]
pub(crate) struct Area {
    head: Vec<u8>,
    /// Where MD RAID keeps its superblock in the formats 0.90 and 1.0.
    md_tails: [Vec<u8>; 2],
}

/// A recognised content and how many bytes it believes to have.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Recognised {
    pub filesystem: Filesystem,
    pub claims: Option<u64>,
}

/// Reads the superblock areas of the range and recognises them. Unreadable areas count as empty.
pub(crate) fn recognise(disk: &mut dyn Disk, start: u64, size: u64) -> Option<Recognised> {
    let mut read = |offset: u64, length: u64| {
        let mut bytes = vec![0; length as usize];
        let at = start.checked_add(offset)?;
        disk.read_at(at, &mut bytes).ok().map(|()| bytes)
    };
    let md_090 = (size & !0xffff).checked_sub(0x1_0000);
    let md_10 = (size / 512)
        .checked_sub(16)
        .map(|sector| (sector & !7) * 512);
    let area = Area {
        head: read(0, HEAD.min(size)).unwrap_or_default(),
        md_tails: [md_090, md_10].map(|offset| {
            offset
                .and_then(|offset| read(offset, 512))
                .unwrap_or_default()
        }),
    };
    area.recognise()
}

impl Area {
    /// Containers come before what may shine through them.
    fn recognise(&self) -> Option<Recognised> {
        let parsers: [fn(&Self) -> Option<Recognised>; 14] = [
            Self::luks,
            Self::mdraid,
            Self::lvm,
            Self::bitlocker,
            Self::ntfs,
            Self::refs,
            Self::exfat,
            Self::xfs,
            Self::ext,
            Self::btrfs,
            Self::swap,
            Self::squashfs,
            Self::vfat,
            Self::iso9660,
        ];
        parsers.into_iter().find_map(|parser| parser(self))
    }

    fn bytes(&self, offset: usize, length: usize) -> &[u8] {
        let range = self.head.get(offset..offset.saturating_add(length));
        range.unwrap_or_default()
    }

    fn has(&self, offset: usize, magic: &[u8]) -> bool {
        self.bytes(offset, magic.len()) == magic
    }

    fn le<const N: usize>(&self, offset: usize) -> u64 {
        let fold = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
        self.bytes(offset, N).iter().rev().fold(0, fold)
    }

    fn be<const N: usize>(&self, offset: usize) -> u64 {
        let fold = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
        self.bytes(offset, N).iter().fold(0, fold)
    }

    fn luks(&self) -> Option<Recognised> {
        if !self.has(0, b"LUKS\xba\xbe") {
            return None;
        }
        let label = (self.be::<2>(6) == 2).then(|| self.bytes(24, 48));
        found(
            FilesystemKind::Luks,
            text(self.bytes(168, 40)),
            label.and_then(text),
        )
    }

    fn mdraid(&self) -> Option<Recognised> {
        let [md_090, md_10] = &self.md_tails;
        let candidates = [self.bytes(0, 512), self.bytes(4096, 512), md_10.as_slice()];
        if let Some(superblock) = candidates.into_iter().find(|bytes| is_md(bytes)) {
            let set = superblock
                .get(16..32)
                .and_then(|bytes| bytes.try_into().ok());
            let name = superblock.get(32..64).unwrap_or_default();
            return found(FilesystemKind::Mdraid, set.map(uuid), text(name));
        }
        is_md(md_090)
            .then(|| found(FilesystemKind::Mdraid, None, None))
            .flatten()
    }

    fn lvm(&self) -> Option<Recognised> {
        let sector = (0..4)
            .map(|sector| sector * 512)
            .find(|at| self.has(*at, b"LABELONE") && self.has(*at + 24, b"LVM2 001"))?;
        let id = text(self.bytes(sector + 32, 32)).filter(|id| id.len() == 32 && id.is_ascii());
        found(FilesystemKind::Lvm, id.map(|id| dashed(&id)), None)
    }

    fn bitlocker(&self) -> Option<Recognised> {
        let here = self.has(3, b"-FVE-FS-");
        here.then(|| found(FilesystemKind::Bitlocker, None, None))?
    }

    fn ntfs(&self) -> Option<Recognised> {
        if !self.has(3, b"NTFS    ") {
            return None;
        }
        let serial = format!("{:016X}", self.le::<8>(72));
        let claims = self.le::<8>(40).checked_mul(self.le::<2>(11));
        sized(FilesystemKind::Ntfs, Some(serial), None, claims)
    }

    fn refs(&self) -> Option<Recognised> {
        let here = self.has(3, b"ReFS\0\0\0\0");
        here.then(|| found(FilesystemKind::Refs, None, None))?
    }

    fn exfat(&self) -> Option<Recognised> {
        let here = self.has(3, b"EXFAT   ");
        here.then(|| found(FilesystemKind::Exfat, Some(serial(self.le::<4>(100))), None))?
    }

    fn xfs(&self) -> Option<Recognised> {
        if !self.has(0, b"XFSB") {
            return None;
        }
        let claims = self.be::<8>(8).checked_mul(self.be::<4>(4));
        let label = text(self.bytes(108, 12));
        sized(FilesystemKind::Xfs, self.uuid(32), label, claims)
    }

    fn ext(&self) -> Option<Recognised> {
        const BASE: usize = 1024;
        const JOURNAL_DEVICE: u64 = 0x8;
        if self.le::<2>(BASE + 56) != 0xef53 || self.bytes(BASE, 1024).is_empty() {
            return None;
        }
        let incompatible = self.le::<4>(BASE + 96);
        if incompatible & JOURNAL_DEVICE != 0 {
            return None;
        }
        let newer = incompatible & 0x2c0 != 0 || self.le::<4>(BASE + 100) & 0x478 != 0;
        let journal = self.le::<4>(BASE + 92) & 0x4 != 0;
        let kind = match (newer, journal) {
            (true, _) => FilesystemKind::Ext4,
            (false, true) => FilesystemKind::Ext3,
            (false, false) => FilesystemKind::Ext2,
        };
        let label = text(self.bytes(BASE + 120, 16));
        sized(
            kind,
            self.uuid(BASE + 104),
            label,
            self.ext_size(incompatible),
        )
    }

    fn ext_size(&self, incompatible: u64) -> Option<u64> {
        const BASE: usize = 1024;
        let high = if incompatible & 0x80 != 0 {
            self.le::<4>(BASE + 336)
        } else {
            0
        };
        let blocks = self.le::<4>(BASE + 4) | high << 32;
        let shift = u32::try_from(self.le::<4>(BASE + 24)).ok()?;
        let block = 1024_u64.checked_shl(shift).filter(|size| *size <= 65_536)?;
        blocks.checked_mul(block)
    }

    fn btrfs(&self) -> Option<Recognised> {
        const BASE: usize = 65_536;
        let here = self.has(BASE + 64, b"_BHRfS_M");
        let label = text(self.bytes(BASE + 299, 256));
        here.then(|| found(FilesystemKind::Btrfs, self.uuid(BASE + 32), label))?
    }

    fn swap(&self) -> Option<Recognised> {
        let page = [4096, 8192, 16_384, 65_536]
            .into_iter()
            .find(|page| self.has(page - 10, b"SWAPSPACE2"));
        page?;
        let label = text(self.bytes(1024 + 28, 16));
        found(FilesystemKind::Swap, self.uuid(1024 + 12), label)
    }

    fn squashfs(&self) -> Option<Recognised> {
        let here = self.has(0, b"hsqs");
        here.then(|| found(FilesystemKind::Squashfs, None, None))?
    }

    fn vfat(&self) -> Option<Recognised> {
        let sector = self.le::<2>(11);
        let plausible = self.has(510, b"\x55\xaa")
            && sector.is_power_of_two()
            && (512..=4096).contains(&sector)
            && self.le::<1>(13).is_power_of_two();
        if !plausible {
            return None;
        }
        let base = if self.has(82, b"FAT32   ") {
            67
        } else if self.has(54, b"FAT") {
            39
        } else {
            return None;
        };
        let label = text(self.bytes(base + 4, 11)).filter(|label| label != "NO NAME");
        found(
            FilesystemKind::Vfat,
            Some(serial(self.le::<4>(base))),
            label,
        )
    }

    fn iso9660(&self) -> Option<Recognised> {
        let here = self.has(32_769, b"CD001");
        let label = text(self.bytes(32_808, 32));
        here.then(|| found(FilesystemKind::Iso9660, None, label))?
    }

    fn uuid(&self, offset: usize) -> Option<String> {
        self.bytes(offset, 16).try_into().ok().map(uuid)
    }
}

fn is_md(superblock: &[u8]) -> bool {
    superblock.starts_with(&MD_MAGIC.to_le_bytes())
}

fn found(kind: FilesystemKind, uuid: Option<String>, label: Option<String>) -> Option<Recognised> {
    sized(kind, uuid, label, None)
}

fn sized(
    kind: FilesystemKind,
    uuid: Option<String>,
    label: Option<String>,
    claims: Option<u64>,
) -> Option<Recognised> {
    let uuid = uuid.map(|uuid| printable(&uuid));
    Some(Recognised {
        filesystem: Filesystem { kind, uuid, label },
        claims,
    })
}

/// Text that ends at a zero byte, without padding; `None` when empty.
fn text(bytes: &[u8]) -> Option<String> {
    let end = bytes.iter().position(|byte| *byte == 0);
    let text = printable_bytes(&bytes[..end.unwrap_or(bytes.len())]);
    let trimmed = text.trim();
    (!trimmed.is_empty()).then(|| trimmed.to_owned())
}

fn serial(number: u64) -> String {
    format!("{:04X}-{:04X}", number >> 16 & 0xffff, number & 0xffff)
}

/// A UUID in the usual spelling.
pub(crate) fn uuid(bytes: [u8; 16]) -> String {
    let mut text = String::with_capacity(36);
    for (index, byte) in bytes.iter().enumerate() {
        if [4, 6, 8, 10].contains(&index) {
            text.push('-');
        }
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

/// The identity of an LVM physical volume in LVM's spelling.
fn dashed(id: &str) -> String {
    let mut text = String::with_capacity(38);
    for (index, character) in id.chars().enumerate() {
        if [6, 10, 14, 18, 22, 26].contains(&index) {
            text.push('-');
        }
        text.push(character);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(patches: &[(usize, &[u8])], expected: Option<FilesystemKind>) {
        let mut head = vec![0; HEAD as usize];
        for (offset, bytes) in patches {
            head[*offset..offset + bytes.len()].copy_from_slice(bytes);
        }
        let area = Area {
            head,
            ..Area::default()
        };
        let kind = area.recognise().map(|found| found.filesystem.kind);
        assert_eq!(kind, expected);
    }

    #[test]
    fn superblocks_are_recognised() {
        check(&[], None);
        check(&[(0, b"XFSB")], Some(FilesystemKind::Xfs));
        check(&[(1080, b"\x53\xef")], Some(FilesystemKind::Ext2));
        check(
            &[(1080, b"\x53\xef"), (1116, b"\x04")],
            Some(FilesystemKind::Ext3),
        );
        check(
            &[(1080, b"\x53\xef"), (1120, b"\x40")],
            Some(FilesystemKind::Ext4),
        );
        check(&[(65_600, b"_BHRfS_M")], Some(FilesystemKind::Btrfs));
        check(&[(3, b"NTFS    ")], Some(FilesystemKind::Ntfs));
        check(&[(3, b"-FVE-FS-")], Some(FilesystemKind::Bitlocker));
        check(&[(4086, b"SWAPSPACE2")], Some(FilesystemKind::Swap));
        check(
            &[(512, b"LABELONE"), (536, b"LVM2 001")],
            Some(FilesystemKind::Lvm),
        );
        check(&[(0, b"LUKS\xba\xbe")], Some(FilesystemKind::Luks));
        check(&[(4096, b"\xfc\x4e\x2b\xa9")], Some(FilesystemKind::Mdraid));
        let fat: &[(usize, &[u8])] =
            &[(11, b"\x00\x02\x01"), (82, b"FAT32   "), (510, b"\x55\xaa")];
        check(fat, Some(FilesystemKind::Vfat));
    }

    #[test]
    fn spellings_are_those_of_the_system() {
        assert_eq!(serial(0xdead_beef), "DEAD-BEEF");
        assert_eq!(uuid([0x11; 16]), "11111111-1111-1111-1111-111111111111");
        let id = "abcdefghijklmnopqrstuvwxyz012345";
        assert_eq!(dashed(id), "abcdef-ghij-klmn-opqr-stuv-wxyz-012345");
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(
            head in prop::collection::vec(any::<u8>(), 0..6000),
            tail in prop::collection::vec(any::<u8>(), 0..512),
            magic in prop::sample::select(vec![
                (0_usize, &b"XFSB"[..]), (1080, b"\x53\xef"), (3, b"NTFS    "), (82, b"FAT32   "),
                (0, b"LUKS\xba\xbe\0\x02"), (4086, b"SWAPSPACE2"), (512, b"LABELONE"),
            ]),
        ) {
            let mut head = head;
            if let Some(place) = head.get_mut(magic.0..magic.0 + magic.1.len()) {
                place.copy_from_slice(magic.1);
            }
            let area = Area { head, md_tails: [tail.clone(), tail] };
            let _ = area.recognise();
        }
    }
}
