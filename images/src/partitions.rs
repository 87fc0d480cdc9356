//! Partition tables and what lies in the partitions. Inside the confined child.

use gptman::{GPT, GPTPartitionEntry};
use mbrman::{MBR, MBRHeader, MBRPartitionEntry};

use crate::disk::{BoundedReader, Disk};
use crate::error::Refusal;
use crate::inspection::{Filesystem, FilesystemKind, Firmware, Partition, PartitionTable};
use crate::printable::printable;
use crate::superblock::{self, uuid};

/// Reads that a table may cost. A GPT of 128 entries takes some thousand.
const READS: u32 = 300_000;
const MOST_ENTRIES: u32 = 1024;
/// Beyond this many partitions only the table is reported.
const MOST_RECOGNISED: usize = 128;

const EFI_SYSTEM: &str = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b";
const BIOS_BOOT: &str = "21686148-6449-6e6f-744e-656564454649";

/// How a disk is divided.
#[derive(Debug)]
pub(crate) struct Layout {
    pub table: PartitionTable,
    pub partitions: Vec<Partition>,
    pub whole_disk: Option<Filesystem>,
    pub firmware_hint: Option<Firmware>,
    pub risks: Vec<String>,
}

impl Layout {
    fn empty(table: PartitionTable) -> Self {
        Self {
            table,
            partitions: Vec::new(),
            whole_disk: None,
            firmware_hint: None,
            risks: Vec::new(),
        }
    }
}

/// Reads the partition table and recognises the contents. A partition beyond the end of the disk
/// means that the disk was cut off, which is a refusal.
pub(crate) fn layout(disk: &mut dyn Disk) -> Result<Layout, Refusal> {
    let mut first = vec![0; 512.min(disk.size()) as usize];
    disk.read_at(0, &mut first)
        .map_err(|error| Refusal::damaged(format!("its first sector is unreadable ({error})")))?;
    let mut layout = match gpt(disk)? {
        Some(layout) => layout,
        None => mbr_or_whole(disk, &first)?,
    };
    recognise_all(disk, &mut layout);
    layout.firmware_hint = firmware(&layout, &first);
    Ok(layout)
}

/// Sector sizes at which a GPT announces itself, first or last sector.
fn gpt_sector_size(disk: &mut dyn Disk) -> Option<u64> {
    [512_u64, 4096].into_iter().find(|size| {
        let last = (disk.size() / size).saturating_sub(1) * size;
        [*size, last].into_iter().any(|at| {
            let mut magic = [0; 8];
            disk.read_at(at, &mut magic).is_ok() && &magic == b"EFI PART"
        })
    })
}

fn gpt(disk: &mut dyn Disk) -> Result<Option<Layout>, Refusal> {
    let Some(sector) = gpt_sector_size(disk) else {
        return Ok(None);
    };
    let mut layout = Layout::empty(PartitionTable::Gpt);
    plausible_gpt(disk, sector)?;
    let table = match GPT::read_from(&mut BoundedReader::new(disk, READS), sector) {
        Ok(table) => table,
        Err(error) => {
            let error = printable(&error.to_string());
            layout.risks.push(format!("its GPT is damaged: {error}"));
            return Ok(Some(layout));
        }
    };
    check_copies(disk, &table, sector, &mut layout.risks);
    let used = table.iter().filter(|(_, entry)| entry.is_used());
    for (number, entry) in used {
        let partition = gpt_partition(number, entry, sector)?;
        inside(disk.size(), &partition)?;
        layout.partitions.push(partition);
    }
    Ok(Some(layout))
}

/// The crate trusts the header's numbers with memory and multiplication; look at them first.
fn plausible_gpt(disk: &mut dyn Disk, sector: u64) -> Result<(), Refusal> {
    let last = (disk.size() / sector).saturating_sub(1) * sector;
    for at in [sector, last] {
        let mut header = [0; 92];
        if disk.read_at(at, &mut header).is_err() || !header.starts_with(b"EFI PART") {
            continue;
        }
        let word = |at: usize| {
            header[at..at + 4]
                .iter()
                .rev()
                .fold(0, |v: u64, b| v << 8 | u64::from(*b))
        };
        let (entries, entry_bytes) = (word(80), word(84));
        let lba = word(72) | word(76) << 32;
        let plausible = entries <= u64::from(MOST_ENTRIES)
            && (128..=4096).contains(&entry_bytes)
            && lba <= disk.size() / sector;
        if !plausible {
            return Err(Refusal::absurd(format!(
                "its GPT claims {entries} entries of {entry_bytes} bytes at sector {lba}"
            )));
        }
    }
    Ok(())
}

fn check_copies(disk: &mut dyn Disk, table: &GPT, sector: u64, risks: &mut Vec<String>) {
    if !table.header.is_primary() {
        risks.push("the first copy of its GPT is damaged, the second is used".to_owned());
        return;
    }
    let mut magic = [0; 8];
    let at = table.header.backup_lba.saturating_mul(sector);
    if disk.read_at(at, &mut magic).is_err() || &magic != b"EFI PART" {
        risks.push(
            "the second copy of its GPT is missing: the disk may have been cut off or enlarged"
                .to_owned(),
        );
    }
}

fn gpt_partition(
    number: u32,
    entry: &GPTPartitionEntry,
    sector: u64,
) -> Result<Partition, Refusal> {
    let sectors = entry
        .ending_lba
        .checked_sub(entry.starting_lba)
        .and_then(|distance| distance.checked_add(1));
    let size = sectors.and_then(|sectors| sectors.checked_mul(sector));
    let start = entry.starting_lba.checked_mul(sector);
    let (Some(start), Some(size)) = (start, size) else {
        return Err(Refusal::damaged(format!(
            "partition {number} ends before it begins"
        )));
    };
    let name = printable(entry.partition_name.as_str());
    Ok(Partition {
        number,
        start,
        size,
        type_id: guid(entry.partition_type_guid),
        name: (!name.is_empty()).then_some(name),
        part_uuid: Some(guid(entry.unique_partition_guid)),
        active: false,
        filesystem: None,
    })
}

/// The first three fields of a GUID are little-endian.
fn guid(mut bytes: [u8; 16]) -> String {
    bytes[..4].reverse();
    bytes[4..6].reverse();
    bytes[6..8].reverse();
    uuid(bytes)
}

fn mbr_or_whole(disk: &mut dyn Disk, first: &[u8]) -> Result<Layout, Refusal> {
    let size = disk.size();
    let whole = superblock::recognise(disk, 0, size).map(|found| found.filesystem);
    let looks_like_mbr = matches!(&whole, Some(filesystem) if is_boot_sector(filesystem.kind));
    let has_signature = first.get(510..512) == Some(b"\x55\xaa");
    if has_signature && !looks_like_mbr {
        let layout = mbr(disk)?;
        if !layout.partitions.is_empty() || !layout.risks.is_empty() {
            return Ok(layout);
        }
    }
    let mut layout = Layout::empty(PartitionTable::None);
    if whole.is_none() {
        layout.risks.push(
            "nothing on it was recognised, neither a partition table nor a filesystem".to_owned(),
        );
    }
    layout.whole_disk = whole;
    Ok(layout)
}

/// Filesystems whose own first sector carries the signature of an MBR.
fn is_boot_sector(kind: FilesystemKind) -> bool {
    matches!(
        kind,
        FilesystemKind::Vfat
            | FilesystemKind::Ntfs
            | FilesystemKind::Exfat
            | FilesystemKind::Refs
            | FilesystemKind::Bitlocker
    )
}

fn mbr(disk: &mut dyn Disk) -> Result<Layout, Refusal> {
    let mut layout = Layout::empty(PartitionTable::Mbr);
    // The crate computes with 32 bits; a start near the end of that range would overflow in it.
    let Ok(header) = MBRHeader::read_from(&mut BoundedReader::new(disk, READS)) else {
        return Ok(layout);
    };
    let entries = match MBR::read_from(&mut BoundedReader::new(disk, READS), 512) {
        Ok(table) => owned_entries(table.iter()),
        Err(error) => {
            let error = printable(&error.to_string());
            layout.risks.push(format!(
                "its logical partitions are unreadable or too many: {error}"
            ));
            owned_entries(header.iter())
        }
    };
    let signature = u32::from_le_bytes(header.disk_signature);
    for (number, entry) in entries {
        if entry.sys == 0xee {
            layout.risks.push(
                "its MBR announces a GPT that is not there: the disk may have been cut off"
                    .to_owned(),
            );
            continue;
        }
        let partition = mbr_partition(number, &entry, signature);
        inside(disk.size(), &partition)?;
        layout.partitions.push(partition);
    }
    Ok(layout)
}

fn owned_entries<'a>(
    entries: impl Iterator<Item = (usize, &'a MBRPartitionEntry)>,
) -> Vec<(usize, MBRPartitionEntry)> {
    entries
        .filter(|(_, entry)| entry.is_used() && entry.sectors > 0)
        .map(|(number, entry)| (number, entry.clone()))
        .collect()
}

fn mbr_partition(number: usize, entry: &MBRPartitionEntry, signature: u32) -> Partition {
    Partition {
        number: u32::try_from(number).unwrap_or(u32::MAX),
        start: u64::from(entry.starting_lba) * 512,
        size: u64::from(entry.sectors) * 512,
        type_id: format!("{:02x}", entry.sys),
        name: None,
        part_uuid: Some(format!("{signature:08x}-{number:02x}")),
        active: entry.is_active(),
        filesystem: None,
    }
}

fn inside(disk: u64, partition: &Partition) -> Result<(), Refusal> {
    match partition.start.checked_add(partition.size) {
        Some(end) if end <= disk => Ok(()),
        _ => Err(Refusal::truncated(format!(
            "partition {} ends beyond the end of the disk of {disk} bytes",
            partition.number
        ))),
    }
}

fn recognise_all(disk: &mut dyn Disk, layout: &mut Layout) {
    if layout.partitions.len() > MOST_RECOGNISED {
        layout.risks.push(format!(
            "it has {} partitions; only the first {MOST_RECOGNISED} were looked into",
            layout.partitions.len()
        ));
    }
    for partition in layout.partitions.iter_mut().take(MOST_RECOGNISED) {
        if is_extended(&partition.type_id) {
            continue;
        }
        let Some(found) = superblock::recognise(disk, partition.start, partition.size) else {
            continue;
        };
        if found.claims.is_some_and(|claims| claims > partition.size) {
            layout.risks.push(format!(
                "the filesystem in partition {} is larger than the partition",
                partition.number
            ));
        }
        partition.filesystem = Some(found.filesystem);
    }
}

fn is_extended(type_id: &str) -> bool {
    ["05", "0f", "85"].contains(&type_id)
}

fn firmware(layout: &Layout, first: &[u8]) -> Option<Firmware> {
    let has = |type_id: &str| layout.partitions.iter().any(|part| part.type_id == type_id);
    let boot_code = first
        .get(..440)
        .is_some_and(|code| code.iter().any(|byte| *byte != 0));
    match layout.table {
        PartitionTable::Gpt if has(BIOS_BOOT) && boot_code => Some(Firmware::Bios),
        PartitionTable::Gpt if has(EFI_SYSTEM) => Some(Firmware::Uefi),
        PartitionTable::Mbr if has("ef") && !boot_code => Some(Firmware::Uefi),
        PartitionTable::Mbr if boot_code => Some(Firmware::Bios),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::MemoryDisk;
    use proptest::prelude::*;
    use std::io::Cursor;

    const SIZE: usize = 4 << 20;

    fn mbr_disk(partitions: &[(u8, u32, u32)]) -> MemoryDisk {
        let mut bytes = vec![0; SIZE];
        bytes[0] = 0xeb;
        bytes[510..512].copy_from_slice(b"\x55\xaa");
        for (index, (kind, start, sectors)) in partitions.iter().enumerate() {
            let at = 446 + index * 16;
            bytes[at + 4] = *kind;
            bytes[at + 8..at + 12].copy_from_slice(&start.to_le_bytes());
            bytes[at + 12..at + 16].copy_from_slice(&sectors.to_le_bytes());
        }
        MemoryDisk(bytes)
    }

    fn gpt_disk() -> MemoryDisk {
        let mut cursor = Cursor::new(vec![0; SIZE]);
        let mut table = GPT::new_from(&mut cursor, 512, [0xff; 16]).unwrap();
        table[1] = GPTPartitionEntry {
            partition_type_guid: [
                0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0, 0xa0, 0xc9, 0x3e,
                0xc9, 0x3b,
            ],
            unique_partition_guid: [1; 16],
            starting_lba: 2048,
            ending_lba: 4095,
            attribute_bits: 0,
            partition_name: "boot\u{1b}[31m".into(),
        };
        table.write_into(&mut cursor).unwrap();
        GPT::write_protective_mbr_into(&mut cursor, 512).unwrap();
        MemoryDisk(cursor.into_inner())
    }

    #[test]
    fn an_mbr_disk_is_read() {
        let layout = layout(&mut mbr_disk(&[(0x83, 2048, 2048), (0x82, 4096, 2048)])).unwrap();
        assert_eq!(layout.table, PartitionTable::Mbr);
        assert_eq!(layout.partitions.len(), 2);
        assert_eq!(layout.partitions[0].start, 1 << 20);
        assert_eq!(layout.firmware_hint, Some(Firmware::Bios));
    }

    #[test]
    fn a_gpt_disk_is_read_and_its_names_are_disarmed() {
        let layout = layout(&mut gpt_disk()).unwrap();
        assert_eq!(layout.table, PartitionTable::Gpt);
        assert_eq!(layout.partitions[0].type_id, EFI_SYSTEM);
        assert_eq!(
            layout.partitions[0].name.as_deref(),
            Some("boot\\u{1b}[31m")
        );
        assert_eq!(layout.firmware_hint, Some(Firmware::Uefi));
        assert!(layout.risks.is_empty(), "{:?}", layout.risks);
    }

    #[test]
    fn a_partition_beyond_the_end_means_a_cut_disk() {
        let refused = layout(&mut mbr_disk(&[(0x83, 2048, 999_999)])).unwrap_err();
        assert_eq!(refused.kind, crate::RefusalKind::Truncated);
        let mut cut = gpt_disk();
        cut.0.truncate(3000 * 512);
        let refused = layout(&mut cut).unwrap_err();
        assert_eq!(refused.kind, crate::RefusalKind::Truncated);
    }

    #[test]
    fn a_circle_of_logical_partitions_ends() {
        let mut disk = mbr_disk(&[(0x05, 2048, 4000)]);
        let ebr = 2048 * 512;
        disk.0[ebr + 510..ebr + 512].copy_from_slice(b"\x55\xaa");
        disk.0[ebr + 446 + 4] = 0x83;
        disk.0[ebr + 446 + 12] = 1;
        disk.0[ebr + 462 + 4] = 0x05;
        disk.0[ebr + 462 + 12] = 1;
        let _ = layout(&mut disk);
    }

    #[test]
    fn endless_tables_are_cut_short() {
        const EBRS: usize = 4000;
        let mut disk = mbr_disk(&[(0x05, 2048, EBRS as u32)]);
        for index in 0..EBRS {
            let ebr = (2048 + index) * 512;
            let next = (index + 1) as u32;
            disk.0[ebr + 510..ebr + 512].copy_from_slice(b"\x55\xaa");
            disk.0[ebr + 446 + 4] = 0x83;
            disk.0[ebr + 446 + 12] = 1;
            disk.0[ebr + 462 + 4] = 0x05;
            disk.0[ebr + 462 + 8..ebr + 462 + 12].copy_from_slice(&next.to_le_bytes());
            disk.0[ebr + 462 + 12] = 1;
        }
        let found = layout(&mut disk).unwrap();
        assert_eq!(found.partitions.len(), 1);
        assert!(found.risks[0].contains("too many"), "{:?}", found.risks);

        let mut disk = gpt_disk();
        disk.0[512 + 80..512 + 84].copy_from_slice(&u32::MAX.to_le_bytes());
        let refused = layout(&mut disk).unwrap_err();
        assert_eq!(refused.kind, crate::RefusalKind::AbsurdSize);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_scribbled_gpt_is_survived(
            scribbles in prop::collection::vec((0_usize..40 * 512, any::<u8>()), 1..12),
        ) {
            let mut disk = gpt_disk();
            for (at, byte) in scribbles {
                disk.0[at] = byte;
            }
            let _ = layout(&mut disk);
        }
    }
}
