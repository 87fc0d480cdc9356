//! Bytes of a log: a file or memory, packed or not, always read within bounds.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::rc::Rc;

use flate2::read::MultiGzDecoder;

/// A window of 16 MiB reads all that rotation programs write; more is a waste of memory.
const ZSTD_WINDOW_LOG: u32 = 24;
const XZ_MEMORY: u64 = 64 << 20;

/// Bytes that can be read anywhere.
pub(crate) trait ReadAt {
    /// Like `pread`: 0 only at the end.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// How many there are.
    fn size(&self) -> io::Result<u64>;
}

impl ReadAt for File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(self, buffer, offset)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }
}

impl ReadAt for Vec<u8> {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let rest = usize::try_from(offset)
            .ok()
            .and_then(|at| self.get(at..))
            .unwrap_or(&[]);
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }
}

pub(crate) type Source = Rc<dyn ReadAt>;

/// Fills as much of the buffer as there are bytes.
pub(super) fn read_up_to(source: &dyn ReadAt, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match source.read_at(&mut buffer[filled..], offset.saturating_add(filled as u64))? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(filled)
}

/// The same or an error.
pub(super) fn read_exactly(source: &dyn ReadAt, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    if read_up_to(source, buffer, offset)? < buffer.len() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(())
}

/// A source with a position, for parsers that want one.
pub(super) struct Positioned {
    source: Source,
    at: u64,
}

impl Positioned {
    pub fn new(source: Source) -> Self {
        Self { source, at: 0 }
    }
}

impl Read for Positioned {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read_at(buffer, self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

impl Seek for Positioned {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(by) => self.source.size()?.checked_add_signed(by),
        };
        self.at = target.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

/// How a file is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing {
    Gzip,
    Xz,
    Zstd,
}

impl Packing {
    /// By the first bytes, never by the name.
    pub fn of(head: &[u8]) -> Option<Self> {
        if head.starts_with(&[0x1f, 0x8b, 8]) {
            Some(Self::Gzip)
        } else if head.starts_with(b"\xfd7zXZ\0") {
            Some(Self::Xz)
        } else if head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
            Some(Self::Zstd)
        } else {
            None
        }
    }
}

/// How much may still be unpacked; one for all files of a machine.
#[derive(Debug, Clone)]
pub(super) struct Budget(Rc<Cell<u64>>);

impl Budget {
    pub fn new(bytes: u64) -> Self {
        Self(Rc::new(Cell::new(bytes)))
    }

    pub fn is_spent(&self) -> bool {
        self.0.get() == 0
    }
}

/// The unpacked bytes as a stream; it ends early when the budget is spent.
pub(super) fn unpacked(
    source: &Source,
    packing: Option<Packing>,
    budget: &Budget,
) -> io::Result<Box<dyn Read>> {
    let raw = Positioned::new(Rc::clone(source));
    let stream: Box<dyn Read> = match packing {
        None => Box::new(raw),
        Some(Packing::Gzip) => Box::new(MultiGzDecoder::new(raw)),
        Some(Packing::Xz) => {
            let flags = xz2::stream::CONCATENATED;
            let stream = xz2::stream::Stream::new_stream_decoder(XZ_MEMORY, flags)?;
            Box::new(xz2::read::XzDecoder::new_stream(raw, stream))
        }
        Some(Packing::Zstd) => {
            let mut decoder = zstd::stream::read::Decoder::new(raw)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG)?;
            Box::new(decoder)
        }
    };
    Ok(Box::new(Rationed {
        stream,
        budget: budget.clone(),
    }))
}

struct Rationed {
    stream: Box<dyn Read>,
    budget: Budget,
}

impl Read for Rationed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.budget.0.get();
        let allowed = buffer
            .len()
            .min(usize::try_from(left).unwrap_or(usize::MAX));
        let count = self.stream.read(&mut buffer[..allowed])?;
        self.budget.0.set(left - count as u64);
        Ok(count)
    }
}

/// When the file inside a gzip stream was last written, in seconds since the epoch.
pub(super) fn gzip_time(head: &[u8]) -> Option<u64> {
    let bytes: [u8; 4] = head.get(4..8)?.try_into().ok()?;
    let time = u64::from(u32::from_le_bytes(bytes));
    (Packing::of(head) == Some(Packing::Gzip) && time > 0).then_some(time)
}

/// The whole unpacked file in an unnamed temporary one, for formats that are read anywhere.
///
/// What could be unpacked before an error is kept: a cut file is still worth reading.
pub(super) fn unpack_whole(
    source: &Source,
    packing: Packing,
    limit: u64,
    budget: &Budget,
) -> io::Result<(Source, Option<io::Error>)> {
    let mut stream = unpacked(source, Some(packing), budget)?.take(limit);
    let mut file = tempfile::tempfile()?;
    let mut buffer = vec![0_u8; 1 << 16];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return Ok((Rc::new(file), None)),
            Ok(count) => io::Write::write_all(&mut file, &buffer[..count])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Ok((Rc::new(file), Some(error))),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Write;

    use super::*;

    /// The bytes packed in every way.
    pub fn packed(bytes: &[u8]) -> Vec<(Packing, Vec<u8>)> {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(bytes).expect("memory");
        let mut xz = xz2::write::XzEncoder::new(Vec::new(), 1);
        xz.write_all(bytes).expect("memory");
        vec![
            (Packing::Gzip, gzip.finish().expect("memory")),
            (Packing::Xz, xz.finish().expect("memory")),
            (Packing::Zstd, zstd::encode_all(bytes, 1).expect("memory")),
        ]
    }

    fn whole(bytes: Vec<u8>, packing: Packing, budget: u64) -> (Vec<u8>, bool) {
        let source: Source = Rc::new(bytes);
        let budget = Budget::new(budget);
        let (file, error) = unpack_whole(&source, packing, 1 << 30, &budget).expect("a file");
        let mut out = vec![0; file.size().expect("a size") as usize];
        read_exactly(file.as_ref(), &mut out, 0).expect("its bytes");
        (out, error.is_some())
    }

    #[test]
    fn every_packing_is_told_by_its_bytes_and_unpacked() {
        let text = b"Feb 29 00:00:00 dir1 kernel: x\n".repeat(1000);
        for (packing, bytes) in packed(&text) {
            assert_eq!(Packing::of(&bytes), Some(packing));
            assert_eq!(
                whole(bytes.clone(), packing, u64::MAX),
                (text.clone(), false)
            );
            let twice = [bytes.clone(), bytes].concat();
            assert_eq!(whole(twice, packing, u64::MAX).0.len(), 2 * text.len());
        }
    }

    #[test]
    fn bombs_end_with_the_budget_and_cut_files_keep_their_beginning() {
        for (packing, bytes) in packed(&vec![0; 16 << 20]) {
            assert_eq!(
                whole(bytes, packing, 1 << 20).0.len(),
                1 << 20,
                "{packing:?}"
            );
        }
        let text: Vec<u8> = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
        for (packing, bytes) in packed(&text) {
            let (part, failed) = whole(bytes[..bytes.len() / 2].to_vec(), packing, u64::MAX);
            assert!(
                failed && !part.is_empty() && text.starts_with(&part),
                "{packing:?}"
            );
        }
    }
}
