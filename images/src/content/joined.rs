//! A disk made of pieces that follow each other: split raw images and the extents of a VMDK.

use std::fs::File;
use std::os::unix::fs::FileExt;

use nix::errno::Errno;
use nix::unistd::{Whence, lseek};

use super::Content;
use super::vmdk_extent::{MOST_GRAINS, SparseExtent};
use crate::confine::Part;
use crate::error::Refusal;
use crate::structure::vmdk_descriptor::{Extent, ExtentKind};
use crate::structure::{first_overlap, plausible_size, unreadable};

/// Pieces in the order of the disk.
pub(crate) struct Joined {
    pieces: Vec<Piece>,
    size: u64,
}

struct Piece {
    /// First byte of the disk.
    start: u64,
    length: u64,
    place: Place,
}

enum Place {
    /// Bytes of a file from an offset on.
    Bytes { file: File, offset: u64 },
    /// Nothing but zeros.
    Zeros,
    /// Grains of a sparse VMDK extent.
    Sparse(SparseExtent),
}

impl Joined {
    /// The parts of a split raw image.
    pub(crate) fn of_parts(parts: &[Part]) -> Result<Self, Refusal> {
        equal_but_the_last(parts)?;
        let pieces = parts.iter().map(|part| {
            let file = part.copy()?;
            Ok((part.length, Place::Bytes { file, offset: 0 }))
        });
        Self::new(pieces.collect::<Result<_, Refusal>>()?)
    }

    /// The extents that the descriptor, the first of `files`, names.
    pub(crate) fn of_extents(extents: &[Extent], files: &[Part]) -> Result<Self, Refusal> {
        refuse_shared(extents, files)?;
        let mut room = MOST_GRAINS;
        let pieces = extents
            .iter()
            .map(|extent| Ok((extent.bytes(), place(extent, files, &mut room)?)));
        Self::new(pieces.collect::<Result<_, Refusal>>()?)
    }

    fn new(places: Vec<(u64, Place)>) -> Result<Self, Refusal> {
        let mut size = 0_u64;
        let mut pieces = Vec::with_capacity(places.len());
        for (length, place) in places {
            pieces.push(Piece {
                start: size,
                length,
                place,
            });
            size = size.saturating_add(length);
        }
        plausible_size(size)?;
        Ok(Self { pieces, size })
    }

    fn index(&self, offset: u64) -> usize {
        let after = self.pieces.partition_point(|piece| piece.start <= offset);
        after.saturating_sub(1)
    }
}

/// Parts are cut at one size; a shorter one in the middle lost its end.
fn equal_but_the_last(parts: &[Part]) -> Result<(), Refusal> {
    let Some((last, others)) = parts.split_last() else {
        return Ok(());
    };
    let whole = others.first().map_or(last.length, |first| first.length);
    let odd = others.iter().find(|part| part.length != whole);
    match odd.or((last.length > whole).then_some(last)) {
        None => Ok(()),
        Some(odd) => Err(Refusal::truncated(format!(
            "its part `{}` has {} bytes where the first has {whole}",
            crate::printable::printable(&odd.name),
            odd.length
        ))),
    }
}

/// No two extents lie over each other in one file; the tables of a sparse one need all of it.
fn refuse_shared(extents: &[Extent], files: &[Part]) -> Result<(), Refusal> {
    let ranges = extents.iter().filter_map(|extent| {
        let file = extent.file?;
        Some(match extent.kind {
            ExtentKind::Flat => {
                let end = extent.offset.saturating_add(extent.bytes());
                (file, extent.offset, end)
            }
            ExtentKind::Sparse | ExtentKind::Zero => (file, 0, u64::MAX),
        })
    });
    let Some((file, start, _)) = first_overlap(ranges) else {
        return Ok(());
    };
    let name = files.get(file).map_or("", |part| &part.name);
    Err(Refusal::damaged(format!(
        "its descriptor uses the bytes from {start} on of `{}` twice",
        crate::printable::printable(name)
    )))
}

fn place(extent: &Extent, files: &[Part], room: &mut u64) -> Result<Place, Refusal> {
    let file = || {
        let number = extent.file.unwrap_or(usize::MAX);
        files
            .get(number)
            .ok_or_else(|| Refusal::damaged("one of its extents was not opened"))
    };
    match extent.kind {
        ExtentKind::Zero => Ok(Place::Zeros),
        ExtentKind::Flat => {
            let part = file()?;
            let end = extent.offset.checked_add(extent.bytes());
            if end.is_none_or(|end| end > part.length) {
                return Err(Refusal::truncated(format!(
                    "its extent `{}` has {} bytes and should have {}",
                    crate::printable::printable(&part.name),
                    part.length,
                    extent.offset.saturating_add(extent.bytes())
                )));
            }
            let offset = extent.offset;
            let file = part.copy()?;
            Ok(Place::Bytes { file, offset })
        }
        ExtentKind::Sparse => {
            let sparse = SparseExtent::open(file()?, extent.bytes(), room)?;
            Ok(Place::Sparse(sparse))
        }
    }
}

impl Piece {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Refusal> {
        match &self.place {
            Place::Zeros => {
                buffer.fill(0);
                Ok(())
            }
            Place::Bytes { file, offset: base } => file
                .read_exact_at(buffer, base + offset)
                .map_err(|error| unreadable("the content", &error)),
            Place::Sparse(extent) => extent.read_at(offset, buffer),
        }
    }

    /// Offsets are counted from the start of the piece.
    fn next_data(&self, offset: u64) -> u64 {
        match &self.place {
            Place::Zeros => self.length,
            Place::Bytes { file, offset: base } => {
                let found = seek_data(file, base + offset);
                found.map_or(self.length, |at| at.saturating_sub(*base))
            }
            Place::Sparse(extent) => extent.next_data(offset),
        }
        .clamp(offset, self.length)
    }
}

/// Where the data of a file go on; `None` if only a hole follows.
pub(super) fn seek_data(file: &File, offset: u64) -> Option<u64> {
    let wanted = i64::try_from(offset).ok()?;
    match lseek(file, wanted, Whence::SeekData) {
        Ok(found) => u64::try_from(found).ok(),
        Err(Errno::ENXIO) => None,
        // Not every filesystem knows its holes.
        Err(_) => Some(offset),
    }
}

impl Content for Joined {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Refusal> {
        let mut done = 0;
        for piece in self.pieces.iter().skip(self.index(offset)) {
            let inside = (offset + done as u64).saturating_sub(piece.start);
            let room = usize::try_from(piece.length.saturating_sub(inside)).unwrap_or(usize::MAX);
            let count = room.min(buffer.len() - done);
            piece.read_at(inside, &mut buffer[done..done + count])?;
            done += count;
            if done == buffer.len() {
                break;
            }
        }
        Ok(())
    }

    fn next_data(&self, offset: u64) -> u64 {
        for piece in self.pieces.iter().skip(self.index(offset)) {
            let inside = offset.saturating_sub(piece.start);
            if inside >= piece.length {
                continue;
            }
            let found = piece.next_data(inside);
            if found < piece.length {
                return piece.start + found;
            }
        }
        self.size
    }
}
