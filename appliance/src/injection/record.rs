//! The record of one injection, kept outside of the disks.

use std::path::{Path, PathBuf};

use anyhow::Context;
use lifeboat_drivers::{Check, InjectRequest, Manifest, PrepareReport};
use lifeboat_images::{CapturedVolume, Format};
use serde::{Deserialize, Serialize};

/// Raised when a record says something else.
const VERSION: u32 = 2;

/// What one disk was made from, and what was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InjectedDisk {
    /// The captured disk; none when the stream itself was injected into.
    pub source: Option<PathBuf>,
    /// What holds the changes; none after a dry run.
    pub written: Option<PathBuf>,
    /// How `written` has to be read.
    pub format: Format,
    /// What lies below it: every layer with its format, every file with its
    /// size, times and inode; none when there is nothing below.
    pub base: Option<CapturedVolume>,
}

impl InjectedDisk {
    /// An overlay over a captured disk.
    pub fn over(base: CapturedVolume, written: Option<PathBuf>) -> Self {
        Self {
            source: Some(base.path.clone()),
            written,
            format: Format::Qcow2,
            base: Some(base),
        }
    }

    /// A disk that was injected into itself.
    pub fn itself(written: PathBuf, format: Format) -> Self {
        Self {
            source: None,
            written: Some(written),
            format,
            base: None,
        }
    }
}

/// The record of one injection, kept outside of the disks.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Injection {
    /// Version of this record.
    pub version: u32,
    /// The disks in hardware order.
    pub disks: Vec<InjectedDisk>,
    /// What was asked for.
    pub request: InjectRequest,
    /// What runs on the machine.
    pub operating_system: String,
    /// Every file that was changed: old size, old hash, new hash, action.
    pub changes: Manifest,
    /// What was proven by looking again.
    pub verified: Vec<Check>,
    /// Odd things that were seen.
    pub warnings: Vec<String>,
    /// Wall-clock time of the micro-VM.
    pub seconds: f64,
    /// Where this record lies.
    pub manifest: Option<PathBuf>,
    /// The disk is not at its place yet. It is put there after its record, and
    /// this is taken back after that: without a disk, such a record is what a
    /// killed process left.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unfinished: bool,
}

/// What every version has.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

impl Injection {
    /// Of an injection that proved itself.
    pub fn new(disks: Vec<InjectedDisk>, request: &InjectRequest, report: PrepareReport) -> Self {
        Self {
            version: VERSION,
            disks,
            request: request.clone(),
            operating_system: report.guest.os.pretty_name,
            changes: report.changes,
            verified: report.verified,
            warnings: report.guest.warnings,
            seconds: report.seconds,
            manifest: None,
            unfinished: false,
        }
    }

    /// Reads a record.
    pub fn read(manifest: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read(manifest)
            .with_context(|| format!("failed to read `{}`", manifest.display()))?;
        let no_record = || format!("`{}` is no record of an injection", manifest.display());
        let Versioned { version } = serde_json::from_slice(&text).with_context(no_record)?;
        anyhow::ensure!(
            version == VERSION,
            "`{}` is a record of version {version} and does not say how its disk is read: only version {VERSION} can be taken back",
            manifest.display()
        );
        serde_json::from_slice(&text).with_context(no_record)
    }
}
