//! systemd journal files, read as a stream of objects.
//!
//! The published pure readers give neither sequence number nor monotonic time and allocate what
//! a damaged size field asks for, so the format is read here: regular and compact, keyed hashes,
//! zstd, lz4 and xz. Memory is bounded by the two generations of the field cache.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::rc::Rc;

use super::journal_object::{Field, FieldName, MAX_FIELD, is_compressed, parse_field};
use super::{LogReader, ReadError};
use crate::event::Record;

const KNOWN_FEATURES: u32 = 0b1_1111;
const COMPACT: u32 = 1 << 4;
const HEADER_LEN: u64 = 208;
const OBJECT_HEADER: u64 = 16;
const ENTRY: u8 = 3;
const MAX_ITEMS: usize = 1024;
const MAX_OBJECT: u64 = 1 << 30;
/// Entries may point anywhere, also all to the same costly object: the work for one file is bounded.
const WORK: u64 = 8_000_000;
const COMPRESSED_WORK: u64 = 64;
const GENERATION_LEN: usize = 100_000;
const GENERATION_BYTES: usize = 8 << 20;

pub(super) struct Journal;

impl LogReader for Journal {
    fn claims(&self, path: &str) -> bool {
        path.ends_with(".journal") || path.ends_with(".journal~")
    }

    fn is_fallback(&self) -> bool {
        false
    }

    fn read(&self, file: File, sink: &mut dyn FnMut(Record<'_>)) -> Result<(), ReadError> {
        let header = Header::read(&file)?;
        Walk {
            fields: Fields::new(file.try_clone()?, header.compact),
            header,
            entries: 0,
        }
        .run(BufReader::with_capacity(1 << 16, file), sink)
    }
}

struct Header {
    header_size: u64,
    end: u64,
    tail_object: u64,
    compact: bool,
}

impl Header {
    fn read(file: &File) -> Result<Self, ReadError> {
        let mut bytes = [0_u8; HEADER_LEN as usize];
        file.read_exact_at(&mut bytes, 0)
            .map_err(|_| ReadError::NotAJournal)?;
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
            .min(file.metadata()?.len());
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
    entries: u64,
}

impl Walk {
    fn run(
        mut self,
        mut reader: BufReader<File>,
        sink: &mut dyn FnMut(Record<'_>),
    ) -> Result<(), ReadError> {
        let mut offset = self.header.header_size;
        reader.seek(SeekFrom::Start(offset))?;
        while offset.saturating_add(OBJECT_HEADER) <= self.header.end {
            let mut head = [0_u8; OBJECT_HEADER as usize];
            reader
                .read_exact(&mut head)
                .map_err(|_| self.damaged(offset))?;
            let size = u64_at(&head, 8);
            if size == 0 && head[0] == 0 {
                return self.unused_tail(offset);
            }
            let fits = offset
                .checked_add(size)
                .is_some_and(|end| end <= self.header.end);
            if !(OBJECT_HEADER..=MAX_OBJECT).contains(&size) || !fits {
                return Err(self.damaged(offset));
            }
            if self.fields.work_left == 0 {
                return Err(ReadError::TooMuchWork(self.entries));
            }
            let padded = size.next_multiple_of(8);
            let taken = match head[0] {
                ENTRY => self
                    .entry(&mut reader, size, sink)
                    .map_err(|_| self.damaged(offset))?,
                _ => OBJECT_HEADER,
            };
            reader.seek_relative((padded - taken) as i64)?;
            offset += padded;
        }
        Ok(())
    }

    /// Journal files are allocated ahead: zeros behind the last object are no damage.
    fn unused_tail(&self, offset: u64) -> Result<(), ReadError> {
        if offset > self.header.tail_object {
            Ok(())
        } else {
            Err(self.damaged(offset))
        }
    }

    fn damaged(&self, offset: u64) -> ReadError {
        ReadError::Damaged {
            offset,
            entries: self.entries,
        }
    }

    /// Reads one entry behind its object header; returns how many bytes of the object were taken.
    fn entry(
        &mut self,
        reader: &mut BufReader<File>,
        size: u64,
        sink: &mut dyn FnMut(Record<'_>),
    ) -> std::io::Result<u64> {
        if size < 64 {
            return Ok(OBJECT_HEADER);
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
        entry.deliver(&bytes, sink);
        Ok(OBJECT_HEADER + bytes.len() as u64)
    }
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

    fn deliver(&self, fixed: &[u8], sink: &mut dyn FnMut(Record<'_>)) {
        let sequence = u64_at(fixed, 0);
        let boot: String = fixed[24..40]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let identifier = match self.text(FieldName::Identifier) {
            "" => self.text(FieldName::Command),
            identifier => identifier,
        };
        let subject_unit = match self.text(FieldName::Unit) {
            "" => self.text(FieldName::ObjectUnit),
            unit => unit,
        };
        sink(Record {
            boot: &boot,
            monotonic_us: u64_at(fixed, 16),
            realtime_us: u64_at(fixed, 8),
            record: format!("seqnum {sequence}"),
            sequence,
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
    file: File,
    compact: bool,
    young: Generation,
    old: Generation,
    young_bytes: usize,
    work_left: u64,
}

impl Fields {
    fn new(file: File, compact: bool) -> Self {
        Self {
            file,
            compact,
            young: HashMap::new(),
            old: HashMap::new(),
            young_bytes: 0,
            work_left: WORK,
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
        let read = read_up_to(&self.file, &mut bytes, offset)?;
        bytes.truncate(read);
        if is_compressed(&bytes) {
            self.work_left = self.work_left.saturating_sub(COMPRESSED_WORK);
        }
        parse_field(&bytes, self.compact, |needed| {
            let mut whole = vec![0_u8; needed];
            self.file.read_exact_at(&mut whole, offset).ok()?;
            Some(whole)
        })
    }
}

fn read_up_to(file: &File, bytes: &mut [u8], offset: u64) -> Option<usize> {
    let mut read = 0;
    while read < bytes.len() {
        match file.read_at(&mut bytes[read..], offset.checked_add(read as u64)?) {
            Ok(0) => break,
            Ok(count) => read += count,
            Err(_) => return None,
        }
    }
    Some(read)
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
