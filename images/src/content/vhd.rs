//! VHD: fixed, dynamic, and differencing over the parents that the operator named.

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::{Content, by_blocks, only};
use crate::confine::Part;
use crate::error::{Refusal, RefusalKind};
use crate::structure::vpc::{self, Kind, SECTOR};
use crate::structure::{refuse_lonely, unreadable};

const UNUSED: u32 = u32::MAX;

/// One file of the chain with what is below it.
pub(crate) struct Vhd {
    file: File,
    size: u64,
    layout: Layout,
    parent: Option<Box<Vhd>>,
}

enum Layout {
    Fixed,
    Blocks {
        block: u64,
        bitmap: u64,
        /// First sector of each block in the file.
        table: Vec<u32>,
    },
}

impl Vhd {
    /// `below` are the files after it in the chain, nearest first.
    pub(crate) fn open(part: &Part, below: &[&[Part]]) -> Result<Self, Refusal> {
        let source = part.source();
        let disk = vpc::read(&source)?;
        let parent = match (disk.kind, below) {
            (Kind::Differencing, [next, rest @ ..]) => {
                let next = only(next)?;
                vpc::is_parent_of(&next.source(), &next.name, &disk)?;
                Some(Box::new(Self::open(next, rest)?))
            }
            (Kind::Differencing, []) => {
                return Err(refuse_lonely(Some(disk.parent_name())));
            }
            (_, []) => None,
            (_, [..]) => {
                return Err(Refusal::new(
                    RefusalKind::BackingFile,
                    format!(
                        "`{}` needs no parent, but one was named for it",
                        crate::printable::printable(&part.name)
                    ),
                    "leave the files after it out of the chain",
                ));
            }
        };
        Ok(Self {
            file: part.copy()?,
            size: disk.size,
            layout: layout(&source, &disk)?,
            parent,
        })
    }

    fn read_below(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Refusal> {
        let Some(parent) = &self.parent else {
            buffer.fill(0);
            return Ok(());
        };
        let present = parent.size.saturating_sub(offset);
        let count = usize::try_from(present).map_or(buffer.len(), |there| there.min(buffer.len()));
        let (there, beyond) = buffer.split_at_mut(count);
        beyond.fill(0);
        parent.read_at(offset, there)
    }

    /// Reads a piece of one block that is in this file.
    fn read_block(
        &self,
        start: u64,
        bitmap_bytes: u64,
        at: (u64, u64),
        piece: &mut [u8],
    ) -> Result<(), Refusal> {
        let (offset, inside) = at;
        let data = start + bitmap_bytes;
        let whole = |piece: &mut [u8], inside| {
            self.file
                .read_exact_at(piece, data + inside)
                .map_err(|error| unreadable("a block of data", &error))
        };
        // A dynamic disk has zeros in the sectors that its bitmap leaves out.
        if self.parent.is_none() {
            return whole(piece, inside);
        }
        let mut bitmap = vec![0; usize::try_from(bitmap_bytes).unwrap_or(0)];
        self.file
            .read_exact_at(&mut bitmap, start)
            .map_err(|error| unreadable("the bitmap of a block", &error))?;
        let mut done = 0_u64;
        for (sector, _, part) in by_blocks(inside, piece, SECTOR) {
            if bit(&bitmap, sector) {
                whole(part, inside + done)?;
            } else {
                self.read_below(offset + done, part)?;
            }
            done += part.len() as u64;
        }
        Ok(())
    }
}

fn layout(source: &crate::structure::Source<'_>, disk: &vpc::VhdDisk) -> Result<Layout, Refusal> {
    Ok(match &disk.blocks {
        None => Layout::Fixed,
        Some(blocks) => Layout::Blocks {
            block: blocks.bytes,
            bitmap: blocks.bitmap_bytes(),
            table: vpc::table(source, blocks)?,
        },
    })
}

fn bit(bitmap: &[u8], sector: u64) -> bool {
    let byte = usize::try_from(sector / 8)
        .ok()
        .and_then(|at| bitmap.get(at));
    byte.is_some_and(|byte| byte & (0x80 >> (sector % 8)) != 0)
}

impl Content for Vhd {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Refusal> {
        let Layout::Blocks {
            block,
            bitmap,
            table,
        } = &self.layout
        else {
            let read = self.file.read_exact_at(buffer, offset);
            return read.map_err(|error| unreadable("the content", &error));
        };
        for (number, inside, piece) in by_blocks(offset, buffer, *block) {
            let at = number * block + inside;
            let entry = usize::try_from(number)
                .ok()
                .and_then(|number| table.get(number));
            match entry.copied().unwrap_or(UNUSED) {
                UNUSED => self.read_below(at, piece)?,
                start => {
                    self.read_block(u64::from(start) * SECTOR, *bitmap, (at, inside), piece)?;
                }
            }
        }
        Ok(())
    }

    fn next_data(&self, offset: u64) -> u64 {
        let Layout::Blocks { block, table, .. } = &self.layout else {
            return offset;
        };
        let below = match &self.parent {
            None => self.size,
            Some(parent) if offset < parent.size => match parent.next_data(offset) {
                end if end >= parent.size => self.size,
                data => data,
            },
            Some(_) => self.size,
        };
        let first = offset / block;
        let later = table
            .iter()
            .skip(usize::try_from(first).unwrap_or(usize::MAX));
        let skipped = later.take_while(|entry| **entry == UNUSED).count() as u64;
        let own = if skipped == 0 {
            offset
        } else {
            (first + skipped) * block
        };
        own.min(below).clamp(offset, self.size)
    }
}
