//! What a file is: by its first bytes, then by its name.

use std::io::{self, Read};

use super::source::{Budget, Packing, Source, read_up_to, unpacked};
use super::syslog;

const HEAD: usize = 16 << 10;
const MAX_LINES: usize = 64;

/// The formats that are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Journal,
    /// Windows Vista and later.
    EventLog,
    /// Windows NT to 2003.
    OldEventLog,
    Syslog,
    /// Not a log, but read elsewhere or known to hold nothing about boots.
    Beside,
    Empty,
    Unknown,
}

/// A file as its beginning shows it.
pub(super) struct Recognised {
    pub format: Format,
    pub packing: Option<Packing>,
    /// The first unpacked bytes.
    pub head: Vec<u8>,
    /// When the packed file says that it was written.
    pub written_s: Option<u64>,
}

/// Looks at the beginning of a file.
pub(super) fn recognise(name: &str, source: &Source) -> io::Result<Recognised> {
    let mut raw = vec![0; HEAD];
    let read = read_up_to(source.as_ref(), &mut raw, 0)?;
    raw.truncate(read);
    let packing = Packing::of(&raw);
    let written_s = super::source::gzip_time(&raw);
    let head = match packing {
        None => raw,
        Some(_) => {
            let mut head = Vec::new();
            let stream = unpacked(source, packing, &Budget::new(HEAD as u64))?;
            // What comes before an error is enough to tell the format.
            let _ = stream.take(HEAD as u64).read_to_end(&mut head);
            head
        }
    };
    Ok(Recognised {
        format: format_of(name, &head),
        packing,
        head,
        written_s,
    })
}

fn format_of(name: &str, head: &[u8]) -> Format {
    let lower = name.to_ascii_lowercase();
    if head.is_empty() {
        Format::Empty
    } else if head.starts_with(b"LPKSHHRH") {
        Format::Journal
    } else if head.starts_with(b"ElfFile\0") {
        Format::EventLog
    } else if head.get(4..8) == Some(b"LfLe") {
        Format::OldEventLog
    } else if head.starts_with(b"regf") || is_beside(&lower) {
        Format::Beside
    } else if is_syslog(&lower, head) {
        Format::Syslog
    } else {
        by_name(&lower)
    }
}

/// A file that should be a log by its name goes to its reader, which says what is wrong with it.
fn by_name(lower: &str) -> Format {
    if lower.contains(".journal") {
        Format::Journal
    } else if lower.ends_with(".evtx") {
        Format::EventLog
    } else if lower.ends_with(".evt") {
        Format::OldEventLog
    } else {
        Format::Unknown
    }
}

/// Programs with logs of their own that only look like syslog, and files of the administrator.
fn is_beside(lower: &str) -> bool {
    let base = lower.rsplit('/').next().unwrap_or(lower);
    let own = [
        "dnf",
        "hawkey",
        "yum",
        "system.log1",
        "system.log2",
        "system.alt",
    ];
    let kinds = [
        ".yml", ".yaml", ".json", ".toml", ".conf", ".ini", ".env", ".xml", ".md", ".service",
        ".png", ".reg",
    ];
    own.iter().any(|word| base.starts_with(word)) || kinds.iter().any(|kind| base.ends_with(kind))
}

fn is_syslog(lower: &str, head: &[u8]) -> bool {
    if head.iter().take(4096).any(|byte| *byte == 0) {
        return false;
    }
    let text = String::from_utf8_lossy(head);
    let lines = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .take(MAX_LINES);
    let (mut all, mut good) = (0, 0);
    for line in lines {
        all += 1;
        good += usize::from(syslog::parse(line).is_some());
    }
    let base = lower.rsplit('/').next().unwrap_or(lower);
    let named = ["syslog", "messages", "daemon", "kern", "boot"].iter();
    let enough = if named.into_iter().any(|stem| base.starts_with(stem)) {
        1
    } else {
        all / 3 + 1
    };
    good >= enough
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, head: &[u8], expected: Format) {
        assert_eq!(format_of(name, head), expected, "{name}");
    }

    #[test]
    fn bytes_count_before_names() {
        check("messages", b"LPKSHHRH....", Format::Journal);
        check("system.journal", b"ElfFile\0....", Format::EventLog);
        check("x", b"\x30\0\0\0LfLe", Format::OldEventLog);
        check("SYSTEM", b"regf....", Format::Beside);
        check("System.evtx", b"rubbish", Format::EventLog);
        check("notes.txt", b"to do: buy milk\n", Format::Unknown);
        check("notes.txt", b"", Format::Empty);
        let line = b"Feb 29 00:00:00 dir1 sshd[1]: Server listening\n";
        check("anything.log", line, Format::Syslog);
        check(
            "dnf.log",
            b"2021-06-01T10:00:00Z INFO --- started ---\n",
            Format::Beside,
        );
    }
}
