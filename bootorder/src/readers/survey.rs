//! One log for itself: what a single file holds, without a machine around it.

use std::io;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use super::recognise::{Format, recognise};
use super::text_logs::Place;
use super::{LogFile, Logs, chain, look_at};
use crate::event::HistoryBuilder;

/// What a single log holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogSurvey {
    /// The format that it was read as; empty when it is no log.
    pub format: &'static str,
    /// Records that were parsed.
    pub records: u64,
    /// Boots that were told apart, and those of them whose beginning is there.
    pub boots: usize,
    /// Boots whose beginning is in the log.
    pub beginnings: usize,
    /// Records that were kept because they say something about readiness or failure.
    pub kept: usize,
    /// What was wrong with it.
    pub problems: Vec<String>,
}

/// Reads one log file as the order of a site does.
pub fn survey_log(path: &Path) -> io::Result<LogSurvey> {
    let name = path.file_name().unwrap_or(path.as_os_str());
    match look_at(&name.to_string_lossy(), path) {
        Ok(file) => Ok(survey(file)),
        Err(error) => Err(io::Error::other(chain(&error))),
    }
}

/// Reads a log in memory; its name counts where its first bytes say nothing.
pub fn survey_bytes(name: &str, bytes: Vec<u8>) -> LogSurvey {
    let source: super::Source = Rc::new(bytes);
    match recognise(name, &source) {
        Ok(recognised) => survey(LogFile {
            name: Arc::from(name),
            place: Place::Source(source),
            written_s: recognised.written_s.unwrap_or(0),
            recognised,
        }),
        Err(_) => LogSurvey::default(),
    }
}

fn survey(file: LogFile) -> LogSurvey {
    let format = match file.recognised.format {
        Format::Journal => "systemd journal",
        Format::EventLog => "Windows event log (.evtx)",
        Format::OldEventLog => "Windows event log (.evt)",
        Format::Syslog => "syslog",
        Format::Beside | Format::Empty | Format::Unknown => return LogSurvey::default(),
    };
    let mut logs = Logs::new(&[], HistoryBuilder::default());
    logs.read(vec![file]);
    let (history, _) = logs.builder.finish();
    LogSurvey {
        format,
        records: logs.records,
        boots: history.boots.len(),
        beginnings: history.boots.iter().filter(|boot| boot.begins).count(),
        kept: history.boots.iter().map(|boot| boot.events.len()).sum(),
        problems: logs
            .problems
            .iter()
            .map(|(_, error)| chain(error))
            .collect(),
    }
}
