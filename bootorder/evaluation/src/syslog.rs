//! Text logs in the forms that syslog daemons write, rotated as logrotate does.

use std::fs::{File, create_dir_all};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::Result;
use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;

use crate::history::Record;
use crate::model::LogForm;

/// Writes the system log in pieces, oldest last: `syslog`, `syslog.1`, `syslog.2.gz`...
pub fn write(
    folder: &Path,
    name: &str,
    form: LogForm,
    host: &str,
    records: &[&Record],
    pieces: usize,
) -> Result<()> {
    create_dir_all(folder.join("var/log"))?;
    let size = records.len().div_ceil(pieces.max(1)).max(1);
    let chunks: Vec<&[&Record]> = records.chunks(size).collect();
    for (age, chunk) in chunks.iter().rev().enumerate() {
        let text: String = chunk
            .iter()
            .map(|record| line(record, form, host) + "\n")
            .collect();
        let last = chunk.last().map_or(0.0, |record| record.wall);
        let file = match age {
            0 => format!("var/log/{name}"),
            1 => format!("var/log/{name}.1"),
            _ => format!("var/log/{name}.{age}.gz"),
        };
        write_file(&folder.join(file), text.as_bytes(), age > 1, last)?;
    }
    Ok(())
}

/// Writes with the time of the last line as the file's own, which tells the year.
fn write_file(path: &Path, text: &[u8], zip: bool, time: f64) -> Result<()> {
    let mut file = File::create(path)?;
    if zip {
        let mut encoder = GzEncoder::new(&mut file, Compression::default());
        encoder.write_all(text)?;
        encoder.finish()?;
    } else {
        file.write_all(text)?;
    }
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs_f64(time.max(0.0)))?;
    Ok(())
}

fn stamp(seconds: f64) -> Timestamp {
    Timestamp::from_microsecond((seconds * 1e6) as i64).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn line(record: &Record, form: LogForm, host: &str) -> String {
    let time = stamp(record.wall);
    let text = kernel_text(record);
    let tag = match record.pid {
        0 => format!("{}:", record.tag),
        pid => format!("{}[{pid}]:", record.tag),
    };
    match form {
        LogForm::Traditional => format!("{} {host} {tag} {text}", time.strftime("%b %e %H:%M:%S")),
        LogForm::Rfc5424 => {
            let pid = if record.pid == 0 {
                "-".to_owned()
            } else {
                record.pid.to_string()
            };
            format!(
                "<{}>1 {} {host} {} {pid} - - {text}",
                24 + u32::from(record.priority),
                time.strftime("%Y-%m-%dT%H:%M:%S%.6f+00:00"),
                record.tag
            )
        }
        _ => format!(
            "{} {host} {tag} {text}",
            time.strftime("%Y-%m-%dT%H:%M:%S%.6f+00:00")
        ),
    }
}

/// The kernel's lines carry the seconds since it started.
fn kernel_text(record: &Record) -> String {
    match record.tag.as_str() {
        "kernel" => format!("[{:12.6}] {}", record.monotonic, record.text),
        // What the journal keeps as it is, syslog daemons escape.
        _ => record.text.replace('\t', "#011"),
    }
}

/// A program's own log file.
pub fn write_own(folder: &Path, tag: &str, records: &[&Record]) -> Result<()> {
    let name = tag.replace(['/', '@'], "-");
    let directory = folder.join("var/log").join(&name);
    create_dir_all(&directory)?;
    let text: String = records
        .iter()
        .map(|record| {
            format!(
                "{} UTC [{}] {}\n",
                stamp(record.wall).strftime("%Y-%m-%d %H:%M:%S%.3f"),
                record.pid,
                record.text
            )
        })
        .collect();
    let last = records.last().map_or(0.0, |record| record.wall);
    write_file(
        &directory.join(format!("{name}.log")),
        text.as_bytes(),
        false,
        last,
    )
}
