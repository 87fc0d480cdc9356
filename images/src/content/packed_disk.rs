//! A packed disk to look into. Going back means to begin anew, so that what is read is kept.

use std::io;

use super::packed::Unpacker;
use crate::confine::Part;
use crate::conversion::MemberStart;
use crate::disk::{Disk, within};
use crate::error::Refusal;
use crate::format::Container;

const WINDOW: usize = 1 << 20;
/// Windows that are kept: 64 MiB.
const MOST_WINDOWS: usize = 64;

/// The disk in a packed file. Its size is known after it was unpacked once.
pub(crate) struct PackedDisk {
    container: Container,
    part: Part,
    size: u64,
    unpacker: Unpacker,
    position: u64,
    /// First byte and content, the oldest first.
    windows: Vec<(u64, Vec<u8>)>,
}

impl PackedDisk {
    pub(crate) fn open(container: Container, part: &Part) -> Result<Self, Refusal> {
        let part = Part {
            file: part.copy()?,
            length: part.length,
            name: part.name.clone(),
        };
        let unpacker = Unpacker::open(container, &part, MemberStart::default())?;
        let mut disk = Self {
            container,
            part,
            size: 0,
            unpacker,
            position: 0,
            windows: Vec::new(),
        };
        disk.measure()?;
        Ok(disk)
    }

    /// Unpacks everything. Keeps the beginning, where partition tables are, and the end, where
    /// their copies are.
    fn measure(&mut self) -> Result<(), Refusal> {
        loop {
            let window = self.next_window()?;
            let Some((start, bytes)) = window else {
                break;
            };
            self.size = start + bytes.len() as u64;
            if self.windows.len() >= 4 {
                self.windows.remove(2);
            }
            self.windows.push((start, bytes));
        }
        let head = self.windows.first().map(|(_, bytes)| bytes.as_slice());
        let last = self.windows.last().map(|(_, bytes)| bytes.as_slice());
        let tail = last.map(|bytes| &bytes[bytes.len().saturating_sub(512)..]);
        crate::format::refuse_packed_image(head.unwrap_or_default(), tail.unwrap_or_default())
    }

    fn next_window(&mut self) -> Result<Option<(u64, Vec<u8>)>, Refusal> {
        let mut bytes = vec![0; WINDOW];
        let count = self.unpacker.read(&mut bytes)?;
        bytes.truncate(count);
        let start = self.position;
        self.position += count as u64;
        Ok((count > 0).then_some((start, bytes)))
    }

    /// The index of the window that holds `offset`.
    fn window(&mut self, offset: u64) -> Result<usize, Refusal> {
        let wanted = offset / WINDOW as u64 * WINDOW as u64;
        let known =
            |windows: &[(u64, Vec<u8>)]| windows.iter().position(|(start, _)| *start == wanted);
        if let Some(index) = known(&self.windows) {
            return Ok(index);
        }
        if wanted < self.position {
            self.unpacker = Unpacker::open(self.container, &self.part, MemberStart::default())?;
            self.position = 0;
        }
        while let Some((start, bytes)) = self.next_window()? {
            if start == wanted {
                if self.windows.len() == MOST_WINDOWS {
                    self.windows.remove(0);
                }
                self.windows.push((start, bytes));
                return Ok(self.windows.len() - 1);
            }
        }
        Err(Refusal::damaged("it unpacks differently the second time"))
    }
}

impl Disk for PackedDisk {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        within(self.size, offset, buffer.len())?;
        for (number, inside, piece) in super::by_blocks(offset, buffer, WINDOW as u64) {
            let index = self
                .window(number * WINDOW as u64)
                .map_err(|refusal| io::Error::other(refusal.found))?;
            let start = inside as usize;
            let bytes = self.windows[index].1.get(start..start + piece.len());
            piece.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        }
        Ok(())
    }
}
