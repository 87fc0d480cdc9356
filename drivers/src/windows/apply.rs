//! Carrying a plan out. Every file is whole before its name is: a hive is written beside the old
//! one and takes its place in one step, the SYSTEM hive, without which nothing else is used, last.

use std::io;

use super::plan::{Edit, Plan, Volume};
use crate::guest::root::Root;
use crate::report::{Action, Change, Manifest};

/// Who may do what with a file, as ntfs-3g shows it.
const ACCESS: &str = "system.ntfs_acl";
const TEMPORARY: &str = ".lifeboat-new";
const OLD: &str = ".lifeboat-old";
/// Logs of hives, and the boot configuration, are smaller.
const LARGEST: u64 = 64 << 20;

/// The filesystems of the guest.
#[derive(Debug, Clone, Copy)]
pub struct Volumes<'r> {
    /// That of Windows.
    pub system: &'r Root,
    /// The EFI system partition.
    pub esp: Option<&'r Root>,
}

impl<'r> Volumes<'r> {
    fn root(&self, volume: Volume) -> io::Result<&'r Root> {
        match volume {
            Volume::System => Ok(self.system),
            Volume::Esp => self
                .esp
                .ok_or_else(|| io::Error::other("no EFI system partition is mounted")),
        }
    }
}

/// Writes everything; takes no decision. When a write fails, those before it are taken back: what
/// is replaced keeps a second name beside the new content until all is done.
pub fn apply(volumes: Volumes, plan: &Plan) -> io::Result<Manifest> {
    let mut work = Work {
        volumes,
        manifest: Manifest::default(),
        done: Vec::new(),
    };
    let finished = plan.edits.iter().try_for_each(|edit| work.edit(edit));
    match finished {
        Ok(()) => {
            work.forget_old();
            Ok(work.manifest)
        }
        Err(error) => {
            work.take_back();
            Err(error)
        }
    }
}

/// How to take one thing back.
#[derive(Debug)]
enum Way {
    /// It was not there.
    Remove,
    /// Neither was this directory.
    RemoveDirectory,
    /// The old file has this name.
    Rename(String),
    /// The old bytes lie in this file.
    Rewrite(String),
}

struct Work<'r> {
    volumes: Volumes<'r>,
    manifest: Manifest,
    /// In the order in which it was done.
    done: Vec<(&'r Root, String, Way)>,
}

impl<'r> Work<'r> {
    fn edit(&mut self, edit: &Edit) -> io::Result<()> {
        let (Edit::Write {
            volume,
            path,
            content,
        }
        | Edit::Hive {
            volume,
            path,
            content,
            ..
        }) = edit;
        let root = self.volumes.root(*volume)?;
        let change = change(root, path, content)?;
        let made = root.make_parents(path)?;
        let directories = made
            .into_iter()
            .map(|made| (root, made, Way::RemoveDirectory));
        self.done.extend(directories);
        let way = match change.action {
            Action::Created => Way::Remove,
            _ => keep(root, path)?,
        };
        self.done.push((root, path.clone(), way));
        replace(root, path, content)?;
        self.manifest.changes.push(change);
        let Edit::Hive { logs, .. } = edit else {
            return Ok(());
        };
        for log in logs {
            self.empty(root, log)?;
        }
        Ok(())
    }

    /// In its place, so that it keeps what Windows says of it.
    fn empty(&mut self, root: &'r Root, log: &str) -> io::Result<()> {
        if root.size(log)? == Some(0) {
            return Ok(());
        }
        let change = change(root, log, &[])?;
        let old = copy(root, log)?;
        self.done.push((root, log.to_owned(), Way::Rewrite(old)));
        root.truncate(log, 0)?;
        self.manifest.changes.push(change);
        Ok(())
    }

    /// All is written: nothing is taken back any more, because what is forgotten already could
    /// not be. What stays is told as a file that was made.
    fn forget_old(&mut self) {
        for (root, _, way) in &self.done {
            if let Way::Rename(old) | Way::Rewrite(old) = way
                && root.remove(old).is_err()
                && root.exists(old)
            {
                self.manifest.changes.push(left(root, old));
            }
        }
    }

    /// As far as it goes: the first failure is the one to tell.
    fn take_back(&self) {
        for (root, path, way) in self.done.iter().rev() {
            let _ = match way {
                Way::Remove => root.remove(path),
                Way::RemoveDirectory => root.remove_empty_directory(path),
                Way::Rename(old) => root.replace(old, path),
                Way::Rewrite(old) => rewrite(root, old, path),
            };
        }
    }
}

/// Keeps what a file is under another name, where the filesystem knows two names for one file, else
/// in a copy.
fn keep(root: &Root, path: &str) -> io::Result<Way> {
    let old = old_name(root, path)?;
    match root.link(path, &old) {
        Ok(()) => Ok(Way::Rename(old)),
        Err(_) => copy(root, path).map(Way::Rename),
    }
}

fn copy(root: &Root, path: &str) -> io::Result<String> {
    let old = old_name(root, path)?;
    let content = root.read(path, LARGEST)?.ok_or(io::ErrorKind::NotFound)?;
    let written = root.write(&old, &content);
    if written.is_err() {
        let _ = root.remove(&old);
    }
    written.map(|()| old)
}

/// One that an injection left which was killed goes.
fn old_name(root: &Root, path: &str) -> io::Result<String> {
    let old = format!("{path}{OLD}");
    if root.exists(&old) {
        root.remove(&old)?;
    }
    Ok(old)
}

fn rewrite(root: &Root, old: &str, path: &str) -> io::Result<()> {
    let content = root.read(old, LARGEST)?.ok_or(io::ErrorKind::NotFound)?;
    root.write(path, &content)?;
    root.remove(old)
}

fn left(root: &Root, path: &str) -> Change {
    Change {
        path: path.to_owned(),
        action: Action::Created,
        old_size: None,
        old_hash: None,
        new_hash: root.hash(path).ok().flatten(),
        old_content: None,
        moved_to: None,
        mode: None,
    }
}

fn change(root: &Root, path: &str, content: &[u8]) -> io::Result<Change> {
    let old_size = root.size(path)?;
    Ok(Change {
        path: path.to_owned(),
        action: if old_size.is_some() {
            Action::Replaced
        } else {
            Action::Created
        },
        old_size,
        old_hash: root.hash(path)?,
        new_hash: Some(blake3::hash(content).to_hex().to_string()),
        old_content: None,
        moved_to: None,
        mode: None,
    })
}

/// The new content beside the old, then in its place.
fn replace(root: &Root, path: &str, content: &[u8]) -> io::Result<()> {
    let temporary = format!("{path}{TEMPORARY}");
    let written = root.write(&temporary, content).and_then(|()| {
        // Filesystems that know no such thing have nothing to keep.
        if let Ok(access) = root.attribute(path, ACCESS) {
            let _ = root.set_attribute(&temporary, ACCESS, &access);
        }
        root.replace(&temporary, path)
    });
    if written.is_err() {
        let _ = root.remove(&temporary);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What cannot be forgotten does not take the others' work back: their old content is gone.
    #[test]
    fn old_content_that_stays_is_told_and_nothing_is_half_done() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::open(directory.path()).unwrap();
        for path in ["a", "c"] {
            root.write(path, b"new").unwrap();
            root.write(&format!("{path}{OLD}"), b"old").unwrap();
        }
        root.write("b", b"new").unwrap();
        // It cannot be removed as a file can.
        root.write(&format!("b{OLD}/x"), b"").unwrap();
        let way = |path: &str| Way::Rename(format!("{path}{OLD}"));
        let mut work = Work {
            volumes: Volumes {
                system: &root,
                esp: None,
            },
            manifest: Manifest::default(),
            done: ["a", "b", "c", "gone"]
                .map(|path| (&root, path.to_owned(), way(path)))
                .into(),
        };
        work.forget_old();
        let changes = &work.manifest.changes;
        let told: Vec<&str> = changes.iter().map(|change| change.path.as_str()).collect();
        assert_eq!(told, ["b.lifeboat-old"]);
        for path in ["a", "b", "c"] {
            assert_eq!(root.read(path, 10).unwrap().unwrap(), b"new");
        }
        assert!(!root.exists("a.lifeboat-old") && !root.exists("c.lifeboat-old"));
    }
}
