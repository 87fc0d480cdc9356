//! Readers of log files, by format, and how the logs of one machine come together.
//!
//! A file is told by its first bytes, then by its name, wherever it lies in the folder of its
//! machine. Every reader is bounded in memory and does not panic on hostile bytes; it delivers
//! what it could read before it says what was wrong.

mod event_log;
mod journal;
mod journal_object;
mod old_event_log;
mod program_log;
mod recognise;
mod source;
mod stamps;
mod survey;
mod syslog;
mod text_boots;
mod text_logs;
mod windows;
mod windows_logs;

use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use thiserror::Error;

use crate::event::{History, HistoryBuilder, Left, Record};
use crate::folder::{list_files, read_inside};
use recognise::{Format, Recognised, recognise};
use source::{Budget, Source, unpack_whole};
use text_logs::{Place, TextLog};

pub use survey::{LogSurvey, survey_bytes, survey_log};

/// Why a log file was read only in part or not at all.
#[derive(Debug, Error)]
pub(crate) enum ReadError {
    #[error("failed to read the log")]
    Io(#[from] std::io::Error),
    #[error("failed to unpack all of it; what came before was used")]
    Unpack(#[source] std::io::Error),
    #[error("it is not a journal file")]
    NotAJournal,
    #[error("it uses journal features that are not known (flags {0:#x})")]
    UnknownFeatures(u32),
    #[error("it is damaged or cut at offset {offset}; {entries} entries were used")]
    Damaged { offset: u64, entries: u64 },
    #[error("it asks for more work than a journal needs; {0} entries were used")]
    TooMuchWork(u64),
    #[error("it ends in the middle; what came before was used")]
    Cut,
    #[error("failed to read it as a Windows event log")]
    BadEventLog,
    #[error("{0} damaged records were left out")]
    BadRecords(u64),
    #[error(
        "no System log lies beside it, so the boots of the machine are not known; it was not used"
    )]
    NoSystemLog,
}

const MAX_LOG_FILES: usize = 4_000;
const MAX_UNKNOWN: usize = 20;
/// What all packed logs of a machine may unpack to.
const MAX_UNPACKED: u64 = 8 << 30;
/// What one packed journal or Windows log may unpack to.
const MAX_WHOLE: u64 = 1 << 30;

/// A log of a machine before it is read.
struct LogFile {
    name: Arc<str>,
    place: Place,
    recognised: Recognised,
    written_s: u64,
}

impl LogFile {
    /// The bytes, unpacked where they are packed, and why not all of them.
    fn whole(&self, budget: &Budget) -> Result<(Source, Option<ReadError>), ReadError> {
        let source = self.place.open()?;
        let Some(packing) = self.recognised.packing else {
            return Ok((source, None));
        };
        let (whole, error) = unpack_whole(&source, packing, MAX_WHOLE, budget)?;
        Ok((whole, error.map(ReadError::Unpack)))
    }
}

/// The logs of one machine while they are read.
struct Logs<'a> {
    own_names: &'a [String],
    budget: Budget,
    builder: HistoryBuilder,
    records: u64,
    problems: Vec<(Arc<str>, ReadError)>,
    /// Windows logs that say nothing about starting.
    unused: Vec<Arc<str>>,
}

impl<'a> Logs<'a> {
    fn new(own_names: &'a [String], builder: HistoryBuilder) -> Self {
        Self {
            own_names,
            budget: Budget::new(MAX_UNPACKED),
            builder,
            records: 0,
            problems: Vec::new(),
            unused: Vec::new(),
        }
    }

    fn push(&mut self, file: &Arc<str>, record: Record<'_>) {
        self.records += 1;
        self.builder.push(file, record);
    }

    fn read(&mut self, files: Vec<LogFile>) {
        let (mut journals, files) = split(files, |format| format == Format::Journal);
        let (texts, windows) = split(files, |format| format == Format::Syslog);
        // What a later file says about names and addresses outlasts what an earlier one said.
        journals.sort_by_key(|file| journal::first_us(&file.recognised.head));
        for file in journals {
            self.read_journal(&file);
        }
        windows_logs::read(self, windows);
        // Where a journal is, text logs only repeat it.
        if self.records == 0 && !texts.is_empty() {
            self.read_texts(texts);
        }
    }

    fn read_journal(&mut self, file: &LogFile) {
        let result = file.whole(&self.budget).and_then(|(source, cut)| {
            let read = journal::read(&source, &mut |record| self.push(&file.name, record));
            read.and(cut.map_or(Ok(()), Err))
        });
        self.note(&file.name, result);
    }

    fn read_texts(&mut self, texts: Vec<LogFile>) {
        let texts = texts.into_iter().map(|file| TextLog {
            name: file.name,
            place: file.place,
            recognised: file.recognised,
            written_s: file.written_s,
        });
        let (budget, own_names) = (self.budget.clone(), self.own_names);
        let problems = text_logs::read(texts.collect(), own_names, &budget, &mut |file, record| {
            self.push(file, record);
        });
        self.problems.extend(problems);
    }

    fn note(&mut self, file: &Arc<str>, result: Result<(), ReadError>) {
        if let Err(error) = result {
            self.problems.push((Arc::clone(file), error));
        }
    }
}

fn split(files: Vec<LogFile>, wanted: impl Fn(Format) -> bool) -> (Vec<LogFile>, Vec<LogFile>) {
    files
        .into_iter()
        .partition(|file| wanted(file.recognised.format))
}

/// Reads every log of a machine folder; problems become warnings that name machine and file.
///
/// `units` are the unit files of the machine, for logs that name units only by description.
pub(crate) fn read_history(
    machine: &str,
    folder: &Path,
    units: &BTreeMap<String, String>,
    warnings: &mut Vec<String>,
) -> History {
    let mut found = find_logs(machine, folder, warnings);
    let first = found.logs.first().map(|file| Arc::clone(&file.name));
    let own_names = own_names(machine, folder);
    let mut logs = Logs::new(&own_names, HistoryBuilder::new(descriptions(units)));
    logs.read(std::mem::take(&mut found.logs));
    warn_of_files(machine, &logs, warnings);
    let (history, left) = logs.builder.finish();
    warn_of_limits(machine, left, warnings);
    let why = match (found.files, &first) {
        (0, _) => "the folder is empty or holds configuration only".to_owned(),
        (count, None) => format!("none of its {count} files outside etc/ is a log"),
        (_, Some(first)) => format!("{first} gave no records"),
    };
    if history.boots.is_empty() {
        warnings.push(format!(
            "{machine}: no readable logs in {} ({why})",
            folder.display()
        ));
    } else if let Some(first) = first.filter(|_| !history.boots.iter().any(|boot| boot.begins)) {
        warnings.push(format!(
            "{machine}: {first}: no start of the machine is in its logs; what they tell counts for a running machine"
        ));
    }
    history
}

fn warn_of_files(machine: &str, logs: &Logs<'_>, warnings: &mut Vec<String>) {
    for (file, error) in &logs.problems {
        warnings.push(format!("{machine}: {file}: {}", chain(error)));
    }
    if let Some((first, more)) = logs.unused.split_first() {
        let also = match more.len() {
            0 => String::new(),
            count => format!(" (and {count} more)"),
        };
        warnings.push(format!(
            "{machine}: {first}{also}: this Windows event log says nothing about starting; it was not used"
        ));
    }
    if logs.budget.is_spent() {
        warnings.push(format!(
            "{machine}: its packed logs unpack to more than {} GiB; the rest was left out",
            MAX_UNPACKED >> 30
        ));
    }
}

fn warn_of_limits(machine: &str, left: Left, warnings: &mut Vec<String>) {
    if left.records > 0 {
        warnings.push(format!(
            "{machine}: {} log records of too many kinds were left out",
            left.records
        ));
    }
    if left.boots > 0 {
        warnings.push(format!(
            "{machine}: its logs hold too many boots; the oldest {} were left out",
            left.boots
        ));
    }
}

#[derive(Default)]
struct Found {
    logs: Vec<LogFile>,
    files: usize,
}

fn find_logs(machine: &str, folder: &Path, warnings: &mut Vec<String>) -> Found {
    let listing = list_files(folder, "", MAX_LOG_FILES, &is_candidate);
    listing.warn(machine, warnings);
    if listing.truncated {
        warnings.push(format!(
            "{machine}: more than {MAX_LOG_FILES} files that may be logs; the rest was left out"
        ));
    }
    let mut found = Found {
        logs: Vec::new(),
        files: listing.files.len(),
    };
    let mut unknown = Vec::new();
    for (relative, path) in listing.files {
        match look_at(&relative, &path) {
            Ok(file) => match file.recognised.format {
                Format::Beside | Format::Empty => {}
                // Below folders lies much that no one takes for a log.
                Format::Unknown if relative.contains('/') && !is_called_a_log(&relative) => {}
                Format::Unknown => unknown.push(relative),
                _ => found.logs.push(file),
            },
            Err(error) => warnings.push(format!("{machine}: {relative}: {}", chain(&error))),
        }
    }
    let more = unknown.len().saturating_sub(MAX_UNKNOWN);
    for relative in unknown.into_iter().take(MAX_UNKNOWN) {
        warnings.push(format!(
            "{machine}: {relative}: neither a log nor configuration that is known; it was not used"
        ));
    }
    if more > 0 {
        warnings.push(format!("{machine}: {more} more files are of unknown kinds"));
    }
    found
}

/// Logs that programs keep for themselves in forms of their own, and broken ones.
fn is_called_a_log(relative: &str) -> bool {
    let name = relative.rsplit('/').next().unwrap_or(relative);
    let system = ["syslog", "messages", "daemon", "kern", "secure", "maillog"];
    relative.starts_with("var/log/")
        && (name.ends_with(".log") || system.iter().any(|stem| name.starts_with(stem)))
}

fn look_at(relative: &str, path: &Path) -> Result<LogFile, ReadError> {
    let file = std::fs::File::open(path)?;
    let modified = file.metadata()?.modified().ok();
    let modified_s = modified
        .and_then(|time| time.duration_since(UNIX_EPOCH).ok())
        .map_or(0, |age| age.as_secs());
    let source: Source = Rc::new(file);
    let recognised = recognise(relative, &source)?;
    Ok(LogFile {
        name: Arc::from(relative),
        place: Place::Path(path.to_owned()),
        written_s: recognised.written_s.unwrap_or(modified_s),
        recognised,
    })
}

/// Places of a captured root where no logs are; everything else is looked at.
fn is_candidate(relative: &str) -> bool {
    const NEVER: &[&str] = &[
        "etc/", "usr/", "proc/", "sys/", "dev/", "bin/", "sbin/", "lib/", "lib32/", "lib64/",
        "boot/", "home/", "root/", "opt/", "srv/", "tmp/",
    ];
    const ONLY: &[(&str, &[&str])] = &[
        ("var/", &["log/"]),
        ("run/", &["log/"]),
        ("windows/", &["system32/winevt/", "system32/config/"]),
    ];
    let lower = relative.to_ascii_lowercase();
    if NEVER.iter().any(|place| lower.starts_with(place)) {
        return false;
    }
    ONLY.iter()
        .all(|(place, inside)| match lower.strip_prefix(place) {
            Some(rest) => inside.iter().any(|inside| rest.starts_with(inside)),
            None => true,
        })
}

/// How the machine may call itself in its logs.
fn own_names(machine: &str, folder: &Path) -> Vec<String> {
    let hostname = read_inside(folder, "etc/hostname");
    let hostname = hostname.and_then(|text| Some(text.split_whitespace().next()?.to_owned()));
    hostname.into_iter().chain([machine.to_owned()]).collect()
}

/// Units by what they call themselves.
fn descriptions(units: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let described = units.iter().filter_map(|(file, text)| {
        let description = text
            .lines()
            .find_map(|line| line.strip_prefix("Description="))?;
        Some((
            description.trim().to_owned(),
            file.rsplit('/').next()?.to_owned(),
        ))
    });
    described.collect()
}

fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests;
