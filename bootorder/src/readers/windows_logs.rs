//! The event logs of one Windows machine: the System log tells the boots, the others fall into them.

use std::sync::Arc;

use super::recognise::Format;
use super::source::Source;
use super::windows::{Boots, Entry, Places};
use super::{LogFile, Logs, ReadError, event_log, old_event_log};

/// Logs that tell of services that were missed or became ready while a machine started.
const CHANNELS: &[&str] = &[
    "Application",
    "Microsoft-Windows-GroupPolicy/Operational",
    "Microsoft-Windows-SmbClient/Connectivity",
    "Microsoft-Windows-DNS-Client/Operational",
    "Microsoft-Windows-Time-Service/Operational",
    "Directory Service",
    "DNS Server",
    "DFS Replication",
    "File Replication Service",
];

struct Opened {
    name: Arc<str>,
    source: Source,
    is_old: bool,
    begins_us: u64,
}

enum Use {
    System,
    Beside,
    None,
    Empty,
}

/// Reads what is of use; the System logs of all files first, oldest first.
pub(super) fn read(logs: &mut Logs<'_>, files: Vec<LogFile>) {
    let (mut systems, mut others) = (Vec::new(), Vec::new());
    for file in files {
        match open(logs, &file) {
            Ok((Use::System, opened)) => systems.push(opened),
            Ok((Use::Beside, opened)) => others.push(opened),
            Ok((Use::None, _)) => logs.unused.push(file.name),
            Ok((Use::Empty, _)) => {}
            Err(error) => logs.problems.push((file.name, error)),
        }
    }
    systems.sort_by_key(|opened| opened.begins_us);
    let places = read_systems(logs, &systems);
    read_others(logs, places, &others);
}

fn open(logs: &mut Logs<'_>, file: &LogFile) -> Result<(Use, Opened), ReadError> {
    let (source, cut) = file.whole(&logs.budget)?;
    if let Some(cut) = cut {
        logs.problems.push((Arc::clone(&file.name), cut));
    }
    let is_old = file.recognised.format == Format::OldEventLog;
    let (found, begins_us) = if is_old {
        old_use(&source)?
    } else {
        new_use(&source)?
    };
    let opened = Opened {
        name: Arc::clone(&file.name),
        source,
        is_old,
        begins_us,
    };
    Ok((found, opened))
}

fn new_use(source: &Source) -> Result<(Use, u64), ReadError> {
    let Some(beginning) = event_log::beginning(source)? else {
        return Ok((Use::Empty, 0));
    };
    let found = match beginning.channel.as_str() {
        "System" => Use::System,
        channel if CHANNELS.contains(&channel) => Use::Beside,
        _ => Use::None,
    };
    Ok((found, beginning.time_us))
}

/// Old logs do not say which they are: the System log holds the starts of its own service.
fn old_use(source: &Source) -> Result<(Use, u64), ReadError> {
    let mut begins_us = None;
    let (mut is_system, mut is_security) = (false, false);
    let result = old_event_log::read(source, &mut |entry| {
        begins_us.get_or_insert(entry.time_us);
        is_system |= entry.provider.eq_ignore_ascii_case("EventLog");
        is_system |= entry.provider == "Service Control Manager";
        is_security |= entry.provider == "Security";
    });
    let Some(begins_us) = begins_us else {
        return result.map(|()| (Use::Empty, 0));
    };
    let found = match (is_system, is_security) {
        (true, _) => Use::System,
        (_, true) => Use::None,
        _ => Use::Beside,
    };
    Ok((found, begins_us))
}

fn entries(opened: &Opened, sink: &mut dyn FnMut(Entry)) -> Result<(), ReadError> {
    if opened.is_old {
        old_event_log::read(&opened.source, sink)
    } else {
        event_log::read(&opened.source, sink)
    }
}

fn read_systems(logs: &mut Logs<'_>, systems: &[Opened]) -> Places {
    let mut boots = Boots::default();
    for opened in systems {
        let result = entries(opened, &mut |entry| {
            boots.push(entry, &mut |record| logs.push(&opened.name, record));
        });
        logs.note(&opened.name, result);
    }
    if let Some(last) = systems.last() {
        boots.flush(&mut |record| logs.push(&last.name, record));
    }
    boots.places()
}

fn read_others(logs: &mut Logs<'_>, mut places: Places, others: &[Opened]) {
    for opened in others {
        if places.is_empty() {
            logs.note(&opened.name, Err(ReadError::NoSystemLog));
            continue;
        }
        places.rewind();
        let result = entries(opened, &mut |entry| {
            places.push(&entry, &mut |record| logs.push(&opened.name, record));
        });
        logs.note(&opened.name, result);
    }
}
