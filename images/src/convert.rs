//! Writing a disk to the file that it is converted to. Inside the confined child.
//!
//! Zeros are never written: the target is sparse. What the checkpoint does not cover is thrown away
//! before the work goes on, so that every way to the end gives the same bytes.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use nix::errno::Errno;

use crate::confine::{Part, Step};
use crate::content::Content;
use crate::content::packed::Unpacker;
use crate::conversion::{Checkpoint, ConversionLimits, MemberStart};
use crate::error::{Refusal, RefusalKind};
use crate::format::{Container, refuse_packed_image};
use crate::sparse::free_bytes;

/// What one thread reads at once.
const SLICE: usize = 1 << 20;
/// Zeros are looked for in pieces of this size.
const BLOCK: usize = 4096;
/// Data of one sector counts as a whole block.
const MOST_SPREAD: u64 = (BLOCK / 512) as u64;
static ZEROS: [u8; BLOCK] = [0; BLOCK];
/// Enough for every magic number that is looked for.
const HEAD: usize = 0x8010;

/// The file that is written, and what was promised about it.
pub(crate) struct Target<'a> {
    pub file: &'a File,
    pub limits: &'a ConversionLimits,
    /// Called after every step.
    pub report: &'a mut dyn FnMut(Step) -> io::Result<()>,
}

/// Converts a disk with random access, whose files have `taken` bytes together; gives its size.
pub(crate) fn convert(
    container: Container,
    disk: &dyn Content,
    taken: u64,
    from: &Checkpoint,
    target: &mut Target<'_>,
) -> Result<u64, Refusal> {
    let total = disk.size();
    target.check_size(total)?;
    target.begin(from, total)?;
    let mut pace = Pace::new(from);
    let mut position = from.done;
    while position < total {
        let slices = next_slices(disk, position, total, target.limits.step);
        position = slices
            .last()
            .map_or(total, |(start, length)| start + *length as u64);
        pace.content += copy(disk, &slices, target.file)?;
        match container {
            Container::Ewf => target.check_ratio(pace.content, taken)?,
            _ => check_unpacked(pace.content, taken)?,
        }
        target.check_space()?;
        let restart = MemberStart::default();
        pace.step(target, (position, total), position, restart)?;
    }
    target.finish(total)?;
    Ok(total)
}

/// Where nothing is packed, every byte of the disk is one of the files.
fn check_unpacked(content: u64, taken: u64) -> Result<(), Refusal> {
    if content <= taken.saturating_mul(MOST_SPREAD) {
        return Ok(());
    }
    Err(Refusal::damaged(format!(
        "its {taken} bytes become more than {MOST_SPREAD} times as many, so some of them are \
         used for several places of the disk"
    )))
}

/// The next pieces of the disk that may hold data.
fn next_slices(disk: &dyn Content, from: u64, total: u64, step: u64) -> Vec<(u64, usize)> {
    let mut slices = Vec::new();
    let mut position = from;
    let mut gathered = 0;
    while gathered < step {
        position = disk.next_data(position);
        if position >= total {
            break;
        }
        // Cut where a multiple ends, so that chunks and blocks are not read twice.
        let end = (position / SLICE as u64 + 1) * SLICE as u64;
        let length = end.min(total) - position;
        slices.push((position, length as usize));
        position += length;
        gathered += length;
    }
    slices
}

/// Copies all slices with all cores; gives the bytes that were not zero.
fn copy(disk: &dyn Content, slices: &[(u64, usize)], target: &File) -> Result<u64, Refusal> {
    let threads = std::thread::available_parallelism()
        .map_or(1, usize::from)
        .min(8);
    let next = AtomicUsize::new(0);
    let content = AtomicU64::new(0);
    let failed = AtomicBool::new(false);
    let failure = Mutex::new(None);
    let work = || {
        let mut buffer = vec![0; SLICE];
        while !failed.load(Ordering::Relaxed) {
            let Some((offset, length)) = slices.get(next.fetch_add(1, Ordering::Relaxed)) else {
                break;
            };
            let piece = &mut buffer[..*length];
            let done = disk
                .read_at(*offset, piece)
                .and_then(|()| write_content(target, *offset, piece));
            match done {
                Ok(bytes) => {
                    content.fetch_add(bytes, Ordering::Relaxed);
                }
                Err(refusal) => {
                    failed.store(true, Ordering::Relaxed);
                    failure
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .get_or_insert(refusal);
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads.min(slices.len()) {
            scope.spawn(work);
        }
        work();
    });
    match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(refusal) => Err(refusal),
        None => Ok(content.into_inner()),
    }
}

/// Writes what is not zero; gives its bytes.
fn write_content(target: &File, offset: u64, bytes: &[u8]) -> Result<u64, Refusal> {
    let mut written = 0;
    let mut run: Option<usize> = None;
    let mut at = 0;
    for block in bytes.chunks(BLOCK) {
        let zero = *block == ZEROS[..block.len()];
        match (zero, run) {
            (false, None) => run = Some(at),
            (true, Some(start)) => {
                written += write(target, offset + start as u64, &bytes[start..at])?;
                run = None;
            }
            _ => {}
        }
        at += block.len();
    }
    if let Some(start) = run {
        written += write(target, offset + start as u64, &bytes[start..])?;
    }
    Ok(written)
}

fn write(target: &File, offset: u64, bytes: &[u8]) -> Result<u64, Refusal> {
    match target.write_all_at(bytes, offset) {
        Ok(()) => Ok(bytes.len() as u64),
        Err(error) => Err(not_written(&error)),
    }
}

fn not_written(error: &io::Error) -> Refusal {
    if error.raw_os_error() == Some(Errno::ENOSPC as i32) {
        return no_space();
    }
    Refusal::new(
        RefusalKind::NoSpace,
        format!("its converted disk cannot be written ({error})"),
        "check the disk that it is converted to",
    )
}

fn no_space() -> Refusal {
    Refusal::new(
        RefusalKind::NoSpace,
        "there is not enough room to convert it",
        "free space where it is converted to, or put that on a larger disk",
    )
}

/// A piece of the disk on its way from the unpacking thread to the writing one.
struct Piece {
    offset: u64,
    bytes: Vec<u8>,
    taken: u64,
    start: MemberStart,
}

/// Converts a disk that can only be read from its beginning; gives its size.
pub(crate) fn unpack(
    container: Container,
    part: &Part,
    from: &Checkpoint,
    target: &mut Target<'_>,
) -> Result<u64, Refusal> {
    target.begin(from, from.done)?;
    let unpacker = Unpacker::open(container, part, from.restart)?;
    // Two pieces are filled while two are written.
    let (filled, to_write) = sync_channel::<Result<Piece, Refusal>>(2);
    let largest = target.limits.largest_disk;
    std::thread::scope(|scope| {
        scope.spawn(move || fill(unpacker, largest, &filled));
        // Moved, so that a failure here ends the other thread too.
        write_pieces(part.length, from, target, to_write)
    })
}

fn fill(mut unpacker: Unpacker, largest: u64, filled: &SyncSender<Result<Piece, Refusal>>) {
    let mut offset = unpacker.member_start().unpacked;
    loop {
        let mut bytes = vec![0; SLICE];
        let read = unpacker.read(&mut bytes).and_then(|count| {
            if offset + count as u64 > largest {
                return Err(too_large(largest));
            }
            bytes.truncate(count);
            Ok(Piece {
                offset,
                bytes,
                taken: unpacker.taken(),
                start: unpacker.member_start(),
            })
        });
        let count = read.as_ref().map_or(0, |piece| piece.bytes.len());
        offset += count as u64;
        // The other side is gone after a failure.
        if filled.send(read).is_err() || count == 0 {
            return;
        }
    }
}

fn write_pieces(
    packed: u64,
    from: &Checkpoint,
    target: &mut Target<'_>,
    pieces: Receiver<Result<Piece, Refusal>>,
) -> Result<u64, Refusal> {
    let mut pace = Pace::new(from);
    let mut ends = Ends::default();
    let mut since = 0;
    let mut size = from.done;
    for piece in pieces {
        let piece = piece?;
        if piece.bytes.is_empty() {
            size = size.max(piece.offset);
            break;
        }
        let end = piece.offset + piece.bytes.len() as u64;
        ends.see(piece.offset, &piece.bytes)?;
        size = size.max(end);
        // What was written before is unpacked again on the way, and not written again.
        let known = from
            .done
            .saturating_sub(piece.offset)
            .min(piece.bytes.len() as u64);
        let fresh = &piece.bytes[known as usize..];
        pace.content += write_content(target.file, piece.offset + known, fresh)?;
        since += piece.bytes.len() as u64;
        if since >= target.limits.step {
            since = 0;
            target.check_ratio(pace.content, packed)?;
            target.check_space()?;
            pace.step(
                target,
                (piece.taken, packed),
                end.max(from.done),
                piece.start,
            )?;
        }
    }
    target.check_ratio(pace.content, packed)?;
    crate::structure::plausible_size(size)?;
    ends.check()?;
    target.set_length(size)?;
    target.finish(size)?;
    Ok(size)
}

/// The first and the last bytes of a disk that goes by.
#[derive(Default)]
struct Ends {
    head: Vec<u8>,
    tail: Vec<u8>,
    checked: bool,
}

impl Ends {
    fn see(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Refusal> {
        if offset < HEAD as u64 {
            let room = HEAD.saturating_sub(self.head.len());
            self.head.extend_from_slice(&bytes[..room.min(bytes.len())]);
        }
        self.tail
            .extend_from_slice(&bytes[bytes.len().saturating_sub(512)..]);
        let surplus = self.tail.len().saturating_sub(512);
        self.tail.drain(..surplus);
        if offset == 0 && !self.checked {
            self.checked = true;
            refuse_packed_image(&self.head, b"")?;
        }
        Ok(())
    }

    fn check(&self) -> Result<(), Refusal> {
        refuse_packed_image(&self.head, &self.tail)
    }
}

/// When to make sure that what is written is on the disk.
struct Pace {
    content: u64,
    synced_content: u64,
}

impl Pace {
    fn new(from: &Checkpoint) -> Self {
        Self {
            content: from.content,
            synced_content: from.content,
        }
    }

    fn step(
        &mut self,
        target: &mut Target<'_>,
        (work, all): (u64, u64),
        done: u64,
        restart: MemberStart,
    ) -> Result<(), Refusal> {
        let synced = self.content - self.synced_content >= target.limits.sync_every;
        if synced {
            target.sync()?;
            self.synced_content = self.content;
        }
        let step = Step {
            done: work.min(all),
            total: all,
            written: Checkpoint {
                done,
                content: self.content,
                restart,
            },
            synced,
        };
        (target.report)(step).map_err(|error| not_written(&error))
    }
}

impl Target<'_> {
    /// Throws away what the checkpoint does not cover.
    fn begin(&self, from: &Checkpoint, length: u64) -> Result<(), Refusal> {
        self.check_space()?;
        self.set_length(from.done)?;
        self.set_length(length)
    }

    fn set_length(&self, length: u64) -> Result<(), Refusal> {
        self.file
            .set_len(length)
            .map_err(|error| not_written(&error))
    }

    fn sync(&self) -> Result<(), Refusal> {
        self.file.sync_data().map_err(|error| not_written(&error))
    }

    fn finish(&self, length: u64) -> Result<(), Refusal> {
        let is = self
            .file
            .metadata()
            .map_err(|error| not_written(&error))?
            .len();
        if is == length {
            return Ok(());
        }
        Err(Refusal::damaged(format!(
            "its converted disk has {is} bytes and should have {length}"
        )))
    }

    fn check_size(&self, size: u64) -> Result<(), Refusal> {
        crate::structure::plausible_size(size)?;
        if size > self.limits.largest_disk {
            return Err(too_large(self.limits.largest_disk));
        }
        Ok(())
    }

    fn check_ratio(&self, content: u64, packed: u64) -> Result<(), Refusal> {
        let allowed = packed
            .saturating_mul(self.limits.ratio)
            .max(self.limits.always);
        if content <= allowed {
            return Ok(());
        }
        Err(Refusal::new(
            RefusalKind::TooLarge,
            format!(
                "its {packed} packed bytes unfold to more than {} times as many",
                self.limits.ratio
            ),
            "if you know that it is a disk, raise `LIFEBOAT_UNPACK_RATIO`, and start a running `lifeboat serve` anew with it",
        ))
    }

    fn check_space(&self) -> Result<(), Refusal> {
        match free_bytes(self.file) {
            Ok(free) if free < self.limits.reserve => Err(no_space()),
            _ => Ok(()),
        }
    }
}

fn too_large(largest: u64) -> Refusal {
    Refusal::new(
        RefusalKind::TooLarge,
        format!("it unfolds to a disk of more than {largest} bytes"),
        "if you know that it is that large, raise `LIFEBOAT_LARGEST_DISK`, and start a running `lifeboat serve` anew with it",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_packed_does_not_grow() {
        check_unpacked(8 * 512, 512).unwrap();
        let refusal = check_unpacked(8 * 512 + 1, 512).unwrap_err();
        assert_eq!(refusal.kind, RefusalKind::Damaged);
        assert!(refusal.found.contains("512 bytes"), "{refusal:?}");
        check_unpacked(u64::MAX, u64::MAX).unwrap();
    }
}
