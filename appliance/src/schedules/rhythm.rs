//! When a test is due: a pure function of the calendar.

use jiff::Timestamp;
use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::daemon::WrongUse;
use crate::report::printable;

/// The longest that two days of one rhythm can lie apart, and a day.
const DAYS: usize = 33;

/// On which days.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "every", rename_all = "snake_case", deny_unknown_fields)]
pub enum Rhythm {
    /// On all.
    Day,
    /// Once a week.
    Week {
        /// On this day.
        weekday: Weekday,
    },
    /// Once a month.
    Month {
        /// On this day, 1 to 31; on the last of a month that has fewer.
        day: u8,
    },
}

/// A day of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Weekday {
    Monday,
    Tuesday,
    Wednesday,
    Thursday,
    Friday,
    Saturday,
    Sunday,
}

/// When a site is tested.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ScheduleSettings {
    /// On which days.
    pub rhythm: Rhythm,
    /// At what time of the day: `02:30`.
    pub at: String,
    /// Where the clock hangs that shows it: `Europe/Berlin`, `UTC`.
    pub zone: String,
    /// Whether it is in force.
    pub enabled: bool,
    /// Take a captured volume that changed since its import as a new one.
    #[serde(default)]
    pub accept_changed: bool,
}

/// Settings that can be followed.
#[derive(Debug, Clone)]
pub struct Calendar {
    rhythm: Rhythm,
    at: Time,
    zone: TimeZone,
}

impl ScheduleSettings {
    /// The same, or what is wrong with them.
    pub fn calendar(&self) -> Result<Calendar, WrongUse> {
        if let Rhythm::Month { day: 0 | 32.. } = self.rhythm {
            return Err(WrongUse("a month has the days 1 to 31".into()));
        }
        Ok(Calendar {
            rhythm: self.rhythm,
            at: time(&self.at)?,
            zone: zone(&self.zone)?,
        })
    }
}

fn time(text: &str) -> Result<Time, WrongUse> {
    let wrong = || {
        WrongUse(format!(
            "`{}` is no time of the day: expected one such as `02:30`",
            printable(text)
        ))
    };
    let two = |digits: &str| {
        let plain = digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_digit());
        plain.then(|| digits.parse::<i8>().ok()).flatten()
    };
    let (hour, minute) = text.split_once(':').ok_or_else(wrong)?;
    let (Some(hour), Some(minute)) = (two(hour), two(minute)) else {
        return Err(wrong());
    };
    Time::new(hour, minute, 0, 0).map_err(|_| wrong())
}

fn zone(name: &str) -> Result<TimeZone, WrongUse> {
    TimeZone::get(name).map_err(|_| {
        WrongUse(format!(
            "no time zone is called `{}`: expected one such as `UTC` or `Europe/Berlin`",
            printable(name)
        ))
    })
}

impl Calendar {
    /// The first moment after this one, Unix time in milliseconds. An hour that a change of the
    /// clock leaves out comes an hour later, one that comes twice counts once.
    pub fn next_after(&self, after_ms: u64) -> Option<u64> {
        let after = Timestamp::from_millisecond(i64::try_from(after_ms).ok()?).ok()?;
        let today = after.to_zoned(self.zone.clone()).date();
        let days = today.series(jiff::Span::new().days(1)).take(DAYS);
        let mut due = days.filter(|day| self.rhythm.has(*day)).filter_map(|day| {
            let due = day.to_datetime(self.at).to_zoned(self.zone.clone()).ok()?;
            (due.timestamp() > after).then(|| due.timestamp())
        });
        u64::try_from(due.next()?.as_millisecond()).ok()
    }

    /// How many were due after `from_ms` and not later than `to_ms`, up to a hundred.
    pub fn due_between(&self, from_ms: u64, to_ms: u64) -> usize {
        let next = |at: &u64| self.next_after(*at).filter(|due| *due <= to_ms);
        let all = std::iter::successors(next(&from_ms), next);
        all.take(100).count()
    }
}

impl Rhythm {
    fn has(self, date: Date) -> bool {
        match self {
            Self::Day => true,
            Self::Week { weekday } => date.weekday() == weekday.into(),
            Self::Month { day } => {
                let last = u8::try_from(date.days_in_month()).unwrap_or(31);
                u8::try_from(date.day()) == Ok(day.min(last))
            }
        }
    }
}

impl From<Weekday> for jiff::civil::Weekday {
    fn from(day: Weekday) -> Self {
        match day {
            Weekday::Monday => Self::Monday,
            Weekday::Tuesday => Self::Tuesday,
            Weekday::Wednesday => Self::Wednesday,
            Weekday::Thursday => Self::Thursday,
            Weekday::Friday => Self::Friday,
            Weekday::Saturday => Self::Saturday,
            Weekday::Sunday => Self::Sunday,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(rhythm: Rhythm, at: &str, zone: &str) -> ScheduleSettings {
        ScheduleSettings {
            rhythm,
            at: at.into(),
            zone: zone.into(),
            enabled: true,
            accept_changed: false,
        }
    }

    fn ms(text: &str) -> u64 {
        text.parse::<Timestamp>()
            .unwrap()
            .as_millisecond()
            .cast_unsigned()
    }

    fn check(rhythm: Rhythm, at: &str, zone: &str, after: &str, expected: &str) {
        let calendar = settings(rhythm, at, zone).calendar().unwrap();
        assert_eq!(
            calendar.next_after(ms(after)),
            Some(ms(expected)),
            "{rhythm:?} after {after}"
        );
    }

    #[test]
    fn the_next_time_is_the_calendars() {
        let weekly = Rhythm::Week {
            weekday: Weekday::Sunday,
        };
        let monthly = |day| Rhythm::Month { day };
        check(
            Rhythm::Day,
            "02:30",
            "UTC",
            "2026-11-23T02:29:59Z",
            "2026-11-23T02:30:00Z",
        );
        check(
            Rhythm::Day,
            "02:30",
            "UTC",
            "2026-11-23T02:30:00Z",
            "2026-11-24T02:30:00Z",
        );
        check(
            weekly,
            "22:00",
            "UTC",
            "2026-11-23T12:00:00Z",
            "2026-11-29T22:00:00Z",
        );
        check(
            monthly(31),
            "00:00",
            "UTC",
            "2026-02-01T00:00:00Z",
            "2026-02-28T00:00:00Z",
        );
        check(
            monthly(1),
            "00:00",
            "UTC",
            "2026-12-31T00:00:00Z",
            "2027-01-01T00:00:00Z",
        );
        check(
            monthly(31),
            "23:59",
            "UTC",
            "2026-12-31T23:59:00Z",
            "2027-01-31T23:59:00Z",
        );
        check(
            Rhythm::Day,
            "02:30",
            "Europe/Berlin",
            "2026-07-01T00:00:00Z",
            "2026-07-01T00:30:00Z",
        );
    }

    #[test]
    fn hours_that_come_never_or_twice_are_due_once() {
        // Clocks go forward on 2026-03-29 and back on 2026-10-25.
        check(
            Rhythm::Day,
            "02:30",
            "Europe/Berlin",
            "2026-03-28T12:00:00Z",
            "2026-03-29T01:30:00Z",
        );
        check(
            Rhythm::Day,
            "02:30",
            "Europe/Berlin",
            "2026-10-24T12:00:00Z",
            "2026-10-25T00:30:00Z",
        );
        check(
            Rhythm::Day,
            "02:30",
            "Europe/Berlin",
            "2026-10-25T00:30:00Z",
            "2026-10-26T01:30:00Z",
        );
    }

    #[test]
    fn what_was_due_in_between_is_counted() {
        let calendar = settings(Rhythm::Day, "12:00", "UTC").calendar().unwrap();
        let from = ms("2026-11-01T12:00:00Z");
        for (to, expected) in [
            ("2026-11-02T11:59:59Z", 0),
            ("2026-11-02T12:00:00Z", 1),
            ("2026-11-11T12:00:00Z", 10),
            ("2036-11-11T12:00:00Z", 100),
        ] {
            assert_eq!(calendar.due_between(from, ms(to)), expected, "{to}");
        }
    }

    #[test]
    fn impossible_settings_are_refused_with_a_word_on_what_is_expected() {
        for (rhythm, at, zone, expected) in [
            (Rhythm::Month { day: 0 }, "02:30", "UTC", "1 to 31"),
            (Rhythm::Month { day: 32 }, "02:30", "UTC", "1 to 31"),
            (Rhythm::Day, "24:00", "UTC", "`02:30`"),
            (Rhythm::Day, "2:30", "UTC", "`02:30`"),
            (Rhythm::Day, "+2:-1", "UTC", "`02:30`"),
            (Rhythm::Day, "", "UTC", "`02:30`"),
            (Rhythm::Day, "02:30", "Atlantis", "Europe/Berlin"),
            (Rhythm::Day, "02:30", "../../etc/passwd", "Europe/Berlin"),
        ] {
            let error = settings(rhythm, at, zone)
                .calendar()
                .unwrap_err()
                .to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
