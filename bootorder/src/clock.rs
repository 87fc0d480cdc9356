//! The clock of a machine in one boot: by how much it was set, and how far it can be trusted.
//!
//! Inside a boot monotonic time orders. To compare machines it is turned into wall clock time by
//! the difference between both clocks at the point where the logs say that the time was right
//! (a time service reached its source), else at the last record. Logs without an offset from UTC
//! take it from the kernel, which says the time of the hardware clock in UTC.

use std::cmp::Ordering;
use std::sync::Arc;

use crate::event::{Boot, History, Record};

const SECOND: i64 = 1_000_000;
const MAX_JUMPS: usize = 256;
/// Both clocks are read one after the other; less than this is no step.
const LEAST_JUMP_US: i64 = SECOND;
/// Several files show the same step.
const SAME_JUMP_US: u64 = 60_000_000;
const MAX_LEAD_US: u64 = 900_000_000;
const QUARTER_S: i64 = 900;
/// Log daemons write what the kernel said before they started with the time of their start.
const LATE_S: i64 = 420;
const MAX_ZONE_S: i64 = 14 * 3600;
/// A clock that a time service holds.
const SYNCHRONIZED_S: f64 = 0.5;
/// A clock that was set in the boot, by whatever.
const SET_S: f64 = 2.0;
/// A clock of which nothing is known but that it was never corrected.
const UNWATCHED_S: f64 = 5.0;
const YEAR_S: f64 = 31_556_952.0;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sign {
    Synchronized,
    Resumed,
}

#[derive(Debug, Clone, Copy)]
struct Jump {
    at_us: u64,
    by_us: i64,
    is_sleep: bool,
}

/// What the records of one boot tell about its clock.
#[derive(Debug, Clone)]
pub(crate) struct Clock {
    first: (u64, u64),
    last: (u64, u64),
    jumps: Vec<Jump>,
    /// Where the time was right: monotonic time, difference of the clocks.
    right: Option<(u64, i64)>,
    previous: Option<(Arc<str>, i64)>,
    resumed: bool,
    lead_us: u64,
    is_local: bool,
    is_whole_seconds: bool,
    zone_us: Option<i64>,
    uncertainty_s: f64,
}

impl Clock {
    pub fn new(record: &Record<'_>) -> Self {
        let point = (record.monotonic_us, record.realtime_us);
        Self {
            first: point,
            last: point,
            jumps: Vec::new(),
            right: None,
            previous: None,
            resumed: false,
            lead_us: 0,
            is_local: record.is_local_time,
            is_whole_seconds: record.is_whole_seconds,
            zone_us: None,
            uncertainty_s: UNWATCHED_S,
        }
    }

    /// Takes the next record; those of one file in their order.
    pub fn observe(&mut self, file: &Arc<str>, record: &Record<'_>) {
        let point = (record.monotonic_us, record.realtime_us);
        self.first = self.first.min(point);
        self.last = self.last.max(point);
        self.is_whole_seconds &= record.is_whole_seconds;
        let offset = difference(point);
        if let Some(uptime) = record.uptime_us {
            let lead = uptime.saturating_sub(record.monotonic_us).min(MAX_LEAD_US);
            self.lead_us = self.lead_us.max(lead);
        }
        let sign = sign_of(record);
        self.resumed |= sign == Some(Sign::Resumed);
        match &mut self.previous {
            Some((name, before)) if Arc::ptr_eq(name, file) => {
                let by_us = offset.saturating_sub(*before);
                *before = offset;
                self.jump(record.monotonic_us, by_us);
            }
            previous => *previous = Some((Arc::clone(file), offset)),
        }
        if sign == Some(Sign::Synchronized)
            && self.right.is_none_or(|(at, _)| at <= record.monotonic_us)
        {
            self.right = Some((record.monotonic_us, offset));
        }
        if self.is_local && self.zone_us.is_none() {
            self.zone_us = told_zone_us(record);
        }
    }

    fn jump(&mut self, at_us: u64, by_us: i64) {
        if by_us.saturating_abs() <= LEAST_JUMP_US || self.jumps.len() >= MAX_JUMPS {
            return;
        }
        let known = |jump: &Jump| {
            jump.at_us.abs_diff(at_us) < SAME_JUMP_US
                && jump.by_us.saturating_sub(by_us).saturating_abs() <= 2 * SECOND
        };
        if self.jumps.iter().any(known) {
            return;
        }
        let is_sleep = by_us > 0 && std::mem::take(&mut self.resumed);
        self.jumps.push(Jump {
            at_us,
            by_us,
            is_sleep,
        });
    }

    /// Corrected wall clock time, in seconds.
    pub fn wall_s(&self, monotonic_us: u64) -> f64 {
        let (at, offset) = self.right.unwrap_or((self.last.0, difference(self.last)));
        let slept = |from: u64, to: u64| -> i64 {
            let inside = |jump: &&Jump| jump.is_sleep && from < jump.at_us && jump.at_us <= to;
            self.jumps
                .iter()
                .filter(inside)
                .fold(0, |sum, jump| sum.saturating_add(jump.by_us))
        };
        let slept = slept(at, monotonic_us).saturating_sub(slept(monotonic_us, at));
        let us = i128::from(offset) + i128::from(slept) + i128::from(monotonic_us)
            - i128::from(self.zone_us.unwrap_or(0));
        us as f64 / 1e6
    }

    /// By how much the clock was set at most, in seconds.
    pub fn step_s(&self) -> f64 {
        let steps = self.jumps.iter().filter(|jump| !jump.is_sleep);
        let largest = steps
            .map(|jump| jump.by_us.saturating_abs())
            .max()
            .unwrap_or(0);
        largest as f64 / 1e6
    }

    pub fn uncertainty_s(&self) -> f64 {
        self.uncertainty_s
    }

    /// Whether its times can be told in UTC.
    pub fn is_zone_known(&self) -> bool {
        !self.is_local || self.zone_us.is_some()
    }

    pub fn last_monotonic_us(&self) -> u64 {
        self.last.0
    }

    /// By how much local time is ahead of UTC, for records of logs that do not say it.
    pub fn zone_us(&self) -> i64 {
        self.zone_us.unwrap_or(0)
    }

    /// Monotonic time counts from the kernel's start, not from the first line that was logged.
    fn count_from_kernel(&mut self) -> u64 {
        let lead = std::mem::take(&mut self.lead_us);
        for point in [&mut self.first, &mut self.last] {
            point.0 = point.0.saturating_add(lead);
        }
        for jump in &mut self.jumps {
            jump.at_us = jump.at_us.saturating_add(lead);
        }
        self.right = self
            .right
            .map(|(at, offset)| (at.saturating_add(lead), offset.saturating_sub(lead as i64)));
        lead
    }

    fn settle(&mut self, usual_step_s: f64) {
        let (known_s, own_step) = (self.right.is_some(), self.step_s() > 0.0);
        let base = match (known_s, own_step) {
            (true, _) => SYNCHRONIZED_S,
            (false, true) => SET_S,
            (false, false) => UNWATCHED_S.max(usual_step_s),
        };
        let resolution = if self.is_whole_seconds { 0.5 } else { 0.0 };
        self.uncertainty_s = base + resolution;
    }
}

/// Settles what one boot cannot know alone: how wrong the clock of this machine is when nothing
/// corrects it, and its zone.
pub(crate) fn settle(boots: &mut [Boot]) {
    let watched: Vec<(u64, f64)> = boots
        .iter()
        .filter(|boot| boot.clock.right.is_some() || boot.clock.step_s() > 0.0)
        .map(|boot| (boot.clock.last.1, boot.clock.step_s()))
        .collect();
    let zones: Vec<(u64, i64)> = boots
        .iter()
        .filter_map(|boot| Some((boot.clock.last.1, boot.clock.zone_us?)))
        .collect();
    for boot in boots {
        let lead_us = boot.clock.count_from_kernel();
        for event in &mut boot.events {
            event.monotonic_us = event.monotonic_us.saturating_add(lead_us);
        }
        if boot.clock.is_local && boot.clock.zone_us.is_none() {
            let nearest = zones
                .iter()
                .min_by_key(|(us, _)| us.abs_diff(boot.clock.last.1));
            boot.clock.zone_us = nearest.map(|(_, zone)| *zone);
        }
        for event in &mut boot.events {
            event.realtime_us = event
                .realtime_us
                .saturating_add_signed(-boot.clock.zone_us());
        }
        // A clock that nobody corrected is about as wrong as it was in the nearest boot in which
        // somebody did.
        let nearest = watched
            .iter()
            .min_by_key(|(us, _)| us.abs_diff(boot.clock.last.1));
        boot.clock
            .settle(nearest.map_or(0.0, |(_, step_s)| *step_s));
    }
}

/// Which of two times of two machines, in seconds of [`Boot::wall_s`], was first; `None` when
/// their clocks do not tell.
pub(crate) fn first_of(one: (&Boot, f64), other: (&Boot, f64)) -> Option<Ordering> {
    let (one_clock, other_clock) = (&one.0.clock, &other.0.clock);
    let mut unsure = one_clock.uncertainty_s + other_clock.uncertainty_s;
    // Machines of one site share a zone; a machine with and one without cannot be compared.
    if one_clock.is_zone_known() != other_clock.is_zone_known() {
        unsure += MAX_ZONE_S as f64;
    }
    let gap = one.1 - other.1;
    if gap.abs() < unsure {
        return None;
    }
    Some(gap.total_cmp(&0.0))
}

/// Warnings about machines whose logs lie years away from those of the others.
pub(crate) fn years_apart<'a>(
    machines: impl Iterator<Item = (&'a str, &'a History)>,
) -> Vec<String> {
    let ends = machines.filter_map(|(name, history)| {
        let ends = history.boots.iter().map(Boot::end_s);
        Some((name, ends.reduce(f64::max)?))
    });
    let ends: Vec<(&str, f64)> = ends.collect();
    let mut sorted: Vec<f64> = ends.iter().map(|(_, end)| *end).collect();
    sorted.sort_by(f64::total_cmp);
    let Some(middle) = sorted.get(sorted.len() / 2).copied() else {
        return Vec::new();
    };
    let far = ends
        .into_iter()
        .filter(|(_, end)| (end - middle).abs() > YEAR_S);
    far.map(|(name, end)| {
        let years = (end - middle).abs() / YEAR_S;
        let side = if end < middle { "before" } else { "after" };
        format!(
            "{name}: its logs end {years:.1} years {side} those of the other machines ({} against {}); its clock or its logs are of another time, so times do not compare it",
            crate::event::format_time((end.max(0.0) * 1e6) as u64),
            crate::event::format_time((middle.max(0.0) * 1e6) as u64),
        )
    })
    .collect()
}

fn difference((monotonic_us, realtime_us): (u64, u64)) -> i64 {
    let difference = i128::from(realtime_us) - i128::from(monotonic_us);
    difference.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
}

fn sign_of(record: &Record<'_>) -> Option<Sign> {
    let text = record.message;
    if record.code != 0 {
        let provider = record.identifier.trim_start_matches("Microsoft-Windows-");
        return match (provider, record.code) {
            ("Time-Service" | "W32Time", 35 | 37) => Some(Sign::Synchronized),
            ("Power-Troubleshooter", 1) | ("Kernel-Power", 107) => Some(Sign::Resumed),
            _ => None,
        };
    }
    let begins = |words: &[&str]| words.iter().any(|word| text.starts_with(word));
    let found = match record.identifier {
        "chronyd" => begins(&["Selected source", "System clock was stepped by"]),
        "systemd-timesyncd" => {
            is_first_synchronization(record.identifier, text)
                || begins(&["Synchronized to time server"])
        }
        "ntpd" | "ntpdate" | "sntp" | "ntpsec" => {
            begins(&[
                "synchronized to",
                "time reset",
                "step time server",
                "adjust time server",
            ]) || text.contains("time stepped by")
        }
        "kernel" if begins(&["PM: suspend exit", "ACPI: PM: Waking up", "ACPI: Waking up"]) => {
            return Some(Sign::Resumed);
        }
        _ => false,
    };
    found.then_some(Sign::Synchronized)
}

/// Whether a time service says that it set the clock, without saying by how much.
pub(crate) fn is_first_synchronization(identifier: &str, message: &str) -> bool {
    identifier == "systemd-timesyncd"
        && (message.starts_with("Initial clock synchronization")
            || message.starts_with("Initial synchronization"))
}

/// By how much a time service says that it set the clock, in microseconds.
pub(crate) fn step_in_text(identifier: &str, message: &str) -> Option<i64> {
    let number = match identifier {
        "chronyd" => message.split_once("System clock was stepped by ")?.1,
        "ntpd" | "ntpdate" | "sntp" | "ntpsec" => {
            let found = ["time reset ", "time stepped by ", " offset "]
                .iter()
                .find_map(|words| message.split_once(words));
            found.filter(|_| !message.starts_with("adjust"))?.1
        }
        _ => return None,
    };
    let number = number.split_whitespace().next()?.trim_end_matches('s');
    let seconds: f64 = number.parse().ok()?;
    (seconds.abs() < 1e10).then_some((seconds * 1e6) as i64)
}

/// The time of the hardware clock in seconds since the epoch, which the kernel says in UTC
/// whatever the zone of the log.
pub(crate) fn told_epoch_s(identifier: &str, message: &str) -> Option<u64> {
    if identifier != "kernel" {
        return None;
    }
    let (_, rest) = message.split_once("setting system clock to ")?;
    let (_, number) = rest.split_once(" UTC (")?;
    number.split(')').next()?.parse().ok()
}

fn told_zone_us(record: &Record<'_>) -> Option<i64> {
    let epoch = i64::try_from(told_epoch_s(record.identifier, record.message)?).ok()?;
    let ahead = (record.realtime_us / 1_000_000) as i64;
    let ahead = ahead.checked_sub(epoch)?;
    let zone = ahead
        .checked_sub(LATE_S / 2)?
        .checked_add(QUARTER_S / 2)?
        .div_euclid(QUARTER_S)
        * QUARTER_S;
    (zone.abs() <= MAX_ZONE_S).then_some(zone * SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::HistoryBuilder;

    /// Records of one boot: monotonic second, wall clock second, program, text.
    fn boot(records: &[(u64, u64, &str, &str)], is_local: bool) -> Boot {
        let mut builder = HistoryBuilder::default();
        push(&mut builder, "b", records, is_local);
        builder.finish().0.boots.remove(0)
    }

    fn push(
        builder: &mut HistoryBuilder,
        boot: &str,
        records: &[(u64, u64, &str, &str)],
        is_local: bool,
    ) {
        let file: Arc<str> = Arc::from("log");
        for (monotonic, wall, identifier, message) in records {
            builder.push(
                &file,
                Record {
                    boot,
                    monotonic_us: monotonic * 1_000_000,
                    realtime_us: wall * 1_000_000,
                    identifier,
                    message,
                    is_local_time: is_local,
                    ..Record::default()
                },
            );
        }
    }

    #[test]
    fn a_clock_is_right_where_a_time_service_says_so() {
        let found = boot(
            &[
                (1, 1001, "kernel", "x"),
                (
                    20,
                    5020,
                    "chronyd",
                    "System clock was stepped by 4000.1 seconds",
                ),
                (30, 5030, "x", "x"),
                (40, 9040, "root", "date was set by hand"),
            ],
            false,
        );
        assert_eq!(found.start_s(), 5000.0);
        assert_eq!(found.clock_step_s(), 4000.0);
        assert_eq!(found.uncertainty_s(), SYNCHRONIZED_S);
    }

    #[test]
    fn sleep_is_no_step() {
        let found = boot(
            &[
                (10, 1010, "x", "x"),
                (11, 1011, "kernel", "PM: suspend exit"),
                (12, 8012, "x", "x"),
                (13, 8013, "x", "x"),
            ],
            false,
        );
        assert_eq!(found.clock_step_s(), 0.0);
        assert_eq!((found.start_s(), found.end_s()), (1000.0, 8013.0));
    }

    #[test]
    fn a_clock_that_is_usually_wrong_is_trusted_only_where_it_was_set() {
        let mut builder = HistoryBuilder::default();
        let set = "Initial clock synchronization to Mon 2024-01-01 00:00:00 UTC.";
        push(
            &mut builder,
            "a",
            &[(1, 101, "x", "x"), (9, 90_009, "systemd-timesyncd", set)],
            false,
        );
        push(&mut builder, "b", &[(1, 90_500, "x", "x")], false);
        let (history, _) = builder.finish();
        let unsure: Vec<f64> = history.boots.iter().map(Boot::uncertainty_s).collect();
        assert_eq!(unsure, [SYNCHRONIZED_S, 89_900.0]);
    }

    #[test]
    fn the_zone_of_a_log_is_learned_from_the_kernel() {
        let text = "rtc_cmos 00:01: setting system clock to 2024-02-29T00:00:00 UTC (1709164800)";
        for ahead in [-39_600, 0, 3_600, 20_700] {
            let wall = 1_709_164_800_u64.saturating_add_signed(ahead) + 40;
            let found = boot(&[(0, wall, "kernel", text)], true);
            assert_eq!(found.start_s(), 1_709_164_840.0, "{ahead}");
            assert!(found.clock.is_zone_known());
        }
        assert!(!boot(&[(0, 5, "kernel", "x")], true).clock.is_zone_known());
    }

    #[test]
    fn times_are_compared_only_beyond_their_uncertainty() {
        let utc = boot(&[(0, 1000, "chronyd", "Selected source 10.0.0.1")], false);
        let local = boot(&[(0, 1000, "x", "x")], true);
        let close = first_of((&utc, 1000.0), (&utc, 1000.9));
        assert_eq!(close, None);
        assert_eq!(
            first_of((&utc, 1000.0), (&utc, 1001.1)),
            Some(Ordering::Less)
        );
        assert_eq!(first_of((&utc, 1000.0), (&local, 5000.0)), None);
        assert_eq!(
            first_of((&local, 5000.0), (&local, 1000.0)),
            Some(Ordering::Greater)
        );
    }

    #[test]
    fn steps_are_read_from_the_words_of_time_services() {
        for (identifier, message, expected) in [
            (
                "chronyd",
                "System clock was stepped by -0.500000 seconds",
                Some(-500_000),
            ),
            ("ntpd", "ntpd: time reset +1.5 s", Some(1_500_000)),
            (
                "ntpd",
                "0.0.0.0 c61c 0c clock_step: time stepped by 2.25",
                Some(2_250_000),
            ),
            (
                "ntpdate",
                "step time server 10.0.0.1 offset 7200.25 sec",
                Some(7_200_250_000),
            ),
            (
                "ntpdate",
                "adjust time server 10.0.0.1 offset 0.02 sec",
                None,
            ),
            ("ntpd", "synchronized to 10.0.0.1, stratum 2", None),
            ("chronyd", "System clock was stepped by NaN seconds", None),
        ] {
            assert_eq!(step_in_text(identifier, message), expected, "{message}");
        }
    }

    #[test]
    fn a_machine_of_another_time_is_named() {
        let history = |wall| History {
            boots: vec![boot(&[(0, wall, "x", "x")], false)],
            ..History::default()
        };
        let machines = [
            ("a", history(1_700_000_000)),
            ("b", history(1_700_900_000)),
            ("old", history(1_300_000_000)),
        ];
        let warnings = years_apart(machines.iter().map(|(name, history)| (*name, history)));
        assert_eq!(warnings.len(), 1);
        assert!(
            warnings[0].starts_with("old: its logs end 12.7 years before"),
            "{warnings:?}"
        );
    }
}
