//! VHD (Virtual PC, Hyper-V, Azure): fixed, dynamic and differencing.

use super::{Facts, Fields, Serving, Source, plausible_size};
use crate::error::{Refusal, RefusalKind};
use crate::printable::printable;

/// Unit of every count in the format, in bytes.
pub(crate) const SECTOR: u64 = 512;
const COOKIE: &[u8] = b"conectix";
const MOST_BLOCKS: u32 = 16 << 20;

/// What a VHD is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Fixed,
    Dynamic,
    Differencing,
}

/// A VHD whose structure was checked.
pub(crate) struct VhdDisk {
    pub kind: Kind,
    pub size: u64,
    /// `None` for a fixed disk.
    pub blocks: Option<Blocks>,
    identity: [u8; 16],
    parent: [u8; 16],
    parent_name: String,
    risk: Option<String>,
    /// QEMU would serve another size.
    goes_by_geometry: bool,
}

impl VhdDisk {
    /// The parent, as its maker called it; printable.
    pub(crate) fn parent_name(&self) -> &str {
        &self.parent_name
    }
}

/// Where the blocks of a dynamic disk are.
pub(crate) struct Blocks {
    /// Bytes of a block, without its bitmap.
    pub bytes: u64,
    count: u32,
    table_offset: u64,
}

impl Blocks {
    /// Bytes of the bitmap that stands before each block.
    pub(crate) fn bitmap_bytes(&self) -> u64 {
        (self.bytes / SECTOR).div_ceil(8).next_multiple_of(SECTOR)
    }
}

pub(super) fn check(source: &Source<'_>) -> Result<Facts, Refusal> {
    let disk = read(source)?;
    let mut facts = Facts {
        virtual_size: Some(disk.size),
        cluster_size: disk.blocks.as_ref().map(|blocks| blocks.bytes),
        risks: disk.risk.into_iter().collect(),
        ..Facts::default()
    };
    facts.variant = Some(match disk.kind {
        Kind::Fixed => "fixed".to_owned(),
        Kind::Dynamic => "dynamic".to_owned(),
        Kind::Differencing => "differencing".to_owned(),
    });
    if disk.goes_by_geometry {
        facts.serving = Serving::Converted;
    }
    if disk.kind == Kind::Differencing {
        facts.backing_name = Some(disk.parent_name);
        facts.serving = Serving::WithParents;
    }
    Ok(facts)
}

/// Reads and checks everything but the content.
pub(crate) fn read(source: &Source<'_>) -> Result<VhdDisk, Refusal> {
    let (footer, risk) = footer(source)?;
    let size = footer.be64(48);
    plausible_size(size)?;
    let mut disk = VhdDisk {
        kind: kind(&footer)?,
        size,
        blocks: None,
        identity: footer.array(68),
        parent: [0; 16],
        parent_name: String::new(),
        risk,
        goes_by_geometry: goes_by_geometry(&footer, size),
    };
    if disk.kind == Kind::Fixed {
        source.require(0, size, "the end of the disk")?;
        return Ok(disk);
    }
    let header = dynamic_header(source, &footer)?;
    disk.parent = header.array(40);
    disk.parent_name = printable(&utf16(header.bytes(64, 512)));
    let blocks = blocks(&header, size)?;
    table(source, &blocks)?;
    disk.blocks = Some(blocks);
    Ok(disk)
}

fn kind(footer: &Fields) -> Result<Kind, Refusal> {
    match footer.be32(60) {
        2 => Ok(Kind::Fixed),
        3 => Ok(Kind::Dynamic),
        4 => Ok(Kind::Differencing),
        other => Err(Refusal::new(
            RefusalKind::UnknownFeature,
            format!("it is a VHD of the unknown type {other}"),
            "export it again",
        )),
    }
}

/// Whether QEMU takes the geometry for the size, as Virtual PC does, and so leaves out the end of
/// the disk. It knows those that mean the size by the name of the creator: these in every version,
/// Azure's (`wa`) from 10.0 on only.
fn goes_by_geometry(footer: &Fields, size: u64) -> bool {
    const MEAN_THE_SIZE: [&[u8; 4]; 5] = [b"win ", b"qem2", b"d2v ", b"tap\0", b"CTXS"];
    const LARGEST: u64 = 65_535 * 16 * 255;
    let creator: [u8; 4] = footer.array(28);
    let [high, low, heads, sectors]: [u8; 4] = footer.array(56);
    let cylinders = u64::from(u16::from_be_bytes([high, low]));
    let geometry = cylinders * u64::from(heads) * u64::from(sectors);
    !MEAN_THE_SIZE.contains(&&creator) && geometry != LARGEST && geometry * SECTOR != size
}

/// Proves that the file named as parent is the one that `child` was made over.
pub(crate) fn is_parent_of(
    source: &Source<'_>,
    name: &str,
    child: &VhdDisk,
) -> Result<(), Refusal> {
    if read(source)?.identity == child.parent {
        return Ok(());
    }
    Err(Refusal::new(
        RefusalKind::BackingFile,
        format!(
            "`{}` was named as its parent and has another identity than the parent `{}` that it \
             was made over",
            printable(name),
            child.parent_name
        ),
        "name the parent as it was when this disk was made",
    ))
}

/// The footer at the end, or its copy at the start where the end was lost.
fn footer(source: &Source<'_>) -> Result<(Fields, Option<String>), Refusal> {
    let at_end = source.length.checked_sub(SECTOR);
    if let Some(offset) = at_end {
        let footer = source.read(offset, SECTOR, "its footer")?;
        if footer.bytes(0, 8) == COOKIE {
            verify_checksum(&footer, 64, "footer")?;
            return Ok((footer, None));
        }
    }
    let copy = source.read(0, SECTOR, "its footer")?;
    if copy.bytes(0, 8) != COOKIE {
        return Err(Refusal::damaged(
            "its footer is in the old form of 511 bytes",
        ));
    }
    verify_checksum(&copy, 64, "footer")?;
    let risk = "the footer at its end is missing: the file may be cut off, the copy at its \
                start is used";
    Ok((copy, Some(risk.to_owned())))
}

fn verify_checksum(fields: &Fields, position: usize, what: &str) -> Result<(), Refusal> {
    let counted = |(index, byte): (usize, &u8)| {
        if (position..position + 4).contains(&index) {
            0
        } else {
            u32::from(*byte)
        }
    };
    let sum: u32 = fields.all().iter().enumerate().map(counted).sum();
    if super::sums_agree(!sum, fields.be32(position)) {
        return Ok(());
    }
    Err(Refusal::damaged(format!(
        "the checksum of its {what} is wrong"
    )))
}

fn dynamic_header(source: &Source<'_>, footer: &Fields) -> Result<Fields, Refusal> {
    let header = source.read(footer.be64(16), 1024, "its dynamic header")?;
    if header.bytes(0, 8) != b"cxsparse" {
        return Err(Refusal::damaged(
            "its dynamic header is not where its footer says",
        ));
    }
    verify_checksum(&header, 36, "dynamic header")?;
    Ok(header)
}

fn blocks(header: &Fields, size: u64) -> Result<Blocks, Refusal> {
    let bytes = u64::from(header.be32(32));
    let count = header.be32(28);
    if !bytes.is_power_of_two() || !(SECTOR..=256 << 20).contains(&bytes) {
        return Err(Refusal::absurd(format!("its blocks have {bytes} bytes")));
    }
    if count > MOST_BLOCKS || u64::from(count) < size.div_ceil(bytes) {
        return Err(Refusal::absurd(format!(
            "its table has {count} blocks where {} are needed",
            size.div_ceil(bytes)
        )));
    }
    Ok(Blocks {
        bytes,
        count,
        table_offset: header.be64(16),
    })
}

/// The first sector of each block, all of them inside the file.
pub(crate) fn table(source: &Source<'_>, blocks: &Blocks) -> Result<Vec<u32>, Refusal> {
    let what = "its block table";
    let table = source.read(blocks.table_offset, u64::from(blocks.count) * 4, what)?;
    let entries: Vec<u32> = (0..blocks.count as usize)
        .map(|index| table.be32(index * 4))
        .collect();
    let length = blocks.bitmap_bytes() + blocks.bytes;
    for entry in entries.iter().filter(|entry| **entry != u32::MAX) {
        source.require(u64::from(*entry) * SECTOR, length, "a block of data")?;
    }
    let used = entries.iter().copied().filter(|entry| *entry != u32::MAX);
    if !super::are_apart(used.collect(), length / SECTOR) {
        return Err(Refusal::damaged(
            "two ranges of the disk share a block of data",
        ));
    }
    Ok(entries)
}

fn utf16(bytes: &[u8]) -> String {
    let units: Vec<u16> = bytes
        .chunks_exact(2)
        .map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
        .take_while(|unit| *unit != 0)
        .collect();
    String::from_utf16_lossy(&units)
}
