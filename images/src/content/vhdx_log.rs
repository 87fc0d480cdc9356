//! The log of a VHDX: what was written to it and not yet to its place.
//!
//! Replayed in memory; the image is never written. The newest sequence of entries that is whole
//! wins, as the format says.

use std::collections::BTreeMap;

use crate::error::Refusal;
use crate::structure::vhdx::{Headers, guid_at};
use crate::structure::{self, Fields, Source};

/// Everything in the log has this unit.
pub(super) const UNIT: u64 = 4096;
/// Hyper-V makes logs of 1 MiB; larger ones grow with the disk.
const LARGEST_LOG: u64 = 64 << 20;
const DESCRIPTORS_IN_FIRST: u64 = 126;
const DESCRIPTORS_IN_OTHERS: u64 = 128;

/// Sectors of the file that the log says are different.
#[derive(Default)]
pub(super) struct Replay {
    /// Whole units of data, by their first byte.
    data: BTreeMap<u64, Vec<u8>>,
    /// Ranges that became zeros before the data: first byte, length.
    zeros: Vec<(u64, u64)>,
    /// Length that the file has after the replay.
    length: u64,
}

/// One entry that is whole.
struct Entry {
    at: u64,
    length: u64,
    tail: u64,
    sequence: u64,
    flushed: u64,
    last: u64,
    descriptors: u64,
}

/// Whether the log holds something that is not in its place.
pub(crate) fn has_entries_to_replay(
    source: &Source<'_>,
    headers: &Headers,
) -> Result<bool, Refusal> {
    if headers.log_id == [0; 16] {
        return Ok(false);
    }
    let log = read_log(source, headers)?;
    Ok(!newest(&log, headers)?.is_empty())
}

impl Replay {
    pub(super) fn of(source: &Source<'_>, headers: &Headers) -> Result<Self, Refusal> {
        let mut replay = Self {
            length: source.length,
            ..Self::default()
        };
        if headers.log_id == [0; 16] {
            return Ok(replay);
        }
        let log = read_log(source, headers)?;
        let entries = newest(&log, headers)?;
        let Some(head) = entries.last() else {
            return Ok(replay);
        };
        if source.length < head.flushed {
            return Err(Refusal::truncated(format!(
                "its log says that the file had {} bytes and it has {}",
                head.flushed, source.length
            )));
        }
        replay.length = source.length.max(head.last);
        for entry in &entries {
            replay.apply(&log, entry)?;
        }
        Ok(replay)
    }

    /// Length of the file after the replay.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Changes what was read from `offset` of the file to what the log says.
    pub(super) fn patch(&self, offset: u64, buffer: &mut [u8]) {
        let end = offset.saturating_add(buffer.len() as u64);
        for (start, length) in &self.zeros {
            let from = (*start).max(offset);
            let to = start.saturating_add(*length).min(end);
            if from < to {
                buffer[(from - offset) as usize..(to - offset) as usize].fill(0);
            }
        }
        let first = offset.saturating_sub(UNIT - 1);
        for (start, data) in self.data.range(first..end) {
            let from = (*start).max(offset);
            let to = (start + UNIT).min(end);
            if from < to {
                let piece = &data[(from - start) as usize..(to - start) as usize];
                buffer[(from - offset) as usize..(to - offset) as usize].copy_from_slice(piece);
            }
        }
    }

    fn apply(&mut self, log: &Log, entry: &Entry) -> Result<(), Refusal> {
        let mut data_unit = entry.at + descriptor_units(entry.descriptors) * UNIT;
        for index in 0..entry.descriptors {
            let at = entry.at + 64 + index * 32;
            let descriptor = log.read(at, 32);
            let place = descriptor.le64(16);
            match descriptor.bytes(0, 4) {
                b"zero" => self.zero(place, descriptor.le64(8))?,
                b"desc" => {
                    self.write(log, &descriptor, data_unit, place)?;
                    data_unit += UNIT;
                }
                _ => return Err(damaged()),
            }
        }
        Ok(())
    }

    fn zero(&mut self, place: u64, length: u64) -> Result<(), Refusal> {
        let end = place.checked_add(length).ok_or_else(damaged)?;
        if !place.is_multiple_of(UNIT) || !length.is_multiple_of(UNIT) || end > self.length {
            return Err(damaged());
        }
        // What an earlier entry wrote there is gone; what a later one writes comes after.
        let stale: Vec<u64> = self.data.range(place..end).map(|(at, _)| *at).collect();
        for at in stale {
            self.data.remove(&at);
        }
        self.zeros.push((place, length));
        Ok(())
    }

    fn write(
        &mut self,
        log: &Log,
        descriptor: &Fields,
        unit: u64,
        place: u64,
    ) -> Result<(), Refusal> {
        let end = place.checked_add(UNIT).ok_or_else(damaged)?;
        if !place.is_multiple_of(UNIT) || end > self.length.next_multiple_of(UNIT) {
            return Err(damaged());
        }
        let mut data = log.read(unit, UNIT).all().to_vec();
        // Its first 8 and last 4 bytes stand in the descriptor: their place carries the sequence.
        data[..8].copy_from_slice(descriptor.bytes(8, 8));
        let last = UNIT as usize - 4;
        data[last..].copy_from_slice(descriptor.bytes(4, 4));
        self.data.insert(place, data);
        Ok(())
    }
}

/// The circular log, whole in memory.
struct Log {
    bytes: Vec<u8>,
}

impl Log {
    fn length(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Reads around the end.
    fn read(&self, at: u64, length: u64) -> Fields {
        let mut read = Vec::with_capacity(length as usize);
        let mut start = (at % self.length()) as usize;
        while (read.len() as u64) < length {
            let rest = self.bytes.get(start..).unwrap_or_default();
            let count = rest.len().min(length as usize - read.len());
            read.extend_from_slice(&rest[..count]);
            start = 0;
        }
        Fields(read)
    }
}

fn read_log(source: &Source<'_>, headers: &Headers) -> Result<Log, Refusal> {
    let length = headers.log_length;
    if length == 0 || !length.is_multiple_of(UNIT) || length > LARGEST_LOG {
        return Err(Refusal::absurd(format!("its log has {length} bytes")));
    }
    let bytes = source.read(headers.log_offset, length, "its log")?;
    Ok(Log { bytes: bytes.0 })
}

/// The entries to replay, oldest first; none if no sequence is whole.
fn newest(log: &Log, headers: &Headers) -> Result<Vec<Entry>, Refusal> {
    let mut best: Vec<Entry> = Vec::new();
    let mut at = 0;
    let mut examined = 0;
    while at < log.length() {
        let sequence = sequence_from(log, headers, at);
        // Every start is tried, so that a log of many short entries costs their square.
        examined += sequence.len();
        if examined > 1 << 20 {
            return Err(Refusal::absurd("its log has more entries than any"));
        }
        let step = sequence.first().map_or(UNIT, |first| first.length);
        if newer(&sequence, &best) {
            best = sequence;
        }
        at += step.max(UNIT);
    }
    Ok(best)
}

fn newer(found: &[Entry], best: &[Entry]) -> bool {
    match (found.last(), best.last()) {
        (Some(found), Some(best)) => found.sequence > best.sequence,
        (found, _) => found.is_some(),
    }
}

/// The entries from `at` on that follow each other, if the last of them names one as its tail:
/// those from the tail on.
fn sequence_from(log: &Log, headers: &Headers, at: u64) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut position = at;
    let mut used = 0;
    while used < log.length() {
        let Some(entry) = entry(log, headers, position) else {
            break;
        };
        let follows = entries
            .last()
            .is_none_or(|last| entry.sequence == last.sequence + 1);
        if !follows {
            break;
        }
        used += entry.length;
        position = (position + entry.length) % log.length();
        entries.push(entry);
    }
    let Some(tail) = entries.last().map(|head| head.tail) else {
        return entries;
    };
    match entries.iter().position(|entry| entry.at == tail) {
        Some(first) => entries.split_off(first),
        None => Vec::new(),
    }
}

/// The entry at `at`, if it is whole.
fn entry(log: &Log, headers: &Headers, at: u64) -> Option<Entry> {
    let head = log.read(at, 64);
    let length = u64::from(head.le32(8));
    let descriptors = u64::from(head.le32(24));
    let plausible = head.bytes(0, 4) == b"loge"
        && guid_at(&head, 32) == headers.log_id
        && length > 0
        && length.is_multiple_of(UNIT)
        && length <= log.length()
        && descriptor_units(descriptors).checked_mul(UNIT)? <= length;
    if !plausible || !whole(log, at, length, head.le32(4)) {
        return None;
    }
    let entry = Entry {
        at,
        length,
        tail: u64::from(head.le32(12)),
        sequence: head.le64(16),
        flushed: head.le64(48),
        last: head.le64(56),
        descriptors,
    };
    has_its_data(log, &entry).then_some(entry)
}

fn whole(log: &Log, at: u64, length: u64, sum: u32) -> bool {
    let mut bytes = log.read(at, length).0;
    bytes[4..8].fill(0);
    structure::sums_agree(crc32c::crc32c(&bytes), sum)
}

/// Every descriptor and every unit of data carries the sequence of its entry.
fn has_its_data(log: &Log, entry: &Entry) -> bool {
    let mut unit = entry.at + descriptor_units(entry.descriptors) * UNIT;
    for index in 0..entry.descriptors {
        let descriptor = log.read(entry.at + 64 + index * 32, 32);
        if descriptor.le64(24) != entry.sequence {
            return false;
        }
        if descriptor.bytes(0, 4) != b"desc" {
            continue;
        }
        let data = log.read(unit, UNIT);
        let sequence = u64::from(data.le32(4)) << 32 | u64::from(data.le32(UNIT as usize - 4));
        if data.bytes(0, 4) != b"data" || sequence != entry.sequence {
            return false;
        }
        unit += UNIT;
    }
    unit <= entry.at + entry.length
}

/// Units that the head and the descriptors of an entry take.
fn descriptor_units(descriptors: u64) -> u64 {
    let further = descriptors.saturating_sub(DESCRIPTORS_IN_FIRST);
    1 + further.div_ceil(DESCRIPTORS_IN_OTHERS)
}

fn damaged() -> Refusal {
    Refusal::damaged("its log leads outside the file")
}
