//! The result stream: a tar archive on a raw disk.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;

use crate::guest::extract::Sink;
use crate::report::Outcome;

/// Room kept for the report itself.
const RESERVED: u64 = 32 << 20;

/// The archive being written.
pub(super) struct Output {
    archive: tar::Builder<BufWriter<File>>,
    left: u64,
}

impl Output {
    pub(super) fn open(device: &Path, bytes: u64) -> io::Result<Self> {
        let file = File::options().write(true).open(device)?;
        let archive = tar::Builder::new(BufWriter::with_capacity(1 << 20, file));
        Ok(Self {
            archive,
            left: bytes.saturating_sub(RESERVED),
        })
    }

    /// Writes the report and the mark that everything is there.
    pub(super) fn finish(mut self, outcome: &Outcome) -> io::Result<()> {
        let report = serde_json::to_vec(outcome).map_err(io::Error::other)?;
        if report.len() as u64 > RESERVED / 2 {
            return Err(io::Error::other("the report is too large"));
        }
        self.add("report.json", report.len() as u64, &mut report.as_slice())?;
        self.add("complete", 0, &mut io::empty())?;
        let mut device = self.archive.into_inner()?;
        device.flush()?;
        device.get_ref().sync_all()
    }

    fn add(&mut self, path: &str, size: u64, content: &mut dyn Read) -> io::Result<()> {
        let mut header = tar::Header::new_gnu();
        header.set_size(size);
        header.set_mode(0o644);
        header.set_entry_type(tar::EntryType::Regular);
        self.archive.append_data(&mut header, path, content)
    }
}

impl Sink for Output {
    fn file(&mut self, path: &str, size: u64, content: &mut dyn Read) -> io::Result<()> {
        let whole = size.next_multiple_of(512) + 4096;
        if whole > self.left {
            return Ok(());
        }
        self.left -= whole;
        self.add(&format!("machine/{path}"), size, content)
    }
}
