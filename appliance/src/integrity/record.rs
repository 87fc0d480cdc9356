//! What is remembered about the state of a captured volume.

use std::path::{Path, PathBuf};
use std::time::Duration;

use lifeboat_images::{CapturedVolume, Container, Damage, Position};
use serde::{Deserialize, Serialize};

/// The state of one captured volume.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// BLAKE3 of the volume that it is about.
    pub blake3: String,
    /// When every byte was last read, seconds since 1970.
    #[serde(default)]
    pub verified_at: Option<u64>,
    /// What was damaged then.
    #[serde(default)]
    pub damaged: Vec<Damage>,
    /// Why the last reading could not compare all bytes.
    #[serde(default)]
    pub problem: Option<String>,
    /// A reading that is not finished.
    #[serde(default)]
    pub pending: Option<Pending>,
}

/// A reading that is not finished.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// Where it goes on.
    pub position: Position,
    /// What it found so far.
    pub damaged: Vec<Damage>,
}

impl Record {
    /// Of a volume of which every byte was read and found as at import.
    pub fn intact(volume: &CapturedVolume, at: u64) -> Self {
        Self {
            blake3: volume.blake3.clone(),
            verified_at: Some(at),
            ..Self::default()
        }
    }

    /// The record, if it is about this volume; else an empty one.
    pub fn about(self, volume: &CapturedVolume) -> Self {
        if self.blake3 == volume.blake3 {
            return self;
        }
        Self {
            blake3: volume.blake3.clone(),
            ..Self::default()
        }
    }

    /// Whether the last reading is older than `age`. A clock that went back
    /// makes no reading young.
    pub fn is_older_than(&self, age: Duration, now: u64) -> bool {
        self.verified_at
            .and_then(|at| now.checked_sub(at))
            .is_none_or(|old| old >= age.as_secs())
    }
}

/// The state of a captured volume, as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct VolumeStatus {
    /// The volume as its site names it.
    #[schema(value_type = String)]
    pub volume: PathBuf,
    /// Its format.
    pub format: Container,
    /// Bytes of all its files.
    pub bytes: u64,
    /// BLAKE3 at import.
    pub blake3: String,
    /// Nothing is known against it.
    pub ok: bool,
    /// When every byte was last read, seconds since 1970.
    pub verified_at: Option<u64>,
    /// What was damaged then.
    pub damaged: Vec<Damage>,
    /// Why the last reading could not compare all bytes.
    pub problem: Option<String>,
    /// How many bytes an unfinished reading has behind it.
    pub pending: Option<u64>,
}

impl VolumeStatus {
    /// Of a volume and what is known about it.
    pub fn new(path: &Path, volume: &CapturedVolume, record: &Record) -> Self {
        let known_bad = record.pending.iter().flat_map(|pending| &pending.damaged);
        let mut damaged = record.damaged.clone();
        damaged.extend(
            known_bad
                .filter(|new| !record.damaged.contains(new))
                .cloned(),
        );
        Self {
            volume: path.to_owned(),
            format: volume.format,
            bytes: volume.files().map(|file| file.file_size).sum(),
            blake3: volume.blake3.clone(),
            ok: damaged.is_empty() && record.problem.is_none(),
            verified_at: record.verified_at,
            damaged,
            problem: record.problem.clone(),
            pending: record
                .pending
                .as_ref()
                .map(|pending| done(volume, pending.position)),
        }
    }
}

fn done(volume: &CapturedVolume, position: Position) -> u64 {
    let before = volume.files().take(position.file);
    before.map(|file| file.file_size).sum::<u64>() + position.byte
}
