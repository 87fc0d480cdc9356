//! The text logs of a machine as one stream: rotated files one after the other, files of several
//! programs side by side, repeated lines once.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufRead, BufReader, Read};
use std::ops::Range;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use super::ReadError;
use super::program_log::program_of;
use super::recognise::Recognised;
use super::source::{Budget, Source, unpacked};
use super::stamps::{Survey, Written, Years};
use super::syslog::{Line, next_record, parse};
use super::text_boots::{Boots, Told};
use crate::clock::told_epoch_s;
use crate::event::{Record, year_of};

const MAX_LINE: u64 = 8192;
const MAX_STREAMS: usize = 64;
const MAX_REPEATED: usize = 10_000;
const DAY_US: u64 = 86_400_000_000;

/// Where the bytes of a log are.
#[derive(Clone)]
pub(super) enum Place {
    /// Opened when it is its turn: there may be thousands.
    Path(PathBuf),
    Source(Source),
}

impl Place {
    pub fn open(&self) -> std::io::Result<Source> {
        Ok(match self {
            Self::Path(path) => Rc::new(File::open(path)?),
            Self::Source(source) => Rc::clone(source),
        })
    }
}

/// One file with text.
pub(super) struct TextLog {
    pub name: Arc<str>,
    pub place: Place,
    pub recognised: Recognised,
    /// When it was written last, in seconds since the epoch.
    pub written_s: u64,
}

/// Reads all text logs of a machine; returns what was wrong with which file.
///
/// `own_names` are names of the machine: a log that others send their lines to holds theirs too.
pub(super) fn read(
    files: Vec<TextLog>,
    own_names: &[String],
    budget: &Budget,
    sink: &mut dyn FnMut(&Arc<str>, Record<'_>),
) -> Vec<(Arc<str>, ReadError)> {
    let mut problems = Vec::new();
    let hosts = Hosts::of(&files, own_names);
    let mut streams = Vec::new();
    for (_, mut family) in families(files).into_iter().take(MAX_STREAMS) {
        family.sort_by_cached_key(|log| rotation(&log.name).1);
        let planned = plan(family, budget, &mut problems);
        streams.push(Stream::new(planned, budget.clone()));
    }
    merge(&mut streams, &hosts, sink);
    problems.extend(streams.into_iter().flat_map(|stream| stream.problems));
    problems
}

fn families(files: Vec<TextLog>) -> BTreeMap<String, Vec<TextLog>> {
    let mut families: BTreeMap<String, Vec<TextLog>> = BTreeMap::new();
    for file in files {
        let (stem, _) = rotation(&file.name);
        families.entry(stem.to_owned()).or_default().push(file);
    }
    families
}

/// The name without what rotation added, and where the file stands among its family: dated ones
/// first, then numbered ones from the highest on, the live one last.
fn rotation(name: &str) -> (&str, (u8, u64)) {
    let packed = [".gz", ".xz", ".zst"];
    let name = packed
        .iter()
        .find_map(|end| name.strip_suffix(end))
        .unwrap_or(name);
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
    let digits = &name[stem.len()..];
    let number: u64 = digits.parse().unwrap_or(0);
    if digits.len() >= 8 && stem.ends_with(['-', '.']) {
        let (stem, date) = rotation_date(&stem[..stem.len() - 1], digits, number);
        return (stem, (0, date));
    }
    match stem.strip_suffix('.') {
        Some(stem) if !digits.is_empty() => (stem, (1, u64::MAX - number)),
        _ => (name, (2, 0)),
    }
}

/// "messages-20250101" or "messages-20250101-1735689600".
fn rotation_date<'a>(stem: &'a str, digits: &str, number: u64) -> (&'a str, u64) {
    let outer = stem.trim_end_matches(|c: char| c.is_ascii_digit());
    let date = &stem[outer.len()..];
    match outer.strip_suffix('-') {
        Some(outer) if date.len() == 8 && digits.len() >= 9 => (
            outer,
            date.parse().unwrap_or(0) * 10_000_000_000 + number % 10_000_000_000,
        ),
        _ => (stem, number * 10_000_000_000),
    }
}

/// A file whose years are known.
struct Planned {
    log: TextLog,
    first_year: i64,
}

/// Infers the years of a family from its newest file backwards.
fn plan(
    family: Vec<TextLog>,
    budget: &Budget,
    problems: &mut Vec<(Arc<str>, ReadError)>,
) -> VecDeque<Planned> {
    let mut planned = VecDeque::new();
    let mut newer_us = u64::MAX;
    for log in family.into_iter().rev() {
        let written_us = log.written_s.saturating_mul(1_000_000);
        let not_after = newer_us.min(written_us).saturating_add(DAY_US);
        let (first_year, first_us) = match first_line(&log.recognised.head) {
            Some(Written::Full(stamp)) => (year_of(stamp.us), Some(stamp.us)),
            Some(Written::Yearless(_)) => {
                let survey = survey(&log, budget).unwrap_or_else(|error| {
                    problems.push((Arc::clone(&log.name), ReadError::Unpack(error)));
                    Survey::default()
                });
                let year = survey
                    .first_year(not_after)
                    .unwrap_or_else(|| year_of(not_after));
                (year, survey.first_us(year))
            }
            None => (year_of(not_after), None),
        };
        newer_us = first_us.unwrap_or(newer_us).min(newer_us);
        planned.push_front(Planned { log, first_year });
    }
    planned
}

fn first_line(head: &[u8]) -> Option<Written> {
    let text = String::from_utf8_lossy(head);
    text.lines().find_map(|line| Some(parse(line)?.when))
}

/// Looks at all stamps of a file that writes no years.
fn survey(log: &TextLog, budget: &Budget) -> std::io::Result<Survey> {
    let source = log.place.open()?;
    let stream = unpacked(&source, log.recognised.packing, budget)?;
    let mut lines = Lines::new(stream);
    let mut survey = Survey::default();
    loop {
        match lines.next_line() {
            // What is wrong is said when the file is read.
            Ok(None) | Err(_) => return Ok(survey),
            Ok(Some(_)) => {}
        }
        if let Some(line) = parse(&lines.text)
            && let Written::Yearless(stamp) = line.when
        {
            let told = told_epoch_s(line.identifier, line.message);
            let told = told.map(|epoch| year_of(epoch.saturating_mul(1_000_000)));
            survey.push(stamp, told);
        }
    }
}

struct Lines {
    reader: BufReader<Box<dyn Read>>,
    bytes: Vec<u8>,
    text: String,
    number: u64,
    /// Whether the next piece goes on with a line that was too long.
    continued: bool,
}

impl Lines {
    fn new(stream: Box<dyn Read>) -> Self {
        Self {
            reader: BufReader::with_capacity(1 << 16, stream),
            bytes: Vec::new(),
            text: String::new(),
            number: 0,
            continued: false,
        }
    }

    /// Puts the next line into `text`; what is longer than a line may be is left out.
    fn next_line(&mut self) -> std::io::Result<Option<()>> {
        loop {
            self.bytes.clear();
            let limited = &mut self.reader.by_ref().take(MAX_LINE);
            if limited.read_until(b'\n', &mut self.bytes)? == 0 {
                return Ok(None);
            }
            let was_continued = self.continued;
            self.continued = self.bytes.last() != Some(&b'\n');
            if !was_continued {
                self.number += 1;
                self.text.clear();
                self.text
                    .push_str(String::from_utf8_lossy(&self.bytes).trim_end());
                return Ok(Some(()));
            }
        }
    }
}

/// One family while it is read; `next` is its next record.
struct Stream {
    files: VecDeque<Planned>,
    lines: Option<(Arc<str>, Lines, Years)>,
    /// Whether the file is what a forwarder sent: records need not end with their line.
    is_forwarded: bool,
    budget: Budget,
    /// The rest of a line that holds several records.
    rest: Option<String>,
    next: Option<Parsed>,
    problems: Vec<(Arc<str>, ReadError)>,
}

/// A line with the places of its parts.
struct Parsed {
    file: Arc<str>,
    text: String,
    number: u64,
    us: u64,
    has_zone: bool,
    has_fraction: bool,
    host: Range<usize>,
    identifier: Range<usize>,
    process: Range<usize>,
    message: Range<usize>,
    uptime_us: Option<u64>,
}

impl Stream {
    fn new(files: VecDeque<Planned>, budget: Budget) -> Self {
        let mut stream = Self {
            files,
            lines: None,
            is_forwarded: false,
            budget,
            rest: None,
            next: None,
            problems: Vec::new(),
        };
        stream.advance(String::new());
        stream
    }

    /// Makes the next record ready, in the memory of the last one.
    fn advance(&mut self, mut memory: String) {
        self.next = None;
        while let Some(text) = self.next_text(memory) {
            match self.parsed(text) {
                Ok(parsed) => {
                    self.next = Some(parsed);
                    return;
                }
                Err(text) => memory = text,
            }
        }
    }

    fn next_text(&mut self, mut memory: String) -> Option<String> {
        if let Some(rest) = self.rest.take() {
            return Some(self.first_record(rest));
        }
        loop {
            if self.lines.is_none() && !self.open_next() {
                return None;
            }
            let (name, lines, _) = self.lines.as_mut()?;
            match lines.next_line() {
                Ok(Some(())) => {
                    memory.clear();
                    memory.push_str(&lines.text);
                    return Some(self.first_record(memory));
                }
                Ok(None) => self.lines = None,
                Err(error) => {
                    self.problems
                        .push((Arc::clone(name), ReadError::Unpack(error)));
                    self.lines = None;
                }
            }
        }
    }

    fn first_record(&mut self, mut text: String) -> String {
        if self.is_forwarded
            && let Some(at) = next_record(&text)
        {
            self.rest = Some(text.split_off(at));
        }
        text
    }

    fn open_next(&mut self) -> bool {
        while let Some(planned) = self.files.pop_front() {
            let log = planned.log;
            let opened = log
                .place
                .open()
                .and_then(|source| unpacked(&source, log.recognised.packing, &self.budget));
            match opened {
                Ok(stream) => {
                    let years = Years::from(planned.first_year);
                    self.is_forwarded = log.recognised.head.starts_with(b"<");
                    self.lines = Some((log.name, Lines::new(stream), years));
                    return true;
                }
                Err(error) => self.problems.push((log.name, ReadError::Io(error))),
            }
        }
        false
    }

    fn parsed(&mut self, text: String) -> Result<Parsed, String> {
        let Some((file, lines, years)) = self.lines.as_mut() else {
            return Err(text);
        };
        let place = |part: &str| {
            let start = (part.as_ptr() as usize).wrapping_sub(text.as_ptr() as usize);
            let start = if start <= text.len() { start } else { 0 };
            start..(start + part.len()).min(text.len())
        };
        let found = parse(&text).and_then(|line| {
            let (us, has_zone) = match line.when {
                Written::Full(stamp) => (stamp.us, stamp.has_zone),
                Written::Yearless(stamp) => (stamp.in_year(years.next(stamp))?, false),
            };
            let parts = [line.host, line.identifier, line.process, line.message].map(place);
            Some((us, has_zone, parts, line.uptime_us))
        });
        let Some((us, has_zone, [host, identifier, process, message], uptime_us)) = found else {
            return Err(text);
        };
        Ok(Parsed {
            file: Arc::clone(file),
            number: lines.number,
            us,
            has_zone,
            has_fraction: us % 1_000_000 != 0,
            host,
            identifier,
            process,
            message,
            uptime_us,
            text,
        })
    }
}

fn merge(streams: &mut [Stream], hosts: &Hosts, sink: &mut dyn FnMut(&Arc<str>, Record<'_>)) {
    let mut boots = Boots::new(hosts.single());
    let mut repeated = Repeated::default();
    loop {
        let ready = streams.iter().enumerate();
        let ready = ready.filter_map(|(at, stream)| Some((stream.next.as_ref()?.us, at)));
        let Some((_, at)) = ready.min() else { break };
        let Some(parsed) = streams[at].next.take() else {
            break;
        };
        let told = parsed.told();
        if hosts.accepts(told.host) && !repeated.is_repeated(&told, at) {
            boots.deliver(&told, &mut |record| sink(&parsed.file, record));
        }
        streams[at].advance(parsed.text);
    }
}

impl Parsed {
    fn told(&self) -> Told<'_> {
        let part = |range: &Range<usize>| self.text.get(range.clone()).unwrap_or("");
        Told {
            us: self.us,
            has_zone: self.has_zone,
            has_fraction: self.has_fraction,
            number: self.number,
            host: part(&self.host),
            identifier: match part(&self.identifier) {
                "" => program_of(&self.file),
                named => named,
            },
            process: part(&self.process),
            message: part(&self.message),
            uptime_us: self.uptime_us,
        }
    }
}

/// Daemons write one message into several files.
#[derive(Default)]
struct Repeated {
    us: u64,
    seen: HashMap<u64, usize>,
}

impl Repeated {
    fn is_repeated(&mut self, line: &Told<'_>, stream: usize) -> bool {
        if self.us != line.us {
            self.us = line.us;
            self.seen.clear();
        }
        let mut hasher = DefaultHasher::new();
        (line.identifier, line.process, line.message, line.uptime_us).hash(&mut hasher);
        let hash = hasher.finish();
        if let Some(first) = self.seen.get(&hash) {
            return *first != stream;
        }
        if self.seen.len() < MAX_REPEATED {
            self.seen.insert(hash, stream);
        }
        false
    }
}

/// Whose lines count.
struct Hosts {
    seen: Vec<String>,
    /// Set when the machine's own name is among them.
    own: Option<String>,
}

impl Hosts {
    fn of(files: &[TextLog], own_names: &[String]) -> Self {
        let mut seen: Vec<String> = Vec::new();
        for file in files {
            let text = String::from_utf8_lossy(&file.recognised.head);
            for line in text.lines().filter_map(parse) {
                let Line { host, .. } = line;
                if !host.is_empty() && line.is_tagged && !seen.iter().any(|name| name == host) {
                    seen.push(host.to_owned());
                }
            }
            seen.truncate(1000);
        }
        let is_own = |host: &&String| {
            own_names
                .iter()
                .any(|own| short(own).eq_ignore_ascii_case(short(host)))
        };
        let own = seen.iter().find(is_own).map(|host| short(host).to_owned());
        Self { seen, own }
    }

    fn accepts(&self, host: &str) -> bool {
        let own = |own: &String| short(host).eq_ignore_ascii_case(own);
        host.is_empty() || host == "localhost" || self.own.as_ref().is_none_or(own)
    }

    /// The name of the machine, when the logs know only one.
    fn single(&self) -> String {
        match self.seen.as_slice() {
            [host] if host != "localhost" && host != "(none)" => host.clone(),
            _ => String::new(),
        }
    }
}

fn short(name: &str) -> &str {
    name.split('.').next().unwrap_or(name)
}
