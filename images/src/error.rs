//! Why an image cannot be used, and what to do about it.

use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::inspection::Extent;

/// The family of reasons for which an image is refused. Stable: the API and tests rely on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RefusalKind {
    /// Not there.
    Missing,
    /// A directory, socket, FIFO or character device.
    NotAFile,
    /// There, but this user may not read it.
    NotReadable,
    /// No bytes at all.
    Empty,
    /// A format that is known and not taken.
    UnsupportedFormat,
    /// The name promises one format, the bytes are another.
    Mismatch,
    /// It refers to a backing file that the operator did not name.
    BackingFile,
    /// It keeps its data in another file.
    DataFile,
    /// It refers to a network or pseudo protocol (`json:`, `nbd:`, `http:` ...).
    Protocol,
    /// It is split over several files.
    SplitOverFiles,
    /// It needs a feature that is not known here.
    UnknownFeature,
    /// Sizes that no real disk has.
    AbsurdSize,
    /// Data or metadata lie beyond the end of the file.
    Truncated,
    /// Marked dirty or corrupt, or its metadata contradict each other.
    Damaged,
    /// Encrypted by its container.
    Encrypted,
    /// It unfolds to more than the operator allows.
    TooLarge,
    /// What it unfolds to has no room here.
    NoSpace,
}

/// One refusal: what was found and what to do. Comes from the confined child, so it is data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The family, for programs.
    pub kind: RefusalKind,
    /// What was found, for people.
    pub found: String,
    /// What to do about it.
    pub remedy: String,
}

impl Refusal {
    pub(crate) fn new(
        kind: RefusalKind,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            kind,
            found: found.into(),
            remedy: remedy.into(),
        }
    }

    #[cfg(feature = "reader")]
    pub(crate) fn damaged(found: impl Into<String>) -> Self {
        Self::new(
            RefusalKind::Damaged,
            found,
            "capture the volume again, or repair a copy of it",
        )
    }

    #[cfg(feature = "reader")]
    pub(crate) fn truncated(found: impl Into<String>) -> Self {
        Self::new(
            RefusalKind::Truncated,
            found,
            "copy the volume again: the file is shorter than its content",
        )
    }

    #[cfg(feature = "reader")]
    pub(crate) fn absurd(found: impl Into<String>) -> Self {
        Self::new(
            RefusalKind::AbsurdSize,
            found,
            "check where the file comes from: no real disk looks like this",
        )
    }
}

/// What differs between a captured volume and its file now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Changed {
    /// Another file stands at the path.
    Replaced,
    /// Another length in bytes.
    Size {
        /// Length at import.
        was: u64,
        /// Length now.
        is: u64,
    },
    /// Written since (by modification time).
    Modified,
    /// Same length and time, other bytes.
    Content {
        /// Where, merged and ascending.
        ranges: Vec<Extent>,
    },
}

impl std::fmt::Display for Changed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Replaced => write!(f, "another file stands at its path"),
            Self::Size { was, is } => write!(f, "it had {was} bytes and now has {is}"),
            Self::Modified => write!(f, "it was written to (its modification time differs)"),
            Self::Content { ranges } => write!(f, "{}", Ranges(ranges)),
        }
    }
}

/// Ranges in words, the first few of them.
struct Ranges<'a>(&'a [Extent]);

impl std::fmt::Display for Ranges<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const SHOWN: usize = 3;
        write!(f, "its bytes ")?;
        for (number, range) in self.0.iter().take(SHOWN).enumerate() {
            let comma = if number == 0 { "" } else { ", " };
            let last = (range.start + range.length).saturating_sub(1);
            write!(f, "{comma}{} to {last}", range.start)?;
        }
        if self.0.len() > SHOWN {
            write!(f, " and {} more ranges", self.0.len() - SHOWN)?;
        }
        write!(f, " differ or cannot be read")
    }
}

/// Everything that can go wrong with a captured volume. `Display` names file and attempt, the
/// cause is the source.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ImageError {
    /// The image must not be used.
    #[error("cannot use `{}`: {}; {}", path.display(), refusal.found, refusal.remedy)]
    Refused {
        /// The file.
        path: PathBuf,
        /// Why, and what to do.
        refusal: Refusal,
    },
    /// The file is no longer the one that was imported.
    #[error("captured volume `{}` changed since its import: {changed}; import it again, or put the original back", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
        /// In what.
        changed: Changed,
    },
    /// The caller asked to stop.
    #[error("the reading of a captured volume was stopped")]
    Stopped,
    /// An operation of the system failed.
    #[error("failed to {attempt} `{}`", path.display())]
    Io {
        /// What was attempted, as a verb.
        attempt: &'static str,
        /// On what.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// What it is converted or unpacked to would not fit.
    #[error("cannot convert or unpack `{}`: `{}` has {free} bytes free, and {needed} are needed besides the {reserve} that stay free; free space there, choose another place, or lower `LIFEBOAT_RESERVE` and start a running `lifeboat serve` anew with it", path.display(), folder.display())]
    NoRoom {
        /// The image.
        path: PathBuf,
        /// Where converted or unpacked disks lie.
        folder: PathBuf,
        /// Bytes that it may take.
        needed: u64,
        /// Bytes that are free.
        free: u64,
        /// Bytes that must stay free.
        reserve: u64,
    },
    /// The confined reader could not be started or walled in.
    #[error("failed to start the confined reader for `{}`: {reason}", path.display())]
    Confinement {
        /// The image that was to be read.
        path: PathBuf,
        /// What is missing.
        reason: String,
    },
    /// The confined reader died on this image.
    #[error("cannot use `{}`: the confined reader {how}, so its metadata are damaged or hostile; capture the volume again", path.display())]
    ReaderDied {
        /// The image.
        path: PathBuf,
        /// Exit code, signal, processor time, over-long answer.
        how: String,
    },
    /// Time on the clock ran out, which says more about the host than about the image: what only
    /// works runs out of processor time.
    #[error("not done with `{}` after {seconds} s ({processor} s of processor time): try again when the host is less busy", path.display())]
    NotDone {
        /// The image.
        path: PathBuf,
        /// Seconds on the clock.
        seconds: u64,
        /// Seconds of processor time that the confined reader got.
        processor: u64,
    },
    /// Another process works on it, and may wait for what this one holds.
    #[error("`{}` is being converted by another process for the same result: try again when that has ended", path.display())]
    InUse {
        /// The image.
        path: PathBuf,
    },
    /// A program of QEMU failed.
    #[error("`{tool}` failed on `{}`: {message}", path.display())]
    Tool {
        /// The program.
        tool: String,
        /// The file it worked on.
        path: PathBuf,
        /// Its own words, bounded and printable.
        message: String,
    },
}

impl ImageError {
    pub(crate) fn refused(path: impl Into<PathBuf>, refusal: Refusal) -> Self {
        Self::Refused {
            path: path.into(),
            refusal,
        }
    }

    pub(crate) fn io(
        attempt: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io {
            attempt,
            path,
            source,
        }
    }

    /// The file that it is about.
    pub fn path(&self) -> Option<&PathBuf> {
        match self {
            Self::Refused { path, .. }
            | Self::Changed { path, .. }
            | Self::Io { path, .. }
            | Self::Confinement { path, .. }
            | Self::ReaderDied { path, .. }
            | Self::NotDone { path, .. }
            | Self::InUse { path }
            | Self::Tool { path, .. } => Some(path),
            Self::NoRoom { .. } | Self::Stopped => None,
        }
    }

    /// The refusal, if the image itself is the reason.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused { refusal, .. } => Some(refusal),
            _ => None,
        }
    }
}
