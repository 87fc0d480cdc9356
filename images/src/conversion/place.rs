//! The files of one conversion, and how far it is.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use super::{Checkpoint, Work};
use crate::captured::{ServedLayer, SourceFile, changed_ns, modified_ns};
use crate::confine::Step;
use crate::error::ImageError;
use crate::format::Format;
use crate::integrity::hash;
use crate::source::finished;

/// Length of a key.
pub(super) const KEY_DIGITS: usize = 32;

/// Work that may be lost when this process is killed; noting every step would cost more.
const PAUSE: Duration = Duration::from_secs(1);

/// Between two looks at whether another import has ended.
const LOCK_PAUSE: Duration = Duration::from_millis(100);

/// What is known about a conversion.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Converting {
        /// The start of the host during which `written` was written.
        boot: String,
        written: Checkpoint,
        synced: Checkpoint,
    },
    Complete {
        file_size: u64,
        blake3: String,
    },
}

/// The conversions in a folder. Whatever else lies there belongs to somebody else: a key has its
/// length, its digits, and a state beside it.
pub(super) fn conversions_in(folder: &Path) -> io::Result<Vec<Place>> {
    let mut places = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name();
        let key = name.to_str().and_then(|name| name.strip_suffix(".json"));
        let place = key.filter(|key| is_key(key));
        places.extend(place.map(|key| Place::new(folder, key)));
    }
    places.retain(|place| place.state().is_some());
    Ok(places)
}

fn is_key(name: &str) -> bool {
    name.len() == KEY_DIGITS
        && name
            .bytes()
            .all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
}

/// The files of one conversion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    folder: PathBuf,
    pub state: PathBuf,
    part: PathBuf,
    pub whole: PathBuf,
    lock: PathBuf,
}

impl Place {
    pub(super) fn new(folder: &Path, key: &str) -> Self {
        let file = |ending| folder.join(format!("{key}.{ending}"));
        Self {
            folder: folder.to_owned(),
            state: file("json"),
            part: file("part"),
            whole: file("raw"),
            lock: file("lock"),
        }
    }

    /// Waits for another import of the same bytes, which then has done the work.
    pub(super) fn lock(&self, cancelled: &AtomicBool) -> Result<Flock<File>, ImageError> {
        loop {
            if let Some(lock) = self.try_lock()? {
                return Ok(lock);
            }
            if cancelled.load(Ordering::Relaxed) {
                return Err(ImageError::Stopped);
            }
            std::thread::sleep(LOCK_PAUSE);
        }
    }

    /// Whether a conversion has ended here, whatever became of its disk since.
    pub(super) fn is_complete(&self) -> bool {
        matches!(self.state(), Some(State::Complete { .. }))
    }

    /// None where somebody else has it, or where the locked file was removed meanwhile.
    pub(super) fn try_lock(&self) -> Result<Option<Flock<File>>, ImageError> {
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&self.lock)
            .map_err(ImageError::io("open", &self.lock))?;
        let lock = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Err((_, Errno::EWOULDBLOCK | Errno::EINTR)) => return Ok(None),
            locked => locked
                .map_err(|(_, error)| io::Error::from(error))
                .map_err(ImageError::io("lock", &self.lock))?,
        };
        let inode = lock.metadata().map(|metadata| metadata.ino());
        let now = self.lock.symlink_metadata().map(|metadata| metadata.ino());
        Ok((inode.ok() == now.ok()).then_some(lock))
    }

    /// Whether it is not whole, and was gone on with that recently.
    pub(super) fn is_begun_within(&self, time: Duration) -> bool {
        let Ok(metadata) = self.part.symlink_metadata() else {
            return false;
        };
        let age = metadata
            .modified()
            .map(|at| at.elapsed().unwrap_or_default());
        age.is_ok_and(|age| age < time)
    }

    fn state(&self) -> Option<State> {
        let text = std::fs::read(&self.state).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// Where to go on, if there is something to go on with.
    pub(super) fn checkpoint(&self) -> Option<Checkpoint> {
        self.part.symlink_metadata().ok()?;
        match self.state()? {
            State::Converting { boot, written, .. } if boot == boot_id() => Some(written),
            State::Converting { synced, .. } => Some(synced),
            State::Complete { .. } => None,
        }
    }

    /// Opens the disk that is written. The state comes first: by it alone the file is known as a
    /// conversion.
    pub(super) fn open_part(&self, anew: bool) -> Result<File, ImageError> {
        if anew {
            self.write_state(&State::converting(Checkpoint::default()), false)
                .map_err(ImageError::io("write", &self.state))?;
        }
        File::options()
            .create(true)
            .truncate(anew)
            .read(true)
            .write(true)
            .mode(0o600)
            .open(&self.part)
            .map_err(ImageError::io("write", &self.part))
    }

    /// The disk of an earlier conversion, if its bytes are still those that were written.
    pub(super) fn complete(&self, work: &Work<'_>) -> Result<Option<ServedLayer>, ImageError> {
        let Some(State::Complete { file_size, blake3 }) = self.state() else {
            return Ok(None);
        };
        // Killed between the state and the rename.
        if !self.whole.exists() && self.part.exists() {
            self.publish()?;
        }
        let Ok(file) = File::open(&self.whole) else {
            return Ok(None);
        };
        let is = file.metadata().map_or(0, |metadata| metadata.len());
        if is == file_size && self.is_whole(work, &file, file_size, &blake3)? {
            return self.layer(&file, file_size, blake3).map(Some);
        }
        tracing::warn!(path = %self.whole.display(), "a converted disk was changed; it is made anew");
        self.remove();
        Ok(None)
    }

    /// What the medium gave up is lost, but not what it was made of.
    fn is_whole(
        &self,
        work: &Work<'_>,
        file: &File,
        size: u64,
        blake3: &str,
    ) -> Result<bool, ImageError> {
        match work.hash(file, size, &self.whole) {
            Err(ImageError::Io { source, .. }) if source.raw_os_error() == Some(nix::libc::EIO) => {
                Ok(false)
            }
            hashed => hashed.map(|hashed| hashed == blake3),
        }
    }

    pub(super) fn finish(
        &self,
        part: &File,
        size: u64,
        work: &Work<'_>,
    ) -> Result<ServedLayer, ImageError> {
        let blake3 = work.hash(part, size, &self.part)?;
        part.sync_all()
            .map_err(ImageError::io("write", &self.part))?;
        let complete = State::Complete {
            file_size: size,
            blake3: blake3.clone(),
        };
        self.write_state(&complete, true)
            .map_err(ImageError::io("write", &self.state))?;
        self.publish()?;
        self.layer(part, size, blake3)
    }

    fn publish(&self) -> Result<(), ImageError> {
        std::fs::rename(&self.part, &self.whole)
            .and_then(|()| File::open(&self.folder)?.sync_all())
            .map_err(ImageError::io("finish", &self.whole))
    }

    fn layer(&self, file: &File, size: u64, blake3: String) -> Result<ServedLayer, ImageError> {
        let metadata = file
            .metadata()
            .map_err(ImageError::io("read the attributes of", &self.whole))?;
        let file = SourceFile {
            path: self.whole.clone(),
            file_size: size,
            modified_ns: modified_ns(&metadata),
            device: metadata.dev(),
            inode: metadata.ino(),
            changed_ns: changed_ns(&metadata),
            blake3,
        };
        let format = Format::Raw;
        Ok(ServedLayer { file, format })
    }

    fn write_state(&self, state: &State, synced: bool) -> io::Result<()> {
        let unfinished = self.state.with_extension("json.new");
        let mut file = File::options()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&unfinished)?;
        file.write_all(&serde_json::to_vec(state)?)?;
        if synced {
            file.sync_all()?;
        }
        std::fs::rename(&unfinished, &self.state)
    }

    /// The state last, without which nothing here is known as a conversion.
    pub(super) fn remove(&self) {
        let unfinished = self.state.with_extension("json.new");
        for path in [&self.part, &self.whole, &unfinished, &self.state] {
            // Gone is what they should be.
            let _ = std::fs::remove_file(path);
        }
    }

    /// The same for whoever holds the lock, which goes as well.
    pub(super) fn remove_with_lock(&self, lock: Flock<File>) {
        self.remove();
        let _ = std::fs::remove_file(&self.lock);
        drop(lock);
    }
}

impl State {
    fn converting(from: Checkpoint) -> Self {
        Self::Converting {
            boot: boot_id(),
            written: from,
            synced: from,
        }
    }
}

impl Work<'_> {
    fn hash(&self, file: &File, length: u64, path: &Path) -> Result<String, ImageError> {
        let hashed = hash(file, length, self.reading).map_err(ImageError::io("read", path))?;
        Ok(finished(hashed, self.trees)?.root())
    }
}

/// Notes the steps, so that the next start goes on from there.
pub(super) struct Progress<'a> {
    place: &'a Place,
    boot: String,
    synced: Checkpoint,
    noted: Instant,
    pub failure: Option<io::Error>,
}

impl<'a> Progress<'a> {
    pub(super) fn new(place: &'a Place, from: Checkpoint) -> Self {
        Self {
            place,
            boot: boot_id(),
            synced: from,
            noted: Instant::now(),
            failure: None,
        }
    }

    pub(super) fn note(&mut self, step: Step) {
        if step.synced {
            self.synced = step.written;
        } else if self.noted.elapsed() < PAUSE {
            return;
        }
        self.noted = Instant::now();
        let state = State::Converting {
            boot: self.boot.clone(),
            written: step.written,
            synced: self.synced,
        };
        if let Err(error) = self.place.write_state(&state, step.synced) {
            self.failure = Some(error);
        }
    }
}

/// Differs after every start of the host, when the memory of what was written is gone.
fn boot_id() -> String {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
    id.map(|id| id.trim().to_owned()).unwrap_or_default()
}
