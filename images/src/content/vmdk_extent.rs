//! A sparse extent of a VMDK that lies in several files: its grains.

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::by_blocks;
use crate::confine::Part;
use crate::error::{Refusal, RefusalKind};
use crate::structure::vmdk::{self, Header, SECTOR};
use crate::structure::{self, unreadable};

/// Grains of all extents of a disk together: 4 TiB in grains of 64 KiB. Each takes 4 bytes of memory.
pub(super) const MOST_GRAINS: u64 = 64 << 20;

pub(super) struct SparseExtent {
    file: File,
    grain_bytes: u64,
    length: u64,
    /// First sector of each grain in the file; 0 and 1 are grains of zeros.
    grains: Vec<u32>,
}

impl SparseExtent {
    /// `length` is what the descriptor says of it, in bytes; `room` the grains that there may still be.
    pub(super) fn open(part: &Part, length: u64, room: &mut u64) -> Result<Self, Refusal> {
        let source = part.source();
        if source.read(0, 4, "its header")?.all() != b"KDMV" {
            return Err(Refusal::damaged(format!(
                "its extent `{}` does not begin like one",
                crate::printable::printable(&part.name)
            )));
        }
        let header = vmdk::read_header(&source, 0)?;
        refuse_compressed(&header)?;
        if header.capacity.saturating_mul(SECTOR) < length {
            return Err(Refusal::truncated(format!(
                "its extent `{}` holds fewer sectors than its descriptor says",
                crate::printable::printable(&part.name)
            )));
        }
        let grain_bytes = header.grain * SECTOR;
        let count = header.capacity.div_ceil(header.grain);
        *room = room.checked_sub(count).ok_or_else(|| {
            Refusal::absurd(format!("its extents have more than {MOST_GRAINS} grains"))
        })?;
        let grains = grains(&source, &header)?;
        Ok(Self {
            file: part.copy()?,
            grain_bytes,
            length,
            grains,
        })
    }

    pub(super) fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Refusal> {
        for (grain, inside, piece) in by_blocks(offset, buffer, self.grain_bytes) {
            match self.sector(grain) {
                0 | 1 => piece.fill(0),
                sector => self
                    .file
                    .read_exact_at(piece, sector * SECTOR + inside)
                    .map_err(|error| unreadable("a grain of data", &error))?,
            }
        }
        Ok(())
    }

    pub(super) fn next_data(&self, offset: u64) -> u64 {
        let first = offset / self.grain_bytes;
        let later = self
            .grains
            .iter()
            .skip(usize::try_from(first).unwrap_or(usize::MAX));
        let skipped = later.take_while(|sector| **sector <= 1).count() as u64;
        match skipped {
            0 => offset,
            skipped => ((first + skipped) * self.grain_bytes).min(self.length),
        }
    }

    fn sector(&self, grain: u64) -> u64 {
        let entry = usize::try_from(grain)
            .ok()
            .and_then(|grain| self.grains.get(grain));
        entry.map_or(0, |sector| u64::from(*sector))
    }
}

fn refuse_compressed(header: &Header) -> Result<(), Refusal> {
    if header.flags & vmdk::COMPRESSED == 0 {
        return Ok(());
    }
    Err(Refusal::new(
        RefusalKind::UnknownFeature,
        "one of several extents is compressed",
        "join it into one file with `qemu-img convert -O qcow2`",
    ))
}

fn grains(source: &crate::structure::Source<'_>, header: &Header) -> Result<Vec<u32>, Refusal> {
    let mut grains = Vec::new();
    vmdk::walk(source, header, header.directory, &mut |index, table| {
        let first = index.saturating_mul(header.table_entries);
        grains.resize(usize::try_from(first).unwrap_or(0), 0);
        for entry in 0..header.table_entries {
            grains.push(table.le32(entry as usize * 4));
        }
        Ok(())
    })?;
    // A grain that is cut off at the end of the file would read as an error in the middle.
    for (index, sector) in (0..).zip(&grains).filter(|(_, sector)| **sector > 1) {
        let start = u64::from(*sector) * SECTOR;
        source.require(start, header.grain_bytes(index), "a grain of data")?;
    }
    let used: Vec<u32> = grains
        .iter()
        .copied()
        .filter(|sector| *sector > 1)
        .collect();
    if !structure::are_apart(used, header.grain) {
        return Err(Refusal::damaged(
            "two ranges of the disk share a grain of data",
        ));
    }
    Ok(grains)
}
