//! Boots of a Windows machine: what its System log tells about them, and where the records of its
//! other logs belong.
//!
//! The service that writes logs starts late: the record of its own start (6009, 6005) often
//! stands before that of the kernel's start (12), and between the two stands what the kernel said
//! while it went down before. And clocks run backwards in record order. So records wait until the
//! kernel's start is seen, and what the clock was set by is taken out of the times.

use std::collections::VecDeque;

use crate::event::{Position, Record};

const KERNEL: &str = "Microsoft-Windows-Kernel-General";
/// The marks of one start stand close together.
const MAX_BETWEEN_MARKS: u32 = 300;
/// What stands before the first mark of a log belongs to it when it is so little.
const MAX_BEFORE_FIRST: u32 = 10;
const MAX_HELD: usize = 100;
/// Records of different programs are written out of order by less than this.
const JITTER_US: u64 = 120_000_000;
const STEP_US: i64 = 1_000_000;
/// From here on the order of records counts, not their times.
const UNORDERED: u32 = 200;
const MAX_SPANS: usize = 20_000;
const DAY_US: u64 = 86_400_000_000;

/// One record of a Windows log.
#[derive(Debug, Clone, Default)]
pub(super) struct Entry {
    pub record: u64,
    pub code: u32,
    pub provider: String,
    pub computer: String,
    pub time_us: u64,
    /// What a record of the service manager is about.
    pub subject: String,
    pub message: String,
    /// By how much the clock was set, where the record says that.
    pub step_us: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    Kernel = 1,
    Version = 2,
    Service = 4,
}

impl Entry {
    fn mark(&self) -> Option<Mark> {
        let service = self.provider.eq_ignore_ascii_case("EventLog");
        match self.code {
            12 if self.provider == KERNEL => Some(Mark::Kernel),
            6009 if service => Some(Mark::Version),
            6005 if service => Some(Mark::Service),
            _ => None,
        }
    }

    /// The log was closed in an orderly way.
    fn ends(&self) -> bool {
        self.code == 6006 && self.provider.eq_ignore_ascii_case("EventLog")
    }

    fn deliver(&self, boot: &str, begins: bool, monotonic_us: u64, sink: &mut Sink<'_>) {
        sink(Record {
            boot,
            begins,
            monotonic_us,
            realtime_us: self.time_us,
            position: Position::EventRecord(self.record),
            subject_unit: &self.subject,
            identifier: &self.provider,
            message: &self.message,
            code: self.code,
            host: &self.computer,
            ..Record::default()
        });
    }
}

type Sink<'a> = dyn FnMut(Record<'_>) + 'a;

/// One boot while its records come in.
#[derive(Debug, Clone, Default)]
struct Boot {
    id: String,
    begins: bool,
    marks: u8,
    ended: bool,
    records: u32,
    start_us: u64,
    /// By how much the clock was set since.
    steps_us: i64,
    last: Option<(u64, u64)>,
    /// A step that no record explains, with the time before it.
    unexplained: Option<(i64, u64)>,
}

impl Boot {
    fn new(entry: &Entry, mark: Option<Mark>) -> Self {
        Self {
            id: format!("record {}", entry.record),
            begins: mark.is_some(),
            marks: mark.map_or(0, |mark| mark as u8),
            start_us: entry.time_us,
            ..Self::default()
        }
    }

    /// Whether a mark begins the next boot.
    fn is_over_at(&self, mark: Mark) -> bool {
        let repeated = self.marks & mark as u8 != 0;
        let late = match self.marks {
            0 => self.records > MAX_BEFORE_FIRST,
            _ => self.records > MAX_BETWEEN_MARKS,
        };
        repeated || self.ended || late
    }

    /// Time since the start, and whether the clock was set at this record.
    fn advance(&mut self, entry: &Entry) -> (u64, bool) {
        let told = entry.step_us != 0;
        // Time services correct by milliseconds all day: that makes no new stretch of time.
        let mut stepped = entry.step_us.saturating_abs() > STEP_US;
        self.steps_us = self.steps_us.saturating_add(entry.step_us);
        if let Some((last_us, _)) = self.last.filter(|_| !told) {
            stepped = self.unexplained_step(entry.time_us, last_us);
        }
        let since = (entry.time_us as i64)
            .saturating_sub(self.start_us as i64)
            .saturating_sub(self.steps_us);
        let mut since = u64::try_from(since).unwrap_or(0);
        if let Some((_, before)) = self.last.filter(|_| self.records > UNORDERED) {
            since = since.max(before);
        }
        self.records = self.records.saturating_add(1);
        self.last = Some((entry.time_us, since));
        self.ended |= entry.ends();
        (since, stepped)
    }

    fn unexplained_step(&mut self, time_us: u64, last_us: u64) -> bool {
        match self.unexplained.take() {
            // It was a single late record, not the clock.
            Some((step, before)) if time_us >= before => {
                self.steps_us = self.steps_us.saturating_sub(step);
                true
            }
            _ if time_us.saturating_add(JITTER_US) < last_us => {
                let step = time_us as i64 - last_us as i64;
                self.steps_us = self.steps_us.saturating_add(step);
                self.unexplained = Some((step, last_us));
                true
            }
            _ => false,
        }
    }
}

/// A stretch of wall clock time without a step inside one boot.
#[derive(Debug, Clone)]
struct Span {
    boot: String,
    begins: bool,
    from_us: u64,
    to_us: u64,
    monotonic_us: u64,
}

/// Tells the boots of a System log apart.
#[derive(Debug, Default)]
pub(super) struct Boots {
    current: Option<Boot>,
    /// The boot before, as long as it is open to which of the two records belong.
    previous: Option<Boot>,
    held: VecDeque<Entry>,
    spans: Vec<Span>,
    newest: Option<(u64, u64)>,
}

impl Boots {
    /// Takes the next record of the System log.
    pub fn push(&mut self, entry: Entry, sink: &mut Sink<'_>) {
        // Copies of one log repeat records; an archive goes on in the next file.
        let seen = |(record, time): (u64, u64)| entry.record <= record && entry.time_us <= time;
        if self.newest.is_some_and(seen) {
            return;
        }
        let time = self.newest.map_or(0, |(_, time)| time).max(entry.time_us);
        self.newest = Some((entry.record, time));
        match entry.mark() {
            Some(mark)
                if self
                    .current
                    .as_ref()
                    .is_none_or(|boot| boot.is_over_at(mark)) =>
            {
                self.begin(entry, mark, sink);
            }
            Some(Mark::Kernel) if self.is_holding() => self.kernel_started(entry, sink),
            mark => self.go_on(entry, mark, sink),
        }
    }

    fn is_holding(&self) -> bool {
        !self.held.is_empty()
    }

    fn begin(&mut self, entry: Entry, mark: Mark, sink: &mut Sink<'_>) {
        self.flush(sink);
        self.previous = self.current.replace(Boot::new(&entry, Some(mark)));
        if mark == Mark::Kernel {
            self.deliver(&entry, sink);
        } else {
            self.held.push_back(entry);
        }
    }

    fn go_on(&mut self, entry: Entry, mark: Option<Mark>, sink: &mut Sink<'_>) {
        let boot = self.current.get_or_insert_with(|| Boot::new(&entry, None));
        if let Some(mark) = mark {
            if boot.marks == 0 {
                boot.start_us = entry.time_us;
            }
            boot.marks |= mark as u8;
            boot.begins = true;
        }
        if self.is_holding() {
            self.held.push_back(entry);
            if self.held.len() >= MAX_HELD {
                self.flush(sink);
            }
        } else {
            self.deliver(&entry, sink);
        }
    }

    /// The start of the kernel says which of the records before belong to the boot before.
    fn kernel_started(&mut self, entry: Entry, sink: &mut Sink<'_>) {
        let service_us = self.held.front().map_or(0, |held| held.time_us);
        let start_us = entry.time_us.min(service_us);
        if let Some(boot) = &mut self.current {
            boot.start_us = start_us;
            boot.marks |= Mark::Kernel as u8;
        }
        let held = std::mem::take(&mut self.held);
        let is_before = |held: &Entry| held.time_us < start_us && self.previous.is_some();
        let (before, own): (Vec<Entry>, Vec<Entry>) = held.into_iter().partition(is_before);
        if let Some(mut previous) = self.previous.take() {
            for held in &before {
                let (monotonic_us, _) = previous.advance(held);
                held.deliver(&previous.id, previous.begins, monotonic_us, sink);
            }
        }
        self.deliver(&entry, sink);
        for held in own {
            self.deliver(&held, sink);
        }
        // What follows is compared with the kernel's start, not with records that came early.
        if let Some(boot) = &mut self.current {
            boot.last = Some((entry.time_us, 0));
        }
    }

    /// Gives the held records to the current boot.
    pub fn flush(&mut self, sink: &mut Sink<'_>) {
        for held in std::mem::take(&mut self.held) {
            self.deliver(&held, sink);
        }
        self.previous = None;
    }

    fn deliver(&mut self, entry: &Entry, sink: &mut Sink<'_>) {
        let Some(boot) = &mut self.current else {
            return;
        };
        let (monotonic_us, stepped) = boot.advance(entry);
        entry.deliver(&boot.id, boot.begins, monotonic_us, sink);
        let open = self.spans.last_mut();
        if let Some(span) = open.filter(|span| span.boot == boot.id && !stepped) {
            span.to_us = span.to_us.max(entry.time_us);
        } else if self.spans.len() < MAX_SPANS {
            self.spans.push(Span {
                boot: boot.id.clone(),
                begins: boot.begins,
                from_us: entry.time_us,
                to_us: entry.time_us,
                monotonic_us,
            });
        }
    }

    /// Where the records of the machine's other logs belong; after the last push.
    pub fn places(mut self) -> Places {
        // Other programs go on for a while after the last record of a boot, not into the next.
        for at in 0..self.spans.len() {
            let next_us = self.spans.get(at + 1).map_or(u64::MAX, |next| next.from_us);
            let span = &mut self.spans[at];
            let limit = span.to_us.saturating_add(DAY_US).min(next_us);
            span.to_us = span.to_us.max(limit);
        }
        Places {
            spans: self.spans,
            at: 0,
        }
    }
}

/// Finds the boot for a record of another log by its time.
#[derive(Debug, Clone)]
pub(super) struct Places {
    spans: Vec<Span>,
    at: usize,
}

impl Places {
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Starts another log.
    pub fn rewind(&mut self) {
        self.at = 0;
    }

    /// Delivers a record into its boot; one that fits none is left out.
    pub fn push(&mut self, entry: &Entry, sink: &mut Sink<'_>) {
        let fits = |span: &Span| (span.from_us..=span.to_us).contains(&entry.time_us);
        // Records of one log are in order: look onwards first, then from the beginning.
        let onwards = (self.at..self.spans.len()).find(|at| fits(&self.spans[*at]));
        let Some(at) = onwards.or_else(|| self.spans.iter().position(fits)) else {
            return;
        };
        self.at = at;
        let span = &self.spans[at];
        let monotonic_us = span.monotonic_us + (entry.time_us - span.from_us);
        entry.deliver(&span.boot, span.begins, monotonic_us, sink);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000;

    fn entry(record: u64, second: u64, provider: &str, code: u32) -> Entry {
        Entry {
            record,
            code,
            provider: provider.to_owned(),
            time_us: second * S,
            ..Entry::default()
        }
    }

    /// Boot and second of each delivered record, in the order of delivery.
    fn deliver(entries: Vec<Entry>) -> (Vec<(u64, String, u64)>, Places) {
        let mut out = Vec::new();
        let mut sink = |record: Record<'_>| {
            let Position::EventRecord(number) = record.position else {
                panic!("a record number");
            };
            out.push((number, record.boot.to_owned(), record.monotonic_us / S));
        };
        let mut boots = Boots::default();
        for entry in entries {
            boots.push(entry, &mut sink);
        }
        boots.flush(&mut sink);
        out.sort();
        (out, boots.places())
    }

    fn two_boots() -> Vec<Entry> {
        vec![
            entry(1, 1000, KERNEL, 12),
            entry(2, 1030, "EventLog", 6009),
            entry(3, 1030, "EventLog", 6005),
            entry(4, 1100, "Service Control Manager", 7036),
            entry(5, 2000, "EventLog", 6006),
            entry(6, 2060, "EventLog", 6009),
            entry(7, 2060, "EventLog", 6005),
            entry(8, 2010, KERNEL, 13),
            entry(9, 2040, KERNEL, 12),
            entry(10, 2042, "Disk", 1),
            entry(11, 2070, "NETLOGON", 5719),
        ]
    }

    #[test]
    fn the_end_of_a_boot_that_is_written_into_the_next_goes_back() {
        let (records, _) = deliver(two_boots());
        let boot = |number: u64| records[number as usize - 1].1.clone();
        assert_eq!(boot(8), "record 1");
        let own: Vec<&str> = (6..=11)
            .filter(|n| *n != 8)
            .map(|n| records[n - 1].1.as_str())
            .collect();
        assert_eq!(own, ["record 6"; 5]);
        let seconds: Vec<u64> = records.iter().map(|r| r.2).collect();
        assert_eq!(seconds, [0, 30, 30, 100, 1000, 20, 20, 1010, 0, 2, 30]);
    }

    #[test]
    fn a_clock_set_without_a_record_is_taken_out_once() {
        let mut entries = vec![
            entry(1, 10_000, KERNEL, 12),
            entry(2, 2_800, "EventLog", 6005),
        ];
        entries.extend((3..9).map(|n| entry(n, 2_800 + n, "x", 1)));
        let (records, _) = deliver(entries);
        let seconds: Vec<u64> = records.iter().map(|r| r.2).collect();
        assert_eq!(seconds, [0, 0, 3, 4, 5, 6, 7, 8]);
    }

    #[test]
    fn one_late_record_is_not_a_step() {
        let entries = vec![
            entry(1, 10_000, KERNEL, 12),
            entry(2, 10_500, "x", 1),
            entry(3, 10_200, "late", 1),
            entry(4, 10_501, "x", 1),
        ];
        let (records, _) = deliver(entries);
        assert_eq!(records[3].2, 501);
    }

    #[test]
    fn copies_of_a_log_are_used_once_and_archives_go_on() {
        let mut twice = two_boots();
        twice.extend(two_boots());
        twice.push(entry(12, 2100, "x", 1));
        let (records, _) = deliver(twice);
        assert_eq!(records.len(), 12);
        assert_eq!(records[11], (12, "record 6".to_owned(), 60));
    }

    #[test]
    fn records_of_other_logs_find_their_boot() {
        let (_, mut places) = deliver(two_boots());
        let mut found = Vec::new();
        for second in [500, 1050, 2005, 2071, 9_000_000] {
            places.push(
                &entry(1, second, "GroupPolicy", 1129),
                &mut |record: Record<'_>| {
                    found.push((record.boot.to_owned(), record.monotonic_us / S));
                },
            );
        }
        let expected = [("record 1", 50), ("record 1", 1005), ("record 6", 31)];
        assert_eq!(
            found,
            expected.map(|(boot, second)| (boot.to_owned(), second))
        );
    }

    proptest::proptest! {
        #[test]
        fn any_records_are_delivered_once(
            marks in proptest::collection::vec((0_u64..5_000, 0_usize..5, proptest::num::i64::ANY), 0..400),
        ) {
            let kinds = [(KERNEL, 12), ("EventLog", 6009), ("EventLog", 6005), ("EventLog", 6006), ("x", 1)];
            let entries: Vec<Entry> = marks.iter().enumerate().map(|(number, (second, kind, step))| Entry {
                step_us: if number % 7 == 0 { *step } else { 0 },
                ..entry(number as u64 + 1, *second, kinds[*kind].0, kinds[*kind].1)
            }).collect();
            let count = entries.len();
            proptest::prop_assert_eq!(deliver(entries).0.len(), count);
        }
    }
}
