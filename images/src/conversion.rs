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

mod place;

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::fcntl::Flock;
use serde::{Deserialize, Serialize};

use crate::captured::ServedLayer;
use crate::confine::{Answer, Confined, LayerQuestion, Limits, Question, Step, Task};
use crate::error::ImageError;
use crate::integrity::Reading;
use crate::sparse::require_room;
use place::{KEY_DIGITS, Place, Progress, conversions_in};

/// Raised when the same sources would give other bytes.
const VERSION: u32 = 1;
/// The slowest unpacking, in bytes a second of processor time; bounds how long a child may work.
const SLOWEST: u64 = 1 << 20;

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
    /// What is held, where that was asked for.
    held: Option<Arc<Mutex<Vec<Held>>>>,
}

/// A conversion that nobody else takes for their own before it is known whether it is needed.
#[derive(Debug)]
struct Held {
    place: Place,
    lock: Flock<File>,
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
            held: None,
        }
    }

    /// Holds what it converts until [`Self::keep`] or [`Self::discard`]: another process that needs
    /// the same disk waits until then. What was whole before is neither held nor ever removed.
    #[must_use]
    pub fn holding(mut self) -> Self {
        self.held = Some(Arc::default());
        self
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
        // The same bytes twice in one machine.
        let _lock = match self.is_held(&place) {
            true => None,
            false => self.hold(
                &place,
                self.lock(&place, work.path, work.reading.cancelled)?,
            ),
        };
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

    /// Keeps what it converted. What others began here and do not work on is removed: it was meant
    /// for a result that is there now.
    pub fn keep(&self) -> Result<(), ImageError> {
        self.take_held().clear();
        for place in self.conversions()? {
            if !place.is_complete()
                && let Some(lock) = place.try_lock()?
            {
                place.remove_with_lock(lock);
            }
        }
        Ok(())
    }

    /// Removes what it converted, and nothing else.
    pub fn discard(&self) {
        for held in self.take_held() {
            held.place.remove_with_lock(held.lock);
        }
    }

    /// Removes every disk that is not among `used`, and what was begun and is not gone on with for
    /// longer than `forsaken`. What somebody works on now stays, and so does what is no conversion.
    pub fn remove_unused(
        &self,
        used: &HashSet<PathBuf>,
        forsaken: Duration,
    ) -> Result<(), ImageError> {
        for place in self.conversions()? {
            if used.contains(&place.whole) {
                continue;
            }
            if let Some(lock) = place.try_lock()?
                && !place.is_begun_within(forsaken)
            {
                place.remove_with_lock(lock);
            }
        }
        Ok(())
    }

    fn conversions(&self) -> Result<Vec<Place>, ImageError> {
        let Ok(folder) = std::fs::canonicalize(&self.folder) else {
            return Ok(Vec::new());
        };
        conversions_in(&folder).map_err(ImageError::io("look through", &folder))
    }

    /// Whoever holds one disk already does not wait for another: its holder may wait for the first.
    fn lock(
        &self,
        place: &Place,
        path: &Path,
        cancelled: &AtomicBool,
    ) -> Result<Flock<File>, ImageError> {
        let holds_another = self.held().is_some_and(|held| !held.is_empty());
        if !holds_another {
            return place.lock(cancelled);
        }
        let path = path.to_owned();
        place.try_lock()?.ok_or(ImageError::InUse { path })
    }

    fn held(&self) -> Option<MutexGuard<'_, Vec<Held>>> {
        let held = self.held.as_ref()?;
        Some(held.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn take_held(&self) -> Vec<Held> {
        let held = self.held();
        held.map(|mut held| std::mem::take(&mut *held))
            .unwrap_or_default()
    }

    fn is_held(&self, place: &Place) -> bool {
        let held = self.held();
        held.is_some_and(|held| held.iter().any(|held| held.place == *place))
    }

    /// Gives the lock back where it is not to be held: nobody asked for it, or the disk was whole
    /// before, and may lie below something else.
    fn hold(&self, place: &Place, lock: Flock<File>) -> Option<Flock<File>> {
        match self.held() {
            Some(mut held) if !place.is_complete() => {
                let place = place.clone();
                held.push(Held { place, lock });
                None
            }
            _ => Some(lock),
        }
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
        let occupied = part
            .metadata()
            .map_or(0, |metadata| metadata.blocks() * 512);
        let needed = work.occupied.min(work.size).saturating_sub(occupied);
        require_room(part, work.path, &self.folder, needed, self.limits.reserve)
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
        Ok(blake3::hash(&all).to_hex()[..KEY_DIGITS].to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMPLETE: &str = r#"{"complete":{"file_size":0,"blake3":""}}"#;
    const BEGUN: &str = r#"{"converting":{"boot":"","written":
        {"done":0,"content":0,"restart":{"packed":0,"unpacked":0}},"synced":
        {"done":0,"content":0,"restart":{"packed":0,"unpacked":0}}}}"#;

    /// A key that begins with this digit.
    fn key(digit: char) -> String {
        std::iter::repeat_n(digit, KEY_DIGITS).collect()
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn lay(folder: &Path, digit: char, ending: &str, state: &str) -> Place {
        let write = |ending, text| {
            std::fs::write(folder.join(format!("{}.{ending}", key(digit))), text).unwrap();
        };
        write(ending, "");
        write("json", state);
        write("lock", "");
        Place::new(folder, &key(digit))
    }

    fn digits(folder: &Path) -> String {
        let mut digits: Vec<_> = names(folder)
            .iter()
            .filter_map(|name| name.chars().next())
            .collect();
        digits.dedup();
        digits.into_iter().collect()
    }

    #[test]
    fn what_nobody_needs_is_removed_and_what_is_worked_on_stays() {
        let folder = tempfile::tempdir().unwrap();
        let root = std::fs::canonicalize(folder.path()).unwrap();
        let used = lay(&root, 'a', "raw", COMPLETE);
        lay(&root, 'b', "raw", COMPLETE);
        let worked_on = lay(&root, 'c', "raw", COMPLETE);
        lay(&root, 'd', "part", BEGUN);
        let conversions = Conversions::new(folder.path());
        let in_use = HashSet::from([used.whole.clone()]);
        let working = worked_on.try_lock().unwrap().unwrap();
        let day = Duration::from_secs(86_400);
        conversions.remove_unused(&in_use, day).unwrap();
        assert_eq!(digits(&root), "acd");
        drop(working);
        conversions.remove_unused(&in_use, Duration::ZERO).unwrap();
        assert_eq!(digits(&root), "a");
        assert!(used.whole.is_file() && used.state.is_file());
    }

    #[test]
    fn what_is_no_conversion_is_never_removed() {
        let folder = tempfile::tempdir().unwrap();
        let root = std::fs::canonicalize(folder.path()).unwrap();
        let foreign = [
            "captured.raw".to_owned(),
            "captured.json".to_owned(),
            format!("{}.raw", key('a')),
            format!("{}.json", key('b')),
            format!("{}.raw", key('b')),
            format!("{}f.json", key('c')),
            format!("{}.json", key('X')),
        ];
        for name in &foreign {
            let text = if name.contains('b') { "{}" } else { COMPLETE };
            std::fs::write(root.join(name), text).unwrap();
        }
        lay(&root, 'd', "raw", COMPLETE);
        let conversions = Conversions::new(folder.path()).holding();
        conversions
            .remove_unused(&HashSet::new(), Duration::ZERO)
            .unwrap();
        conversions.keep().unwrap();
        conversions.discard();
        let mut foreign = foreign.to_vec();
        foreign.sort();
        assert_eq!(names(&root), foreign);
    }

    #[test]
    fn only_what_was_held_is_discarded() {
        let folder = tempfile::tempdir().unwrap();
        let root = std::fs::canonicalize(folder.path()).unwrap();
        let before = lay(&root, 'a', "raw", COMPLETE);
        let begun = lay(&root, 'b', "part", BEGUN);
        lay(&root, 'c', "part", BEGUN);
        let conversions = Conversions::new(folder.path()).holding();
        for place in [&before, &begun] {
            let lock = place.try_lock().unwrap().unwrap();
            let given_back = conversions.hold(place, lock);
            assert_eq!(given_back.is_some(), place == &before);
        }
        assert!(conversions.is_held(&begun) && begun.try_lock().unwrap().is_none());
        conversions.discard();
        assert_eq!(digits(&root), "ac");
        // With a result in its place, nobody goes on with what was begun.
        conversions.keep().unwrap();
        assert_eq!(digits(&root), "a");
    }

    #[test]
    fn two_processes_do_not_wait_for_each_other() {
        let folder = tempfile::tempdir().unwrap();
        let root = std::fs::canonicalize(folder.path()).unwrap();
        let [first, second] = ['a', 'b'].map(|digit| lay(&root, digit, "part", BEGUN));
        let of_another = second.try_lock().unwrap().unwrap();
        let conversions = Conversions::new(folder.path()).holding();
        let cancelled = AtomicBool::new(true);
        let lock = |place: &Place| conversions.lock(place, Path::new("b.gz"), &cancelled);
        // Who holds nothing waits, here until it is stopped.
        assert!(matches!(lock(&second), Err(ImageError::Stopped)));
        conversions.hold(&first, lock(&first).unwrap());
        let error = lock(&second).unwrap_err();
        assert!(matches!(error, ImageError::InUse { .. }), "{error}");
        drop(of_another);
        lock(&second).unwrap();
    }
}
