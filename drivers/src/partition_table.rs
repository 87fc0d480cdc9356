//! MBR and GPT, as far as identities go; the kernel finds the partitions.

use std::io::{self, Read, Seek, SeekFrom};

const EFI_SYSTEM: [u8; 16] = [
    0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b,
];

const BIOS_BOOT: &str = "21686148-6449-6e6f-744e-656564454649";
/// Length of the boot code in a disk's first sector.
const BOOT_CODE: usize = 440;

/// One partition as the table describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableEntry {
    /// Its number.
    pub number: u32,
    /// `PARTUUID`.
    pub part_uuid: Option<String>,
    /// `PARTLABEL`.
    pub part_label: Option<String>,
    /// Whether it is an EFI system partition.
    pub efi_system: bool,
    /// Whether it holds boot code for a PC without UEFI.
    pub bios_boot: bool,
    /// The volume manager of Windows that it belongs to, if to any.
    pub managed: Option<&'static str>,
}

/// A partition of a dynamic disk.
pub const DYNAMIC: &str = "dynamic";
/// A partition of Storage Spaces.
pub const STORAGE_SPACES: &str = "storage-spaces";
/// Metadata and data of dynamic disks, and Storage Spaces, as GPT types.
const MANAGED: [(&str, &str); 3] = [
    ("5808c8aa-7e8f-42e0-85d2-e1e90434cfb3", DYNAMIC),
    ("af9b60a0-1431-4f62-bc68-3311714a69ad", DYNAMIC),
    ("e75caf8f-f680-4cee-afa3-b001e56efc2d", STORAGE_SPACES),
];
/// A partition of a dynamic disk in an MBR.
const LOGICAL_DISK_MANAGER: u8 = 0x42;

/// Reads the table of a disk; a disk without one has no entries.
pub fn read(disk: &mut (impl Read + Seek)) -> io::Result<Vec<TableEntry>> {
    let mut head = vec![0; 1024];
    disk.seek(SeekFrom::Start(0))?;
    let count = read_up_to(disk, &mut head)?;
    head.truncate(count);
    if head.get(510..512) != Some(&[0x55, 0xaa]) {
        return Ok(Vec::new());
    }
    match head.get(512..1024) {
        Some(header) if header.starts_with(b"EFI PART") => gpt(disk, header),
        _ => Ok(mbr(&head)),
    }
}

/// Whether the firmware of a PC without UEFI finds something to start on a disk: boot code, or the
/// partition that holds it on disks with a GPT.
pub fn boots_bios(disk: &mut (impl Read + Seek)) -> io::Result<bool> {
    let mut code = [0; BOOT_CODE];
    disk.seek(SeekFrom::Start(0))?;
    let count = read_up_to(disk, &mut code)?;
    Ok(code[..count].iter().any(|byte| *byte != 0)
        || read(disk)?.iter().any(|entry| entry.bios_boot))
}

fn read_up_to(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match input.read(&mut buffer[filled..])? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(filled)
}

fn mbr(head: &[u8]) -> Vec<TableEntry> {
    let signature = word(head, 440);
    let kind = |number: u32| head.get(446 + (number as usize - 1) * 16 + 4).copied();
    // Logical partitions are numbered from 5 and share the disk's signature.
    (1..=32)
        .filter(|number| *number > 4 || kind(*number) != Some(0))
        .map(|number| TableEntry {
            number,
            part_uuid: (signature != 0).then(|| format!("{signature:08x}-{number:02x}")),
            part_label: None,
            efi_system: number <= 4 && kind(number) == Some(0xef),
            bios_boot: false,
            managed: (number <= 4 && kind(number) == Some(LOGICAL_DISK_MANAGER)).then_some(DYNAMIC),
        })
        .collect()
}

fn gpt(disk: &mut (impl Read + Seek), header: &[u8]) -> io::Result<Vec<TableEntry>> {
    let start = u64::from(word(header, 72)) | u64::from(word(header, 76)) << 32;
    let (count, size) = (word(header, 80).min(256), word(header, 84));
    if !(128..=4096).contains(&size) || start > 1 << 40 {
        return Ok(Vec::new());
    }
    disk.seek(SeekFrom::Start(start * 512))?;
    let mut entries = vec![0; (count * size) as usize];
    let length = read_up_to(disk, &mut entries)?;
    entries.truncate(length);
    let numbered = entries.chunks_exact(size as usize).zip(1..);
    Ok(numbered
        .filter(|(entry, _)| entry[..16] != [0; 16])
        .map(|(entry, number)| TableEntry {
            number,
            part_uuid: Some(mixed_endian(&entry[16..32])),
            part_label: label(&entry[56..128]),
            efi_system: entry[..16] == EFI_SYSTEM,
            bios_boot: mixed_endian(&entry[..16]) == BIOS_BOOT,
            managed: managed(&mixed_endian(&entry[..16])),
        })
        .collect())
}

/// The name of a partition; empty and unprintable ones are none.
fn label(bytes: &[u8]) -> Option<String> {
    let letters = bytes
        .chunks_exact(2)
        .map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
    let letters = char::decode_utf16(letters.take_while(|letter| *letter != 0));
    let text: String = letters.collect::<Result<_, _>>().ok()?;
    (!text.is_empty() && !text.contains(char::is_control)).then_some(text)
}

fn managed(kind: &str) -> Option<&'static str> {
    let mut known = MANAGED.iter();
    known
        .find(|(guid, _)| *guid == kind)
        .map(|(_, manager)| *manager)
}

fn word(bytes: &[u8], offset: usize) -> u32 {
    bytes
        .get(offset..offset + 4)
        .and_then(|word| word.try_into().ok())
        .map_or(0, u32::from_le_bytes)
}

/// A GUID as EFI stores it.
fn mixed_endian(bytes: &[u8]) -> String {
    let hex = |range: &mut dyn Iterator<Item = usize>| -> String {
        range.map(|place| format!("{:02x}", bytes[place])).collect()
    };
    [
        hex(&mut (0..4).rev()),
        hex(&mut (4..6).rev()),
        hex(&mut (6..8).rev()),
        hex(&mut (8..10)),
        hex(&mut (10..16)),
    ]
    .join("-")
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn master_boot_record() {
        let mut disk = vec![0; 2048];
        disk[510..512].copy_from_slice(&[0x55, 0xaa]);
        disk[440..444].copy_from_slice(&0x1234_abcdu32.to_le_bytes());
        disk[450] = 0x83;
        disk[466] = 0xef;
        disk[482] = LOGICAL_DISK_MANAGER;
        let entries = read(&mut Cursor::new(disk)).unwrap();
        assert_eq!(entries[0].part_uuid.as_deref(), Some("1234abcd-01"));
        assert!(!entries[0].efi_system && entries[1].efi_system);
        assert_eq!(
            (entries[0].managed, entries[2].managed),
            (None, Some(DYNAMIC))
        );
    }

    #[test]
    fn gpt_entries() {
        let mut disk = vec![0; 8192];
        disk[510..512].copy_from_slice(&[0x55, 0xaa]);
        disk[512..520].copy_from_slice(b"EFI PART");
        disk[512 + 72] = 2;
        disk[512 + 80] = 4;
        disk[512 + 84] = 128;
        disk[1024..1040].copy_from_slice(&EFI_SYSTEM);
        disk[1040..1056].copy_from_slice(&(0..16).collect::<Vec<u8>>());
        disk[1080..1088].copy_from_slice(b"r\0\xf6\0\x3c\xd8\x42\xdf");
        let entries = read(&mut Cursor::new(disk)).unwrap();
        assert_eq!(entries.len(), 1);
        assert!(entries[0].efi_system);
        assert_eq!(entries[0].part_label.as_deref(), Some("rö\u{1f342}"));
        assert_eq!(
            entries[0].part_uuid.as_deref(),
            Some("03020100-0504-0706-0809-0a0b0c0d0e0f")
        );
    }

    proptest! {
        #[test]
        fn arbitrary_tables_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..1024), gpt: bool) {
            let mut disk = vec![0u8; 2048];
            disk[..bytes.len()].copy_from_slice(&bytes);
            disk[510..512].copy_from_slice(&[0x55, 0xaa]);
            if gpt {
                disk[512..520].copy_from_slice(b"EFI PART");
            }
            let _ = read(&mut Cursor::new(disk));
            let _ = read(&mut Cursor::new(bytes));
        }
    }
}
