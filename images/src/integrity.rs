//! Reading every byte of a file: to make its tree, or to compare it with one.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};

use crate::hash_tree::{Begun, HashTree, PieceHasher, piece_size};
use crate::inspection::Extent;

/// Large enough that all cores get work, small enough that a stop is quick.
const CHUNK: u64 = 4 << 20;
/// Bound on the damaged ranges that are told apart in one file; the last one grows beyond it.
const MOST_RANGES: usize = 1000;

/// How a file is read.
#[derive(Clone, Copy)]
pub struct Reading<'a> {
    /// Hears the bytes done and the bytes in all. May block, to let others go first.
    pub progress: &'a dyn Fn(u64, u64),
    /// Ends the reading when set.
    pub cancelled: &'a AtomicBool,
    /// At whose cost.
    pub effort: Effort,
}

impl<'a> Reading<'a> {
    /// At [`Effort::Fast`].
    pub fn fast(progress: &'a dyn Fn(u64, u64), cancelled: &'a AtomicBool) -> Self {
        Self {
            progress,
            cancelled,
            effort: Effort::Fast,
        }
    }
}

/// At whose cost a file is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// As fast as the host can, through the page cache: a boot that follows finds it warm.
    Fast,
    /// As fast as the host can, past what the page cache holds: what lies on the medium counts.
    Medium,
    /// On one core, past what the page cache holds.
    Background,
    /// Nothing is read, and so nothing can be verified later: for a volume that is used at once
    /// and kept in no catalogue. Its times and its inode identify it. Only what must be converted
    /// is read all the same.
    Nothing,
}

/// How reading a whole file ended.
pub(crate) enum Hashed {
    /// Its tree.
    Done(HashTree),
    /// The caller asked to stop; what was read until then.
    Cancelled(Begun),
}

/// What a comparison found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Compared {
    /// The ranges that differ or cannot be read, merged and ascending.
    pub damaged: Vec<Extent>,
    /// The first byte that was not compared, because the caller asked to stop.
    pub stopped_at: Option<u64>,
}

/// The tree of the first `length` bytes of `file`. A file that is shorter is an error.
pub(crate) fn hash(file: &File, length: u64, reading: &Reading<'_>) -> io::Result<Hashed> {
    go_on_hashing(file, length, Begun::default(), reading)
}

/// The same after pieces that were read before.
pub(crate) fn go_on_hashing(
    file: &File,
    length: u64,
    begun: Begun,
    reading: &Reading<'_>,
) -> io::Result<Hashed> {
    let mut pieces = begun.pieces;
    let first = pieces.len() as u64;
    let mut reader = PieceReader::new(file, first * piece_size(length), length, reading);
    for offset in piece_offsets(first, length) {
        match reader.piece(offset)? {
            Some(piece) => pieces.push(piece),
            None => return Ok(Hashed::Cancelled(Begun { pieces })),
        }
    }
    let tree = HashTree::new(length, pieces);
    tree.map(Hashed::Done)
        .ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))
}

/// Compares `file` with `tree`, beginning with the piece that holds byte `from`.
pub(crate) fn compare(
    file: &File,
    length: u64,
    tree: &HashTree,
    from: u64,
    reading: &Reading<'_>,
) -> io::Result<Compared> {
    let mut found = Compared::default();
    let first = from / piece_size(length);
    let mut reader = PieceReader::new(file, first * piece_size(length), length, reading);
    for (index, offset) in (first..).zip(piece_offsets(first, length)) {
        let piece = match reader.piece(offset) {
            Ok(None) => {
                found.stopped_at = Some(offset);
                break;
            }
            Ok(Some(piece)) => Some(piece),
            // The medium gave it up; the rest may still be there.
            Err(error) if error.raw_os_error() == Some(nix::libc::EIO) => None,
            Err(error) => return Err(error),
        };
        if piece.as_ref() != tree.piece(index) {
            note(&mut found.damaged, tree.range(index));
        }
    }
    Ok(found)
}

fn piece_offsets(first: u64, length: u64) -> impl Iterator<Item = u64> {
    let size = piece_size(length);
    (first..length.div_ceil(size)).map(move |index| index * size)
}

fn note(damaged: &mut Vec<Extent>, (start, length): (u64, u64)) {
    let is_full = damaged.len() >= MOST_RANGES;
    match damaged.last_mut() {
        Some(last) if last.start + last.length == start || is_full => {
            last.length = start + length - last.start;
        }
        _ => damaged.push(Extent { start, length }),
    }
}

struct PieceReader<'a> {
    file: &'a File,
    length: u64,
    reading: &'a Reading<'a>,
    buffer: Vec<u8>,
}

impl<'a> PieceReader<'a> {
    fn new(file: &'a File, from: u64, length: u64, reading: &'a Reading<'a>) -> Self {
        (reading.progress)(from, length);
        advise(file, 0, 0, PosixFadviseAdvice::POSIX_FADV_SEQUENTIAL);
        Self {
            file,
            length,
            reading,
            buffer: vec![0; CHUNK.min(length) as usize],
        }
    }

    /// The hash of the piece at `offset`, unless the caller asked to stop.
    fn piece(&mut self, offset: u64) -> io::Result<Option<[u8; 32]>> {
        let end = self.length.min(offset + piece_size(self.length));
        let mut hasher = PieceHasher::new(offset, self.length);
        let mut at = offset;
        while at < end {
            if self.reading.cancelled.load(Ordering::Relaxed) {
                return Ok(None);
            }
            at += self.feed(&mut hasher, at, end)?;
            (self.reading.progress)(at, self.length);
        }
        Ok(Some(hasher.finish()))
    }

    fn feed(&mut self, hasher: &mut PieceHasher, at: u64, end: u64) -> io::Result<u64> {
        let count = CHUNK.min(end - at);
        if self.reading.effort != Effort::Fast {
            advise(
                self.file,
                at,
                count,
                PosixFadviseAdvice::POSIX_FADV_DONTNEED,
            );
        }
        let bytes = &mut self.buffer[..count as usize];
        self.file.read_exact_at(bytes, at)?;
        match self.reading.effort {
            Effort::Background => hasher.update(bytes),
            Effort::Fast | Effort::Medium | Effort::Nothing => hasher.update_on_all_cores(bytes),
        }
        Ok(count)
    }
}

/// Only hints, so a refusal changes nothing.
fn advise(file: &File, offset: u64, length: u64, advice: PosixFadviseAdvice) {
    if let (Ok(offset), Ok(length)) = (i64::try_from(offset), i64::try_from(length)) {
        let _ = posix_fadvise(file, offset, length, advice);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn quiet(cancelled: &AtomicBool) -> Reading<'_> {
        Reading {
            progress: &|_, _| {},
            cancelled,
            effort: Effort::Background,
        }
    }

    fn made(length: u64) -> (tempfile::NamedTempFile, HashTree) {
        let file = tempfile::NamedTempFile::new().unwrap();
        let bytes: Vec<u8> = (0..length).map(|n| (n % 253) as u8).collect();
        std::fs::write(file.path(), bytes).unwrap();
        let never = AtomicBool::new(false);
        match hash(file.as_file(), length, &quiet(&never)).unwrap() {
            Hashed::Done(tree) => (file, tree),
            Hashed::Cancelled(_) => panic!("nobody asked to stop"),
        }
    }

    fn extent(start: u64, length: u64) -> Extent {
        Extent { start, length }
    }

    #[test]
    fn the_damaged_ranges_are_named() {
        let length = 8 * MIB + 77;
        let (file, tree) = made(length);
        let never = AtomicBool::new(false);
        let compared = |from| compare(file.as_file(), length, &tree, from, &quiet(&never)).unwrap();
        assert_eq!(compared(0), Compared::default());
        for at in [3 * MIB, 4 * MIB + 5, 6 * MIB - 1, length - 1] {
            file.as_file().write_all_at(&[255], at).unwrap();
        }
        let expected = [extent(3 * MIB, 3 * MIB), extent(8 * MIB, 77)];
        assert_eq!(compared(0).damaged, expected);
        assert_eq!(compared(5 * MIB + 9).damaged[0], extent(5 * MIB, MIB));
        assert_eq!(compared(6 * MIB).damaged, expected[1..]);
        file.as_file().set_len(4 * MIB).unwrap();
        let short = compare(file.as_file(), length, &tree, 0, &quiet(&never)).unwrap_err();
        assert_eq!(short.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_stop_says_where_to_go_on() {
        let (file, tree) = made(5 * MIB);
        let stop = AtomicBool::new(false);
        let progress = |done, _| stop.store(done >= 2 * MIB, Ordering::Relaxed);
        let reading = Reading {
            progress: &progress,
            ..quiet(&stop)
        };
        let found = compare(file.as_file(), 5 * MIB, &tree, 0, &reading).unwrap();
        assert_eq!(found.stopped_at, Some(2 * MIB));
    }

    #[test]
    fn many_ranges_become_few() {
        let mut damaged = Vec::new();
        for number in 0..5000 {
            note(&mut damaged, (number * 2 * MIB, MIB));
        }
        assert_eq!(damaged.len(), MOST_RANGES);
        let last = damaged.last().unwrap();
        assert_eq!(last.start + last.length, (4999 * 2 + 1) * MIB);
    }
}
