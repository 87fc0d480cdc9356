//! Are captured volumes still what they were at import?
//!
//! What a start can afford decides how it is found out:
//!
//! - *Always*: inode, length, modification time, and the time of the inode's
//!   last change, which nobody can set. It costs nothing and tells every write
//!   through the filesystem, also one that was given the old time back. What
//!   differs is read and compared whole.
//! - *Bytes that rot on the medium* change none of these. Only reading tells,
//!   and reading all of a site may take longer than recovering it. So every
//!   byte is read on a schedule, in the background, and a start reads a volume
//!   first only when that was too long ago (`--verify-max-age`), or when it is
//!   told to (`--verify always`).
//! - The node of a block device notes no change of its bytes: such a volume is
//!   read before every start, unless it is told not to (`--verify never`).
//! - What is known to be damaged, or could not be read, does not start. What
//!   Lifeboat converted itself is converted again instead.
//!
//! Reading samples was left out: rot is a few sectors, and a sample that costs
//! nothing sees next to none of them. Reading while the machines boot was left
//! out too: a machine of a recovery that runs on rotten bytes for an hour has
//! written production data by then, and stopping it does not undo that. A test
//! reads every byte after it anyway, and its report says what it found.

mod before_boot;
mod priority;
mod record;
#[cfg(test)]
pub mod sample;
mod schedule;
mod slices;

pub use record::{Record, VolumeStatus};
pub use schedule::start;
pub use slices::{Job, remove_unused_trees};

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lifeboat_images::Damage;
use serde::{Deserialize, Serialize};

/// When captured volumes are read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// How long after its last reading the daemon reads a volume again; `None`: never.
    pub every: Option<Duration>,
    /// How old the last reading may be when a session starts.
    pub max_age: Duration,
}

#[cfg(test)]
impl Default for Settings {
    fn default() -> Self {
        Self {
            every: None,
            max_age: Duration::MAX,
        }
    }
}

/// What the start of a session reads before.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    Serialize,
    Deserialize,
    clap::ValueEnum,
    utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum BeforeBoot {
    /// Every volume.
    Always,
    /// Volumes whose last reading is older than `serve --verify-max-age` allows.
    #[default]
    Aged,
    /// None: only what the filesystem notes is compared.
    Never,
}

/// The order of those who read: one volume at a time, the asked before the
/// scheduled.
#[derive(Debug)]
pub struct Integrity {
    /// When volumes are read.
    pub settings: Settings,
    turn: tokio::sync::Mutex<()>,
    asked: AtomicUsize,
}

impl Integrity {
    /// With these settings.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            turn: tokio::sync::Mutex::default(),
            asked: AtomicUsize::default(),
        }
    }

    /// Waits until nobody else reads; the scheduled reading gives way.
    async fn asked_turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.asked.fetch_add(1, Ordering::AcqRel);
        let turn = self.turn.lock().await;
        self.asked.fetch_sub(1, Ordering::AcqRel);
        turn
    }

    fn somebody_asks(&self) -> bool {
        self.asked.load(Ordering::Acquire) > 0
    }
}

/// A captured volume has other bytes than at import.
#[derive(Debug, thiserror::Error)]
#[error(
    "captured volume `{}` is damaged: {}; put an intact copy in its place, or take it as it is now with `--accept-changed`", .volume.display(), words(.damaged)
)]
pub struct DamagedVolume {
    /// The volume as its site names it.
    pub volume: PathBuf,
    /// What differs.
    pub damaged: Vec<Damage>,
}

/// What was converted from a captured volume at its import has other bytes
/// than then; the captured volume itself is not known to be damaged.
#[derive(Debug, thiserror::Error)]
#[error(
    "what Lifeboat converted from captured volume `{}` is damaged: {}; the next `lifeboat prepare`, `test` or `recover` converts it again", .volume.display(), words(.damaged)
)]
pub struct DamagedConversion {
    /// The volume as its site names it.
    pub volume: PathBuf,
    /// What differs.
    pub damaged: Vec<Damage>,
}

/// Not every byte of a captured volume could be read.
#[derive(Debug, thiserror::Error)]
#[error(
    "captured volume `{0}` could not be read whole: {problem}; make it readable, or put an intact copy in its place: the next start, or `lifeboat image verify`, reads it again", .volume.display()
)]
pub struct UnreadableVolume {
    /// The volume as its site names it.
    pub volume: PathBuf,
    /// Why.
    pub problem: String,
}

/// The damaged ranges in words, the first few of them.
pub fn words(damaged: &[Damage]) -> String {
    const SHOWN: usize = 3;
    let range = |damage: &Damage| {
        let last = (damage.range.start + damage.range.length).saturating_sub(1);
        format!(
            "bytes {} to {last} of `{}`",
            damage.range.start,
            damage.file.display()
        )
    };
    let mut words: Vec<_> = damaged.iter().take(SHOWN).map(range).collect();
    if damaged.len() > SHOWN {
        words.push(format!("{} more ranges", damaged.len() - SHOWN));
    }
    format!("{} differ or cannot be read", words.join(", "))
}

/// Seconds since 1970.
fn now_s() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}
