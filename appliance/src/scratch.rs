//! Scratch folders of single commands, beside what they make: removed at the
//! end, at an interrupt, and, after a `kill -9`, by the next command there.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::Context;
use nix::fcntl::{Flock, FlockArg};

const PREFIX: &str = ".lifeboat-scratch-";

/// In use: an interrupt ends this program without unwinding.
static IN_USE: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// A folder that vanishes with this value. Its lock ends with the process, and
/// tells those that are in use from leftovers.
pub struct Scratch {
    folder: tempfile::TempDir,
    _lock: Flock<File>,
}

impl Scratch {
    /// Makes one inside `beside`, and removes what killed commands left there.
    pub fn beside(beside: &Path) -> anyhow::Result<Self> {
        remove_leftovers(beside);
        let folder = tempfile::Builder::new()
            .prefix(PREFIX)
            .tempdir_in(beside)
            .with_context(|| format!("failed to write to `{}`", beside.display()))?;
        let path = folder.path().to_path_buf();
        IN_USE
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(path.clone());
        let lock = lock(&path, FlockArg::LockExclusive)
            .with_context(|| format!("failed to lock `{}`", path.display()))?;
        Ok(Self {
            folder,
            _lock: lock,
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

fn lock(folder: &Path, how: FlockArg) -> std::io::Result<Flock<File>> {
    Flock::lock(File::open(folder)?, how).map_err(|(_, error)| error.into())
}

fn remove_leftovers(beside: &Path) {
    let entries = std::fs::read_dir(beside).into_iter().flatten().flatten();
    let scratch = entries.filter(|entry| {
        let is_ours = entry.file_name().to_string_lossy().starts_with(PREFIX);
        is_ours && entry.file_type().is_ok_and(|kind| kind.is_dir())
    });
    for leftover in scratch.map(|entry| entry.path()) {
        // Locked by whoever still works in it.
        let Ok(_lock) = lock(&leftover, FlockArg::LockExclusiveNonblock) else {
            continue;
        };
        if let Err(error) = std::fs::remove_dir_all(&leftover) {
            tracing::warn!(%error, folder = %leftover.display(), "a leftover stays");
        }
    }
}

/// Removes what this process uses; for its end by a signal.
pub fn remove_all() -> anyhow::Result<()> {
    let folders = std::mem::take(&mut *IN_USE.lock().unwrap_or_else(PoisonError::into_inner));
    for folder in folders.iter().filter(|folder| folder.exists()) {
        std::fs::remove_dir_all(folder)
            .with_context(|| format!("interrupted, and failed to remove `{}`", folder.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leftovers_go_and_what_is_in_use_stays() {
        let place = tempfile::tempdir().unwrap();
        let place = place.path();
        let used = Scratch::beside(place).unwrap();
        let left = place.join(format!("{PREFIX}left"));
        let other = place.join("other");
        for folder in [&left, &other] {
            std::fs::create_dir(folder).unwrap();
            std::fs::write(folder.join("file"), "").unwrap();
        }
        let second = Scratch::beside(place).unwrap();
        assert!(used.path().is_dir() && second.path().is_dir() && other.is_dir());
        assert!(!left.exists());
        let path = used.path().to_path_buf();
        drop(used);
        assert!(!path.exists());
    }
}
