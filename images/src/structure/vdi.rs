//! VDI of VirtualBox: dynamic and fixed.

use super::{Facts, Fields, Source, plausible_size};
use crate::error::{Refusal, RefusalKind};

const VERSION_1_1: u32 = 0x0001_0001;
const MOST_BLOCKS: u64 = 64 << 20;
const UNALLOCATED_FROM: u32 = 0xffff_fffe;

pub(super) fn check(source: &Source<'_>) -> Result<Facts, Refusal> {
    let header = source.read(0, 512, "its header")?;
    if header.le32(68) != VERSION_1_1 {
        return Err(unknown(format!(
            "it is VDI of version {:#x}",
            header.le32(68)
        )));
    }
    let size = header.le64(368);
    plausible_size(size)?;
    let variant = variant(&header)?;
    walk(source, &header, size)?;
    Ok(Facts {
        variant: Some(variant.to_owned()),
        virtual_size: Some(size),
        cluster_size: Some(u64::from(header.le32(376))),
        ..Facts::default()
    })
}

fn variant(header: &Fields) -> Result<&'static str, Refusal> {
    let linked = header.bytes(424, 16).iter().any(|byte| *byte != 0);
    match header.le32(76) {
        1 if !linked => Ok("dynamic"),
        2 if !linked => Ok("fixed"),
        1..=4 => Err(Refusal::new(
            RefusalKind::BackingFile,
            "it holds only the differences to another VDI",
            "clone the disk with `VBoxManage clonemedium` and give the clone",
        )),
        other => Err(unknown(format!("it is a VDI of the unknown type {other}"))),
    }
}

fn walk(source: &Source<'_>, header: &Fields, size: u64) -> Result<(), Refusal> {
    let block = u64::from(header.le32(376));
    let blocks = u64::from(header.le32(384));
    if !block.is_power_of_two() || !(4096..=256 << 20).contains(&block) {
        return Err(Refusal::absurd(format!("its blocks have {block} bytes")));
    }
    if blocks > MOST_BLOCKS || blocks < size.div_ceil(block) {
        return Err(Refusal::absurd(format!(
            "its block map has {blocks} blocks where {} are needed",
            size.div_ceil(block)
        )));
    }
    let data = u64::from(header.le32(344));
    let map = source.read(u64::from(header.le32(340)), blocks * 4, "its block map")?;
    for index in 0..blocks as usize {
        let entry = map.le32(index * 4);
        if entry < UNALLOCATED_FROM {
            source.require(data + u64::from(entry) * block, block, "a block of data")?;
        }
    }
    Ok(())
}

fn unknown(found: String) -> Refusal {
    Refusal::new(
        RefusalKind::UnknownFeature,
        found,
        "convert it with `qemu-img convert -O qcow2`",
    )
}
