//! What the readers deliver: boots of a machine and the records that matter for its order.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use crate::classify::{What, classify};
use crate::clock::{self, Clock};
use crate::descriptions::unit_of_description;
use crate::retention::Kept;

const MAX_TEXT: usize = 240;
const MAX_MESSAGE: usize = 1024;
const MAX_NAME: usize = 256;
/// What one machine may keep in memory.
const MAX_BYTES: usize = 32 << 20;
const MAX_BOOTS: usize = 5_000;
/// Kinds of records that a boot keeps at least.
const LEAST_KINDS: usize = 8;
/// Machines are renamed; the last names are the ones that count.
const MAX_HOSTS: usize = 3;
const MAX_CARD_LINES: usize = 1_000;
const MAX_LEASES: usize = 64;

/// Where a record stands in its file, as the evidence names it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Position {
    /// Not said.
    #[default]
    Unknown,
    /// Sequence number of a journal.
    Sequence(u64),
    /// Record number of a Windows log.
    EventRecord(u64),
    /// Line of a text.
    Line(u64),
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => Ok(()),
            Self::Sequence(number) => write!(f, "seqnum {number}"),
            Self::EventRecord(number) => write!(f, "EventRecordID {number}"),
            Self::Line(number) => write!(f, "line {number}"),
        }
    }
}

impl Position {
    fn number(self) -> u64 {
        match self {
            Self::Unknown => 0,
            Self::Sequence(number) | Self::EventRecord(number) | Self::Line(number) => number,
        }
    }
}

/// One log record as a reader found it, before anything is decided about it.
#[derive(Debug, Clone, Default)]
pub struct Record<'a> {
    /// Boot id, or whatever tells the boots of one machine apart.
    pub boot: &'a str,
    /// Whether the log shows the beginning of that boot; where boots have an id it does not matter.
    pub begins: bool,
    /// Microseconds since that boot.
    pub monotonic_us: u64,
    /// Microseconds since the epoch by the clock of the machine.
    pub realtime_us: u64,
    /// The kernel's own time, where the log has it beside the other two.
    pub uptime_us: Option<u64>,
    /// Whether `realtime_us` is local time of an unknown zone.
    pub is_local_time: bool,
    /// Whether the log writes no parts of seconds.
    pub is_whole_seconds: bool,
    /// Position inside the file.
    pub position: Position,
    /// Orders records with equal monotonic time; 0 stands for the position.
    pub sequence: u64,
    /// Unit that logged it.
    pub logger_unit: &'a str,
    /// Unit that the record is about (only the service manager says).
    pub subject_unit: &'a str,
    /// Program that logged it.
    pub identifier: &'a str,
    /// The text.
    pub message: &'a str,
    /// Windows event id, 0 elsewhere.
    pub code: u32,
    /// What the machine called itself; only where logs say it in each record.
    pub host: &'a str,
}

/// A record kept because it says something about readiness or failure.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub monotonic_us: u64,
    pub realtime_us: u64,
    pub sequence: u64,
    /// The unit it is about, else the one that logged it.
    pub unit: String,
    pub identifier: String,
    pub message: String,
    pub file: Arc<str>,
    pub record: String,
    /// For how many records of its kind it stands, itself included.
    pub count: u32,
    pub what: What,
}

/// One run of a machine between power on and off, as far as the logs tell.
#[derive(Debug, Clone)]
pub(crate) struct Boot {
    pub id: String,
    pub events: Vec<Event>,
    /// Whether the logs show its beginning, not only a later part.
    pub begins: bool,
    pub clock: Clock,
}

impl Boot {
    /// Corrected wall clock time, in seconds, of a monotonic time of this boot.
    pub fn wall_s(&self, monotonic_us: u64) -> f64 {
        self.clock.wall_s(monotonic_us)
    }

    /// By how much `wall_s` may be wrong, in seconds.
    pub fn uncertainty_s(&self) -> f64 {
        self.clock.uncertainty_s()
    }

    pub fn start_s(&self) -> f64 {
        self.wall_s(0)
    }

    pub fn end_s(&self) -> f64 {
        self.wall_s(self.clock.last_monotonic_us())
    }

    /// Whether the boot went on for so long after a time.
    pub fn has_quiet_after(&self, monotonic_us: u64, length_us: u64) -> bool {
        self.clock.last_monotonic_us().saturating_sub(monotonic_us) >= length_us
    }

    /// By how much the clock was set during the boot.
    pub fn clock_step_s(&self) -> f64 {
        self.clock.step_s()
    }
}

/// All boots of a machine in time order.
#[derive(Debug, Clone, Default)]
pub(crate) struct History {
    pub boots: Vec<Boot>,
    /// Names under which the machine logged.
    pub hosts: Vec<String>,
    /// Lines in which the kernel names network cards, oldest first.
    pub card_lines: Vec<String>,
    /// Addresses by DHCP, the newest of each interface.
    pub leases: BTreeMap<String, IpAddr>,
}

/// What was too much to keep.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Left {
    pub records: u64,
    /// The oldest ones.
    pub boots: u64,
}

/// A boot while records come in.
#[derive(Debug)]
struct Growing {
    kept: Kept,
    begins: bool,
    clock: Clock,
    newest_us: u64,
}

/// Collects records into boots; bounded whatever is pushed.
#[derive(Debug, Default)]
pub(crate) struct HistoryBuilder {
    boots: BTreeMap<String, Growing>,
    /// Units by their description, for service managers that log only that.
    units: BTreeMap<String, String>,
    card_lines: Vec<String>,
    leases: BTreeMap<String, IpAddr>,
    hosts: Vec<String>,
    bytes: usize,
    left: Left,
}

impl HistoryBuilder {
    pub fn new(units: BTreeMap<String, String>) -> Self {
        Self {
            units,
            ..Self::default()
        }
    }

    pub fn push(&mut self, file: &Arc<str>, record: Record<'_>) {
        self.name(record.host);
        let what = classify(&record);
        self.note_network(what, &record);
        let Some(boot) = grown(&mut self.boots, file, &record) else {
            return;
        };
        let kept_before = boot.kept.bytes();
        if let Some(what) = what.filter(|what| !matches!(what, What::Card | What::Lease)) {
            let event = event(file, &record, what, &self.units);
            self.left.records += u64::from(!boot.kept.push(event));
        }
        self.bytes = self.bytes + boot.kept.bytes() - kept_before;
        if self.bytes > MAX_BYTES {
            self.shrink();
        }
        if self.boots.len() > 2 * MAX_BOOTS {
            self.forget_oldest(MAX_BOOTS);
        }
    }

    fn note_network(&mut self, what: Option<What>, record: &Record<'_>) {
        match what {
            Some(What::Card) if self.card_lines.len() < MAX_CARD_LINES => {
                self.card_lines.push(bounded(record.message, MAX_MESSAGE));
            }
            Some(What::Lease) => self.leases.extend(
                crate::leases::in_log(record.identifier, record.message).filter(|(card, _)| {
                    self.leases.len() < MAX_LEASES || self.leases.contains_key(card)
                }),
            ),
            _ => {}
        }
    }

    fn name(&mut self, host: &str) {
        if host.is_empty() || self.hosts.first().is_some_and(|first| first == host) {
            return;
        }
        let host = bounded(host, MAX_NAME);
        self.hosts.retain(|known| *known != host);
        self.hosts.truncate(MAX_HOSTS - 1);
        self.hosts.insert(0, host);
    }

    /// Makes room for what is to come, in every boot alike.
    fn shrink(&mut self) {
        let mut kinds = 1024;
        while self.bytes > MAX_BYTES / 2 && kinds >= LEAST_KINDS {
            self.boots
                .values_mut()
                .for_each(|boot| boot.kept.shrink(kinds));
            self.bytes = self.boots.values().map(|boot| boot.kept.bytes()).sum();
            kinds /= 2;
        }
        while self.bytes > MAX_BYTES / 2 && self.boots.len() > 1 {
            self.forget_oldest(self.boots.len() / 2);
        }
    }

    fn forget_oldest(&mut self, keep: usize) {
        let mut ages: Vec<(u64, String)> = self
            .boots
            .iter()
            .map(|(id, boot)| (boot.newest_us, id.clone()))
            .collect();
        ages.sort_unstable();
        let count = ages.len().saturating_sub(keep);
        for (_, id) in ages.into_iter().take(count) {
            self.boots.remove(&id);
        }
        self.left.boots += count as u64;
        self.bytes = self.boots.values().map(|boot| boot.kept.bytes()).sum();
    }

    /// The history, and what was left out of it.
    pub fn finish(mut self) -> (History, Left) {
        if self.boots.len() > MAX_BOOTS {
            self.forget_oldest(MAX_BOOTS);
        }
        let mut boots: Vec<Boot> = self.boots.into_iter().map(finished).collect();
        clock::settle(&mut boots);
        boots.sort_by(|a, b| a.start_s().total_cmp(&b.start_s()).then(a.id.cmp(&b.id)));
        let history = History {
            boots,
            hosts: self.hosts,
            card_lines: self.card_lines,
            leases: self.leases,
        };
        (history, self.left)
    }
}

fn finished((id, boot): (String, Growing)) -> Boot {
    let mut events = boot.kept.into_events();
    events.sort_by(|a, b| order_of(a).cmp(&order_of(b)));
    events.dedup_by(|a, b| order_of(a) == order_of(b));
    Boot {
        id,
        events,
        begins: boot.begins,
        clock: boot.clock,
    }
}

fn order_of(event: &Event) -> (u64, u64, &str, &str) {
    (
        event.monotonic_us,
        event.sequence,
        &event.record,
        &event.message,
    )
}

/// The boot of a record, widened to hold it.
fn grown<'a>(
    boots: &'a mut BTreeMap<String, Growing>,
    file: &Arc<str>,
    record: &Record<'_>,
) -> Option<&'a mut Growing> {
    if !boots.contains_key(record.boot) {
        let fresh = Growing {
            kept: Kept::default(),
            begins: false,
            clock: Clock::new(record),
            newest_us: 0,
        };
        boots.insert(record.boot.to_owned(), fresh);
    }
    let boot = boots.get_mut(record.boot)?;
    boot.begins |= record.begins;
    boot.newest_us = boot.newest_us.max(record.realtime_us);
    boot.clock.observe(file, record);
    Some(boot)
}

/// The unit that a record of the service manager is about, else the one that logged it.
fn unit_of<'a>(record: &Record<'a>, what: What, units: &'a BTreeMap<String, String>) -> &'a str {
    if !record.subject_unit.is_empty() {
        return record.subject_unit;
    }
    // "Started The nginx HTTP server." names no unit but its description.
    let described = || {
        let (_, description) = record.message.trim_end_matches('.').split_once(' ')?;
        units.get(description).map(String::as_str)
    };
    let is_started = what == What::Started;
    let named = what.unit_in_text(record.message);
    named
        .or_else(|| described().filter(|_| is_started))
        .or_else(|| unit_of_description(record.message).filter(|_| is_started))
        .unwrap_or(record.logger_unit)
}

fn event(
    file: &Arc<str>,
    record: &Record<'_>,
    what: What,
    units: &BTreeMap<String, String>,
) -> Event {
    let unit = unit_of(record, what, units);
    let sequence = match record.sequence {
        0 => record.position.number(),
        sequence => sequence,
    };
    Event {
        monotonic_us: record.monotonic_us,
        realtime_us: record.realtime_us,
        sequence,
        unit: bounded(unit, MAX_NAME),
        identifier: bounded(record.identifier, MAX_NAME),
        message: bounded(record.message, MAX_MESSAGE),
        file: Arc::clone(file),
        record: record.position.to_string(),
        count: 1,
        what,
    }
}

/// Text of a guest made safe for a terminal: one line, no control or direction characters, bounded.
pub(crate) fn printable(text: &str) -> String {
    let mut out = String::new();
    for character in text.trim().chars() {
        if out.len() >= MAX_TEXT {
            out.push('…');
            break;
        }
        match character {
            '\t' => out.push(' '),
            c if c.is_control() || is_direction(c) => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    out
}

fn is_direction(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

fn bounded(text: &str, limit: usize) -> String {
    let mut end = text.len().min(limit);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

/// RFC 3339 in UTC with milliseconds.
pub(crate) fn format_time(realtime_us: u64) -> String {
    let seconds = realtime_us / 1_000_000;
    let (year, month, day) = civil_of_days((seconds / 86_400) as i64);
    let of_day = seconds % 86_400;
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}Z",
        of_day / 3600,
        of_day / 60 % 60,
        of_day % 60,
        realtime_us / 1000 % 1000
    )
}

/// The year of a time, in UTC.
pub(crate) fn year_of(realtime_us: u64) -> i64 {
    civil_of_days((realtime_us / 86_400_000_000) as i64).0
}

fn civil_of_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// Days since the epoch of a civil date; the inverse of `civil_of_days`.
pub(crate) fn days_of_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    let of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year;
    era * 146_097 + of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc_3339() {
        assert_eq!(format_time(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(
            format_time(1_709_164_799_123_456),
            "2024-02-28T23:59:59.123Z"
        );
        assert_eq!(
            format_time(1_709_164_800_000_000),
            "2024-02-29T00:00:00.000Z"
        );
    }

    #[test]
    fn civil_dates_round_trip() {
        for days in (-800_000..800_000).step_by(97) {
            let (year, month, day) = civil_of_days(days);
            assert_eq!(days_of_civil(year, month, day), days);
        }
    }

    #[test]
    fn guest_text_cannot_reach_the_terminal() {
        assert_eq!(
            printable("a\u{1b}[31m\u{202e}b\n"),
            "a\\u{1b}[31m\\u{202e}b"
        );
        assert!(printable(&"x".repeat(10_000)).len() < 300);
    }

    #[test]
    fn the_clock_of_a_boot_is_the_last_one_seen() {
        let mut builder = HistoryBuilder::default();
        let file: Arc<str> = Arc::from("j");
        for (monotonic_us, realtime_us) in [(1_000_000, 5_000_000), (9_000_000, 3_609_000_000)] {
            builder.push(
                &file,
                Record {
                    boot: "b",
                    monotonic_us,
                    realtime_us,
                    ..Record::default()
                },
            );
        }
        let (history, left) = builder.finish();
        assert_eq!(left, Left::default());
        assert_eq!(history.boots[0].start_s(), 3600.0);
        assert_eq!(history.boots[0].clock_step_s(), 3596.0);
    }
}
