//! Time stamps of text logs.

use crate::event::days_of_civil;

const MONTHS: &[&str] = &[
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// A point in time as a log writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    /// Microseconds since the epoch.
    pub us: u64,
    /// Whether its offset from UTC is written beside it.
    pub has_zone: bool,
}

/// A stamp without a year: month, day, microsecond of the day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Yearless {
    pub month: u8,
    pub day: u8,
    pub of_day_us: u64,
}

/// What stands at the beginning of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    Full(Stamp),
    Yearless(Yearless),
}

impl Yearless {
    /// The time in a year, taken as UTC.
    pub fn in_year(self, year: i64) -> Option<u64> {
        let day = micros(year, i64::from(self.month), i64::from(self.day), 0, 0)?;
        Some(day + self.of_day_us)
    }
}

/// Takes a stamp off the beginning of a text.
pub(super) fn take_stamp(text: &str) -> Option<(Written, &str)> {
    if text.as_bytes().first()?.is_ascii_digit() {
        let (stamp, rest) = text.split_once(' ')?;
        return Some((Written::Full(stamp_us(stamp)?), rest));
    }
    bsd(text)
}

/// Microseconds since the epoch of a date in parts; the month by number or name.
pub(super) fn full_stamp(
    year: &str,
    month: &str,
    day: &str,
    time: &str,
    fraction: &str,
) -> Option<u64> {
    let named = MONTHS.iter().position(|name| *name == month);
    let month = match named {
        Some(at) => at as i64 + 1,
        None => month.parse().ok()?,
    };
    let whole = micros(
        year.parse().ok()?,
        month,
        day.parse().ok()?,
        clock(time)?,
        0,
    )?;
    Some(whole + fraction_us(fraction)?)
}

/// "Feb 29 01:02:03", with a year or parts of the second where daemons write them.
fn bsd(text: &str) -> Option<(Written, &str)> {
    let month = text.get(..4)?.strip_suffix(' ')?;
    let month = MONTHS.iter().position(|name| *name == month)? as i64 + 1;
    let (day, rest) = text.get(4..)?.trim_start().split_once(' ')?;
    let day: i64 = day.parse().ok().filter(|day| (1..=31).contains(day))?;
    let (first, after) = split_word(rest.trim_start());
    let year = first.parse::<i64>().ok().filter(|_| first.len() == 4);
    let (time, rest) = match year {
        Some(_) => split_word(after.trim_start()),
        None => (first, after),
    };
    // Some daemons put a colon behind the time.
    let time = time.trim_end_matches(':');
    let seconds = clock(time.get(..8)?)?;
    let of_day_us = seconds as u64 * 1_000_000 + fraction_us(time.get(8..)?)?;
    if let Some(year) = year {
        let us = micros(year, month, day, 0, 0)? + of_day_us;
        return Some((
            Written::Full(Stamp {
                us,
                has_zone: false,
            }),
            rest,
        ));
    }
    let yearless = Yearless {
        month: month as u8,
        day: day as u8,
        of_day_us,
    };
    Some((Written::Yearless(yearless), rest))
}

fn split_word(text: &str) -> (&str, &str) {
    text.split_once(' ').unwrap_or((text, ""))
}

/// "2024-02-29T01:00:00.5+01:00", also without an offset or with one that has no colon.
pub(super) fn stamp_us(stamp: &str) -> Option<Stamp> {
    let number = |range: std::ops::Range<usize>| stamp.get(range)?.parse::<i64>().ok();
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    if stamp.get(4..5)? != "-" || stamp.get(10..11)? != "T" {
        return None;
    }
    let time = clock(stamp.get(11..19)?)?;
    let rest = stamp.get(19..)?;
    let zone = rest.trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
    let whole = micros(year, month, day, time, zone_s(zone)?)?;
    Some(Stamp {
        us: whole + fraction_us(&rest[..rest.len() - zone.len()])?,
        has_zone: !zone.is_empty(),
    })
}

/// ".1234567" in microseconds; nothing is 0.
fn fraction_us(text: &str) -> Option<u64> {
    let Some(digits) = text.strip_prefix(['.', ',']) else {
        return text.is_empty().then_some(0);
    };
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let six = digits.bytes().chain(std::iter::repeat(b'0')).take(6);
    Some(six.fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')))
}

fn zone_s(zone: &str) -> Option<i64> {
    if zone.is_empty() || zone == "Z" {
        return Some(0);
    }
    let sign = match zone.get(..1)? {
        "-" => -1,
        "+" => 1,
        _ => return None,
    };
    let zone = zone.get(1..)?;
    let (hours, minutes) = match zone.split_once(':') {
        Some(parts) => parts,
        None => (zone.get(..2)?, zone.get(2..)?),
    };
    let number = |text: &str| text.parse::<i64>().ok().filter(|n| (0..60).contains(n));
    Some(sign * (number(hours)? * 3600 + number(minutes)? * 60))
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

/// Follows the years of lines that do not write them.
#[derive(Debug, Clone)]
pub(super) struct Years {
    year: i64,
    month: u8,
}

impl Years {
    /// Begins with the year of the first line.
    pub fn from(year: i64) -> Self {
        Self { year, month: 0 }
    }

    /// The year of the next line.
    pub fn next(&mut self, stamp: Yearless) -> i64 {
        let step = i32::from(stamp.month) - i32::from(self.month);
        if self.month != 0 {
            // Back by half a year or more is the next year; January to December is a clock that
            // was set back.
            self.year += match step {
                ..=-6 => 1,
                11.. => -1,
                _ => 0,
            };
        }
        self.month = stamp.month;
        self.year
    }
}

/// What a first look at a log without years finds.
#[derive(Debug, Clone, Default)]
pub(super) struct Survey {
    years: Option<Years>,
    first: Option<Yearless>,
    last: Option<(Yearless, i64)>,
    leap_day: Option<i64>,
    /// A year that the log itself tells, as (relative, absolute).
    told: Option<(i64, i64)>,
}

impl Survey {
    /// Takes the next line's stamp, and the year if the line tells one.
    pub fn push(&mut self, stamp: Yearless, told: Option<i64>) {
        let relative = self.years.get_or_insert_with(|| Years::from(0)).next(stamp);
        self.first.get_or_insert(stamp);
        self.last = Some((stamp, relative));
        if (stamp.month, stamp.day) == (2, 29) {
            self.leap_day.get_or_insert(relative);
        }
        if let Some(year) = told {
            self.told.get_or_insert((relative, year));
        }
    }

    /// The year of the first line, when the last one was written no later than that.
    pub fn first_year(&self, not_after_us: u64) -> Option<i64> {
        if let Some((relative, year)) = self.told {
            return Some(year - relative);
        }
        let (last, relative) = self.last?;
        let latest = 1970 + (not_after_us / 31_556_952_000_000) as i64 + 1;
        let fits = |year: &i64| {
            let leap = self.leap_day.is_none_or(|at| is_leap(year - relative + at));
            leap && last.in_year(*year).is_some_and(|us| us <= not_after_us)
        };
        let year = (latest - 12..=latest).rev().find(fits)?;
        Some(year - relative)
    }

    /// The first line's time.
    pub fn first_us(&self, first_year: i64) -> Option<u64> {
        self.first?.in_year(first_year)
    }
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400_000_000;

    fn us(text: &str) -> u64 {
        stamp_us(text).expect("a stamp").us
    }

    #[test]
    fn stamps_of_every_kind() {
        let full = |us, has_zone| Some(Written::Full(Stamp { us, has_zone }));
        let base = 1_709_164_800_000_000;
        let check = |text: &str, expected: Option<Written>| {
            assert_eq!(take_stamp(text).map(|(stamp, _)| stamp), expected, "{text}");
        };
        check(
            "2024-02-29T01:00:00.123456+01:00 x",
            full(base + 123_456, true),
        );
        check("2024-02-29T01:00:00+0100 x", full(base, true));
        check("2024-02-29T00:00:00Z x", full(base, true));
        check("2024-02-29T00:00:00.5 x", full(base + 500_000, false));
        check("Feb 29 2024 00:00:00 x", full(base, false));
        let yearless = |of_day_us| {
            Some(Written::Yearless(Yearless {
                month: 2,
                day: 9,
                of_day_us,
            }))
        };
        check("Feb  9 00:00:01 x", yearless(1_000_000));
        check("Feb 09 00:00:01.25: x", yearless(1_250_000));
        check("2024-02-29 00:00:00 x", None);
        check("Feb 32 00:00:01 x", None);
        check("Foo 12 00:00:01 x", None);
        check("Feb 12 24:00:01 x", None);
        assert_eq!(us("1970-01-01T00:00:01.5Z"), 1_500_000);
    }

    fn first_year(stamps: &[&str], not_after: &str) -> Option<i64> {
        let mut survey = Survey::default();
        for text in stamps {
            match take_stamp(&format!("{text} 12:00:00 x")) {
                Some((Written::Yearless(stamp), _)) => survey.push(stamp, None),
                other => panic!("{other:?}"),
            }
        }
        survey.first_year(us(not_after) + DAY)
    }

    #[test]
    fn years_are_inferred_backwards_from_the_last_line() {
        let end = "2024-03-10T00:00:00Z";
        assert_eq!(first_year(&["Jan 5", "Mar 9"], end), Some(2024));
        assert_eq!(first_year(&["Dec 30", "Jan 1", "Mar 9"], end), Some(2023));
        assert_eq!(
            first_year(&["Nov 30", "Feb 1", "Dec 31", "Jan 2"], end),
            Some(2022)
        );
        assert_eq!(
            first_year(&["Dec 30", "Dec 31"], end),
            Some(2023),
            "last written last year"
        );
        assert_eq!(
            first_year(&["Feb 28", "Feb 29", "Jun 1"], end),
            Some(2020),
            "a leap year"
        );
        assert_eq!(
            first_year(&["Jan 1", "Dec 31", "Jan 1"], end),
            Some(2024),
            "the clock went back"
        );
        assert_eq!(first_year(&[], end), None);
    }

    #[test]
    fn a_year_that_the_log_tells_outranks_the_file() {
        let mut survey = Survey::default();
        for (month, told) in [(12, None), (1, Some(2015)), (2, None)] {
            survey.push(
                Yearless {
                    month,
                    day: 1,
                    of_day_us: 0,
                },
                told,
            );
        }
        assert_eq!(survey.first_year(us("2024-01-01T00:00:00Z")), Some(2014));
    }

    proptest::proptest! {
        #[test]
        fn hostile_stamps_never_panic(text: String, near in "[A-Z][a-z]{2} [ 0-9é]{2} [0-9:.é]{8}.{0,30}",
            iso in "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}[.+0-9:Z]{0,12} ") {
            let _ = (take_stamp(&text), take_stamp(&near), take_stamp(&iso));
        }
    }
}
