//! The disk that a guest would see, read out of an image. Only inside the confined child.

mod qcow2;
mod qemu_io;

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

pub(crate) use qcow2::{Qcow2Disk, map as map_qcow2};
pub(crate) use qemu_io::QemuIoDisk;

/// Random access to the content of a disk.
pub(crate) trait Disk {
    /// Bytes of the disk.
    fn size(&self) -> u64;

    /// Fills `buffer` from `offset`. What lies beyond the end of the disk is an error.
    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
}

/// A raw image: the file is the disk.
pub(crate) struct RawDisk {
    file: File,
    size: u64,
}

impl RawDisk {
    pub(crate) fn new(file: File, size: u64) -> Self {
        Self { file, size }
    }
}

impl Disk for RawDisk {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        within(self.size, offset, buffer.len())?;
        self.file.read_exact_at(buffer, offset)
    }
}

pub(crate) fn within(size: u64, offset: u64, length: usize) -> io::Result<()> {
    match offset.checked_add(length as u64) {
        Some(end) if end <= size => Ok(()),
        _ => Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
    }
}

/// A qcow2 layer over another disk.
pub(crate) struct LayeredDisk {
    top: Qcow2Disk,
    below: Box<dyn Disk>,
}

impl LayeredDisk {
    pub(crate) fn new(top: Qcow2Disk, below: Box<dyn Disk>) -> Self {
        Self { top, below }
    }

    /// Reads a range inside one cluster of the top layer.
    fn read_piece(&mut self, offset: u64, piece: &mut [u8]) -> io::Result<()> {
        if self.top.is_written(offset)? {
            return self.top.read_at(offset, piece);
        }
        piece.fill(0);
        let present = self.below.size().saturating_sub(offset);
        let count = piece
            .len()
            .min(usize::try_from(present).unwrap_or(usize::MAX));
        self.below.read_at(offset, &mut piece[..count])
    }
}

impl Disk for LayeredDisk {
    fn size(&self) -> u64 {
        self.top.size()
    }

    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        within(self.size(), offset, buffer.len())?;
        let cluster = self.top.cluster_size();
        let mut done = 0;
        while done < buffer.len() {
            let at = offset + done as u64;
            let left_in_cluster = (cluster - at % cluster) as usize;
            let count = left_in_cluster.min(buffer.len() - done);
            self.read_piece(at, &mut buffer[done..done + count])?;
            done += count;
        }
        Ok(())
    }
}

/// A [`Disk`] as `Read + Seek`, for the partition table crates, with a bound on how often they
/// may read: hostile tables are long or circular.
pub(crate) struct BoundedReader<'a> {
    disk: &'a mut dyn Disk,
    position: u64,
    reads_left: u32,
    window: Vec<u8>,
    window_start: u64,
}

const WINDOW: u64 = 64 * 1024;

impl<'a> BoundedReader<'a> {
    pub(crate) fn new(disk: &'a mut dyn Disk, reads: u32) -> Self {
        Self {
            disk,
            position: 0,
            reads_left: reads,
            window: Vec::new(),
            window_start: 0,
        }
    }

    fn load_window(&mut self) -> io::Result<()> {
        let start = self.position / WINDOW * WINDOW;
        let length = WINDOW.min(self.disk.size().saturating_sub(start));
        self.window.resize(length as usize, 0);
        self.window_start = start;
        let loaded = self.disk.read_at(start, &mut self.window);
        if loaded.is_err() {
            self.window.clear();
        }
        loaded
    }

    fn windowed(&self) -> &[u8] {
        let skip = self.position.checked_sub(self.window_start);
        skip.and_then(|skip| self.window.get(usize::try_from(skip).ok()?..))
            .unwrap_or_default()
    }
}

impl Read for BoundedReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reads_left = self
            .reads_left
            .checked_sub(1)
            .ok_or_else(|| io::Error::other("the table asks for too many reads"))?;
        if self.position >= self.disk.size() {
            return Ok(0);
        }
        if self.windowed().is_empty() {
            self.load_window()?;
        }
        let available = self.windowed();
        let count = available.len().min(buffer.len());
        buffer[..count].copy_from_slice(&available[..count]);
        self.position += count as u64;
        Ok(count)
    }
}

impl Seek for BoundedReader<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::End(delta) => self.disk.size().checked_add_signed(delta),
            SeekFrom::Current(delta) => self.position.checked_add_signed(delta),
        };
        self.position = target.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.position)
    }
}

#[cfg(test)]
pub(crate) struct MemoryDisk(pub(crate) Vec<u8>);

#[cfg(test)]
impl Disk for MemoryDisk {
    fn size(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        within(self.size(), offset, buffer.len())?;
        let start = offset as usize;
        buffer.copy_from_slice(&self.0[start..start + buffer.len()]);
        Ok(())
    }
}
