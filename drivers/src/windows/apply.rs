//! Carrying a plan out. Every file is whole before its name is: a hive is written beside the old
//! one and takes its place in one step, the SYSTEM hive, without which nothing else is used, last.

use std::io;

use super::plan::{Edit, Plan, Volume};
use crate::guest::root::Root;
use crate::report::{Action, Change, Manifest};

/// Who may do what with a file, as ntfs-3g shows it.
const ACCESS: &str = "system.ntfs_acl";
const TEMPORARY: &str = ".lifeboat-new";

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

/// Writes everything; takes no decision. When a write fails before the first hive was replaced,
/// what was created is taken away again.
pub fn apply(volumes: Volumes, plan: &Plan) -> io::Result<Manifest> {
    let mut manifest = Manifest::default();
    let mut created = Vec::new();
    for edit in &plan.edits {
        match apply_one(volumes, edit, &mut created) {
            Ok(changes) => manifest.changes.extend(changes),
            Err(error) => {
                take_back(volumes, &created, &manifest);
                return Err(error);
            }
        }
    }
    Ok(manifest)
}

fn apply_one(
    volumes: Volumes,
    edit: &Edit,
    created: &mut Vec<(Volume, String)>,
) -> io::Result<Vec<Change>> {
    match edit {
        Edit::Write {
            volume,
            path,
            content,
        } => {
            let root = volumes.root(*volume)?;
            let change = change(root, path, content)?;
            root.make_parents(path)?;
            if change.action == Action::Created {
                created.push((*volume, path.clone()));
            }
            replace(root, path, content)?;
            Ok(vec![change])
        }
        Edit::Hive {
            volume,
            path,
            content,
            logs,
        } => {
            let root = volumes.root(*volume)?;
            let mut changes = vec![change(root, path, content)?];
            replace(root, path, content)?;
            for log in logs {
                if root.size(log)? != Some(0) {
                    changes.push(change(root, log, &[])?);
                    root.truncate(log, 0)?;
                }
            }
            Ok(changes)
        }
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

fn take_back(volumes: Volumes, created: &[(Volume, String)], manifest: &Manifest) {
    let replaced = manifest
        .changes
        .iter()
        .any(|change| change.action == Action::Replaced);
    if replaced {
        return;
    }
    for (volume, path) in created.iter().rev() {
        if let Ok(root) = volumes.root(*volume) {
            let _ = root.remove(path);
        }
    }
}
