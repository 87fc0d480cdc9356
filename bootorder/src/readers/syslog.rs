//! Text logs of syslog daemons (RFC 3164 and RFC 3339 time stamps), used where no journal is.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};

use super::{LogReader, ReadError};
use crate::event::{Record, days_of_civil};

const MAX_FILE: u64 = 256 << 20;
const MAX_LINE: u64 = 8192;
const MONTHS: &[&str] = &[
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

pub(super) struct Syslog;

impl LogReader for Syslog {
    fn claims(&self, path: &str) -> bool {
        let name = path.rsplit('/').next().unwrap_or(path);
        let text = !name.ends_with(".gz") && !name.ends_with(".xz") && !name.ends_with(".zst");
        let stem = ["syslog", "messages", "daemon.log", "kern.log"];
        text && stem.iter().any(|stem| name.starts_with(stem))
    }

    fn is_fallback(&self) -> bool {
        true
    }

    fn read(&self, file: File, sink: &mut dyn FnMut(Record<'_>)) -> Result<(), ReadError> {
        let metadata = file.metadata()?;
        // RFC 3164 stamps have no year: the file was last written in the year of its last line.
        let modified = metadata
            .modified()
            .ok()
            .and_then(|t| t.duration_since(std::time::UNIX_EPOCH).ok());
        let year = 1970 + modified.map_or(0, |age| (age.as_secs() / 31_556_952) as i64);
        let mut lines = Lines {
            reader: BufReader::new(file.take(MAX_FILE)),
            number: 0,
        };
        let mut boots = Boots {
            year,
            number: 0,
            start_us: None,
        };
        while let Some(line) = lines.next_line()? {
            if let Some(parsed) = parse(&line, year) {
                boots.deliver(&parsed, lines.number, sink);
            }
        }
        if metadata.len() > MAX_FILE {
            Err(ReadError::TooLarge(MAX_FILE >> 20))
        } else {
            Ok(())
        }
    }
}

struct Lines<R> {
    reader: R,
    number: u64,
}

impl<R: BufRead> Lines<R> {
    fn next_line(&mut self) -> Result<Option<String>, ReadError> {
        let mut bytes = Vec::new();
        if self
            .reader
            .by_ref()
            .take(MAX_LINE)
            .read_until(b'\n', &mut bytes)?
            == 0
        {
            return Ok(None);
        }
        self.number += 1;
        Ok(Some(String::from_utf8_lossy(&bytes).trim_end().to_owned()))
    }
}

/// Text logs know no boot id: a boot begins where the kernel introduces itself.
struct Boots {
    year: i64,
    number: u32,
    start_us: Option<u64>,
}

impl Boots {
    fn deliver(&mut self, line: &Line<'_>, number: u64, sink: &mut dyn FnMut(Record<'_>)) {
        let begins = line.identifier == "kernel" && line.message.contains("Linux version ");
        if begins || self.start_us.is_none() {
            self.number += 1;
            self.start_us = Some(line.realtime_us);
        }
        let start = self.start_us.unwrap_or(line.realtime_us);
        let boot = format!("{}-{}-{start}", self.year, self.number);
        sink(Record {
            boot: &boot,
            monotonic_us: line.realtime_us.saturating_sub(start),
            realtime_us: line.realtime_us,
            record: format!("line {number}"),
            sequence: number,
            identifier: line.identifier,
            message: line.message,
            ..Record::default()
        });
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Line<'a> {
    realtime_us: u64,
    identifier: &'a str,
    message: &'a str,
}

fn parse(line: &str, year: i64) -> Option<Line<'_>> {
    let (realtime_us, rest) = match rfc3339(line) {
        Some(found) => found,
        None => rfc3164(line, year)?,
    };
    let (_host, rest) = rest.trim_start().split_once(' ')?;
    let (tag, message) = rest.split_once(": ")?;
    let identifier = tag.split('[').next().unwrap_or(tag);
    let message = strip_kernel_time(message);
    (!identifier.contains(' ')).then_some(Line {
        realtime_us,
        identifier,
        message,
    })
}

/// The kernel's own "[    1.234567] " in front of its messages.
fn strip_kernel_time(message: &str) -> &str {
    match message
        .strip_prefix('[')
        .and_then(|rest| rest.split_once("] "))
    {
        Some((time, rest)) if time.trim().parse::<f64>().is_ok() => rest,
        _ => message,
    }
}

fn rfc3164(line: &str, year: i64) -> Option<(u64, &str)> {
    let stamp = line.get(..15)?;
    let month = MONTHS.iter().position(|name| stamp.starts_with(name))? as i64 + 1;
    let day = stamp.get(4..6)?.trim().parse().ok()?;
    let time = clock(stamp.get(7..15)?)?;
    Some((micros(year, month, day, time, 0)?, line.get(15..)?))
}

fn rfc3339(line: &str) -> Option<(u64, &str)> {
    let (stamp, rest) = line.split_once(' ')?;
    Some((stamp_us(stamp)?, rest))
}

/// Microseconds since the epoch of "2024-02-29T01:00:00.5+01:00".
pub(super) fn stamp_us(stamp: &str) -> Option<u64> {
    let number = |range: std::ops::Range<usize>| stamp.get(range)?.parse::<i64>().ok();
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    if stamp.get(10..11)? != "T" {
        return None;
    }
    let time = clock(stamp.get(11..19)?)?;
    let rest = stamp.get(19..)?;
    let zone = rest.trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
    let whole = micros(year, month, day, time, zone_s(zone)?)?;
    Some(whole + fraction_us(&rest[..rest.len() - zone.len()]))
}

/// ".1234567" in microseconds.
fn fraction_us(text: &str) -> u64 {
    let digits = text
        .trim_start_matches('.')
        .bytes()
        .chain(std::iter::repeat(b'0'))
        .take(6);
    digits.fold(0, |sum, digit| {
        sum * 10 + u64::from(digit.saturating_sub(b'0').min(9))
    })
}

fn zone_s(zone: &str) -> Option<i64> {
    if zone == "Z" {
        return Some(0);
    }
    let sign = if zone.starts_with('-') { -1 } else { 1 };
    let (hours, minutes) = zone.get(1..)?.split_once(':')?;
    Some(sign * (hours.parse::<i64>().ok()? * 3600 + minutes.parse::<i64>().ok()? * 60))
}

fn clock(text: &str) -> Option<i64> {
    let mut parts = text.split(':').map(|part| part.parse::<i64>().ok());
    let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next()??);
    let valid = (0..24).contains(&hour) && (0..60).contains(&minute) && (0..61).contains(&second);
    valid.then_some(hour * 3600 + minute * 60 + second)
}

fn micros(year: i64, month: i64, day: i64, of_day_s: i64, zone_s: i64) -> Option<u64> {
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let seconds = days_of_civil(year, month, day) * 86_400 + of_day_s - zone_s;
    u64::try_from(seconds).ok()?.checked_mul(1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_time_stamps_are_read() {
        let mut expected = Line {
            realtime_us: 1_709_164_800_000_000,
            identifier: "kernel",
            message: "Linux version 6",
        };
        let old = "Feb 29 00:00:00 dir1 kernel: [    0.000000] Linux version 6";
        assert_eq!(parse(old, 2024).as_ref(), Some(&expected));
        let new = "2024-02-29T01:00:00.123456+01:00 dir1 kernel[1]: Linux version 6";
        expected.realtime_us += 123_456;
        assert_eq!(parse(new, 1999).as_ref(), Some(&expected));
        assert_eq!(stamp_us("1970-01-01T00:00:01.5Z"), Some(1_500_000));
    }

    proptest::proptest! {
        #[test]
        fn hostile_lines_never_panic(line: String) {
            let _ = parse(&line, 2024);
        }

        #[test]
        fn nearly_right_lines_never_panic(day in "[A-Z][a-z]{2} [ 0-9é]{2} [0-9:é]{8}.{0,30}") {
            let _ = parse(&day, 2024);
        }
    }
}
