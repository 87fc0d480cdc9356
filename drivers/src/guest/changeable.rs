//! Whether the guest's files can be changed at all: attributes stand above
//! permissions, and above root.

use std::fs::File;

use rustix::fs::{IFlags, ioctl_getflags};

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
