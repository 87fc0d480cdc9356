//! Files that survive a power cut: written beside, synced, renamed, the folder synced.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Why a file could not be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// Writing.
    #[error("failed to keep {}", .path.display())]
    Write {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Reading.
    #[error("failed to read {}", .path.display())]
    Read {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Its contents.
    #[error("failed to understand {}: it is damaged", .path.display())]
    Content {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

/// Replaces a file. When this returns, it is on disk.
pub(crate) fn write<T: Serialize>(path: &Path, value: &T) -> Result<(), KeepError> {
    let bytes = serde_json::to_vec_pretty(value).map_err(|source| KeepError::Content {
        path: path.to_owned(),
        source,
    })?;
    replace(path, &bytes).map_err(|source| KeepError::Write {
        path: path.to_owned(),
        source,
    })
}

/// Replaces a file of text. When this returns, it is on disk.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

/// Reads a file; `None` when it is not there.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, KeepError> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            return Err(KeepError::Read {
                path: path.to_owned(),
                source,
            });
        }
    };
    serde_json::from_slice(&text)
        .map(Some)
        .map_err(|source| KeepError::Content {
            path: path.to_owned(),
            source,
        })
}
