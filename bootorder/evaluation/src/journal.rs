//! Journals, written by systemd itself.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::history::Record;

const PLACES: [&str; 2] = [
    "/usr/lib/systemd/systemd-journal-remote",
    "/lib/systemd/systemd-journal-remote",
];

const BLOCK: usize = 4096;

/// Where `systemd-journal-remote` is installed.
pub fn writer() -> Option<PathBuf> {
    PLACES.iter().map(PathBuf::from).find(|path| path.is_file())
}

/// Writes `var/log/journal/<machine>/system.journal` from the records, in their sequence.
pub fn write(folder: &Path, machine_id: &str, host: &str, records: &[&Record]) -> Result<()> {
    let writer = writer().context("systemd-journal-remote is not installed")?;
    let directory = folder.join("var/log/journal").join(machine_id);
    std::fs::create_dir_all(&directory)?;
    let whole = directory.join("whole.journal");
    let mut child = Command::new(writer)
        .arg("--output")
        .arg(&whole)
        .arg("-")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("failed to start systemd-journal-remote")?;
    let input = export(machine_id, host, records);
    let written = child
        .stdin
        .take()
        .map(|mut pipe| pipe.write_all(input.as_bytes()));
    let output = child.wait_with_output()?;
    if !output.status.success() || !matches!(written, Some(Ok(()))) {
        bail!(
            "systemd-journal-remote failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    copy_sparse(&whole, &directory.join("system.journal"))?;
    std::fs::remove_file(&whole)?;
    Ok(())
}

/// The same bytes, without the room that systemd reserves: thousands of journals fit on a disk.
fn copy_sparse(from: &Path, to: &Path) -> Result<()> {
    let bytes = std::fs::read(from)?;
    let mut file = File::create(to)?;
    for (number, block) in bytes.chunks(BLOCK).enumerate() {
        if block.iter().any(|byte| *byte != 0) {
            file.seek(SeekFrom::Start((number * BLOCK) as u64))?;
            file.write_all(block)?;
        }
    }
    file.set_len(bytes.len() as u64)?;
    Ok(())
}

/// The export format that journalctl and systemd-journal-remote speak.
fn export(machine_id: &str, host: &str, records: &[&Record]) -> String {
    let mut out = String::with_capacity(records.len() * 400);
    for record in records {
        let mut field = |name: &str, value: &str| {
            out.push_str(name);
            out.push('=');
            out.push_str(value);
            out.push('\n');
        };
        let micros = |seconds: f64| format!("{}", (seconds.max(0.0) * 1e6) as u64);
        field("__REALTIME_TIMESTAMP", &micros(record.wall));
        field("__MONOTONIC_TIMESTAMP", &micros(record.monotonic));
        field("_BOOT_ID", &boot_id(machine_id, record.boot));
        field("_MACHINE_ID", machine_id);
        field("_HOSTNAME", host);
        field("PRIORITY", &record.priority.to_string());
        field("SYSLOG_IDENTIFIER", &record.tag);
        match record.tag.as_str() {
            "kernel" => field("_TRANSPORT", "kernel"),
            "systemd" => manager_fields(record, &mut field),
            _ => program_fields(record, &mut field),
        }
        field("MESSAGE", &record.text);
        out.push('\n');
    }
    out
}

fn manager_fields(record: &Record, field: &mut impl FnMut(&str, &str)) {
    field("_TRANSPORT", "journal");
    field("_PID", "1");
    field("_UID", "0");
    field("_COMM", "systemd");
    field("_EXE", "/usr/lib/systemd/systemd");
    field("_SYSTEMD_UNIT", "init.scope");
    field("SYSLOG_FACILITY", "3");
    if !record.unit.is_empty() {
        field("UNIT", &record.unit);
    }
    for (name, value) in &record.fields {
        field(name, value);
    }
}

fn program_fields(record: &Record, field: &mut impl FnMut(&str, &str)) {
    field("_TRANSPORT", "syslog");
    field("_PID", &record.pid.to_string());
    field("SYSLOG_PID", &record.pid.to_string());
    field("_COMM", record.tag.split('/').next().unwrap_or_default());
    if !record.unit.is_empty() {
        field("_SYSTEMD_UNIT", &record.unit);
        field("_SYSTEMD_CGROUP", &format!("/system.slice/{}", record.unit));
    }
}

fn boot_id(machine_id: &str, boot: usize) -> String {
    let head = machine_id.get(..24).unwrap_or(machine_id);
    format!("{head}{:08x}", boot + 1)
}
