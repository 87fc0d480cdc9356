//! Disks that are converted once, at import, because QEMU cannot serve what was captured.
//!
//! ```text
//! FOLDER/KEY.json   how far it is: {"converting": ...}, then {"complete": ...}
//! FOLDER/KEY.part   the disk while it is written (sparse, raw)
//! FOLDER/KEY.raw    the disk, whole; QEMU is given this one
//! FOLDER/KEY.lock   held by the one that works on it
//! ```
//!
//! KEY is a hash of the captured bytes and of the way in which they are read. `KEY.raw` appears by
//! a rename after everything is on the disk, so that half a conversion never has that name. After
//! a crash the work goes on at the last checkpoint: the newest one that was written, if the host has
//! not been started anew since, else the newest one that was forced to the disk.

use std::collections::{BTreeSet, HashSet};
use std::fs::File;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use crate::captured::{ServedLayer, SourceFile, changed_ns, modified_ns};
use crate::confine::{Answer, Confined, LayerQuestion, Limits, Question, Step, Task};
use crate::error::ImageError;
use crate::format::Format;
use crate::integrity::{Reading, hash};
use crate::source::finished;

/// Raised when the same sources would give other bytes.
const VERSION: u32 = 1;
/// The slowest unpacking, in bytes a second of processor time; bounds how long a child may work.
const SLOWEST: u64 = 1 << 20;

/// Work that may be lost when this process is killed; noting every step would cost more.
const PAUSE: Duration = Duration::from_secs(1);

/// Between two looks at whether another import has ended.
const LOCK_PAUSE: Duration = Duration::from_millis(100);

/// Bounds on what a captured file may unfold to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConversionLimits {
    /// Largest disk in bytes, zeros included.
    pub largest_disk: u64,
    /// Bytes of content, zeros left out, that a packed byte may unfold to.
    pub ratio: u64,
    /// Bytes of content that are allowed whatever the ratio.
    pub always: u64,
    /// Bytes that stay free on the target's filesystem.
    pub reserve: u64,
    /// Bytes of the disk between two checkpoints.
    pub step: u64,
    /// Bytes of content after which a checkpoint is forced to the disk.
    pub sync_every: u64,
}

impl Default for ConversionLimits {
    fn default() -> Self {
        Self {
            largest_disk: 16 << 40,
            ratio: 100,
            always: 1 << 30,
            reserve: 1 << 30,
            step: 64 << 20,
            sync_every: 2 << 30,
        }
    }
}

/// The beginning of a member of a packed file, where its decoder has no memory of what was before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MemberStart {
    /// Bytes of the packed file before it.
    pub packed: u64,
    /// Bytes of the disk before it.
    pub unpacked: u64,
}

/// Where a conversion can go on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Checkpoint {
    /// Bytes of the disk that are written.
    pub done: u64,
    /// Those of them that are not zero.
    pub content: u64,
    /// Where unpacking starts again.
    pub restart: MemberStart,
}

/// Where converted disks lie, and what they may cost.
#[derive(Debug, Clone)]
pub struct Conversions {
    folder: PathBuf,
    limits: ConversionLimits,
}

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

/// What is to be converted: open files, the way to read them, and the hash of their bytes.
pub(crate) struct Work<'a> {
    /// The file to name in messages.
    pub path: &'a Path,
    pub layers: Vec<LayerQuestion>,
    pub files: Vec<&'a File>,
    pub blake3: &'a str,
    /// Bytes of the disk, or of the packed file.
    pub size: u64,
    /// Bytes that the sources occupy; 0 where that says nothing about the disk.
    pub occupied: u64,
    pub trees: Option<&'a Path>,
    pub reading: &'a Reading<'a>,
}

impl Conversions {
    /// Converted disks go to `folder`, which is made when it is needed.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            limits: ConversionLimits::default(),
        }
    }

    /// With other limits.
    #[must_use]
    pub fn with_limits(mut self, limits: ConversionLimits) -> Self {
        self.limits = limits;
        self
    }

    /// The disk, converted now, or earlier from the same bytes.
    pub(crate) fn convert(
        &self,
        confined: &Confined,
        work: &Work<'_>,
    ) -> Result<ServedLayer, ImageError> {
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder
            .create(&self.folder)
            .map_err(ImageError::io("make the folder", &self.folder))?;
        let folder =
            std::fs::canonicalize(&self.folder).map_err(ImageError::io("resolve", &self.folder))?;
        let place = Place::new(&folder, &work.key()?);
        let _lock = place.lock(work.reading.cancelled)?;
        if let Some(known) = place.complete(work)? {
            return Ok(known);
        }
        let made = self.make(confined, work, &place);
        // What is refused is not worth going on with; what was stopped or killed is.
        if matches!(
            &made,
            Err(ImageError::Refused { .. } | ImageError::ReaderDied { .. })
        ) {
            place.remove();
        }
        made
    }

    /// Removes every disk that is not among `used`, and what was begun and is not gone on with for
    /// longer than `forsaken`. What somebody works on now stays.
    pub fn remove_unused(
        &self,
        used: &HashSet<PathBuf>,
        forsaken: Duration,
    ) -> Result<(), ImageError> {
        let Ok(folder) = std::fs::canonicalize(&self.folder) else {
            return Ok(());
        };
        let keys = keys(&folder).map_err(ImageError::io("look through", &folder))?;
        for place in keys.iter().map(|key| Place::new(&folder, key)) {
            if used.contains(&place.whole) {
                continue;
            }
            if let Some(_lock) = place.try_lock()?
                && !place.is_begun_within(forsaken)
            {
                place.remove();
                // Gone is what it should be.
                let _ = std::fs::remove_file(&place.lock);
            }
        }
        Ok(())
    }

    fn make(
        &self,
        confined: &Confined,
        work: &Work<'_>,
        place: &Place,
    ) -> Result<ServedLayer, ImageError> {
        let from = place.checkpoint();
        let part = place.open_part(from.is_none())?;
        let from = from.unwrap_or_default();
        self.require_room(work, &part)?;
        let mut state = Progress::new(place, from);
        let mut files = work.files.clone();
        files.push(&part);
        let question = Question {
            task: Task::Convert {
                from,
                limits: self.limits.clone(),
            },
            layers: work.layers.clone(),
            with_qemu: false,
            limits: self.child_limits(confined.limits(), work.size),
        };
        let mut watch = |step: Option<Step>| {
            if let Some(step) = step {
                (work.reading.progress)(step.done, step.total);
                state.note(step);
            }
            if work.reading.cancelled.load(Ordering::Relaxed) || state.failure.is_some() {
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        };
        let answer = confined.ask_and_watch(work.path, &files, &question, &mut watch);
        if let Some(error) = state.failure {
            return Err(ImageError::io("note the progress in", &place.state)(error));
        }
        match answer? {
            Answer::Converted(size) => place.finish(&part, size, work),
            _ => Err(ImageError::ReaderDied {
                path: work.path.to_owned(),
                how: "gave an answer to another question".to_owned(),
            }),
        }
    }

    fn require_room(&self, work: &Work<'_>, part: &File) -> Result<(), ImageError> {
        use nix::sys::statvfs::fstatvfs;
        let space = fstatvfs(part)
            .map_err(io::Error::from)
            .map_err(ImageError::io("measure the free space of", &self.folder))?;
        let free = space
            .blocks_available()
            .saturating_mul(space.fragment_size());
        let occupied = part
            .metadata()
            .map_or(0, |metadata| metadata.blocks() * 512);
        let needed = work.occupied.min(work.size).saturating_sub(occupied);
        if free >= needed.saturating_add(self.limits.reserve) {
            return Ok(());
        }
        Err(ImageError::NoRoom {
            path: work.path.to_owned(),
            folder: self.folder.clone(),
            needed,
            free,
            reserve: self.limits.reserve,
        })
    }

    /// Every byte costs time, so the time is in proportion to the bytes; a child that stands still
    /// is ended as any other.
    fn child_limits(&self, ordinary: &Limits, size: u64) -> Limits {
        let work = size.max(self.limits.largest_disk.min(size.saturating_mul(1024)));
        Limits {
            cpu_seconds: ordinary.cpu_seconds.saturating_add(work / SLOWEST),
            ..ordinary.clone()
        }
    }
}

impl Work<'_> {
    fn key(&self) -> Result<String, ImageError> {
        let containers: Vec<_> = self.layers.iter().map(|layer| layer.container).collect();
        let lengths: Vec<Vec<u64>> = self
            .layers
            .iter()
            .map(|layer| layer.files.iter().map(|file| file.length).collect())
            .collect();
        let all = serde_json::to_vec(&(VERSION, self.blake3, containers, lengths))
            .map_err(io::Error::from)
            .map_err(ImageError::io("name the conversion of", self.path))?;
        Ok(blake3::hash(&all).to_hex()[..32].to_owned())
    }
}

/// The keys of all conversions in a folder.
fn keys(folder: &Path) -> io::Result<BTreeSet<String>> {
    let mut keys = BTreeSet::new();
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name();
        let key = name.to_str().and_then(|name| name.split_once('.'));
        keys.extend(key.map(|(key, _)| key.to_owned()));
    }
    Ok(keys)
}

/// The files of one conversion.
struct Place {
    folder: PathBuf,
    state: PathBuf,
    part: PathBuf,
    whole: PathBuf,
    lock: PathBuf,
}

impl Place {
    fn new(folder: &Path, key: &str) -> Self {
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
    fn lock(&self, cancelled: &AtomicBool) -> Result<Flock<File>, ImageError> {
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

    /// None where somebody else has it, or where the locked file was removed meanwhile.
    fn try_lock(&self) -> Result<Option<Flock<File>>, ImageError> {
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
    fn is_begun_within(&self, time: Duration) -> bool {
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
    fn checkpoint(&self) -> Option<Checkpoint> {
        self.part.symlink_metadata().ok()?;
        match self.state()? {
            State::Converting { boot, written, .. } if boot == boot_id() => Some(written),
            State::Converting { synced, .. } => Some(synced),
            State::Complete { .. } => None,
        }
    }

    fn open_part(&self, anew: bool) -> Result<File, ImageError> {
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
    fn complete(&self, work: &Work<'_>) -> Result<Option<ServedLayer>, ImageError> {
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

    fn finish(&self, part: &File, size: u64, work: &Work<'_>) -> Result<ServedLayer, ImageError> {
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

    fn remove(&self) {
        let unfinished = self.state.with_extension("json.new");
        for path in [&self.part, &self.whole, &self.state, &unfinished] {
            // Gone is what they should be.
            let _ = std::fs::remove_file(path);
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
struct Progress<'a> {
    place: &'a Place,
    boot: String,
    synced: Checkpoint,
    noted: Instant,
    failure: Option<io::Error>,
}

impl<'a> Progress<'a> {
    fn new(place: &'a Place, from: Checkpoint) -> Self {
        Self {
            place,
            boot: boot_id(),
            synced: from,
            noted: Instant::now(),
            failure: None,
        }
    }

    fn note(&mut self, step: Step) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_needs_is_removed_and_what_is_worked_on_stays() {
        let folder = tempfile::tempdir().unwrap();
        let root = std::fs::canonicalize(folder.path()).unwrap();
        let place = |key: &str| Place::new(&root, key);
        for key in ["used", "unused", "worked-on"] {
            let place = place(key);
            for file in [&place.whole, &place.state, &place.lock] {
                std::fs::write(file, "").unwrap();
            }
        }
        for file in [&place("begun").part, &place("begun").state] {
            std::fs::write(file, "").unwrap();
        }
        let conversions = Conversions::new(folder.path());
        let used = HashSet::from([place("used").whole]);
        let left = || -> Vec<_> { keys(&root).unwrap().into_iter().collect() };
        let working = place("worked-on").try_lock().unwrap().unwrap();
        let day = Duration::from_secs(86_400);
        conversions.remove_unused(&used, day).unwrap();
        assert_eq!(left(), ["begun", "used", "worked-on"]);
        drop(working);
        conversions.remove_unused(&used, Duration::ZERO).unwrap();
        assert_eq!(left(), ["used"]);
        assert!(place("used").whole.is_file() && place("used").state.is_file());
    }
}
