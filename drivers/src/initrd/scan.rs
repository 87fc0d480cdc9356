//! Walks all segments of an initramfs and remembers what matters.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read};

use serde::{Deserialize, Serialize};

use super::cpio::{Entry, Kind, Reader};
use super::{lz4_legacy, lzop, xz};

/// No initramfs unpacks to more than this.
const LARGEST: u64 = 4 << 30;
/// No initramfs holds more entries than this.
const MOST_ENTRIES: usize = 500_000;
/// Zero bytes between two archives.
const MOST_ZEROS: usize = 64 << 20;
/// Files of interest are small.
const LARGEST_KEPT: u32 = 16 << 20;

/// About what the maps take for an entry, beside its name.
const ENTRY: usize = 64;
/// All names and remembered files together.
const MOST_KEPT: usize = 128 << 20;
/// What a decompressor may allocate.
const DECODER_MEMORY: u64 = 256 << 20;

/// How a segment is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Compressor {
    /// Not at all.
    None,
    /// gzip.
    Gzip,
    /// xz.
    Xz,
    /// The old LZMA container.
    Lzma,
    /// Zstandard.
    Zstd,
    /// LZ4 in its legacy container.
    Lz4,
    /// bzip2.
    Bzip2,
    /// LZO in lzop's container.
    Lzo,
}

impl Compressor {
    /// The name people use.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Xz => "xz",
            Self::Lzma => "lzma",
            Self::Zstd => "zstd",
            Self::Lz4 => "lz4",
            Self::Bzip2 => "bzip2",
            Self::Lzo => "lzo",
        }
    }
}

/// Why an initramfs was not understood.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// A format that is not read.
    #[error("segment at byte {offset} is {format}, which is not supported")]
    UnsupportedFormat {
        /// Where the segment begins.
        offset: u64,
        /// What it looks like.
        format: &'static str,
    },
    /// Damage.
    #[error("segment at byte {offset} cannot be unpacked")]
    Damaged {
        /// Where the segment begins.
        offset: u64,
        /// What went wrong.
        #[source]
        source: io::Error,
    },
}

impl ScanError {
    /// Whether it is sound as far as it was read, and more than may be kept.
    pub fn is_too_much(&self) -> bool {
        match self {
            Self::Damaged { source, .. } => source.kind() == io::ErrorKind::OutOfMemory,
            Self::UnsupportedFormat { .. } => false,
        }
    }
}

/// What is in an initramfs after all its segments were unpacked over one another.
#[derive(Debug, Default, Clone)]
pub struct InitrdContents {
    /// Kind of each path; for symbolic links see `links`.
    pub kinds: BTreeMap<String, Kind>,
    /// Targets of symbolic links.
    pub links: BTreeMap<String, String>,
    /// Content of the small files that decisions depend on.
    pub files: BTreeMap<String, Vec<u8>>,
    /// Compression of the last segment, which decides what may follow.
    pub compressor: Option<Compressor>,
    entries: usize,
    kept: usize,
    /// How much may be kept, where it is less than of any initramfs.
    most: Option<usize>,
}

impl InitrdContents {
    /// About how many bytes of memory this takes.
    pub(crate) fn size(&self) -> usize {
        let names = self.kinds.keys().map(|path| path.len() + ENTRY);
        let links = self.links.iter().map(|(path, to)| path.len() + to.len());
        let files = self
            .files
            .iter()
            .map(|(path, file)| path.len() + file.len());
        names.sum::<usize>() + links.sum::<usize>() + files.sum::<usize>()
    }

    /// Whether the path exists, after resolving links on the way.
    pub fn exists(&self, path: &str) -> bool {
        self.kinds.contains_key(&self.resolve(path))
    }

    /// The content of a remembered file.
    pub fn file(&self, path: &str) -> Option<&[u8]> {
        self.files.get(&self.resolve(path)).map(Vec::as_slice)
    }

    /// The path without symbolic links among its directories, as the kernel
    /// must see it: writing through `lib` would unlink the link `lib -> usr/lib`.
    pub fn resolve(&self, path: &str) -> String {
        let mut pending: Vec<String> = components(path).rev().collect();
        let mut resolved: Vec<String> = Vec::new();
        let mut followed = 0;
        while let Some(part) = pending.pop() {
            if part == ".." {
                resolved.pop();
                continue;
            }
            resolved.push(part);
            let here = resolved.join("/");
            let Some(target) = self.links.get(&here) else {
                continue;
            };
            followed += 1;
            if pending.is_empty() || followed > 40 {
                continue;
            }
            if target.starts_with('/') {
                resolved.clear();
            } else {
                resolved.pop();
            }
            pending.extend(components(target).rev());
        }
        resolved.join("/")
    }

    /// Kernel releases that have a module directory here.
    pub fn kernel_versions(&self) -> Vec<String> {
        let prefix = format!("{}/", self.resolve("lib/modules/x").trim_end_matches("/x"));
        let mut versions: Vec<String> = self
            .kinds
            .keys()
            .filter_map(|path| path.strip_prefix(&prefix)?.split('/').next())
            .map(str::to_owned)
            .collect();
        versions.dedup();
        versions
    }

    fn add(&mut self, entry: &Entry, content: Option<Vec<u8>>) {
        self.links.remove(&entry.name);
        self.files.remove(&entry.name);
        match (entry.kind, content) {
            (Kind::Symlink, Some(target)) => {
                let target = String::from_utf8_lossy(&target).into_owned();
                self.links.insert(entry.name.clone(), target);
            }
            (Kind::File, Some(content)) => {
                self.files.insert(entry.name.clone(), content);
            }
            _ => {}
        }
        self.kinds.insert(entry.name.clone(), entry.kind);
    }
}

fn components(path: &str) -> impl DoubleEndedIterator<Item = String> {
    path.split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .map(str::to_owned)
}

/// Whether decisions depend on the content of this file.
fn is_kept(entry: &Entry) -> bool {
    let name = entry.name.as_str();
    let module_list = name.contains("lib/modules/")
        && name
            .rsplit('/')
            .next()
            .is_some_and(|file| file.starts_with("modules."));
    let configuration = matches!(name, "conf/modules" | "config")
        || name.starts_with("etc/lvm/")
        || name.starts_with("etc/multipath/")
        || name.starts_with("conf/conf.d/")
        || name.starts_with("etc/cmdline.d/")
        || name.starts_with("etc/modules-load.d/")
        || name.contains("systemd/network/");
    match entry.kind {
        Kind::Symlink => entry.size <= 4096,
        Kind::File => entry.size <= LARGEST_KEPT && (module_list || configuration),
        _ => false,
    }
}

/// Reads a whole initramfs.
pub fn scan(input: impl Read) -> Result<InitrdContents, ScanError> {
    scan_onto(InitrdContents::default(), input)
}

/// Reads a whole initramfs, of which no more than so many bytes are kept:
/// [`ScanError::is_too_much`] tells that it would be more.
pub fn scan_within(input: impl Read, most: usize) -> Result<InitrdContents, ScanError> {
    let contents = InitrdContents {
        most: Some(most),
        ..InitrdContents::default()
    };
    let contents = scan_onto(contents, input)?;
    Ok(InitrdContents {
        most: None,
        ..contents
    })
}

/// Reads the rest of an initramfs whose beginning is known already.
pub fn scan_onto(
    mut contents: InitrdContents,
    input: impl Read,
) -> Result<InitrdContents, ScanError> {
    let mut input = Window::new(input);
    while skip_zeros(&mut input).map_err(|source| ScanError::Damaged { offset: 0, source })? {
        let offset = input.position;
        let damaged = |source| ScanError::Damaged { offset, source };
        let magic = input.peek(6).map_err(damaged)?;
        let compressor =
            recognise(magic).map_err(|format| ScanError::UnsupportedFormat { offset, format })?;
        read_segment(&mut input, compressor, &mut contents).map_err(damaged)?;
        contents.compressor = Some(compressor);
    }
    Ok(contents)
}

fn recognise(magic: &[u8]) -> Result<Compressor, &'static str> {
    let known: [(&[u8], Result<Compressor, &'static str>); 9] = [
        (b"0707", Ok(Compressor::None)),
        (&[0x1f, 0x8b], Ok(Compressor::Gzip)),
        (&[0xfd, b'7', b'z', b'X', b'Z', 0], Ok(Compressor::Xz)),
        (&[0x28, 0xb5, 0x2f, 0xfd], Ok(Compressor::Zstd)),
        (&lz4_legacy::MAGIC, Ok(Compressor::Lz4)),
        (&[0x5d, 0, 0], Ok(Compressor::Lzma)),
        (b"BZh", Ok(Compressor::Bzip2)),
        // As much of its magic as is looked at.
        (&lzop::MAGIC[..6], Ok(Compressor::Lzo)),
        (
            &[0x04, 0x22, 0x4d, 0x18],
            Err("an LZ4 frame, which kernels do not unpack"),
        ),
    ];
    known
        .into_iter()
        .find(|(prefix, _)| magic.starts_with(prefix))
        .map_or(Err("of an unknown format"), |(_, verdict)| verdict)
}

fn read_segment(
    input: &mut impl BufRead,
    compressor: Compressor,
    contents: &mut InitrdContents,
) -> io::Result<()> {
    match compressor {
        Compressor::None => read_archive(input, contents),
        Compressor::Gzip => read_archives(flate2::bufread::GzDecoder::new(input), contents),
        Compressor::Xz => {
            let stream = xz2::stream::Stream::new_stream_decoder(DECODER_MEMORY, 0)?;
            read_archives(xz::Decoder::new(input, stream), contents)
        }
        Compressor::Lzma => {
            let stream = xz2::stream::Stream::new_lzma_decoder(DECODER_MEMORY)?;
            read_archives(xz::Decoder::new(input, stream), contents)
        }
        Compressor::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(input)?.single_frame();
            decoder.window_log_max(27)?;
            read_archives(decoder, contents)
        }
        Compressor::Lz4 => read_archives(lz4_legacy::Decoder::new(input), contents),
        Compressor::Bzip2 => read_archives(bzip2::bufread::BzDecoder::new(input), contents),
        Compressor::Lzo => read_archives(lzop::Decoder::new(input), contents),
    }
}

/// Everything a decompressor gives: archives with zero bytes between them.
fn read_archives(unpacked: impl Read, contents: &mut InitrdContents) -> io::Result<()> {
    let mut unpacked = BufReader::with_capacity(256 << 10, unpacked.take(LARGEST));
    while skip_zeros(&mut unpacked)? {
        read_archive(&mut unpacked, contents)?;
    }
    Ok(())
}

fn read_archive(input: &mut impl BufRead, contents: &mut InitrdContents) -> io::Result<()> {
    let mut reader = Reader::new(input);
    while let Some(entry) = reader.next_entry()? {
        contents.entries += 1;
        contents.kept += entry.name.len()
            + ENTRY
            + if is_kept(&entry) {
                entry.size as usize
            } else {
                0
            };
        if contents.most.is_some_and(|most| contents.kept > most) {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        if contents.entries > MOST_ENTRIES || contents.kept > MOST_KEPT {
            let message = "it holds more than any initramfs does";
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        let content = if is_kept(&entry) {
            Some(reader.content(&entry)?)
        } else {
            None
        };
        contents.add(&entry, content);
    }
    Ok(())
}

/// Skips zero bytes; false at the end of the input.
fn skip_zeros(input: &mut impl BufRead) -> io::Result<bool> {
    let mut skipped = 0;
    loop {
        if skipped > MOST_ZEROS {
            let message = "it holds more padding than any initramfs does";
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        let buffer = input.fill_buf()?;
        if buffer.is_empty() {
            return Ok(false);
        }
        let zeros = buffer.iter().take_while(|byte| **byte == 0).count();
        let all = zeros == buffer.len();
        skipped += zeros;
        input.consume(zeros);
        if !all {
            return Ok(true);
        }
    }
}

/// A buffered reader that knows its position and can look several bytes ahead.
struct Window<R> {
    inner: R,
    buffer: Vec<u8>,
    start: usize,
    position: u64,
}

impl<R: Read> Window<R> {
    const CHUNK: usize = 256 << 10;

    fn new(inner: R) -> Self {
        Self {
            inner,
            buffer: Vec::new(),
            start: 0,
            position: 0,
        }
    }

    /// Up to `count` bytes without consuming them; fewer only at the end.
    fn peek(&mut self, count: usize) -> io::Result<&[u8]> {
        while self.buffer.len() - self.start < count && self.refill()? > 0 {}
        let end = self.buffer.len().min(self.start + count);
        Ok(&self.buffer[self.start..end])
    }

    fn refill(&mut self) -> io::Result<usize> {
        self.buffer.drain(..self.start);
        self.start = 0;
        let kept = self.buffer.len();
        self.buffer.resize(kept + Self::CHUNK, 0);
        let result = self.inner.read(&mut self.buffer[kept..]);
        self.buffer.truncate(kept + *result.as_ref().unwrap_or(&0));
        result
    }
}

impl<R: Read> Read for Window<R> {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let count = available.len().min(target.len());
        target[..count].copy_from_slice(&available[..count]);
        self.consume(count);
        Ok(count)
    }
}

impl<R: Read> BufRead for Window<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.start == self.buffer.len() {
            self.refill()?;
        }
        Ok(&self.buffer[self.start..])
    }

    fn consume(&mut self, count: usize) {
        let count = count.min(self.buffer.len() - self.start);
        self.start += count;
        self.position += count as u64;
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::super::cpio::Writer;
    use super::*;

    fn archive(name: &str, content: &[u8]) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.directory("conf");
        writer.file(name, 0o644, content);
        writer.finish()
    }

    fn packed(compressor: Compressor, content: &[u8]) -> Vec<u8> {
        match compressor {
            Compressor::None => content.to_vec(),
            Compressor::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Default::default());
                encoder.write_all(content).unwrap();
                encoder.finish().unwrap()
            }
            Compressor::Xz => {
                let mut encoder = xz2::write::XzEncoder::new(Vec::new(), 1);
                encoder.write_all(content).unwrap();
                encoder.finish().unwrap()
            }
            Compressor::Lzma => {
                let options = xz2::stream::LzmaOptions::new_preset(1).unwrap();
                let stream = xz2::stream::Stream::new_lzma_encoder(&options).unwrap();
                let mut encoder = xz2::write::XzEncoder::new_stream(Vec::new(), stream);
                encoder.write_all(content).unwrap();
                encoder.finish().unwrap()
            }
            Compressor::Zstd => zstd::encode_all(content, 1).unwrap(),
            Compressor::Lz4 => lz4_legacy::encode(content),
            Compressor::Lzo => lzop::encode(content),
            Compressor::Bzip2 => {
                let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), Default::default());
                encoder.write_all(content).unwrap();
                encoder.finish().unwrap()
            }
        }
    }

    #[test]
    fn early_archive_then_each_compressor_then_a_supplement() {
        use Compressor::{Bzip2, Gzip, Lz4, Lzma, Lzo, None, Xz, Zstd};
        for compressor in [None, Gzip, Xz, Lzma, Zstd, Lz4, Bzip2, Lzo] {
            let mut image = archive("kernel-x86-microcode", b"early");
            image.resize(1024, 0);
            image.extend(packed(compressor, &archive("conf/modules", b"ahci\n")));
            let supplement = archive("conf/modules", b"virtio\n");
            if compressor == Lz4 {
                image.extend(lz4_legacy::encode(&supplement));
            } else {
                image.resize(image.len().next_multiple_of(4), 0);
                image.extend(supplement);
            }
            let contents = scan(image.as_slice()).unwrap();
            assert!(contents.exists("kernel-x86-microcode"), "{compressor:?}");
            assert_eq!(
                contents.file("conf/modules"),
                Some(&b"virtio\n"[..]),
                "{compressor:?}"
            );
        }
    }

    #[test]
    fn links_among_directories_are_resolved() {
        let mut contents = InitrdContents::default();
        contents.links.insert("lib".into(), "usr/lib".into());
        contents.links.insert(
            "usr/lib/modules".into(),
            "/real/./modules/../modules".into(),
        );
        contents.links.insert("loop".into(), "loop/x".into());
        assert_eq!(contents.resolve("lib/firmware/a"), "usr/lib/firmware/a");
        assert_eq!(
            contents.resolve("lib/modules/6.1/a.ko"),
            "real/modules/6.1/a.ko"
        );
        assert!(contents.resolve("loop/a").ends_with('a'));
    }

    #[test]
    fn unsupported_formats_are_named() {
        let error = scan(&[0x04, 0x22, 0x4d, 0x18, 0, 0, 0][..]).unwrap_err();
        assert!(error.to_string().contains("LZ4 frame"), "{error}");
    }

    #[test]
    fn no_more_is_kept_than_may_be() {
        let image = archive("conf/modules", &[b'x'; 5000]);
        let whole = scan(image.as_slice()).unwrap();
        let contents = scan_within(image.as_slice(), whole.kept).unwrap();
        // What is appended later is no longer counted against it.
        scan_onto(contents, image.as_slice()).unwrap();
        let error = scan_within(image.as_slice(), whole.kept - 1).unwrap_err();
        assert!(error.is_too_much(), "{error}");
        let error = scan_within(&image[..image.len() / 2], 1 << 20).unwrap_err();
        assert!(!error.is_too_much(), "{error}");
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..400),
            kind in 0usize..9,
        ) {
            let magics: [&[u8]; 9] = [
                b"", b"070701", &[0x1f, 0x8b, 8, 0], &[0xfd, b'7', b'z', b'X', b'Z', 0],
                &[0x28, 0xb5, 0x2f, 0xfd], &lz4_legacy::MAGIC, &[0x5d, 0, 0], b"BZh9", &lzop::MAGIC,
            ];
            let _ = scan([magics[kind], &bytes].concat().as_slice());
        }
    }
}
