//! systemd journal files, read as a stream of objects.
//!
//! The published pure readers give neither sequence number nor monotonic time and allocate what
//! a damaged size field asks for, so the format is read here: regular and compact, keyed hashes,
//! zstd, lz4 and xz. Memory is bounded by the two generations of the field cache.

use std::collections::HashMap;
use std::io::{BufReader, Read, Seek};
use std::rc::Rc;

use super::ReadError;
use super::journal_object::{Field, FieldName, MAX_FIELD, is_compressed, parse_field};
use super::source::{Positioned, Source, read_exactly, read_up_to};
use crate::event::{Position, Record};

const KNOWN_FEATURES: u32 = 0b1_1111;
const COMPACT: u32 = 1 << 4;
const HEADER_LEN: u64 = 208;
const OBJECT_HEADER: u64 = 16;
const ENTRY: u8 = 3;
const LAST_TYPE: u8 = 7;
/// How far behind a damaged object the next whole one is looked for.
const RESYNC_REACH: u64 = 1 << 20;
/// A boot whose records begin so early is there from its beginning.
const EARLY_US: u64 = 60_000_000;
const RESYNC_WORK: u64 = 100_000;
const MAX_ITEMS: usize = 1024;
const MAX_OBJECT: u64 = 1 << 30;
/// Entries may point anywhere, also all to the same costly object: the work for one file is bounded.
const WORK: u64 = 8_000_000;
const COMPRESSED_WORK: u64 = 64;
const GENERATION_LEN: usize = 100_000;
const GENERATION_BYTES: usize = 8 << 20;

/// Delivers every entry of a journal file.
pub(super) fn read(source: &Source, sink: &mut dyn FnMut(Record<'_>)) -> Result<(), ReadError> {
    let header = Header::read(source)?;
    Walk {
        fields: Fields::new(Rc::clone(source), &header),
        header,
        boot: ([0; 16], "0".repeat(32)),
        entries: 0,
        damage: None,
    }
    .run(sink)
}

/// When a journal begins, by its first bytes.
pub(super) fn first_us(head: &[u8]) -> u64 {
    u64_at(head, 184)
}

struct Header {
    header_size: u64,
    end: u64,
    tail_object: u64,
    compact: bool,
}

impl Header {
    fn read(source: &Source) -> Result<Self, ReadError> {
        let mut bytes = [0_u8; HEADER_LEN as usize];
        read_exactly(source.as_ref(), &mut bytes, 0).map_err(|_| ReadError::NotAJournal)?;
        if &bytes[..8] != b"LPKSHHRH" {
            return Err(ReadError::NotAJournal);
        }
        let flags = u32_at(&bytes, 12);
        if flags & !KNOWN_FEATURES != 0 {
            return Err(ReadError::UnknownFeatures(flags));
        }
        let header_size = u64_at(&bytes, 88);
        if !(HEADER_LEN..=4096).contains(&header_size) {
            return Err(ReadError::NotAJournal);
        }
        let end = header_size
            .saturating_add(u64_at(&bytes, 96))
            .min(source.size()?);
        let tail_object = u64_at(&bytes, 136);
        Ok(Self {
            header_size,
            end,
            tail_object,
            compact: flags & COMPACT != 0,
        })
    }
}

struct Walk {
    header: Header,
    fields: Fields,
    /// The last boot id, and how it is written.
    boot: ([u8; 16], String),
    entries: u64,
    /// Where the first damage was.
    damage: Option<u64>,
}

impl Walk {
    fn run(mut self, sink: &mut dyn FnMut(Record<'_>)) -> Result<(), ReadError> {
        let source = Rc::clone(&self.fields.source);
        let mut reader = BufReader::with_capacity(1 << 16, Positioned::new(source));
        let mut offset = self.header.header_size;
        while offset.saturating_add(OBJECT_HEADER) <= self.header.end {
            if self.fields.work_left == 0 {
                return Err(ReadError::TooMuchWork(self.entries));
            }
            offset = match self.object(&mut reader, offset, sink)? {
                Next::Object(next) => next,
                Next::End => break,
                Next::Damage => match self.behind_damage(offset) {
                    Some(next) => next,
                    None => break,
                },
            };
        }
        let cut = self.header.tail_object >= self.header.end && self.header.tail_object != 0;
        match self.damage.or(cut.then_some(offset)) {
            Some(offset) => Err(ReadError::Damaged {
                offset,
                entries: self.entries,
            }),
            None => Ok(()),
        }
    }

    fn object(
        &mut self,
        reader: &mut BufReader<Positioned>,
        offset: u64,
        sink: &mut dyn FnMut(Record<'_>),
    ) -> Result<Next, ReadError> {
        let to = offset as i64 - reader.stream_position()? as i64;
        reader.seek_relative(to)?;
        let mut head = [0_u8; OBJECT_HEADER as usize];
        if reader.read_exact(&mut head).is_err() {
            return Ok(Next::Damage);
        }
        let size = u64_at(&head, 8);
        // Journal files are allocated ahead: zeros behind the last object are no damage.
        if size == 0 && head[0] == 0 && offset > self.header.tail_object {
            return Ok(Next::End);
        }
        let Some(next) = self.next_of(&head, offset) else {
            return Ok(Next::Damage);
        };
        if head[0] == ENTRY && self.entry(reader, size, sink).is_err() {
            return Ok(Next::Damage);
        }
        Ok(Next::Object(next))
    }

    /// Where the object behind this one begins, when its head makes sense.
    fn next_of(&self, head: &[u8], offset: u64) -> Option<u64> {
        let size = u64_at(head, 8);
        let end = offset.checked_add(size)?;
        let fits = (OBJECT_HEADER..=MAX_OBJECT).contains(&size) && end <= self.header.end;
        (fits && head[0] <= LAST_TYPE).then(|| offset + size.next_multiple_of(8))
    }

    /// The next place where two objects follow each other, within reach.
    fn behind_damage(&mut self, offset: u64) -> Option<u64> {
        self.damage.get_or_insert(offset);
        self.fields.work_left = self.fields.work_left.checked_sub(RESYNC_WORK)?;
        let start = offset.checked_add(8)?;
        let reach = self.header.end.checked_sub(start)?.min(RESYNC_REACH);
        let mut bytes = vec![0_u8; reach as usize];
        let read = read_up_to(self.fields.source.as_ref(), &mut bytes, start).ok()?;
        let heads = (0..read.saturating_sub(OBJECT_HEADER as usize)).step_by(8);
        let place = |at: &usize| {
            let head = &bytes[*at..*at + OBJECT_HEADER as usize];
            let follower = self
                .next_of(head, start + *at as u64)
                .filter(|_| is_head(head));
            follower.is_some_and(|next| {
                let next = usize::try_from(next - start).unwrap_or(usize::MAX);
                let end = next.saturating_add(OBJECT_HEADER as usize);
                bytes.get(next..end).is_some_and(is_head)
            })
        };
        heads.into_iter().find(place).map(|at| start + at as u64)
    }

    /// Reads one entry behind its object header.
    fn entry(
        &mut self,
        reader: &mut BufReader<Positioned>,
        size: u64,
        sink: &mut dyn FnMut(Record<'_>),
    ) -> std::io::Result<()> {
        if size < 64 {
            return Ok(());
        }
        let item_len = if self.header.compact { 4 } else { 16 };
        let items = (((size - 64) / item_len) as usize).min(MAX_ITEMS);
        let mut bytes = vec![0_u8; 48 + items * item_len as usize];
        reader.read_exact(&mut bytes)?;
        let mut entry = Entry::default();
        for item in bytes[48..].chunks_exact(item_len as usize) {
            let offset = if self.header.compact {
                u64::from(u32_at(item, 0))
            } else {
                u64_at(item, 0)
            };
            if let Some(field) = self.fields.get(offset) {
                entry.set(field);
            }
        }
        self.entries += 1;
        self.name_boot(&bytes[24..40]);
        entry.deliver(&bytes, &self.boot.1, sink);
        Ok(())
    }

    fn name_boot(&mut self, id: &[u8]) {
        if self.boot.0 != id {
            self.boot.0.copy_from_slice(id);
            self.boot.1 = id.iter().map(|byte| format!("{byte:02x}")).collect();
        }
    }
}

enum Next {
    Object(u64),
    End,
    Damage,
}

/// Whether 16 bytes can begin an object: a known type, known flags, nothing in the reserve.
fn is_head(head: &[u8]) -> bool {
    let known = (1..=LAST_TYPE).contains(&head[0]) && head[1] <= 7;
    known && head[2..8].iter().all(|byte| *byte == 0) && u64_at(head, 8) >= OBJECT_HEADER
}

#[derive(Default)]
struct Entry {
    values: [Option<Rc<Field>>; FieldName::COUNT],
}

impl Entry {
    fn set(&mut self, field: Rc<Field>) {
        let slot = &mut self.values[field.name as usize];
        *slot = Some(field);
    }

    fn text(&self, name: FieldName) -> &str {
        self.values[name as usize]
            .as_ref()
            .map_or("", |field| field.value.as_str())
    }

    fn deliver(&self, fixed: &[u8], boot: &str, sink: &mut dyn FnMut(Record<'_>)) {
        let sequence = u64_at(fixed, 0);
        let identifier = match self.text(FieldName::Identifier) {
            "" => self.text(FieldName::Command),
            identifier => identifier,
        };
        let subject_unit = match self.text(FieldName::Unit) {
            "" => self.text(FieldName::ObjectUnit),
            unit => unit,
        };
        sink(Record {
            boot,
            begins: u64_at(fixed, 16) < EARLY_US,
            monotonic_us: u64_at(fixed, 16),
            realtime_us: u64_at(fixed, 8),
            position: Position::Sequence(sequence),
            logger_unit: self.text(FieldName::LoggerUnit),
            subject_unit,
            identifier,
            message: self.text(FieldName::Message),
            ..Record::default()
        });
    }
}

type Generation = HashMap<u64, Option<Rc<Field>>>;

/// Data objects by offset. Two generations: what is used moves to the young one.
struct Fields {
    source: Source,
    compact: bool,
    young: Generation,
    old: Generation,
    young_bytes: usize,
    work_left: u64,
}

impl Fields {
    fn new(source: Source, header: &Header) -> Self {
        Self {
            source,
            compact: header.compact,
            young: HashMap::new(),
            old: HashMap::new(),
            young_bytes: 0,
            work_left: WORK + header.end / 64,
        }
    }

    fn get(&mut self, offset: u64) -> Option<Rc<Field>> {
        if let Some(field) = self.young.get(&offset) {
            return field.clone();
        }
        let field = match self.old.remove(&offset) {
            Some(field) => field,
            None => self.load(offset).map(Rc::new),
        };
        if self.young.len() >= GENERATION_LEN || self.young_bytes >= GENERATION_BYTES {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        self.young_bytes += field.as_ref().map_or(0, |field| field.value.len());
        self.young.insert(offset, field.clone());
        field
    }

    fn load(&mut self, offset: u64) -> Option<Field> {
        self.work_left = self.work_left.checked_sub(1)?;
        let mut bytes = vec![0_u8; 72 + MAX_FIELD];
        let read = read_up_to(self.source.as_ref(), &mut bytes, offset).ok()?;
        bytes.truncate(read);
        if is_compressed(&bytes) {
            self.work_left = self.work_left.saturating_sub(COMPRESSED_WORK);
        }
        parse_field(&bytes, self.compact, |needed| {
            let mut whole = vec![0_u8; needed];
            read_exactly(self.source.as_ref(), &mut whole, offset).ok()?;
            Some(whole)
        })
    }
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes
        .get(at..at + 4)
        .and_then(|b| b.try_into().ok())
        .map_or(0, u32::from_le_bytes)
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes
        .get(at..at + 8)
        .and_then(|b| b.try_into().ok())
        .map_or(0, u64::from_le_bytes)
}
