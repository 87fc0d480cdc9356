//! VHD (Virtual PC, Hyper-V, Azure): fixed and dynamic.

use super::{Facts, Fields, Source, plausible_size};
use crate::error::{Refusal, RefusalKind};
use crate::printable::printable;

const SECTOR: u64 = 512;
const COOKIE: &[u8] = b"conectix";
const FIXED: u32 = 2;
const DYNAMIC: u32 = 3;
const DIFFERENCING: u32 = 4;
const MOST_BLOCKS: u32 = 16 << 20;

pub(super) fn check(source: &Source<'_>) -> Result<Facts, Refusal> {
    let (footer, risk) = footer(source)?;
    let size = footer.be64(48);
    plausible_size(size)?;
    let mut facts = Facts {
        virtual_size: Some(size),
        risks: risk.into_iter().collect(),
        ..Facts::default()
    };
    match footer.be32(60) {
        FIXED => {
            facts.variant = Some("fixed".to_owned());
            source.require(0, size, "the end of the disk")?;
        }
        DYNAMIC => {
            let header = dynamic_header(source, &footer)?;
            facts.variant = Some("dynamic".to_owned());
            facts.cluster_size = Some(u64::from(header.be32(32)));
            walk(source, &header, size)?;
        }
        DIFFERENCING => return Err(differencing(source, &footer)),
        other => {
            return Err(Refusal::new(
                RefusalKind::UnknownFeature,
                format!("it is a VHD of the unknown type {other}"),
                "export it again",
            ));
        }
    }
    Ok(facts)
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
    if !sum == fields.be32(position) {
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

fn walk(source: &Source<'_>, header: &Fields, size: u64) -> Result<(), Refusal> {
    let block = u64::from(header.be32(32));
    let blocks = header.be32(28);
    if !block.is_power_of_two() || !(SECTOR..=256 << 20).contains(&block) {
        return Err(Refusal::absurd(format!("its blocks have {block} bytes")));
    }
    if blocks > MOST_BLOCKS || u64::from(blocks) < size.div_ceil(block) {
        return Err(Refusal::absurd(format!(
            "its table has {blocks} blocks where {} are needed",
            size.div_ceil(block)
        )));
    }
    let what = "its block table";
    let table = source.read(header.be64(16), u64::from(blocks) * 4, what)?;
    let bitmap = (block / SECTOR).div_ceil(8).next_multiple_of(SECTOR);
    for index in 0..blocks as usize {
        let entry = table.be32(index * 4);
        if entry != u32::MAX {
            let start = u64::from(entry) * SECTOR;
            source.require(start, bitmap + block, "a block of data")?;
        }
    }
    Ok(())
}

fn differencing(source: &Source<'_>, footer: &Fields) -> Refusal {
    let parent = dynamic_header(source, footer)
        .map(|header| utf16(header.bytes(64, 512)))
        .unwrap_or_default();
    Refusal::new(
        RefusalKind::BackingFile,
        format!(
            "it holds only the differences to the parent `{}`",
            printable(&parent)
        ),
        "merge it with its parent and give the result",
    )
}

fn utf16(bytes: &[u8]) -> String {
    let units: Vec<u16> = bytes
        .chunks_exact(2)
        .map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
        .take_while(|unit| *unit != 0)
        .collect();
    String::from_utf16_lossy(&units)
}
