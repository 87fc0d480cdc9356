//! The disks that QEMU does not serve as they are: read here, in the confined child, to be
//! inspected and to be converted once.
//!
//! Every reader answers positioned reads through a shared reference, so that a conversion uses all
//! cores. What can only be read from its beginning to its end is in [`packed`].

mod ewf;
mod ewf_tables;
mod joined;
pub(crate) mod packed;
pub(crate) mod packed_disk;
mod vhd;
mod vhdx;
mod vhdx_log;
mod vmdk_extent;

use std::io;

use crate::confine::Part;
use crate::disk::{Disk, within};
use crate::error::{Refusal, RefusalKind};
use crate::format::Container;
use crate::structure::Facts;

pub(crate) use ewf::Ewf;
pub(crate) use joined::Joined;
pub(crate) use vhd::Vhd;
pub(crate) use vhdx::Vhdx;
pub(crate) use vhdx_log::has_entries_to_replay;

/// A disk with random access.
pub(crate) trait Content: Send + Sync {
    /// Bytes of the disk.
    fn size(&self) -> u64;

    /// Fills `buffer` from `offset`. The caller stays inside the disk.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Refusal>;

    /// The first byte from `offset` on that may be other than zero; the end of the disk if none is.
    fn next_data(&self, offset: u64) -> u64 {
        offset.min(self.size())
    }
}

/// Opens the first of `layers`, and those below it that it cannot be read without.
pub(crate) fn open(
    container: Container,
    layers: &[&[Part]],
    facts: &Facts,
) -> Result<Box<dyn Content>, Refusal> {
    let Some((first, below)) = layers.split_first() else {
        return Err(Refusal::damaged("nothing was given to read"));
    };
    match container {
        Container::SplitRaw => Ok(Box::new(Joined::of_parts(first)?)),
        Container::Vmdk => Ok(Box::new(Joined::of_extents(&facts.extents, first)?)),
        Container::Ewf => Ok(Box::new(Ewf::open(first)?)),
        Container::Vpc => Ok(Box::new(Vhd::open(only(first)?, below)?)),
        Container::Vhdx => Ok(Box::new(Vhdx::open(only(first)?)?)),
        other => Err(Refusal::new(
            RefusalKind::UnsupportedFormat,
            format!("{other} cannot be read here"),
            "convert it with `qemu-img convert -O qcow2`",
        )),
    }
}

fn only(parts: &[Part]) -> Result<&Part, Refusal> {
    match parts {
        [only] => Ok(only),
        _ => Err(Refusal::damaged("it should be one file and is several")),
    }
}

/// A [`Content`] behind the interface of all disks.
pub(crate) struct ContentDisk(pub(crate) Box<dyn Content>);

impl Disk for ContentDisk {
    fn size(&self) -> u64 {
        self.0.size()
    }

    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        within(self.size(), offset, buffer.len())?;
        self.0
            .read_at(offset, buffer)
            .map_err(|refusal| io::Error::other(refusal.found))
    }
}

/// Cuts the range of a read at the borders of blocks of `unit` bytes: block, offset in it, piece.
pub(crate) fn by_blocks(
    offset: u64,
    buffer: &mut [u8],
    unit: u64,
) -> impl Iterator<Item = (u64, u64, &mut [u8])> {
    let mut rest = buffer;
    let mut at = offset;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let inside = at % unit;
        let count = usize::try_from(unit - inside).map_or(rest.len(), |room| room.min(rest.len()));
        let (piece, remaining) = std::mem::take(&mut rest).split_at_mut(count);
        rest = remaining;
        let block = at / unit;
        at += count as u64;
        Some((block, inside, piece))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn blocks_cover_the_range_once(offset in 0_u64..5000, length in 0_usize..3000, unit in 1_u64..700) {
            let mut buffer = vec![0_u8; length];
            for (block, inside, piece) in by_blocks(offset, &mut buffer, unit) {
                prop_assert!(inside + piece.len() as u64 <= unit);
                let start = block * unit + inside - offset;
                prop_assert!(start < length as u64);
                piece.iter_mut().for_each(|byte| *byte += 1);
            }
            prop_assert!(buffer.iter().all(|byte| *byte == 1));
        }
    }
}
