//! Whether the guest's files can be changed at all: attributes stand above
//! permissions, and above root.

use std::fs::File;

use rustix::fs::{Access, AtFlags, IFlags, accessat, ioctl_getflags};
use rustix::io::Errno;

use super::plan::{Edit, Plan};
use super::root::Root;
use crate::refusal::Refusal;

/// Refuses a plan that meets a file or a directory that was made unchangeable.
pub(super) fn check(root: &Root, plan: &Plan) -> Result<(), Refusal> {
    for edit in &plan.edits {
        let (path, in_directory) = match edit {
            Edit::Append { path, .. } | Edit::Write { path, .. } => (path, !root.exists(path)),
            Edit::Link { path, .. } | Edit::Remove { path } | Edit::Move { path, .. } => {
                (path, true)
            }
        };
        let directory = in_directory.then(|| existing_directory(root, path));
        // A directory with the attribute takes no new names and lets none go.
        let own = root.open_file(path).ok().flatten();
        let above = directory.and_then(|directory| {
            let opened = root.open_directory(directory).ok()?;
            Some((directory, opened))
        });
        let found = match (own, above) {
            (Some(file), _) if is_unchangeable(&file) => Some(path.as_str()),
            (_, Some((directory, opened))) if is_unchangeable(&opened) => Some(directory),
            _ => None,
        };
        if let Some(path) = found {
            return Err(Refusal::Unchangeable {
                path: format!("/{path}"),
            });
        }
    }
    Ok(())
}

/// Refuses a plan that meets a filesystem or a subvolume that stays read-only
/// although it is mounted for writing, before anything is written.
pub fn check_writable(root: &Root, plan: &Plan) -> Result<(), Refusal> {
    for edit in &plan.edits {
        // A link may lead to another filesystem.
        let file = root.open_file(edit.path()).ok().flatten();
        let real = file.and_then(|file| root.real_path(&file));
        let path = real.as_deref().unwrap_or(edit.path());
        let directory = existing_directory(root, path);
        let Ok(opened) = root.open_directory(directory) else {
            continue;
        };
        if accessat(&opened, ".", Access::WRITE_OK, AtFlags::empty()) == Err(Errno::ROFS) {
            return Err(Refusal::ReadOnly {
                path: directory.trim_start_matches('.').to_owned(),
            });
        }
    }
    Ok(())
}

/// The nearest directory above a path that is there.
pub(super) fn existing_directory<'a>(root: &Root, path: &'a str) -> &'a str {
    let mut path = path;
    while let Some((parent, _)) = path.rsplit_once('/') {
        if root.is_directory(parent) {
            return parent;
        }
        path = parent;
    }
    "."
}

/// Filesystems without such attributes say so.
fn is_unchangeable(file: &File) -> bool {
    ioctl_getflags(file).is_ok_and(|flags| flags.intersects(IFlags::IMMUTABLE | IFlags::APPEND))
}
