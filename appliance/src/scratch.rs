//! Scratch folders of single commands, beside what they make: removed at the
//! end, at an interrupt, and, after a `kill -9`, by the next command there.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
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
        let (folder, lock) = loop {
            let folder = tempfile::Builder::new()
                .prefix(PREFIX)
                .tempdir_in(beside)
                .with_context(|| format!("failed to write to `{}`", beside.display()))?;
            let lock = lock(folder.path(), FlockArg::LockExclusive)
                .with_context(|| format!("failed to lock `{}`", folder.path().display()))?;
            // Until it was locked, another command took it for a leftover.
            if let Some(lock) = lock {
                break (folder, lock);
            }
        };
        IN_USE
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(folder.path().to_path_buf());
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

/// The lock of a folder; none when the folder is gone by then.
fn lock(folder: &Path, how: FlockArg) -> io::Result<Option<Flock<File>>> {
    let file = match File::open(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let lock = Flock::lock(file, how).map_err(|(_, error)| io::Error::from(error))?;
    let inode = lock.metadata()?.ino();
    let is_there = folder
        .symlink_metadata()
        .is_ok_and(|metadata| metadata.ino() == inode);
    Ok(is_there.then_some(lock))
}

fn remove_leftovers(beside: &Path) {
    let entries = std::fs::read_dir(beside).into_iter().flatten().flatten();
    let scratch = entries.filter(|entry| {
        let is_ours = entry.file_name().to_string_lossy().starts_with(PREFIX);
        is_ours && entry.file_type().is_ok_and(|kind| kind.is_dir())
    });
    for leftover in scratch.map(|entry| entry.path()) {
        // Locked by whoever still works in it.
        let Ok(Some(_lock)) = lock(&leftover, FlockArg::LockExclusiveNonblock) else {
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

    #[test]
    fn a_new_one_is_never_taken_for_a_leftover() {
        let place = tempfile::tempdir().unwrap();
        let make = || {
            for _ in 0..150 {
                let scratch = Scratch::beside(place.path()).unwrap();
                std::fs::write(scratch.path().join("file"), "").unwrap();
            }
        };
        std::thread::scope(|threads| {
            for _ in 0..4 {
                threads.spawn(make);
            }
        });
    }
}
