//! Trees of files: one digest for all of it, two compared, one put in the place of another.

use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ring::digest::{Context, SHA256};

use crate::wire::hexadecimal;

/// Names of ours, in the folder that an image is restored to.
const OWN: &str = ".lifeboat-";
const STAGED: &str = ".lifeboat-image";
const BEFORE: &str = ".lifeboat-before";
const PHASE: &str = ".lifeboat-phase";
/// Belongs to the filesystem, not to what is stored on it.
const FOUND: &str = "lost+found";

/// Tells work on another thread that nobody waits for it any more.
#[derive(Debug, Clone, Default)]
pub(super) struct Stop(Arc<AtomicBool>);

/// Stops the work when it goes out of scope.
#[derive(Debug)]
pub(super) struct StopOnDrop(pub(super) Stop);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}

impl Stop {
    fn check(&self) -> io::Result<()> {
        match self.0.load(Ordering::Relaxed) {
            true => Err(io::Error::new(io::ErrorKind::Interrupted, "given up")),
            false => Ok(()),
        }
    }
}

/// Which names do not count: locks and the like, and what is not the application's.
#[derive(Debug, Clone, Default)]
pub(super) struct LeftOut(pub(super) Vec<String>);

impl LeftOut {
    fn has(&self, name: &OsStr) -> bool {
        let name = name.as_bytes();
        let fits = |pattern: &String| match pattern.strip_prefix('*') {
            Some(ending) => name.ends_with(ending.as_bytes()),
            None => name == pattern.as_bytes(),
        };
        name.starts_with(OWN.as_bytes()) || name == FOUND.as_bytes() || self.0.iter().any(fits)
    }

    /// The same for restic.
    pub(super) fn patterns(&self) -> impl Iterator<Item = String> {
        let own = [format!("{OWN}*"), FOUND.to_owned()];
        own.into_iter().chain(self.0.clone())
    }
}

/// What a tree holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Contents {
    /// The SHA-256 of everything: names, permissions, owners, times, bytes.
    pub(super) digest: String,
    pub(super) files: u64,
    pub(super) bytes: u64,
}

/// How far two trees are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Same {
    /// Files that were compared, byte by byte.
    pub(super) compared: u64,
    /// Entries that changed since the image began, which therefore may differ.
    pub(super) moved_on: u64,
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

fn differs(path: &Path, how: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("{} {how}", path.display()),
    )
}

fn about(path: &Path) -> io::Result<Metadata> {
    fs::symlink_metadata(path).map_err(|error| named(path, &error))
}

/// The names in a folder, sorted.
fn names(folder: &Path, left_out: &LeftOut) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(|error| named(folder, &error))? {
        let entry = entry.map_err(|error| named(folder, &error))?;
        if !left_out.has(&entry.file_name()) {
            paths.push(entry.path());
        }
    }
    paths.sort_unstable();
    Ok(paths)
}

/// Visits everything below a folder in the order of its names; folders wait on a list, so deep
/// trees need no deep stack. What vanishes meanwhile is passed over.
fn visit(
    root: &Path,
    left_out: &LeftOut,
    mut each: impl FnMut(&Path, &Path, &Metadata) -> io::Result<()>,
) -> io::Result<()> {
    let gone = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    let device = about(root)?.dev();
    let mut waiting = names(root, left_out)?;
    waiting.reverse();
    while let Some(path) = waiting.pop() {
        let meta = match about(&path) {
            Err(error) if gone(&error) => continue,
            meta => meta?,
        };
        let relative = path.strip_prefix(root).unwrap_or(&path);
        each(&path, relative, &meta)?;
        if meta.is_dir() && meta.dev() == device {
            match names(&path, left_out) {
                Err(error) if gone(&error) => {}
                children => waiting.extend(children?.into_iter().rev()),
            }
        }
    }
    Ok(())
}

/// Everything that a tree holds, in one digest.
pub(super) fn contents(root: &Path, left_out: &LeftOut, stop: &Stop) -> io::Result<Contents> {
    let mut all = Context::new(&SHA256);
    let (mut files, mut bytes) = (0, 0);
    visit(root, left_out, |path, relative, meta| {
        all.update(format!("{}\0", relative.as_os_str().len()).as_bytes());
        all.update(relative.as_os_str().as_bytes());
        let (mode, owner, group) = (meta.mode(), meta.uid(), meta.gid());
        all.update(format!("{mode:o} {owner} {group} ").as_bytes());
        if meta.is_file() {
            let (seconds, nanos, length) = (meta.mtime(), meta.mtime_nsec(), meta.len());
            all.update(format!("{seconds}.{nanos} {length}").as_bytes());
            all.update(&of_file(path, stop)?);
            files += 1;
            bytes += length;
        } else if meta.is_symlink() {
            let target = fs::read_link(path).map_err(|error| named(path, &error))?;
            all.update(target.as_os_str().as_bytes());
        }
        Ok(())
    })?;
    Ok(Contents {
        digest: hexadecimal(all.finish().as_ref()),
        files,
        bytes,
    })
}

fn of_file(path: &Path, stop: &Stop) -> io::Result<[u8; 32]> {
    let mut file = File::open(path).map_err(|error| named(path, &error))?;
    let mut context = Context::new(&SHA256);
    let mut buffer = vec![0; 64 * 1024];
    loop {
        stop.check()?;
        match file
            .read(&mut buffer)
            .map_err(|error| named(path, &error))?
        {
            0 => break,
            count => context.update(&buffer[..count]),
        }
    }
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    Ok(hash)
}

/// Compares an image with what it was taken of. What changed since `began` (Unix seconds, by this
/// host's clock) may differ; everything else has to be the same.
pub(super) fn compare(
    image: &Path,
    live: &Path,
    began: i64,
    left_out: &LeftOut,
    stop: &Stop,
) -> io::Result<Same> {
    let mut same = Same::default();
    visit(image, left_out, |path, relative, meta| {
        let original = live.join(relative);
        let now = match fs::symlink_metadata(&original) {
            Ok(now) => now,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                same.moved_on += 1;
                return vanished(&original, live, began);
            }
            Err(error) => return Err(named(&original, &error)),
        };
        if now.ctime() >= began {
            same.moved_on += u64::from(!now.is_dir());
            return Ok(());
        }
        alike(path, meta, &original, &now, stop)?;
        same.compared += u64::from(meta.is_file());
        Ok(())
    })?;
    visit(live, left_out, |path, relative, meta| {
        stop.check()?;
        let kept = meta.is_file() || meta.is_dir() || meta.is_symlink();
        if !kept || meta.ctime() >= began || fs::symlink_metadata(image.join(relative)).is_ok() {
            return Ok(());
        }
        Err(differs(path, "is not in the image"))
    })?;
    Ok(same)
}

/// Something that is gone was taken away since the image began if its folder changed since.
fn vanished(path: &Path, root: &Path, began: i64) -> io::Result<()> {
    let folder = path
        .ancestors()
        .skip(1)
        .take_while(|folder| folder.starts_with(root))
        .find_map(|folder| fs::symlink_metadata(folder).ok());
    match folder {
        Some(meta) if meta.ctime() >= began => Ok(()),
        _ => Err(differs(path, "is in the image, and was never there")),
    }
}

fn alike(
    path: &Path,
    meta: &Metadata,
    original: &Path,
    now: &Metadata,
    stop: &Stop,
) -> io::Result<()> {
    if meta.file_type() != now.file_type() || meta.mode() != now.mode() {
        return Err(differs(original, "is of another kind in the image"));
    }
    if meta.uid() != now.uid() || meta.gid() != now.gid() {
        return Err(differs(original, "has another owner in the image"));
    }
    let equal = if meta.is_file() {
        meta.len() == now.len() && equal_bytes(path, original, stop)?
    } else if meta.is_symlink() {
        fs::read_link(path)? == fs::read_link(original)?
    } else {
        true
    };
    match equal {
        true => Ok(()),
        false => Err(differs(original, "has other bytes in the image")),
    }
}

fn equal_bytes(first: &Path, second: &Path, stop: &Stop) -> io::Result<bool> {
    let open = |path: &Path| File::open(path).map_err(|error| named(path, &error));
    let (mut one, mut other) = (open(first)?, open(second)?);
    let (mut left, mut right) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    loop {
        stop.check()?;
        let count = one.read(&mut left).map_err(|error| named(first, &error))?;
        if count == 0 {
            return Ok(other.read(&mut right)? == 0);
        }
        match other.read_exact(&mut right[..count]) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            result => result.map_err(|error| named(second, &error))?,
        }
        if left[..count] != right[..count] {
            return Ok(false);
        }
    }
}

/// An empty folder for an image, on the filesystem where it is going to live, for root only.
pub(super) fn stage(into: &Path) -> io::Result<PathBuf> {
    empty(&into.join(STAGED))
}

/// An empty folder for root only, whatever was there.
pub(super) fn empty(folder: &Path) -> io::Result<PathBuf> {
    remove(folder)?;
    fs::create_dir_all(folder).map_err(|error| named(folder, &error))?;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
    Ok(folder.to_owned())
}

/// Removes a tree; one that is not there is removed.
pub(super) fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(named(folder, &error)),
        _ => Ok(()),
    }
}

/// Where an exchange of a folder's contents stands. Each phase can be repeated; the next one is
/// written down before it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// What was there goes aside.
    Leave,
    /// What was staged comes in.
    Enter,
    /// What went aside is deleted.
    Clean,
}

impl Phase {
    fn word(self) -> &'static str {
        match self {
            Self::Leave => "leave",
            Self::Enter => "enter",
            Self::Clean => "clean",
        }
    }

    fn write(self, into: &Path, image: &str) -> io::Result<()> {
        let path = into.join(PHASE);
        let fresh = into.join(format!("{PHASE}-new"));
        let mut file = File::create(&fresh)?;
        write!(file, "{} {image}", self.word())?;
        file.sync_all()?;
        fs::rename(&fresh, &path)?;
        // Also makes durable what the phase before it moved.
        rustix::fs::syncfs(File::open(into)?)?;
        Ok(())
    }

    fn read(into: &Path) -> io::Result<Option<(Self, String)>> {
        let text = match fs::read_to_string(into.join(PHASE)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            text => text?,
        };
        let (word, image) = text.split_once(' ').unwrap_or_default();
        let phase = [Self::Leave, Self::Enter, Self::Clean]
            .into_iter()
            .find(|phase| phase.word() == word)
            .ok_or_else(|| differs(&into.join(PHASE), "says nothing that makes sense"))?;
        Ok(Some((phase, image.to_owned())))
    }
}

/// Puts what was staged in the place of what is there.
pub(super) fn exchange(into: &Path, image: &str) -> io::Result<()> {
    rustix::fs::syncfs(File::open(into.join(STAGED))?)?;
    Phase::Leave.write(into, image)?;
    finish(into).map(|_| ())
}

/// Ends an exchange that was begun, wherever it broke off; says which image it was about.
pub(super) fn finish(into: &Path) -> io::Result<Option<String>> {
    let mut finished = None;
    while let Some((phase, image)) = Phase::read(into)? {
        match phase {
            Phase::Leave => {
                let aside = into.join(BEFORE);
                fs::create_dir_all(&aside)?;
                fs::set_permissions(&aside, fs::Permissions::from_mode(0o700))?;
                move_all(into, &aside)?;
                Phase::Enter.write(into, &image)?;
            }
            Phase::Enter => {
                move_all(&into.join(STAGED), into)?;
                Phase::Clean.write(into, &image)?;
            }
            Phase::Clean => {
                remove(&into.join(BEFORE))?;
                remove(&into.join(STAGED))?;
                fs::remove_file(into.join(PHASE))?;
                finished = Some(image);
            }
        }
    }
    Ok(finished)
}

fn move_all(from: &Path, to: &Path) -> io::Result<()> {
    for path in names(from, &LeftOut::default())? {
        let Some(name) = path.file_name() else {
            continue;
        };
        fs::rename(&path, to.join(name)).map_err(|error| named(&path, &error))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        fill(folder.path(), files);
        folder
    }

    fn fill(root: &Path, files: &[(&str, &str)]) {
        for (name, text) in files {
            let path = root.join(name);
            fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
            fs::write(path, text).expect("a file");
        }
    }

    fn digest(root: &Path) -> String {
        let left_out = LeftOut(vec!["*.lock".to_owned()]);
        contents(root, &left_out, &Stop::default())
            .expect("read")
            .digest
    }

    /// Long before any test file, or long after.
    const LONG_AGO: i64 = 0;
    const NEVER: i64 = i64::MAX;

    fn judge(image: &Path, live: &Path, began: i64) -> Result<Same, String> {
        let left_out = LeftOut(vec!["*.lock".to_owned()]);
        compare(image, live, began, &left_out, &Stop::default()).map_err(|error| error.to_string())
    }

    #[test]
    fn every_difference_changes_the_digest_and_what_is_left_out_does_not() {
        let one = tree(&[("a/b", "text"), ("c", "")]);
        let before = digest(one.path());
        fill(
            one.path(),
            &[
                ("a/x.lock", "1"),
                (".lifeboat-image/x", "2"),
                ("lost+found/y", "3"),
            ],
        );
        assert_eq!(digest(one.path()), before);
        let changes: [&dyn Fn(&Path); 5] = [
            &|root| fs::write(root.join("a/b"), "texT").expect("written"),
            &|root| fs::rename(root.join("a/b"), root.join("a/d")).expect("renamed"),
            &|root| fs::remove_file(root.join("c")).expect("removed"),
            &|root| {
                fs::set_permissions(root.join("a"), fs::Permissions::from_mode(0o711)).expect("set")
            },
            &|root| std::os::unix::fs::symlink("x", root.join("l")).expect("linked"),
        ];
        let mut seen = vec![before];
        for change in changes {
            change(one.path());
            let now = digest(one.path());
            assert!(!seen.contains(&now), "each change is seen");
            seen.push(now);
        }
    }

    #[test]
    fn an_image_has_what_was_there_and_nothing_else() {
        let (image, live) = (tree(&[("a/b", "text")]), tree(&[("a/b", "text")]));
        let same = judge(image.path(), live.path(), NEVER).expect("the same");
        assert_eq!(
            same,
            Same {
                compared: 1,
                moved_on: 0
            }
        );
        fs::write(live.path().join("a/b"), "texx").expect("written");
        let says = judge(image.path(), live.path(), NEVER).expect_err("other bytes");
        assert!(says.contains("other bytes"), "{says}");
        fill(live.path(), &[("a/b", "text"), ("new", "1")]);
        let says = judge(image.path(), live.path(), NEVER).expect_err("not in it");
        assert!(says.contains("not in the image"), "{says}");
        fs::remove_file(live.path().join("new")).expect("removed");
        fs::remove_file(live.path().join("a/b")).expect("removed");
        let says = judge(image.path(), live.path(), NEVER).expect_err("never there");
        assert!(says.contains("never there"), "{says}");
    }

    #[test]
    fn what_changed_since_the_image_began_may_differ() {
        let (image, live) = (
            tree(&[("a/b", "1"), ("gone", "2")]),
            tree(&[("a/b", "9"), ("new", "3")]),
        );
        let same = judge(image.path(), live.path(), LONG_AGO).expect("all is younger");
        assert_eq!(same.compared, 0);
        assert_eq!(same.moved_on, 2);
    }

    #[test]
    fn an_exchange_that_breaks_off_anywhere_is_finished() {
        for done in ["", "leave", "leave-half", "enter", "enter-half", "clean"] {
            let live = tree(&[("a/old", "1"), ("b", "2"), ("lost+found/x", "3")]);
            let root = live.path();
            let staged = stage(root).expect("a folder");
            fill(&staged, &[("a/new", "4"), ("c", "5")]);
            let wanted = digest(&staged);
            let aside = root.join(BEFORE);
            fs::create_dir_all(&aside).expect("a folder");
            match done {
                "leave" => Phase::Leave.write(root, "i").expect("written"),
                "leave-half" => {
                    Phase::Leave.write(root, "i").expect("written");
                    fs::rename(root.join("a"), aside.join("a")).expect("moved");
                }
                "enter" | "enter-half" | "clean" => {
                    move_all(root, &aside).expect("moved");
                    Phase::Enter.write(root, "i").expect("written");
                    match done {
                        "enter-half" => {
                            fs::rename(staged.join("c"), root.join("c")).expect("moved")
                        }
                        "clean" => {
                            move_all(&staged, root).expect("moved");
                            Phase::Clean.write(root, "i").expect("written");
                        }
                        _ => {}
                    }
                }
                _ => exchange(root, "i").expect("exchanged"),
            }
            let finished = finish(root).expect("finished");
            assert_eq!(finished.is_none(), done.is_empty(), "{done}");
            assert_eq!(digest(root), wanted, "{done}");
            assert!(root.join("lost+found/x").exists());
            assert!(!root.join(BEFORE).exists() && !root.join(PHASE).exists());
        }
    }

    #[test]
    fn work_that_nobody_waits_for_stops() {
        let one = tree(&[("a", "1")]);
        let stop = Stop::default();
        drop(StopOnDrop(stop.clone()));
        assert!(contents(one.path(), &LeftOut::default(), &stop).is_err());
    }
}
