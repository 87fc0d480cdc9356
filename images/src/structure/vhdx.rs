//! VHDX of Hyper-V. QEMU checks its headers, regions, log and block table strictly; here only
//! what decides whether QEMU is let near it: headers, region table, and that no parent is needed.

use super::{Facts, Fields, Source};
use crate::error::{Refusal, RefusalKind};

const KIB_64: u64 = 64 * 1024;
/// File identifier, two headers and two region tables.
const FIXED_PART: u64 = 5 * KIB_64;
const MOST_ENTRIES: u32 = 2047;

const METADATA_REGION: [u8; 16] = guid("8b7ca206-4790-4b9a-b8fe-575f050f886e");
const FILE_PARAMETERS: [u8; 16] = guid("caa16737-fa36-4d43-b3b6-33f0aa44e76b");
const DISK_SIZE: [u8; 16] = guid("2fa54224-cd1b-4876-b211-5dbed83bf4b8");
const HAS_PARENT: u32 = 1 << 1;

pub(super) fn check(source: &Source<'_>) -> Result<Facts, Refusal> {
    source.require(0, FIXED_PART, "its headers and region tables")?;
    let valid_header = [1, 2].into_iter().any(|index| {
        let header = source.read(index * KIB_64, 4, "its header");
        header.is_ok_and(|header| header.all() == b"head")
    });
    if !valid_header {
        return Err(Refusal::damaged("both of its headers are gone"));
    }
    let metadata = metadata_region(source)?;
    let parameters = item(source, metadata, &FILE_PARAMETERS)?;
    if parameters.le32(4) & HAS_PARENT != 0 {
        return Err(Refusal::new(
            RefusalKind::BackingFile,
            "it holds only the differences to a parent",
            "merge it with its parent (`Merge-VHD`) and give the result",
        ));
    }
    Ok(Facts {
        virtual_size: Some(item(source, metadata, &DISK_SIZE)?.le64(0)),
        cluster_size: Some(u64::from(parameters.le32(0))),
        ..Facts::default()
    })
}

fn metadata_region(source: &Source<'_>) -> Result<u64, Refusal> {
    for index in [3, 4] {
        let table = source.read(index * KIB_64, KIB_64, "its region table")?;
        if table.bytes(0, 4) != b"regi" {
            continue;
        }
        let entry = find(&table, 16, table.le32(8), &METADATA_REGION);
        if let Some(at) = entry {
            return Ok(table.le64(at + 16));
        }
    }
    Err(Refusal::damaged("both of its region tables are unusable"))
}

fn item(source: &Source<'_>, region: u64, id: &[u8; 16]) -> Result<Fields, Refusal> {
    let what = "its table of metadata";
    let table = source.read(region, KIB_64, what)?;
    if table.bytes(0, 8) != b"metadata" {
        return Err(Refusal::damaged(format!("{what} is gone")));
    }
    let count = u32::from(table.le16(10));
    let Some(at) = find(&table, 32, count, id) else {
        return Err(Refusal::damaged(format!("{what} is incomplete")));
    };
    let offset = region.saturating_add(u64::from(table.le32(at + 16)));
    source.read(offset, 8, "its metadata")
}

/// Entries of 32 bytes begin with their GUID.
fn find(table: &Fields, first: usize, count: u32, id: &[u8; 16]) -> Option<usize> {
    (0..count.min(MOST_ENTRIES) as usize)
        .map(|index| first + index * 32)
        .find(|at| table.bytes(*at, 16) == id)
}

/// A GUID as it lies in the file: the first three fields are little-endian.
const fn guid(text: &str) -> [u8; 16] {
    let order = [6, 4, 2, 0, 11, 9, 16, 14, 19, 21, 24, 26, 28, 30, 32, 34];
    let text = text.as_bytes();
    let mut bytes = [0; 16];
    let mut index = 0;
    while index < 16 {
        let at = order[index];
        bytes[index] = digit(text[at]) << 4 | digit(text[at + 1]);
        index += 1;
    }
    bytes
}

const fn digit(character: u8) -> u8 {
    match character {
        b'0'..=b'9' => character - b'0',
        _ => character - b'a' + 10,
    }
}
