//! Windows event logs of Vista and later (`.evtx`).

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use evtx::EvtxParser;
use serde_json::Value;

use super::ReadError;
use super::journal::u64_at;
use super::source::{Positioned, ReadAt, Source, read_exactly};
use super::stamps::stamp_us;
use super::windows::Entry;

const KERNEL: &str = "Microsoft-Windows-Kernel-General";
const CLOCK_SET: u32 = 1;
const MAX_BAD_RECORDS: u64 = 1_000;
const FILE_HEADER: u64 = 4096;
const CHUNK: u64 = 65_536;
const MAX_CHUNKS: u64 = 1 << 20;

/// Where a log belongs, by its first readable record.
pub(super) struct Beginning {
    pub channel: String,
    pub time_us: u64,
}

/// The channel of a log and when it begins; `None` when it holds no record.
pub(super) fn beginning(source: &Source) -> Result<Option<Beginning>, ReadError> {
    let mut found = None;
    let result = each(source, &mut |event, entry| {
        let channel = event["System"]["Channel"].as_str().unwrap_or("");
        found.get_or_insert_with(|| Beginning {
            channel: channel.to_owned(),
            time_us: entry.time_us,
        });
        false
    });
    match found {
        Some(found) => Ok(Some(found)),
        None => result.map(|()| None),
    }
}

/// Delivers every record in the order of their numbers.
pub(super) fn read(source: &Source, sink: &mut dyn FnMut(Entry)) -> Result<(), ReadError> {
    each(source, &mut |_, entry| {
        sink(entry);
        true
    })
}

type Visitor<'a> = dyn FnMut(&Value, Entry) -> bool + 'a;

fn each(source: &Source, visit: &mut Visitor<'_>) -> Result<(), ReadError> {
    // The parser is safe code of others; on a damaged file it may still give up by panicking.
    catch_unwind(AssertUnwindSafe(|| walk(source, visit))).unwrap_or(Err(ReadError::BadEventLog))
}

fn walk(source: &Source, visit: &mut Visitor<'_>) -> Result<(), ReadError> {
    let ordered: Source = Rc::new(Ordered::new(source)?);
    let mut parser =
        EvtxParser::from_read_seek(Positioned::new(ordered)).map_err(|_| ReadError::BadEventLog)?;
    let mut bad = 0;
    for record in parser.records_json_value() {
        match record {
            Ok(record) => {
                let event = &record.data["Event"];
                if let Some(entry) = entry(event, record.event_record_id)
                    && !visit(event, entry)
                {
                    return Ok(());
                }
            }
            Err(_) => bad += 1,
        }
        if bad > MAX_BAD_RECORDS {
            break;
        }
    }
    let cut = source.size()?.saturating_sub(FILE_HEADER) % CHUNK != 0;
    match bad {
        0 if cut => Err(ReadError::Cut),
        0 => Ok(()),
        bad => Err(ReadError::BadRecords(bad)),
    }
}

/// A full log goes on at its beginning: the chunks in the order of their records.
struct Ordered {
    source: Source,
    /// Which chunk lies where; empty when they lie in order.
    places: Vec<u32>,
}

impl Ordered {
    fn new(source: &Source) -> io::Result<Self> {
        let chunks = (source.size()?.saturating_sub(FILE_HEADER) / CHUNK).min(MAX_CHUNKS);
        let mut first: Vec<(u64, u32)> = Vec::new();
        for place in 0..chunks as u32 {
            let mut head = [0_u8; 16];
            read_exactly(
                source.as_ref(),
                &mut head,
                FILE_HEADER + u64::from(place) * CHUNK,
            )?;
            let number = if head.starts_with(b"ElfChnk\0") {
                u64_at(&head, 8)
            } else {
                u64::MAX
            };
            first.push((number, place));
        }
        let places = if first.is_sorted() {
            Vec::new()
        } else {
            first.sort_unstable();
            first.into_iter().map(|(_, place)| place).collect()
        };
        Ok(Self {
            source: Rc::clone(source),
            places,
        })
    }
}

impl ReadAt for Ordered {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let Some(inside) = offset
            .checked_sub(FILE_HEADER)
            .filter(|_| !self.places.is_empty())
        else {
            let limit = if self.places.is_empty() {
                buffer.len()
            } else {
                buffer.len().min((FILE_HEADER - offset) as usize)
            };
            return self.source.read_at(&mut buffer[..limit], offset);
        };
        let (chunk, at) = (inside / CHUNK, inside % CHUNK);
        let place = self
            .places
            .get(chunk as usize)
            .map_or(chunk, |place| u64::from(*place));
        let limit = buffer.len().min((CHUNK - at) as usize);
        self.source
            .read_at(&mut buffer[..limit], FILE_HEADER + place * CHUNK + at)
    }

    fn size(&self) -> io::Result<u64> {
        self.source.size()
    }
}

fn entry(event: &Value, record: u64) -> Option<Entry> {
    let system = &event["System"];
    let id = &system["EventID"];
    let code = id.as_u64().or_else(|| id["#text"].as_u64())?;
    let code = u32::try_from(code).ok()?;
    let time = system["TimeCreated"]["#attributes"]["SystemTime"].as_str()?;
    let data = match &event["EventData"] {
        Value::Null => &event["UserData"],
        data => data,
    };
    let provider = &system["Provider"]["#attributes"]["Name"];
    let provider = provider.as_str().unwrap_or("");
    Some(Entry {
        record,
        code,
        provider: provider.to_owned(),
        computer: system["Computer"].as_str().unwrap_or("").to_owned(),
        time_us: stamp_us(time)?.us,
        subject: data["param1"].as_str().unwrap_or("").to_owned(),
        message: message(code, data),
        step_us: clock_step_us(provider, code, data),
    })
}

/// By how much the clock was set, for the record that says so.
fn clock_step_us(provider: &str, code: u32, data: &Value) -> i64 {
    if provider != KERNEL || code != CLOCK_SET {
        return 0;
    }
    let time = |name: &str| data[name].as_str().and_then(stamp_us);
    match (time("NewTime"), time("OldTime")) {
        (Some(new), Some(old)) => (new.us as i64).saturating_sub(old.us as i64),
        _ => 0,
    }
}

fn message(code: u32, data: &Value) -> String {
    let mut values = Vec::new();
    collect_values(data, &mut values, 0);
    format!("event {code}: {}", values.join(", "))
}

/// The texts of an event, without its binary data.
fn collect_values(data: &Value, values: &mut Vec<String>, depth: usize) {
    if depth > 4 || values.len() >= 12 {
        return;
    }
    match data {
        Value::String(text) => values.push(text.chars().take(200).collect()),
        Value::Number(number) => values.push(number.to_string()),
        Value::Array(items) => items
            .iter()
            .for_each(|item| collect_values(item, values, depth + 1)),
        Value::Object(fields) => {
            let told = fields
                .iter()
                .filter(|(name, _)| !["#attributes", "Binary", "Address"].contains(&name.as_str()));
            told.for_each(|(_, value)| collect_values(value, values, depth + 1));
        }
        Value::Null | Value::Bool(_) => {}
    }
}
