//! EnCase images (E01), in one segment or several: chunks of the disk, most of them packed with
//! zlib, each with a checksum.
//!
//! Written here because the crate for it (`ewf`) neither checks checksums nor notices that the last
//! segments are missing. What describes the disk is checked when the image is opened; every chunk
//! is checked when it is read.

use std::fs::File;
use std::os::unix::fs::FileExt;

use flate2::{Decompress, FlushDecompress, Status};

use super::ewf_tables::{ChunkPlace, Tables};
use super::{Content, by_blocks};
use crate::confine::Part;
use crate::error::{Refusal, RefusalKind};
use crate::structure::{self, Fields, Source, plausible_size, unreadable};

const SIGNATURE: &[u8] = b"EVF\x09\x0d\x0a\xff\x00";
const FILE_HEADER: u64 = 13;
/// Bytes of the head of a section.
pub(super) const SECTION_HEAD: u64 = 76;
const MOST_SECTIONS: usize = 1 << 20;
const LARGEST_CHUNK: u64 = 16 << 20;

/// An E01 image whose structure was checked.
pub(crate) struct Ewf {
    files: Vec<File>,
    tables: Tables,
    chunk: u64,
    size: u64,
    risks: Vec<String>,
}

/// What the section `volume` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Volume {
    chunks: u64,
    chunk_bytes: u64,
    size: u64,
}

/// The head of a section.
pub(super) struct Section {
    kind: String,
    /// First byte of the head in its segment.
    pub at: u64,
    next: u64,
    pub length: u64,
}

impl Section {
    /// First byte after the head.
    pub(super) fn body(&self) -> u64 {
        self.at + SECTION_HEAD
    }

    /// Bytes after the head.
    pub(super) fn body_length(&self) -> u64 {
        self.length.saturating_sub(SECTION_HEAD)
    }

    pub(super) fn end(&self) -> u64 {
        self.at.saturating_add(self.length)
    }
}

/// What is gathered from all segments.
#[derive(Default)]
struct Gathered {
    volume: Option<Volume>,
    tables: Tables,
    complete: bool,
    sections: usize,
    unread_sectors: u64,
}

impl Ewf {
    pub(crate) fn open(parts: &[Part]) -> Result<Self, Refusal> {
        let mut gathered = Gathered::default();
        for (index, part) in parts.iter().enumerate() {
            if gathered.complete {
                return Err(Refusal::damaged(format!(
                    "its segment `{}` comes after the last one",
                    crate::printable::printable(&part.name)
                )));
            }
            gathered.segment(&part.source(), index)?;
        }
        if !gathered.complete {
            return Err(incomplete(parts.len()));
        }
        let volume = gathered
            .volume
            .ok_or_else(|| Refusal::damaged("no segment says how large the disk is"))?;
        let found = gathered.tables.chunks();
        if found < volume.size.div_ceil(volume.chunk_bytes) {
            return Err(Refusal::truncated(format!(
                "it should hold {} chunks of data and holds {found}",
                volume.chunks
            )));
        }
        gathered.tables.refuse_shared()?;
        Ok(Self {
            files: parts.iter().map(Part::copy).collect::<Result<_, _>>()?,
            risks: risks(&gathered),
            tables: gathered.tables,
            chunk: volume.chunk_bytes,
            size: volume.size,
        })
    }

    /// Bytes of a chunk.
    pub(crate) fn chunk_bytes(&self) -> u64 {
        self.chunk
    }

    pub(crate) fn risks(&self) -> &[String] {
        &self.risks
    }

    /// Reads and checks the whole chunk `number` into `unpacked`.
    fn chunk(&self, number: u64, unpacked: &mut Vec<u8>) -> Result<(), Refusal> {
        let place = self
            .tables
            .place(number)
            .ok_or_else(|| Refusal::damaged(format!("chunk {number} is in none of its tables")))?;
        let wanted = self.chunk.min(self.size - number * self.chunk) as usize;
        let raw = self.stored(number, &place)?;
        if place.compressed {
            inflate(&raw, self.chunk as usize, unpacked)
        } else {
            plain(&raw, unpacked)
        }
        .ok_or_else(|| bad_chunk(number))?;
        if unpacked.len() < wanted {
            return Err(bad_chunk(number));
        }
        Ok(())
    }

    fn stored(&self, number: u64, place: &ChunkPlace) -> Result<Vec<u8>, Refusal> {
        // A chunk that does not shrink is stored as it is; packed ones are barely longer.
        let longest = self.chunk + self.chunk / 8 + 1024;
        let file = self
            .files
            .get(place.segment)
            .filter(|_| place.length <= longest);
        let file = file.ok_or_else(|| bad_chunk(number))?;
        let mut raw = vec![0; place.length as usize];
        file.read_exact_at(&mut raw, place.offset)
            .map_err(|error| unreadable("a chunk of data", &error))?;
        Ok(raw)
    }
}

impl Content for Ewf {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Refusal> {
        let mut unpacked = Vec::new();
        for (number, inside, piece) in by_blocks(offset, buffer, self.chunk) {
            self.chunk(number, &mut unpacked)?;
            let start = inside as usize;
            let bytes = unpacked.get(start..start + piece.len());
            piece.copy_from_slice(bytes.ok_or_else(|| bad_chunk(number))?);
        }
        Ok(())
    }
}

fn inflate(raw: &[u8], chunk: usize, unpacked: &mut Vec<u8>) -> Option<()> {
    unpacked.clear();
    unpacked.reserve(chunk);
    let mut stream = Decompress::new(true);
    // Never grows beyond what was reserved: a longer chunk is an error, not a bomb.
    let status = stream
        .decompress_vec(raw, unpacked, FlushDecompress::Finish)
        .ok()?;
    (status == Status::StreamEnd).then_some(())
}

fn plain(raw: &[u8], unpacked: &mut Vec<u8>) -> Option<()> {
    let (bytes, sum) = raw.split_last_chunk::<4>()?;
    if !structure::sums_agree(simd_adler32::adler32(&bytes), u32::from_le_bytes(*sum)) {
        return None;
    }
    unpacked.clear();
    unpacked.extend_from_slice(bytes);
    Some(())
}

fn bad_chunk(number: u64) -> Refusal {
    Refusal::new(
        RefusalKind::Damaged,
        format!("its chunk {number} does not match its checksum"),
        "copy the segments again, or export the evidence again",
    )
}

fn incomplete(parts: usize) -> Refusal {
    Refusal::new(
        RefusalKind::Truncated,
        format!("it goes on after its {parts} segments, but there is no further one"),
        "copy all segments (`.E01`, `.E02` and so on) into one folder, with their own names",
    )
}

fn risks(gathered: &Gathered) -> Vec<String> {
    let mut risks = Vec::new();
    if gathered.unread_sectors > 0 {
        risks.push(format!(
            "{} sectors could not be read when the disk was captured",
            gathered.unread_sectors
        ));
    }
    if gathered.tables.second_copies() > 0 {
        risks.push(format!(
            "{} of its tables are damaged; their second copies are used",
            gathered.tables.second_copies()
        ));
    }
    risks
}

impl Gathered {
    fn segment(&mut self, source: &Source<'_>, index: usize) -> Result<(), Refusal> {
        let head = source.read(0, FILE_HEADER, "the header of a segment")?;
        if head.bytes(0, 8) != SIGNATURE {
            return Err(Refusal::damaged(format!(
                "its segment number {} does not begin like one",
                index + 1
            )));
        }
        let number = usize::from(head.le16(9));
        if number != index + 1 {
            return Err(Refusal::new(
                RefusalKind::SplitOverFiles,
                format!(
                    "the segment in place {} is number {number} of its set",
                    index + 1
                ),
                "give the first segment, and keep the names that the segments had",
            ));
        }
        let mut at = FILE_HEADER;
        loop {
            let section = self.section_head(source, at)?;
            self.section(source, index, &section)?;
            match section.kind.as_str() {
                "done" => {
                    self.complete = true;
                    return Ok(());
                }
                "next" => return Ok(()),
                _ if section.next <= at => {
                    return Err(Refusal::damaged(format!(
                        "its section at byte {at} of segment {number} points back"
                    )));
                }
                _ => at = section.next,
            }
        }
    }

    fn section_head(&mut self, source: &Source<'_>, at: u64) -> Result<Section, Refusal> {
        self.sections += 1;
        if self.sections > MOST_SECTIONS {
            return Err(Refusal::absurd("it has more sections than any image"));
        }
        let head = source.read(at, SECTION_HEAD, "the head of a section")?;
        verify(&head, 0, 72, "the head of a section")?;
        let kind = head.bytes(0, 16).split(|byte| *byte == 0).next();
        let section = Section {
            kind: String::from_utf8_lossy(kind.unwrap_or_default()).into_owned(),
            at,
            next: head.le64(16),
            length: head.le64(24),
        };
        // The length of the last section of a segment is often left out.
        if !matches!(section.kind.as_str(), "next" | "done") {
            source.require(at, section.length.max(SECTION_HEAD), "a section")?;
        }
        Ok(section)
    }

    fn section(
        &mut self,
        source: &Source<'_>,
        segment: usize,
        section: &Section,
    ) -> Result<(), Refusal> {
        match section.kind.as_str() {
            "volume" | "disk" | "data" => self.volume(source, section),
            "sectors" => {
                self.tables.data_until(section);
                Ok(())
            }
            "table" => self.tables.add(source, segment, section),
            "table2" => self.tables.add_second(source, segment, section),
            "error2" => {
                self.unread_sectors += unread_sectors(source, section)?;
                Ok(())
            }
            "ltree" | "ltypes" => Err(Refusal::new(
                RefusalKind::UnsupportedFormat,
                "it is logical evidence, which holds files and not a disk",
                "capture the disk itself",
            )),
            _ => Ok(()),
        }
    }

    fn volume(&mut self, source: &Source<'_>, section: &Section) -> Result<(), Refusal> {
        let length = section.body_length();
        if length != 94 && length < 1052 {
            return Err(Refusal::damaged("its description of the disk is cut off"));
        }
        let long = length >= 1052;
        let fields = source.read(
            section.body(),
            if long { 1052 } else { 94 },
            "its description",
        )?;
        let sum_at = fields.all().len() - 4;
        verify(&fields, 0, sum_at, "its description of the disk")?;
        let sectors = if long {
            fields.le64(16)
        } else {
            u64::from(fields.le32(16))
        };
        let sector = u64::from(fields.le32(12));
        let volume = Volume {
            chunks: u64::from(fields.le32(4)),
            chunk_bytes: u64::from(fields.le32(8)).saturating_mul(sector),
            size: sectors.saturating_mul(sector),
        };
        if !(512..=LARGEST_CHUNK).contains(&volume.chunk_bytes) || !sector.is_power_of_two() {
            return Err(Refusal::absurd(format!(
                "its chunks have {} bytes in sectors of {sector}",
                volume.chunk_bytes
            )));
        }
        plausible_size(volume.size)?;
        match self.volume {
            // Every segment may repeat it.
            Some(known) if known.size != volume.size || known.chunk_bytes != volume.chunk_bytes => {
                Err(Refusal::damaged("its segments describe different disks"))
            }
            Some(_) => Ok(()),
            None => {
                self.volume = Some(volume);
                Ok(())
            }
        }
    }
}

fn unread_sectors(source: &Source<'_>, section: &Section) -> Result<u64, Refusal> {
    let what = "its list of unreadable sectors";
    if section.body_length() < 520 {
        return Ok(0);
    }
    let count = u64::from(source.read(section.body(), 520, what)?.le32(0));
    let bytes = count
        .saturating_mul(8)
        .min(section.body_length() - 520)
        .min(1 << 20);
    let entries = source.read(section.body() + 520, bytes, what)?;
    let counts = (0..bytes as usize / 8).map(|index| u64::from(entries.le32(index * 8 + 4)));
    Ok(counts.sum())
}

/// Compares an Adler-32 that stands behind the bytes that it covers.
pub(super) fn verify(fields: &Fields, from: usize, to: usize, what: &str) -> Result<(), Refusal> {
    let covered = fields.bytes(from, to - from);
    if structure::sums_agree(simd_adler32::adler32(&covered), fields.le32(to)) {
        return Ok(());
    }
    Err(Refusal::new(
        RefusalKind::Damaged,
        format!("the checksum of {what} is wrong"),
        "copy the segments again, or export the evidence again",
    ))
}
