//! Reading the micro-VM's answer. A hostile filesystem may have taken over the
//! micro-VM, so every byte of it is distrusted.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde_json::Value;

use super::{MicroVmError, host};
use crate::guest::root::Root;
use crate::report::Outcome;

const MOST_FILES: usize = 30_000;
const LARGEST_REPORT: u64 = 32 << 20;
/// Parts of a name; each may become a directory of this host.
const DEEPEST: usize = 32;
const LONGEST_NAME: u64 = 4096;
/// No text of a report is longer.
const LONGEST_TEXT: usize = 8192;

/// A sparse file without a name beside the machine folder.
pub(super) fn output_file(directory: &Path, bytes: u64) -> io::Result<File> {
    let mut options = File::options();
    options.read(true).write(true);
    let unnamed = options
        .clone()
        .custom_flags(nix::libc::O_TMPFILE)
        .mode(0o600)
        .open(directory);
    let file = unnamed.or_else(|_| {
        let path = directory.join(format!(".lifeboat-answer-{}", std::process::id()));
        let file = options.create_new(true).mode(0o600).open(&path)?;
        std::fs::remove_file(&path)?;
        Ok::<_, io::Error>(file)
    })?;
    file.set_len(bytes)?;
    Ok(file)
}

/// Unpacks the machine folder, if one was asked for, and gives the outcome;
/// nothing when the stream, of at most `limit` bytes, does not reach its end.
pub fn read(
    mut stream: File,
    out_dir: Option<&Path>,
    limit: u64,
) -> Result<Option<Outcome>, MicroVmError> {
    stream
        .rewind()
        .map_err(host("reading the micro-VM's answer"))?;
    let open = |out_dir: &Path| {
        Root::open(out_dir).map_err(host(format!("opening {}", out_dir.display())))
    };
    let directory = out_dir.map(open).transpose()?;
    let mut unpacking = Unpacking {
        directory,
        outcome: None,
        long_name: None,
        files: 0,
    };
    let mut archive = tar::Archive::new(stream.take(limit));
    let entries = archive
        .entries()
        .map_err(|_| broken("it is no tar stream"))?
        .raw(true);
    for entry in entries {
        let Ok(mut entry) = entry else {
            return Ok(None);
        };
        if unpacking.take(&mut entry)? {
            return Ok(unpacking.outcome);
        }
    }
    Ok(None)
}

fn broken(rule: impl Into<String>) -> MicroVmError {
    MicroVmError::BadAnswer { rule: rule.into() }
}

struct Unpacking {
    directory: Option<Root>,
    outcome: Option<Outcome>,
    long_name: Option<String>,
    files: usize,
}

impl Unpacking {
    /// Takes one entry; true at the mark of completeness.
    fn take(&mut self, entry: &mut tar::Entry<impl Read>) -> Result<bool, MicroVmError> {
        let size = entry
            .header()
            .entry_size()
            .map_err(|_| broken("an entry has no size"))?;
        let kind = entry.header().entry_type();
        if kind.is_gnu_longname() {
            self.long_name = Some(read_name(entry, size)?);
            return Ok(false);
        }
        if kind != tar::EntryType::Regular {
            return Err(broken("an entry is no regular file"));
        }
        let name = match self.long_name.take() {
            Some(name) => name,
            None => String::from_utf8(entry.path_bytes().into_owned())
                .map_err(|_| broken("a name is not UTF-8"))?,
        };
        match name.as_str() {
            "complete" => return Ok(self.outcome.is_some()),
            "report.json" => self.outcome = Some(read_report(entry, size)?),
            _ => self.unpack(&name, size, entry)?,
        }
        Ok(false)
    }

    fn unpack(
        &mut self,
        name: &str,
        size: u64,
        content: &mut impl Read,
    ) -> Result<(), MicroVmError> {
        self.files += 1;
        if self.files > MOST_FILES {
            return Err(broken("it holds too many files"));
        }
        let path = name
            .strip_prefix("machine/")
            .filter(|path| is_plain_path(path))
            .ok_or_else(|| broken(format!("the name {name:?} is not allowed")))?;
        let writing = || format!("writing {path} of the machine folder");
        let Some(directory) = &self.directory else {
            return Err(broken("it holds files, and nobody asked for any"));
        };
        let mut file = directory.create(path).map_err(host(writing()))?;
        let copied = io::copy(&mut content.take(size), &mut file).map_err(host(writing()))?;
        if copied == size {
            Ok(())
        } else {
            Err(broken(format!("{path} is cut short")))
        }
    }
}

fn is_plain_path(path: &str) -> bool {
    !path.is_empty()
        && path.len() < LONGEST_NAME as usize
        && path.split('/').count() <= DEEPEST
        && path
            .split('/')
            .all(|part| !matches!(part, "" | "." | "..") && !part.contains('\0'))
}

fn read_name(entry: &mut impl Read, size: u64) -> Result<String, MicroVmError> {
    if size > LONGEST_NAME {
        return Err(broken("a name is too long"));
    }
    let mut name = Vec::new();
    entry
        .take(size)
        .read_to_end(&mut name)
        .map_err(|_| broken("a name is cut short"))?;
    while name.last() == Some(&0) {
        name.pop();
    }
    String::from_utf8(name).map_err(|_| broken("a name is not UTF-8"))
}

fn read_report(entry: &mut impl Read, size: u64) -> Result<Outcome, MicroVmError> {
    if size > LARGEST_REPORT {
        return Err(broken("the report is too large"));
    }
    let misunderstood =
        |error: serde_json::Error| broken(format!("the report cannot be understood ({error})"));
    let mut report: Value = serde_json::from_reader(entry.take(size)).map_err(misunderstood)?;
    make_printable(&mut report);
    serde_json::from_value(report).map_err(misunderstood)
}

/// Names and texts of a guest may forge lines and terminal commands wherever
/// they are shown. The old contents of files are for writing back only.
fn make_printable(value: &mut Value) {
    match value {
        Value::String(text) if text.chars().any(is_harmful) || text.len() > LONGEST_TEXT => {
            *text = printable(text);
        }
        Value::Array(values) => values.iter_mut().for_each(make_printable),
        Value::Object(fields) => {
            let shown = fields.iter_mut().filter(|(key, _)| *key != "old_content");
            shown.for_each(|(_, value)| make_printable(value));
        }
        _ => {}
    }
}

/// Control characters, and those that turn the direction of text.
fn is_harmful(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}')
}

fn printable(text: &str) -> String {
    let escape = |letter: char| match is_harmful(letter) {
        true => letter.escape_default().to_string(),
        false => letter.to_string(),
    };
    text.chars().take(LONGEST_TEXT).map(escape).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::report::GuestReport;

    fn stream(fill: impl FnOnce(&mut tar::Builder<&mut File>)) -> File {
        let mut file = tempfile::tempfile().unwrap();
        let mut builder = tar::Builder::new(&mut file);
        fill(&mut builder);
        builder.finish().unwrap();
        drop(builder);
        file
    }

    fn add(
        builder: &mut tar::Builder<&mut File>,
        name: &str,
        kind: tar::EntryType,
        content: &[u8],
    ) {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_entry_type(kind);
        // The builder refuses hostile names, so they are put in by hand.
        if name.len() < 100 {
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_cksum();
            builder.append(&header, content).unwrap();
        } else {
            builder.append_data(&mut header, name, content).unwrap();
        }
    }

    fn report() -> Vec<u8> {
        serde_json::to_vec(&Outcome::Inspected(GuestReport::default())).unwrap()
    }

    #[test]
    fn a_whole_answer() {
        let long = format!("machine/etc/{}/file", "d".repeat(150));
        let answer = stream(|builder| {
            add(
                builder,
                "machine/etc/hostname",
                tar::EntryType::Regular,
                b"web1",
            );
            add(builder, &long, tar::EntryType::Regular, b"long");
            add(builder, "report.json", tar::EntryType::Regular, &report());
            add(builder, "complete", tar::EntryType::Regular, b"");
        });
        let out = tempfile::tempdir().unwrap();
        assert!(read(answer, Some(out.path()), 1 << 20).unwrap().is_some());
        assert_eq!(
            std::fs::read(out.path().join("etc/hostname")).unwrap(),
            b"web1"
        );
        assert_eq!(std::fs::read(out.path().join(&long[8..])).unwrap(), b"long");
    }

    #[test]
    fn files_that_nobody_asked_for_are_refused() {
        let answer = |name: &str| {
            stream(|builder| {
                add(builder, "report.json", tar::EntryType::Regular, &report());
                add(builder, name, tar::EntryType::Regular, b"");
            })
        };
        let error = read(answer("machine/etc/hostname"), None, 1 << 20).unwrap_err();
        assert!(error.to_string().contains("nobody asked"), "{error}");
        let alone = read(answer("complete"), None, 1 << 20).unwrap();
        assert!(alone.is_some());
    }

    #[test]
    fn an_answer_without_its_end_is_none() {
        let answer = stream(|builder| {
            add(builder, "report.json", tar::EntryType::Regular, &report());
        });
        let out = tempfile::tempdir().unwrap();
        assert!(read(answer, Some(out.path()), 1 << 20).unwrap().is_none());
    }

    #[test]
    fn hostile_entries_are_refused() {
        let cases = [
            ("machine/../escaped", tar::EntryType::Regular),
            ("machine//etc/x", tar::EntryType::Regular),
            ("/etc/x", tar::EntryType::Regular),
            ("machine/etc/link", tar::EntryType::Symlink),
            ("machine/etc/device", tar::EntryType::Char),
        ];
        for (name, kind) in cases {
            let answer = stream(|builder| add(builder, name, kind, b""));
            let out = tempfile::tempdir().unwrap();
            let error = read(answer, Some(out.path()), 1 << 20).unwrap_err();
            assert!(
                matches!(error, MicroVmError::BadAnswer { .. }),
                "{name}: {error}"
            );
            assert_eq!(std::fs::read_dir(out.path()).unwrap().count(), 0, "{name}");
        }
    }

    #[test]
    fn a_report_forges_no_lines() {
        let guest = GuestReport {
            hostname: "web\n\u{1b}[2J1\u{202e}".to_owned(),
            warnings: vec!["x".repeat(1 << 20)],
            ..GuestReport::default()
        };
        let change = crate::report::Change {
            path: "etc/fstab".to_owned(),
            action: crate::report::Action::Replaced,
            old_size: None,
            old_hash: None,
            new_hash: None,
            old_content: Some(crate::report::OldContent::new(b"a\tb\n".to_vec())),
            moved_to: None,
            mode: None,
        };
        let outcome = Outcome::Prepared {
            guest,
            changes: crate::report::Manifest {
                changes: vec![change],
            },
            verified: Vec::new(),
        };
        let bytes = serde_json::to_vec(&outcome).unwrap();
        let read = read_report(&mut bytes.as_slice(), bytes.len() as u64).unwrap();
        let Outcome::Prepared { guest, changes, .. } = read else {
            panic!("{read:?}");
        };
        assert_eq!(guest.hostname, "web\\n\\u{1b}[2J1\\u{202e}");
        assert_eq!(guest.warnings[0].len(), LONGEST_TEXT);
        let old = changes.changes[0].old_content.as_ref().unwrap();
        assert_eq!(old.bytes().unwrap(), b"a\tb\n");
    }

    proptest! {
        #[test]
        fn arbitrary_streams_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2048)) {
            let mut file = tempfile::tempfile().unwrap();
            io::Write::write_all(&mut file, &bytes).unwrap();
            let out = tempfile::tempdir().unwrap();
            let _ = read(file, Some(out.path()), 1 << 20);
        }
    }
}
