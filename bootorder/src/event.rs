//! What the readers deliver: boots of a machine and the records that matter for its order.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::classify::{What, classify};

const MAX_TEXT: usize = 240;
const MAX_EVENTS: usize = 200_000;
const MAX_EVENTS_A_BOOT: usize = 20_000;
const MAX_BOOTS: usize = 5_000;
/// Machines are renamed; the last names are the ones that count.
const MAX_HOSTS: usize = 3;
const MAX_CARD_LINES: usize = 1_000;
const MAX_LEASES: usize = 64;

/// One log record as a reader found it, before anything is decided about it.
#[derive(Debug, Clone, Default)]
pub struct Record<'a> {
    /// Boot id, or whatever tells the boots of one machine apart.
    pub boot: &'a str,
    /// Microseconds since that boot.
    pub monotonic_us: u64,
    /// Microseconds since the epoch by the clock of the machine.
    pub realtime_us: u64,
    /// Position inside the file, as the evidence names it.
    pub record: String,
    /// Orders records with equal monotonic time.
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
    pub what: What,
}

/// One run of a machine between power on and off, as far as the logs tell.
#[derive(Debug, Clone)]
pub(crate) struct Boot {
    pub id: String,
    pub events: Vec<Event>,
    first: (u64, u64),
    last: (u64, u64),
}

impl Boot {
    /// Wall clock minus monotonic time, by the last record: clocks are set during a boot.
    fn offset_us(&self) -> i128 {
        i128::from(self.last.1) - i128::from(self.last.0)
    }

    /// Corrected wall clock time, in seconds, of a monotonic time of this boot.
    pub fn wall_s(&self, monotonic_us: u64) -> f64 {
        (self.offset_us() + i128::from(monotonic_us)) as f64 / 1e6
    }

    pub fn start_s(&self) -> f64 {
        self.wall_s(0)
    }

    pub fn end_s(&self) -> f64 {
        self.wall_s(self.last.0)
    }

    /// Whether the boot went on for so long after a time.
    pub fn has_quiet_after(&self, monotonic_us: u64, length_us: u64) -> bool {
        self.last.0.saturating_sub(monotonic_us) >= length_us
    }

    /// By how much the clock was set during the boot.
    pub fn clock_step_s(&self) -> f64 {
        let first = i128::from(self.first.1) - i128::from(self.first.0);
        ((self.offset_us() - first) as f64 / 1e6).abs()
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

/// Collects records into boots; bounded whatever is pushed.
#[derive(Debug, Default)]
pub(crate) struct HistoryBuilder {
    boots: BTreeMap<String, Boot>,
    /// Units by their description, for service managers that log only that.
    units: BTreeMap<String, String>,
    card_lines: Vec<String>,
    leases: BTreeMap<String, IpAddr>,
    hosts: Vec<String>,
    kept: usize,
    dropped: usize,
}

impl HistoryBuilder {
    pub fn new(units: BTreeMap<String, String>) -> Self {
        Self {
            units,
            ..Self::default()
        }
    }

    pub fn push(&mut self, file: &Arc<str>, record: Record<'_>) {
        let Some(boot) = boot_of(&mut self.boots, &record) else {
            self.dropped += 1;
            return;
        };
        self.hosts.retain(|host| host != record.host);
        if !record.host.is_empty() {
            self.hosts.truncate(MAX_HOSTS - 1);
            self.hosts.insert(0, bounded(record.host));
        }
        match classify(&record) {
            None => {}
            Some(What::Card) if self.card_lines.len() < MAX_CARD_LINES => {
                self.card_lines.push(bounded(record.message));
            }
            Some(What::Card) => {}
            Some(What::Lease) => self.leases.extend(
                crate::leases::in_log(record.identifier, record.message).filter(|(card, _)| {
                    self.leases.len() < MAX_LEASES || self.leases.contains_key(card)
                }),
            ),
            Some(what) if self.kept < MAX_EVENTS && boot.events.len() < MAX_EVENTS_A_BOOT => {
                self.kept += 1;
                boot.events.push(event(file, record, what, &self.units));
            }
            Some(_) => self.dropped += 1,
        }
    }

    /// The history, and how many records were too many.
    pub fn finish(self) -> (History, usize) {
        let mut boots: Vec<Boot> = self.boots.into_values().collect();
        for boot in &mut boots {
            boot.events.sort_by(|a, b| order_of(a).cmp(&order_of(b)));
            boot.events
                .dedup_by(|a, b| order_of(a) == order_of(b) && a.message == b.message);
        }
        boots.sort_by(|a, b| a.start_s().total_cmp(&b.start_s()).then(a.id.cmp(&b.id)));
        (
            History {
                boots,
                hosts: self.hosts,
                card_lines: self.card_lines,
                leases: self.leases,
            },
            self.dropped,
        )
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

/// The boot of a record, widened to hold it; `None` when there are too many.
fn boot_of<'a>(boots: &'a mut BTreeMap<String, Boot>, record: &Record<'_>) -> Option<&'a mut Boot> {
    let point = (record.monotonic_us, record.realtime_us);
    if !boots.contains_key(record.boot) {
        if boots.len() >= MAX_BOOTS {
            return None;
        }
        let id = record.boot.to_owned();
        boots.insert(
            id.clone(),
            Boot {
                id,
                events: Vec::new(),
                first: point,
                last: point,
            },
        );
    }
    let boot = boots.get_mut(record.boot)?;
    boot.first = boot.first.min(point);
    boot.last = boot.last.max(point);
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
        .unwrap_or(record.logger_unit)
}

fn event(
    file: &Arc<str>,
    record: Record<'_>,
    what: What,
    units: &BTreeMap<String, String>,
) -> Event {
    let unit = unit_of(&record, what, units);
    Event {
        monotonic_us: record.monotonic_us,
        realtime_us: record.realtime_us,
        sequence: record.sequence,
        unit: bounded(unit),
        identifier: bounded(record.identifier),
        message: bounded(record.message),
        file: Arc::clone(file),
        record: record.record,
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

fn bounded(text: &str) -> String {
    let mut end = text.len().min(1024);
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
        let (history, dropped) = builder.finish();
        assert_eq!(dropped, 0);
        assert_eq!(history.boots[0].start_s(), 3600.0);
        assert_eq!(history.boots[0].clock_step_s(), 3596.0);
    }
}
