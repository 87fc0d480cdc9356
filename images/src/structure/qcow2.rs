//! qcow2: header, extensions, and a walk over L1 and L2 that proves every cluster is in the file.

use std::collections::HashSet;

use super::{Facts, Fields, Source, plausible_size, refuse_reference};
use crate::error::{Refusal, RefusalKind};
use crate::inspection::Extent;
use crate::printable::printable_bytes;

const DIRTY: u64 = 1;
const CORRUPT: u64 = 1 << 1;
const DATA_FILE: u64 = 1 << 2;
const COMPRESSION: u64 = 1 << 3;
const EXTENDED_L2: u64 = 1 << 4;

const MOST_L1_ENTRIES: u64 = 4 << 20;
const MOST_REFTABLE_BYTES: u64 = 8 << 20;
const OFFSET_MASK: u64 = 0x00ff_ffff_ffff_fe00;
const COMPRESSED: u64 = 1 << 62;

/// The header fields that the checks need.
struct Header {
    version: u32,
    backing: Option<Vec<u8>>,
    cluster_bits: u32,
    size: u64,
    l1_entries: u64,
    l1_offset: u64,
    reftable_offset: u64,
    reftable_clusters: u64,
    snapshots: u32,
    features: u64,
    length: u64,
    compression: u8,
}

impl Header {
    fn cluster(&self) -> u64 {
        1 << self.cluster_bits
    }

    fn l2_entry_bytes(&self) -> u64 {
        if self.features & EXTENDED_L2 != 0 {
            16
        } else {
            8
        }
    }

    fn l2_entries(&self) -> u64 {
        self.cluster() / self.l2_entry_bytes()
    }

    /// Bytes of the disk under one L1 entry.
    fn l1_reach(&self) -> u64 {
        self.l2_entries() * self.cluster()
    }
}

/// Checks the whole structure. A backing file is reported in the facts; whether it is allowed is
/// the operator's word and decided by the caller.
pub(super) fn check(source: &Source<'_>) -> Result<Facts, Refusal> {
    let header = read_header(source)?;
    check_features(&header)?;
    let mut risks = check_extensions(source, &header)?;
    check_tables(source, &header)?;
    walk(source, &header, &mut |_| {})?;
    if header.snapshots > 0 {
        risks.push(format!(
            "it holds {} internal snapshots; only the newest state is used",
            header.snapshots
        ));
    }
    Ok(Facts {
        variant: Some(variant(&header)),
        virtual_size: Some(header.size),
        cluster_size: Some(header.cluster()),
        backing_name: plain_backing_name(&header)?,
        plain_qcow2: header.version == 3 && header.features == 0,
        risks,
        ..Facts::default()
    })
}

/// The ranges of the disk that have an L2 table.
pub(crate) fn populated(source: &Source<'_>) -> Result<Vec<Extent>, Refusal> {
    let header = read_header(source)?;
    check_features(&header)?;
    check_tables(source, &header)?;
    let reach = header.l1_reach();
    let mut ranges = Vec::new();
    walk(source, &header, &mut |index| {
        ranges.push(Extent {
            start: index * reach,
            length: reach,
        });
    })?;
    Ok(ranges)
}

fn read_header(source: &Source<'_>) -> Result<Header, Refusal> {
    let fixed = source.read(0, 72, "its header")?;
    let version = fixed.be32(4);
    let cluster_bits = fixed.be32(20);
    if !(2..=3).contains(&version) {
        return Err(unknown(format!("it is qcow2 of version {version}")));
    }
    if !(9..=21).contains(&cluster_bits) {
        return Err(Refusal::absurd(format!(
            "its clusters are 2^{cluster_bits} bytes"
        )));
    }
    plausible_size(fixed.be64(24))?;
    if fixed.be32(32) != 0 {
        return Err(encrypted());
    }
    let mut header = Header {
        version,
        backing: None,
        cluster_bits,
        size: fixed.be64(24),
        l1_entries: u64::from(fixed.be32(36)),
        l1_offset: fixed.be64(40),
        reftable_offset: fixed.be64(48),
        reftable_clusters: u64::from(fixed.be32(56)),
        snapshots: fixed.be32(60),
        features: 0,
        length: 72,
        compression: 0,
    };
    read_version_3(source, &mut header)?;
    header.backing = read_backing(source, &header, fixed.be64(8), fixed.be32(16))?;
    Ok(header)
}

fn read_version_3(source: &Source<'_>, header: &mut Header) -> Result<(), Refusal> {
    if header.version < 3 {
        return Ok(());
    }
    let more = source.read(0, 104, "its header")?;
    header.features = more.be64(72);
    header.length = u64::from(more.be32(100));
    if more.be32(96) > 6 {
        return Err(Refusal::absurd("its reference counts are too wide"));
    }
    if header.length < 104 || header.length > header.cluster() || header.length > source.length {
        return Err(Refusal::absurd(format!(
            "its header claims {} bytes",
            header.length
        )));
    }
    if header.length >= 105 {
        header.compression = source.read(104, 1, "its header")?.all()[0];
    }
    Ok(())
}

fn read_backing(
    source: &Source<'_>,
    header: &Header,
    offset: u64,
    length: u32,
) -> Result<Option<Vec<u8>>, Refusal> {
    if offset == 0 {
        return Ok(None);
    }
    let length = u64::from(length);
    let end = offset.saturating_add(length);
    if length > 1023 || end > header.cluster() {
        return Err(Refusal::absurd(format!(
            "the name of its backing file should have {length} bytes at byte {offset}"
        )));
    }
    let name = source.read(offset, length, "the name of its backing file")?;
    Ok(Some(name.all().to_vec()))
}

fn check_features(header: &Header) -> Result<(), Refusal> {
    let features = header.features;
    if features & DATA_FILE != 0 {
        return Err(data_file("in an external data file"));
    }
    if features & CORRUPT != 0 {
        return Err(marked("corrupt"));
    }
    if features & DIRTY != 0 {
        return Err(marked("dirty (it was in use when it was copied)"));
    }
    let unknown_bits = features & !(DIRTY | CORRUPT | DATA_FILE | COMPRESSION | EXTENDED_L2);
    if unknown_bits != 0 {
        return Err(unknown(format!(
            "it needs feature bit {} that nobody knows",
            unknown_bits.trailing_zeros()
        )));
    }
    if features & COMPRESSION != 0 && header.compression != 1 {
        return Err(unknown(format!(
            "it needs compression method {}",
            header.compression
        )));
    }
    Ok(())
}

fn check_extensions(source: &Source<'_>, header: &Header) -> Result<Vec<String>, Refusal> {
    let end = header.cluster().min(source.length);
    let mut offset = header.length;
    let mut risks = Vec::new();
    while offset + 8 <= end {
        let head = source.read(offset, 8, "a header extension")?;
        let (kind, length) = (head.be32(0), u64::from(head.be32(4)));
        if kind == 0 {
            break;
        }
        if offset + 8 + length > end {
            return Err(Refusal::damaged(
                "a header extension is longer than the header",
            ));
        }
        check_extension(source, offset + 8, kind, length, &mut risks)?;
        offset += 8 + length.next_multiple_of(8);
    }
    Ok(risks)
}

fn check_extension(
    source: &Source<'_>,
    offset: u64,
    kind: u32,
    length: u64,
    risks: &mut Vec<String>,
) -> Result<(), Refusal> {
    match kind {
        0x4441_5441 => {
            let name = source.read(offset, length, "the name of its data file")?;
            let place = format!("in the data file `{}`", printable_bytes(name.all()));
            Err(data_file(&place))
        }
        0x0537_be77 => Err(encrypted()),
        0x2385_2875 => {
            risks.push("it holds dirty bitmaps, which are ignored".to_owned());
            Ok(())
        }
        _ => Ok(()),
    }
}

fn check_tables(source: &Source<'_>, header: &Header) -> Result<(), Refusal> {
    let needed = header.size.div_ceil(header.l1_reach());
    if header.l1_entries > MOST_L1_ENTRIES || header.l1_entries < needed {
        return Err(Refusal::absurd(format!(
            "its L1 table has {} entries where {needed} are needed",
            header.l1_entries
        )));
    }
    aligned(header, header.l1_offset, "its L1 table")?;
    source.require(header.l1_offset, header.l1_entries * 8, "its L1 table")?;
    let reftable = header.reftable_clusters.saturating_mul(header.cluster());
    if reftable > MOST_REFTABLE_BYTES.max(header.cluster()) {
        return Err(Refusal::absurd(format!(
            "its table of reference counts claims {reftable} bytes"
        )));
    }
    aligned(
        header,
        header.reftable_offset,
        "its table of reference counts",
    )?;
    let what = "its table of reference counts";
    source.require(header.reftable_offset, reftable.min(8), what)?;
    if header.snapshots > 65_536 {
        return Err(Refusal::absurd(format!(
            "it claims {} internal snapshots",
            header.snapshots
        )));
    }
    Ok(())
}

fn aligned(header: &Header, offset: u64, what: &str) -> Result<(), Refusal> {
    if offset.is_multiple_of(header.cluster()) {
        return Ok(());
    }
    Err(Refusal::damaged(format!(
        "{what} lies at byte {offset}, between two clusters"
    )))
}

/// Visits every L1 entry in use. Each L2 table is read once: a table that is named twice would
/// let a small file cost hours.
fn walk(source: &Source<'_>, header: &Header, visit: &mut dyn FnMut(u64)) -> Result<(), Refusal> {
    let what = "its L1 table";
    let needed = header.size.div_ceil(header.l1_reach());
    let l1 = source.read(header.l1_offset, needed * 8, what)?;
    let mut seen = HashSet::new();
    for index in 0..needed {
        let offset = l1.be64(index as usize * 8) & OFFSET_MASK;
        if offset == 0 {
            continue;
        }
        aligned(header, offset, "an L2 table")?;
        if !seen.insert(offset) {
            return Err(Refusal::damaged("two ranges of the disk share an L2 table"));
        }
        let l2 = source.read(offset, header.cluster(), "an L2 table")?;
        check_l2(source, header, &l2, index * header.l1_reach())?;
        visit(index);
    }
    Ok(())
}

/// `start` is the first byte of the disk that the table is for.
fn check_l2(source: &Source<'_>, header: &Header, l2: &Fields, start: u64) -> Result<(), Refusal> {
    let step = header.l2_entry_bytes() as usize;
    for index in 0..l2.all().len() / step {
        let word = l2.be64(index * step);
        if word == 0 {
            continue;
        }
        let at = start.saturating_add(index as u64 * header.cluster());
        // QEMU writes whole clusters. The end of the last one is not part of the disk.
        let of_disk = header.size.saturating_sub(at).min(header.cluster());
        let used = match header.features & EXTENDED_L2 {
            0 => header.cluster(),
            _ => used_subclusters(l2.be64(index * step + 8)) * header.cluster() / 32,
        };
        check_cluster(source, header, word, of_disk.min(used))?;
    }
    Ok(())
}

/// Where subclusters have a state of their own, QEMU writes only those in use.
fn used_subclusters(bitmap: u64) -> u64 {
    u64::from(u32::BITS - (bitmap as u32).leading_zeros())
}

fn check_cluster(
    source: &Source<'_>,
    header: &Header,
    entry: u64,
    needed: u64,
) -> Result<(), Refusal> {
    if entry & COMPRESSED != 0 {
        let (offset, length) = packed_cluster(header, entry);
        return source.require(offset, length, "a packed cluster of data");
    }
    aligned(header, entry & OFFSET_MASK, "a cluster")?;
    let reads_as_zeros = entry & 1 != 0 && header.features & EXTENDED_L2 == 0;
    match entry & OFFSET_MASK {
        0 => Ok(()),
        offset if reads_as_zeros => source.require(offset, 1, "a cluster of data"),
        offset => source.require(offset, needed, "a cluster of data"),
    }
}

/// Where a packed cluster begins, and the bytes that it has at least: it says in which sector it
/// ends and not where.
fn packed_cluster(header: &Header, entry: u64) -> (u64, u64) {
    let width = 62 - (header.cluster_bits - 8);
    let offset = entry & ((1 << width) - 1);
    let further = (entry & (COMPRESSED - 1)) >> width;
    let last_sector = (offset & !511) + further * 512;
    (offset, last_sector.max(offset) + 1 - offset)
}

fn plain_backing_name(header: &Header) -> Result<Option<String>, Refusal> {
    let Some(name) = &header.backing else {
        return Ok(None);
    };
    if super::protocol(name).is_some() {
        return Err(refuse_reference(name, "backing file"));
    }
    match String::from_utf8(name.clone()) {
        Ok(name) => Ok(Some(name)),
        Err(_) => Err(refuse_reference(name, "backing file")),
    }
}

fn variant(header: &Header) -> String {
    let compression = if header.compression == 1 {
        "zstd"
    } else {
        "zlib"
    };
    let extended = if header.features & EXTENDED_L2 != 0 {
        ", extended L2"
    } else {
        ""
    };
    format!("version {}, {compression}{extended}", header.version)
}

fn unknown(found: String) -> Refusal {
    Refusal::new(
        RefusalKind::UnknownFeature,
        found,
        "convert it where it comes from, with `qemu-img convert -O qcow2`",
    )
}

fn encrypted() -> Refusal {
    Refusal::new(
        RefusalKind::Encrypted,
        "it is encrypted by its container",
        "decrypt a copy with `qemu-img convert` and give that",
    )
}

fn data_file(place: &str) -> Refusal {
    Refusal::new(
        RefusalKind::DataFile,
        format!("it keeps its content {place}"),
        "give one file that holds everything, made with `qemu-img convert -O qcow2`",
    )
}

fn marked(state: &str) -> Refusal {
    Refusal::new(
        RefusalKind::Damaged,
        format!("it is marked {state}"),
        "repair a copy with `qemu-img check -r all`, or capture the volume again",
    )
}
