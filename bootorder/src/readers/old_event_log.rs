//! Windows event logs of NT, 2000, XP and 2003 (`.Evt`).
//!
//! A ring of records behind a header of 48 bytes. The header is often out of date (the log was
//! copied while it was open), so it is not used: records are found by their signature and their
//! repeated length, and the ring begins at the record with the lowest number.

use std::cell::Cell;

use super::ReadError;
use super::journal::u32_at;
use super::source::{ReadAt, Source, read_exactly, read_up_to};
use super::windows::Entry;

const HEADER: u64 = 48;
const FIXED: usize = 56;
/// The service that writes these logs accepts no more in one record.
const MAX_RECORD: u32 = 256 << 10;
const MAX_FILE: u64 = 4 << 30;
const WINDOW: usize = 1 << 20;
const SIGNATURE: &[u8] = b"LfLe";
const MAX_WRAPPED: u32 = 16;
const MAX_STRINGS: usize = 12;
const MAX_CHARACTERS: usize = 200;

/// Delivers every record in the order of their numbers.
pub(super) fn read(source: &Source, sink: &mut dyn FnMut(Entry)) -> Result<(), ReadError> {
    let mut head = [0_u8; HEADER as usize];
    read_exactly(source.as_ref(), &mut head, 0).map_err(|_| ReadError::BadEventLog)?;
    if &head[4..8] != SIGNATURE {
        return Err(ReadError::BadEventLog);
    }
    let ring = Ring {
        source: source.as_ref(),
        end: source.size()?.min(MAX_FILE),
        wrapped: Cell::new(0),
    };
    let mut lowest: Option<(u32, u64)> = None;
    ring.scan(HEADER, ring.end, &mut |offset, record| {
        let number = u32_at(record, 8);
        if lowest.is_none_or(|(least, _)| number < least) {
            lowest = Some((number, offset));
        }
    })?;
    let Some((_, start)) = lowest else {
        return Ok(());
    };
    let mut deliver = |_: u64, record: &[u8]| sink(entry(record));
    let bad = ring.scan(start, ring.end, &mut deliver)? + ring.scan(HEADER, start, &mut deliver)?;
    // Where the newest record ends, half of the oldest one is overwritten.
    let expected = u64::from(start != HEADER);
    match bad.saturating_sub(expected) {
        0 => Ok(()),
        bad => Err(ReadError::BadRecords(bad)),
    }
}

struct Ring<'a> {
    source: &'a dyn ReadAt,
    end: u64,
    wrapped: Cell<u32>,
}

type Visitor<'a> = dyn FnMut(u64, &[u8]) + 'a;

impl Ring<'_> {
    /// Visits the records that begin in a stretch; returns how many were damaged.
    fn scan(&self, from: u64, to: u64, visit: &mut Visitor<'_>) -> Result<u64, ReadError> {
        let (mut at, mut bad) = (from, 0);
        let mut window = Window::default();
        while at + 8 <= to {
            let head = window.bytes(self.source, at, 8)?;
            if head.get(4..8) != Some(SIGNATURE) {
                at += 4;
                continue;
            }
            let length = u32_at(head, 0);
            if length == HEADER as u32 {
                at += 4;
                continue;
            }
            match self.record(&mut window, at, length)? {
                Some(record) => {
                    visit(at, &record);
                    at += u64::from(length).next_multiple_of(4);
                }
                None => {
                    bad += 1;
                    at += 4;
                }
            }
        }
        Ok(bad)
    }

    /// The bytes of one record; a record at the end of the file goes on behind the header.
    fn record(
        &self,
        window: &mut Window,
        at: u64,
        length: u32,
    ) -> Result<Option<Vec<u8>>, ReadError> {
        if !(FIXED as u32 + 4..=MAX_RECORD).contains(&length) {
            return Ok(None);
        }
        let length = length as usize;
        let whole = ((self.end - at) as usize).min(length);
        let bytes = window.bytes(self.source, at, whole)?;
        if whole == length {
            return Ok(ends_right(bytes, length).then(|| bytes.to_vec()));
        }
        // Only one record can lie so; a hostile file may claim it for many.
        if self.wrapped.get() >= MAX_WRAPPED {
            return Ok(None);
        }
        self.wrapped.set(self.wrapped.get() + 1);
        let mut bytes = bytes.to_vec();
        let mut rest = vec![0; length - whole];
        let read = read_up_to(self.source, &mut rest, HEADER)?;
        bytes.extend_from_slice(&rest[..read]);
        Ok(ends_right(&bytes, length).then_some(bytes))
    }
}

/// Whether the length is repeated at the end.
fn ends_right(bytes: &[u8], length: usize) -> bool {
    bytes.len() == length && u32_at(bytes, length - 4) as usize == length
}

/// The part of the file that is looked at.
#[derive(Default)]
struct Window {
    start: u64,
    bytes: Vec<u8>,
}

impl Window {
    /// Up to so many bytes at an offset.
    fn bytes(&mut self, source: &dyn ReadAt, at: u64, count: usize) -> Result<&[u8], ReadError> {
        let end = at + count as u64;
        if at < self.start || end > self.start + self.bytes.len() as u64 {
            self.start = at;
            let left = source.size()?.saturating_sub(at);
            let wanted = left.min(WINDOW as u64) as usize;
            self.bytes.resize(wanted.max(count), 0);
            let read = read_up_to(source, &mut self.bytes, at)?;
            self.bytes.truncate(read);
        }
        let from = (at - self.start) as usize;
        let to = (from + count).min(self.bytes.len());
        Ok(self.bytes.get(from..to).unwrap_or(&[]))
    }
}

fn entry(record: &[u8]) -> Entry {
    // Above the lower half stand severity and facility.
    let code = u32_at(record, 20) & 0xffff;
    let names = record.get(FIXED..).unwrap_or(&[]);
    let (provider, computer_at) = text(names);
    let (computer, _) = text(names.get(computer_at..).unwrap_or(&[]));
    let strings = strings(record);
    Entry {
        record: u64::from(u32_at(record, 8)),
        code,
        provider,
        computer,
        time_us: u64::from(u32_at(record, 12)) * 1_000_000,
        subject: strings.first().cloned().unwrap_or_default(),
        message: format!("event {code}: {}", strings.join(", ")),
        step_us: 0,
    }
}

fn strings(record: &[u8]) -> Vec<String> {
    let count = usize::from(u16::from_le_bytes([record[26], record[27]])).min(MAX_STRINGS);
    let mut rest = record.get(u32_at(record, 36) as usize..).unwrap_or(&[]);
    let mut strings = Vec::new();
    for _ in 0..count {
        let (text, used) = text(rest);
        strings.push(text);
        rest = rest.get(used..).unwrap_or(&[]);
    }
    strings
}

/// A text in UTF-16 up to its zero, and how many bytes it took.
fn text(bytes: &[u8]) -> (String, usize) {
    let units = bytes
        .chunks_exact(2)
        .map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
    let units: Vec<u16> = units.take_while(|unit| *unit != 0).collect();
    let shown = &units[..units.len().min(MAX_CHARACTERS)];
    (String::from_utf16_lossy(shown), 2 * (units.len() + 1))
}

#[cfg(test)]
pub(super) mod tests {
    use std::rc::Rc;

    use super::*;

    fn utf16(text: &str) -> Vec<u8> {
        let units = text.encode_utf16().chain([0]);
        units.flat_map(u16::to_le_bytes).collect()
    }

    /// One record as the service writes it.
    pub fn record(number: u32, second: u32, source: &str, code: u32, strings: &[&str]) -> Vec<u8> {
        let mut tail = [utf16(source), utf16("XP1")].concat();
        let at = (FIXED + tail.len()) as u32;
        strings.iter().for_each(|text| tail.extend(utf16(text)));
        while tail.len() % 4 != 0 {
            tail.push(0);
        }
        let length = (FIXED + tail.len() + 4) as u32;
        let mut bytes = Vec::new();
        for value in [
            length,
            u32::from_le_bytes(*b"LfLe"),
            number,
            second,
            second,
            code,
        ] {
            bytes.extend(value.to_le_bytes());
        }
        bytes.extend(4_u16.to_le_bytes());
        bytes.extend((strings.len() as u16).to_le_bytes());
        for value in [0, 0, at, 0, at, 0, at] {
            bytes.extend(u32::to_le_bytes(value));
        }
        bytes.extend(tail);
        bytes.extend(length.to_le_bytes());
        bytes
    }

    pub fn header() -> Vec<u8> {
        let mut bytes = Vec::new();
        // Dirty, with offsets of long ago.
        for value in [
            48,
            u32::from_le_bytes(*b"LfLe"),
            1,
            1,
            48,
            48,
            1,
            1,
            65_536,
            1,
            0,
            48,
        ] {
            bytes.extend(u32::to_le_bytes(value));
        }
        bytes
    }

    fn numbers(bytes: Vec<u8>) -> (Vec<u64>, bool) {
        let mut numbers = Vec::new();
        let source: Source = Rc::new(bytes);
        let result = read(&source, &mut |entry| numbers.push(entry.record));
        (numbers, result.is_ok())
    }

    fn some(numbers: std::ops::Range<u32>) -> Vec<u8> {
        numbers
            .flat_map(|n| record(n, n, "Disk", 7, &["x"]))
            .collect()
    }

    #[test]
    fn records_are_read_with_their_texts() {
        let strings = ["DNS Server", "running"];
        let bytes = [
            header(),
            record(7, 60, "Service Control Manager", 0x4000_1b7c, &strings),
        ]
        .concat();
        let mut found = Vec::new();
        let source: Source = Rc::new(bytes);
        read(&source, &mut |entry| found.push(entry)).expect("a log");
        let entry = &found[0];
        assert_eq!(
            (entry.record, entry.time_us, entry.code),
            (7, 60_000_000, 7036)
        );
        assert_eq!(entry.message, "event 7036: DNS Server, running");
        assert_eq!(
            (entry.provider.as_str(), entry.computer.as_str()),
            ("Service Control Manager", "XP1")
        );
        assert_eq!(entry.subject, "DNS Server");
    }

    #[test]
    fn a_wrapped_ring_is_read_from_its_oldest_record() {
        // Record 8 begins at the end of the file and goes on behind the header.
        let split = record(8, 8, "Disk", 7, &["x"]);
        let (end, start) = split.split_at(20);
        let bytes = [
            &header(),
            start,
            &some(9..12),
            &[0x11; 40],
            &some(3..8),
            end,
        ]
        .concat();
        let (numbers, _) = numbers(bytes);
        assert_eq!(numbers, (3..12).collect::<Vec<_>>());
    }

    #[test]
    fn a_cut_or_damaged_log_is_read_as_far_as_it_goes() {
        let mut bytes = [header(), some(1..6)].concat();
        bytes.truncate(bytes.len() - 10);
        assert_eq!(numbers(bytes.clone()), ((1..5).collect(), false));
        let length = record(1, 1, "Disk", 7, &["x"]).len();
        bytes[48 + length] ^= 0x40;
        assert_eq!(numbers(bytes), (vec![1, 3, 4], false));
        assert_eq!(numbers(vec![0; 100]), (Vec::new(), false));
        assert_eq!(numbers(header()), (Vec::new(), true));
    }

    proptest::proptest! {
        #[test]
        fn hostile_logs_never_panic(noise: Vec<u8>, at in 0_usize..600, bytes in proptest::collection::vec(0_u8.., 0..8)) {
            let mut log = [header(), some(1..8)].concat();
            for (offset, byte) in bytes.iter().enumerate() {
                if let Some(place) = log.get_mut(at + offset) {
                    *place = *byte;
                }
            }
            log.extend(noise);
            numbers(log);
        }
    }
}
