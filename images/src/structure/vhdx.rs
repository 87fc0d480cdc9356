//! VHDX of Hyper-V. QEMU checks its headers, regions and block table strictly; here what decides
//! whether QEMU is let near it: headers, region table, that no parent is needed, and whether its
//! log has to be replayed first, which QEMU does not do without writing to the image.

use super::{Facts, Fields, Serving, Source};
use crate::content::has_entries_to_replay;
use crate::error::{Refusal, RefusalKind};

pub(crate) const KIB_64: u64 = 64 * 1024;
/// File identifier, two headers and two region tables.
const FIXED_PART: u64 = 5 * KIB_64;
const HEADER: u64 = 4096;
const MOST_ENTRIES: u32 = 2047;

const METADATA_REGION: [u8; 16] = guid("8b7ca206-4790-4b9a-b8fe-575f050f886e");
pub(crate) const BLOCK_REGION: [u8; 16] = guid("2dc27766-f623-4200-9d64-115e9bfd4a08");
pub(crate) const FILE_PARAMETERS: [u8; 16] = guid("caa16737-fa36-4d43-b3b6-33f0aa44e76b");
pub(crate) const DISK_SIZE: [u8; 16] = guid("2fa54224-cd1b-4876-b211-5dbed83bf4b8");
pub(crate) const SECTOR_SIZE: [u8; 16] = guid("8141bf1d-a96f-4709-ba47-f233a8faab5f");
const HAS_PARENT: u32 = 1 << 1;

/// What the newer of the two headers says.
pub(crate) struct Headers {
    /// Zero if the log is empty.
    pub log_id: [u8; 16],
    pub log_offset: u64,
    pub log_length: u64,
}

/// Reads from the file, perhaps as it is after its log was replayed.
pub(crate) trait Bytes {
    fn bytes(&self, offset: u64, length: u64, what: &str) -> Result<Fields, Refusal>;
}

impl Bytes for Source<'_> {
    fn bytes(&self, offset: u64, length: u64, what: &str) -> Result<Fields, Refusal> {
        self.read(offset, length, what)
    }
}

pub(super) fn check(source: &Source<'_>) -> Result<Facts, Refusal> {
    let headers = headers(source)?;
    let to_replay = has_entries_to_replay(source, &headers)?;
    let mut facts = Facts::default();
    if to_replay {
        let disk = crate::content::Vhdx::over(source)?;
        facts.virtual_size = Some(disk.size());
        facts.cluster_size = Some(disk.block_bytes());
        facts.serving = Serving::Converted;
        facts.variant = Some("with a log to replay".to_owned());
        return Ok(facts);
    }
    let metadata = region(source, &METADATA_REGION)?;
    let parameters = parameters(source, metadata)?;
    facts.virtual_size = Some(item(source, metadata, &DISK_SIZE)?.le64(0));
    facts.cluster_size = Some(u64::from(parameters.le32(0)));
    Ok(facts)
}

/// The newer header that is whole.
pub(crate) fn headers(source: &Source<'_>) -> Result<Headers, Refusal> {
    source.require(0, FIXED_PART, "its headers and region tables")?;
    let mut best: Option<(u64, Headers)> = None;
    for index in [1, 2] {
        let mut header = source.read(index * KIB_64, HEADER, "its header")?;
        let sequence = header.le64(8);
        let newer = best.as_ref().is_none_or(|(known, _)| sequence > *known);
        if newer && header.bytes(0, 4) == b"head" && is_whole(&mut header) {
            best = Some((sequence, read_header(&header)?));
        }
    }
    best.map(|(_, headers)| headers)
        .ok_or_else(|| Refusal::damaged("both of its headers are gone"))
}

fn read_header(header: &Fields) -> Result<Headers, Refusal> {
    if header.le16(66) != 1 {
        return Err(Refusal::new(
            RefusalKind::UnknownFeature,
            format!("it is VHDX of version {}", header.le16(66)),
            "convert it with `Convert-VHD` or `qemu-img convert -O qcow2`",
        ));
    }
    Ok(Headers {
        log_id: guid_at(header, 48),
        log_length: u64::from(header.le32(68)),
        log_offset: header.le64(72),
    })
}

/// Compares the checksum, which counts as zero itself.
pub(crate) fn is_whole(block: &mut Fields) -> bool {
    let sum = block.le32(4);
    if let Some(field) = block.0.get_mut(4..8) {
        field.fill(0);
    }
    super::sums_agree(crc32c::crc32c(block.all()), sum)
}

/// The file parameters of a disk that needs no parent.
pub(crate) fn parameters(bytes: &dyn Bytes, metadata: u64) -> Result<Fields, Refusal> {
    let parameters = item(bytes, metadata, &FILE_PARAMETERS)?;
    if parameters.le32(4) & HAS_PARENT != 0 {
        return Err(Refusal::new(
            RefusalKind::BackingFile,
            "it holds only the differences to a parent",
            "merge it with its parent (`Merge-VHD`) and give the result",
        ));
    }
    Ok(parameters)
}

/// Where the table of metadata begins.
pub(crate) fn metadata_region(bytes: &dyn Bytes) -> Result<u64, Refusal> {
    region(bytes, &METADATA_REGION)
}

/// First byte of the region with this id.
pub(crate) fn region(bytes: &dyn Bytes, id: &[u8; 16]) -> Result<u64, Refusal> {
    for index in [3, 4] {
        let table = bytes.bytes(index * KIB_64, KIB_64, "its region table")?;
        if table.bytes(0, 4) != b"regi" {
            continue;
        }
        if let Some(at) = find(&table, 16, table.le32(8), id) {
            return Ok(table.le64(at + 16));
        }
    }
    Err(Refusal::damaged("both of its region tables are unusable"))
}

/// The first 8 bytes of an item of metadata.
pub(crate) fn item(bytes: &dyn Bytes, region: u64, id: &[u8; 16]) -> Result<Fields, Refusal> {
    let what = "its table of metadata";
    let table = bytes.bytes(region, KIB_64, what)?;
    if table.bytes(0, 8) != b"metadata" {
        return Err(Refusal::damaged(format!("{what} is gone")));
    }
    let count = u32::from(table.le16(10));
    let Some(at) = find(&table, 32, count, id) else {
        return Err(Refusal::damaged(format!("{what} is incomplete")));
    };
    let offset = region.saturating_add(u64::from(table.le32(at + 16)));
    bytes.bytes(offset, 8, "its metadata")
}

/// Entries of 32 bytes begin with their GUID.
fn find(table: &Fields, first: usize, count: u32, id: &[u8; 16]) -> Option<usize> {
    (0..count.min(MOST_ENTRIES) as usize)
        .map(|index| first + index * 32)
        .find(|at| table.bytes(*at, 16) == id)
}

/// The GUID at a place, in the file's own order of bytes.
pub(crate) fn guid_at(fields: &Fields, offset: usize) -> [u8; 16] {
    fields.array(offset)
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
