//! Readers of log files. A new format is one file here and one line in `READERS`.

mod eventlog;
mod journal;
mod journal_object;
mod syslog;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;

use crate::event::{History, HistoryBuilder, Record};
use crate::folder::{Listing, list_files};

/// Why a log file was read only in part or not at all.
#[derive(Debug, Error)]
pub(crate) enum ReadError {
    #[error("failed to read the log")]
    Io(#[from] std::io::Error),
    #[error("it is not a journal file")]
    NotAJournal,
    #[error("it uses journal features that are not known (flags {0:#x})")]
    UnknownFeatures(u32),
    #[error("it is damaged at offset {offset}; {entries} entries before that were used")]
    Damaged { offset: u64, entries: u64 },
    #[error("it asks for more work than a journal needs; {0} entries were used")]
    TooMuchWork(u64),
    #[error("it is larger than {0} MiB; the rest was left out")]
    TooLarge(u64),
    #[error("this Windows event log is not used; the System log is")]
    EventLog,
    #[error("failed to read it as a Windows event log")]
    BadEventLog,
    #[error("{0} damaged records were left out")]
    BadRecords(u64),
}

/// One log format.
///
/// `read` must be bounded in memory, must not panic on hostile bytes, and delivers whatever it
/// could read before it returns an error.
trait LogReader {
    /// Whether a file is of this format, by its name alone.
    fn claims(&self, path: &str) -> bool;
    /// Whether the format repeats what journals hold already.
    fn is_fallback(&self) -> bool;
    /// Delivers all records.
    fn read(&self, file: File, sink: &mut dyn FnMut(Record<'_>)) -> Result<(), ReadError>;
}

const READERS: &[&dyn LogReader] = &[
    &journal::Journal,
    &syslog::Syslog,
    &eventlog::SystemLog,
    &NotYet::EventLog,
];

const MAX_LOG_FILES: usize = 4_000;

/// Formats that are recognised so that nobody believes they were read.
enum NotYet {
    EventLog,
}

impl LogReader for NotYet {
    fn claims(&self, path: &str) -> bool {
        let lower = path.to_ascii_lowercase();
        match self {
            Self::EventLog => lower.ends_with(".evtx") || lower.ends_with(".evt"),
        }
    }

    fn is_fallback(&self) -> bool {
        false
    }

    fn read(&self, _: File, _: &mut dyn FnMut(Record<'_>)) -> Result<(), ReadError> {
        Err(match self {
            Self::EventLog => ReadError::EventLog,
        })
    }
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
    let listing = list_files(folder, "", MAX_LOG_FILES, &|relative| is_log(relative));
    if listing.truncated {
        warnings.push(format!(
            "{machine}: more than {MAX_LOG_FILES} log files; the rest was left out"
        ));
    }
    let mut builder = HistoryBuilder::new(descriptions(units));
    let mut read_any = false;
    for fallback in [false, true] {
        if fallback && read_any {
            break;
        }
        read_any |= read_all(machine, &listing, fallback, &mut builder, warnings);
    }
    let (history, dropped) = builder.finish();
    if dropped > 0 {
        warnings.push(format!(
            "{machine}: {dropped} log records beyond the limit were left out"
        ));
    }
    if history.boots.is_empty() {
        warnings.push(format!(
            "{machine}: no readable logs in {}",
            folder.display()
        ));
    }
    history
}

fn read_all(
    machine: &str,
    listing: &Listing,
    fallback: bool,
    builder: &mut HistoryBuilder,
    warnings: &mut Vec<String>,
) -> bool {
    let mut read_any = false;
    let mut unused = Vec::new();
    for (relative, path) in &listing.files {
        let reader = READERS
            .iter()
            .find(|r| r.claims(relative) && r.is_fallback() == fallback);
        let Some(reader) = reader else { continue };
        let name: Arc<str> = Arc::from(relative.as_str());
        let mut records = 0_u64;
        let result = open(path).and_then(|file| {
            reader.read(file, &mut |record| {
                records += 1;
                builder.push(&name, record);
            })
        });
        read_any |= records > 0;
        if matches!(result, Err(ReadError::EventLog)) {
            unused.push(relative.as_str());
        } else if let Err(error) = result {
            warnings.push(format!("{machine}: {relative}: {}", chain(&error)));
        }
    }
    if let Some((first, more)) = unused.split_first() {
        let also = if more.is_empty() {
            String::new()
        } else {
            format!(" (and {} more)", more.len())
        };
        warnings.push(format!("{machine}: {first}{also}: {}", ReadError::EventLog));
    }
    read_any
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

fn open(path: &PathBuf) -> Result<File, ReadError> {
    Ok(File::open(path)?)
}

fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}

fn is_log(relative: &str) -> bool {
    let skipped = relative.starts_with("etc/") || relative.starts_with("usr/");
    !skipped && READERS.iter().any(|reader| reader.claims(relative))
}
