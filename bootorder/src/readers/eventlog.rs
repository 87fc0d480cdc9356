//! Windows System event logs (`.evtx`).
//!
//! Clocks run backwards in these files, so the order of records counts: time inside a boot never
//! goes back, and what the clock was set by is taken out of it.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};

use evtx::EvtxParser;
use serde_json::Value;

use super::syslog::stamp_us;
use super::{LogReader, ReadError};
use crate::event::Record;

const KERNEL: &str = "Microsoft-Windows-Kernel-General";
const CLOCK_SET: u32 = 1;
const SYSTEM_STARTED: u32 = 12;
const MAX_BAD_RECORDS: u64 = 1_000;

pub(super) struct SystemLog;

impl LogReader for SystemLog {
    fn claims(&self, path: &str) -> bool {
        let name = path.rsplit('/').next().unwrap_or(path).to_ascii_lowercase();
        name.ends_with(".evtx") && name.contains("system")
    }

    fn is_fallback(&self) -> bool {
        false
    }

    fn read(&self, file: File, sink: &mut dyn FnMut(Record<'_>)) -> Result<(), ReadError> {
        // The parser is safe code of others; on a damaged file it may still give up by panicking.
        catch_unwind(AssertUnwindSafe(|| read_records(file, sink)))
            .unwrap_or(Err(ReadError::BadEventLog))
    }
}

fn read_records(file: File, sink: &mut dyn FnMut(Record<'_>)) -> Result<(), ReadError> {
    let mut parser = EvtxParser::from_read_seek(file).map_err(|_| ReadError::BadEventLog)?;
    let mut boots = Boots::default();
    let mut bad = 0;
    for record in parser.records_json_value() {
        match record {
            Ok(record) => {
                let event = &record.data["Event"];
                if let Some(entry) = Entry::read(event, record.event_record_id) {
                    boots.deliver(&entry, sink);
                }
            }
            Err(_) => bad += 1,
        }
        if bad > MAX_BAD_RECORDS {
            break;
        }
    }
    if bad > 0 {
        Err(ReadError::BadRecords(bad))
    } else {
        Ok(())
    }
}

struct Entry<'a> {
    record: u64,
    code: u32,
    provider: &'a str,
    computer: &'a str,
    time_us: u64,
    data: &'a Value,
}

impl<'a> Entry<'a> {
    fn read(event: &'a Value, record: u64) -> Option<Self> {
        let system = &event["System"];
        let id = &system["EventID"];
        let code = id.as_u64().or_else(|| id["#text"].as_u64())?;
        let time = system["TimeCreated"]["#attributes"]["SystemTime"].as_str()?;
        let data = match &event["EventData"] {
            Value::Null => &event["UserData"],
            data => data,
        };
        Some(Self {
            record,
            code: u32::try_from(code).ok()?,
            provider: system["Provider"]["#attributes"]["Name"]
                .as_str()
                .unwrap_or(""),
            computer: system["Computer"].as_str().unwrap_or(""),
            time_us: stamp_us(time)?,
            data,
        })
    }

    /// By how much the clock was set, for the record that says so.
    fn clock_step_us(&self) -> i64 {
        if self.provider != KERNEL || self.code != CLOCK_SET {
            return 0;
        }
        let time = |name: &str| self.data[name].as_str().and_then(stamp_us);
        match (time("NewTime"), time("OldTime")) {
            (Some(new), Some(old)) => new as i64 - old as i64,
            _ => 0,
        }
    }

    fn message(&self) -> String {
        let mut values = Vec::new();
        collect_values(self.data, &mut values, 0);
        format!("event {}: {}", self.code, values.join(", "))
    }
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

/// Boots are told apart by the record in which the kernel starts.
#[derive(Default)]
struct Boots {
    id: String,
    start_us: u64,
    set_by_us: i64,
    last_us: u64,
}

impl Boots {
    fn deliver(&mut self, entry: &Entry<'_>, sink: &mut dyn FnMut(Record<'_>)) {
        let begins = entry.provider == KERNEL && entry.code == SYSTEM_STARTED;
        if begins || self.id.is_empty() {
            let id = format!("record {}", entry.record);
            *self = Self {
                id,
                start_us: entry.time_us,
                ..Self::default()
            };
        }
        self.set_by_us = self.set_by_us.saturating_add(entry.clock_step_us());
        let since = entry.time_us as i64 - self.start_us as i64 - self.set_by_us;
        self.last_us = self.last_us.max(u64::try_from(since).unwrap_or(0));
        sink(Record {
            boot: &self.id,
            monotonic_us: self.last_us,
            realtime_us: entry.time_us,
            record: format!("EventRecordID {}", entry.record),
            sequence: entry.record,
            logger_unit: "",
            subject_unit: entry.data["param1"].as_str().unwrap_or(""),
            identifier: entry.provider,
            message: &entry.message(),
            code: entry.code,
            host: entry.computer,
        });
    }
}
