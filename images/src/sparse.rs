//! Files that are written from their start to their end, of which only what is not zero takes room.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

use nix::sys::statvfs::fstatvfs;

use crate::error::ImageError;

/// Runs of zeros of this length become holes.
const BLOCK: usize = 64 << 10;
/// Bytes that are written between two looks at what is free.
const BETWEEN_LOOKS: u64 = 16 << 20;

/// Bytes that may still be written to the filesystem of a file.
pub(crate) fn free_bytes(file: &impl AsFd) -> io::Result<u64> {
    let space = fstatvfs(file)?;
    Ok(space
        .blocks_available()
        .saturating_mul(space.fragment_size()))
}

/// Refuses to begin what would not fit into `folder`, where `file` is written: `needed` bytes made
/// of `path`, besides the `reserve` that stays free.
pub(crate) fn require_room(
    file: &File,
    path: &Path,
    folder: &Path,
    needed: u64,
    reserve: u64,
) -> Result<(), ImageError> {
    let free = free_bytes(file).map_err(ImageError::io("measure the free space of", folder))?;
    if free >= needed.saturating_add(reserve) {
        return Ok(());
    }
    Err(ImageError::NoRoom {
        path: path.to_owned(),
        folder: folder.to_owned(),
        needed,
        free,
        reserve,
    })
}

/// A new file that is written once, with holes for zeros.
#[derive(Debug)]
pub struct SparseFile<'a> {
    file: &'a File,
    reserve: u64,
    length: u64,
    /// Bytes of content since the last look at what is free.
    unlooked: u64,
}

impl<'a> SparseFile<'a> {
    /// Fails before fewer than `reserve` bytes stay free.
    pub fn new(file: &'a File, reserve: u64) -> Self {
        Self {
            file,
            reserve,
            length: 0,
            unlooked: BETWEEN_LOOKS,
        }
    }

    /// Appends these bytes.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        for block in bytes.chunks(BLOCK) {
            if block.iter().any(|byte| *byte != 0) {
                self.look(block.len() as u64)?;
                self.file.write_all_at(block, self.length)?;
            }
            self.length += block.len() as u64;
        }
        Ok(())
    }

    /// Gives the length; the bytes are on the medium then.
    pub fn finish(self) -> io::Result<u64> {
        self.file.set_len(self.length)?;
        self.file.sync_all()?;
        Ok(self.length)
    }

    fn look(&mut self, more: u64) -> io::Result<()> {
        self.unlooked += more;
        if self.reserve == 0 || self.unlooked < BETWEEN_LOOKS {
            return Ok(());
        }
        self.unlooked = 0;
        if free_bytes(self.file)? >= self.reserve {
            return Ok(());
        }
        let words = format!(
            "fewer than the {} bytes of `LIFEBOAT_RESERVE` would stay free: free space there, choose \
             another place, or lower it",
            self.reserve
        );
        Err(io::Error::new(io::ErrorKind::StorageFull, words))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn zeros_are_holes_and_the_bytes_are_those_that_came() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut bytes = vec![0; 8 << 20];
        bytes[3 << 20] = 1;
        bytes[(8 << 20) - 1] = 2;
        let mut sparse = SparseFile::new(file.as_file(), 0);
        bytes
            .chunks(1_000_000)
            .for_each(|piece| sparse.write(piece).unwrap());
        assert_eq!(sparse.finish().unwrap(), 8 << 20);
        assert!(std::fs::read(file.path()).unwrap() == bytes);
        assert!(file.as_file().metadata().unwrap().blocks() * 512 <= 1 << 20);
    }

    #[test]
    fn so_much_stays_free() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut sparse = SparseFile::new(file.as_file(), u64::MAX);
        // Zeros take nothing away.
        sparse.write(&[0; 100]).unwrap();
        let error = sparse.write(b"content").unwrap_err();
        assert!(error.to_string().contains("LIFEBOAT_RESERVE"), "{error}");
        SparseFile::new(file.as_file(), 1)
            .write(b"content")
            .unwrap();
    }
}
