//! VHDX as it is after its log was replayed.

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::vhdx_log::Replay;
use super::{Content, by_blocks};
use crate::confine::Part;
use crate::error::Refusal;
use crate::structure::vhdx::{self, Bytes};
use crate::structure::{Fields, Source, are_apart, plausible_size, unreadable};

const MIB: u64 = 1 << 20;
const PRESENT: u64 = 6;
const PARTLY_PRESENT: u64 = 7;
/// Blocks of 1 MiB on the largest disk.
const MOST_ENTRIES: u64 = 80 << 20;

/// A disk whose block table is in memory.
pub(crate) struct Vhdx {
    file: File,
    replay: Replay,
    size: u64,
    block: u64,
    /// First byte of each block in the file; 0 where it is not there.
    blocks: Vec<u64>,
}

/// The file with the log over it.
struct Replayed<'a> {
    file: &'a File,
    length: u64,
    replay: &'a Replay,
}

impl Bytes for Replayed<'_> {
    fn bytes(&self, offset: u64, length: u64, what: &str) -> Result<Fields, Refusal> {
        let end = offset.checked_add(length);
        if end.is_none_or(|end| end > self.replay.length()) {
            return Err(Refusal::truncated(format!(
                "{what} should lie at byte {offset} but the file has only {} bytes",
                self.length
            )));
        }
        let mut bytes = vec![0; length as usize];
        // What the log appends is beyond the end of the file.
        let there = self.length.saturating_sub(offset).min(length) as usize;
        self.file
            .read_exact_at(&mut bytes[..there], offset)
            .map_err(|error| unreadable(what, &error))?;
        self.replay.patch(offset, &mut bytes);
        Ok(Fields(bytes))
    }
}

impl Vhdx {
    pub(crate) fn open(part: &Part) -> Result<Self, Refusal> {
        Self::over(&part.source())
    }

    pub(crate) fn over(source: &Source<'_>) -> Result<Self, Refusal> {
        let file = source.file.try_clone();
        let file = file.map_err(|error| unreadable("the file", &error))?;
        let replay = Replay::of(source, &vhdx::headers(source)?)?;
        let bytes = Replayed {
            file: &file,
            length: source.length,
            replay: &replay,
        };
        let metadata = vhdx::metadata_region(&bytes)?;
        let block = u64::from(vhdx::parameters(&bytes, metadata)?.le32(0));
        let size = vhdx::item(&bytes, metadata, &vhdx::DISK_SIZE)?.le64(0);
        let sector = u64::from(vhdx::item(&bytes, metadata, &vhdx::SECTOR_SIZE)?.le32(0));
        plausible_size(size)?;
        if !block.is_power_of_two() || !(MIB..=256 * MIB).contains(&block) {
            return Err(Refusal::absurd(format!("its blocks have {block} bytes")));
        }
        if ![512, 4096].contains(&sector) {
            return Err(Refusal::absurd(format!("its sectors have {sector} bytes")));
        }
        let blocks = blocks(&bytes, size, block, sector)?;
        Ok(Self {
            file,
            replay,
            size,
            block,
            blocks,
        })
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Bytes of a block.
    pub(crate) fn block_bytes(&self) -> u64 {
        self.block
    }

    fn start(&self, block: u64) -> u64 {
        let entry = usize::try_from(block)
            .ok()
            .and_then(|block| self.blocks.get(block));
        entry.copied().unwrap_or_default()
    }
}

/// Reads the block table; the entries of sector bitmaps between the blocks are left out.
fn blocks(bytes: &Replayed<'_>, size: u64, block: u64, sector: u64) -> Result<Vec<u64>, Refusal> {
    let region = vhdx::region(bytes, &vhdx::BLOCK_REGION)?;
    let count = size.div_ceil(block);
    let ratio = (sector << 23) / block;
    let entries = count + (count - 1) / ratio;
    if entries > MOST_ENTRIES {
        return Err(Refusal::absurd(format!(
            "its block table has {entries} entries"
        )));
    }
    let table = bytes.bytes(region, entries * 8, "its block table")?;
    let entry = |block: u64| table.le64((block + block / ratio) as usize * 8);
    let blocks: Vec<u64> = (0..count)
        .map(|index| place(bytes, entry(index), block))
        .collect::<Result<_, Refusal>>()?;
    let used = blocks.iter().filter(|start| **start != 0);
    let used = used.map(|start| u32::try_from(start / MIB).unwrap_or(u32::MAX));
    if !are_apart(used.collect(), block / MIB) {
        return Err(Refusal::damaged(
            "two ranges of the disk share a block of data",
        ));
    }
    Ok(blocks)
}

fn place(bytes: &Replayed<'_>, entry: u64, block: u64) -> Result<u64, Refusal> {
    let offset = entry & !(MIB - 1);
    match entry & 7 {
        PRESENT if offset == 0 => Err(Refusal::damaged("a block lies over its header")),
        PRESENT
            if offset
                .checked_add(block)
                .is_none_or(|end| end > bytes.replay.length()) =>
        {
            Err(Refusal::truncated(format!(
                "a block of data should lie at byte {offset} but the file has only {} bytes",
                bytes.length
            )))
        }
        PRESENT => Ok(offset),
        PARTLY_PRESENT => Err(Refusal::damaged(
            "a block is only partly there, as if it had a parent",
        )),
        _ => Ok(0),
    }
}

impl Content for Vhdx {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Refusal> {
        for (block, inside, piece) in by_blocks(offset, buffer, self.block) {
            match self.start(block) {
                0 => piece.fill(0),
                start => {
                    read_padded(&self.file, start + inside, piece)
                        .map_err(|error| unreadable("a block of data", &error))?;
                    self.replay.patch(start + inside, piece);
                }
            }
        }
        Ok(())
    }

    fn next_data(&self, offset: u64) -> u64 {
        let first = offset / self.block;
        let later = self
            .blocks
            .iter()
            .skip(usize::try_from(first).unwrap_or(usize::MAX));
        match later.take_while(|start| **start == 0).count() as u64 {
            0 => offset,
            skipped => ((first + skipped) * self.block).min(self.size),
        }
    }
}

/// What the log appended to the file reads as zeros until the log itself is laid over it.
fn read_padded(file: &File, offset: u64, buffer: &mut [u8]) -> std::io::Result<()> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    buffer[filled..].fill(0);
    Ok(())
}
