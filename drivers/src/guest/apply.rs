//! Carrying a plan out, and taking it back.

use std::io;

use super::plan::{Edit, Plan};
use super::root::Root;
use super::selinux::Labels;
use crate::report::{Action, Change, Manifest, OldContent};

/// Only configuration files are ever replaced or removed.
pub const LARGEST_REPLACED: u64 = 4 << 20;

/// Carries a plan out; takes no decision. When an edit fails, those before it
/// are taken back, so that the guest is as it was or complete.
pub fn apply(root: &Root, plan: &Plan) -> io::Result<Manifest> {
    let mut manifest = Manifest::default();
    let labels = Labels::of_guest(root);
    let mut labelled = true;
    for edit in &plan.edits {
        let done = make_directories(root, edit, &labels, &mut manifest)
            .and_then(|good| Ok((good, apply_one(root, edit)?)))
            .map_err(|error| at(edit.path(), &error));
        match done {
            Ok((good, change)) => {
                labelled &= good && label_new(root, &labels, &change);
                manifest.changes.push(change);
            }
            Err(error) => return Err(taken_back(root, &manifest, error)),
        }
    }
    if !labelled {
        // Without labels an enforcing guest may not read what is new.
        let edit = Edit::Write {
            path: ".autorelabel".to_owned(),
            content: Vec::new(),
        };
        match apply_one(root, &edit) {
            Ok(change) => manifest.changes.push(change),
            Err(error) => return Err(taken_back(root, &manifest, error)),
        }
    }
    Ok(manifest)
}

fn at(path: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("/{path}: {error}"))
}

fn taken_back(root: &Root, manifest: &Manifest, error: io::Error) -> io::Error {
    match undo(root, manifest) {
        Ok(()) => error,
        Err(second) => io::Error::new(
            error.kind(),
            format!("{error}, and what was changed before could not be taken back: {second}"),
        ),
    }
}

/// Makes what directories an edit needs; false where one could not be labelled.
fn make_directories(
    root: &Root,
    edit: &Edit,
    labels: &Labels,
    manifest: &mut Manifest,
) -> io::Result<bool> {
    let (Edit::Write { path, .. } | Edit::Link { path, .. }) = edit else {
        return Ok(true);
    };
    let mut labelled = true;
    for directory in root.make_parents(path)? {
        let change = change_of(&directory, Action::DirectoryMade);
        labelled &= label_new(root, labels, &change);
        manifest.changes.push(change);
    }
    Ok(labelled)
}

fn label_new(root: &Root, labels: &Labels, change: &Change) -> bool {
    match change.action {
        Action::Created | Action::Linked | Action::DirectoryMade => {
            labels.set(root, &change.path, change.action)
        }
        _ => true,
    }
}

fn change_of(path: &str, action: Action) -> Change {
    Change {
        path: path.to_owned(),
        action,
        old_size: None,
        old_hash: None,
        new_hash: None,
        old_content: None,
        moved_to: None,
        mode: None,
    }
}

fn apply_one(root: &Root, edit: &Edit) -> io::Result<Change> {
    match edit {
        Edit::Append {
            path,
            size,
            hashes,
            bytes,
        } => {
            root.append(path, *size, bytes)?;
            Ok(Change {
                old_size: Some(*size),
                old_hash: Some(hashes.0.clone()),
                new_hash: Some(hashes.1.clone()),
                ..change_of(path, Action::Appended)
            })
        }
        Edit::Write { path, content } => {
            let mut change = before(root, path, Action::Created)?;
            if change.old_size.is_some() {
                change.action = Action::Replaced;
            }
            root.write(path, content)?;
            // Through a link that led to nothing, the file is made elsewhere.
            let real = root.open_file(path)?.and_then(|file| root.real_path(&file));
            if let Some(real) = real.filter(|_| change.action == Action::Created) {
                change.path = real;
            }
            change.new_hash = Some(hash(content));
            Ok(change)
        }
        Edit::Link { path, target } => {
            let change = change_of(path, Action::Linked);
            root.symlink(target, path)?;
            Ok(change)
        }
        Edit::Remove { path } => {
            let change = before(root, path, Action::Removed)?;
            root.remove(path)?;
            Ok(change)
        }
        Edit::Move { path, to } => {
            let mut change = change_of(path, Action::Moved);
            change.old_size = root.size(path)?;
            change.old_hash = root.hash(path)?;
            change.new_hash = change.old_hash.clone();
            change.moved_to = Some(to.clone());
            root.rename(path, to)?;
            Ok(change)
        }
    }
}

fn hash(content: &[u8]) -> String {
    blake3::hash(content).to_hex().to_string()
}

/// What there was, for the way back.
fn before(root: &Root, path: &str, action: Action) -> io::Result<Change> {
    let mut change = change_of(path, action);
    if let Some(content) = root.read(path, LARGEST_REPLACED)? {
        change.old_size = Some(content.len() as u64);
        change.old_hash = Some(hash(&content));
        change.mode = root.mode(path)?;
        change.old_content = Some(OldContent::new(content));
    }
    Ok(change)
}

/// Takes all changes of a manifest back, last first.
///
/// Each file must still be as the injection left it: what the guest changed
/// since is never thrown away. What was taken back already stays so: an undo
/// that was cut off can be done again.
pub fn undo(root: &Root, manifest: &Manifest) -> io::Result<()> {
    for change in manifest.changes.iter().rev() {
        undo_one(root, change)?;
    }
    Ok(())
}

fn undo_one(root: &Root, change: &Change) -> io::Result<()> {
    if is_back(root, change)? {
        // Its mode is the last that comes back.
        return match change.action {
            Action::Removed => root.set_mode(&change.path, change.mode.unwrap_or(0o644)),
            _ => Ok(()),
        };
    }
    let path = change.path.as_str();
    let now = change.moved_to.as_deref().unwrap_or(path);
    let hashed = !matches!(change.action, Action::Linked | Action::DirectoryMade);
    if hashed && root.hash(now)? != change.new_hash {
        let changed = format!("/{now} has been changed since the injection");
        return Err(io::Error::other(changed));
    }
    match (change.action, change.old_size, &change.old_content) {
        (Action::Appended, Some(size), _) => root.truncate(path, size),
        (Action::Replaced, _, Some(content)) => root.write(path, &content.bytes()?),
        (Action::Removed, _, Some(content)) => {
            root.write(path, &content.bytes()?)?;
            root.set_mode(path, change.mode.unwrap_or(0o644))
        }
        (Action::Created | Action::Linked, _, _) => root.remove(path),
        (Action::Moved, _, _) => root.rename(now, path),
        // What the guest put there since keeps its directory.
        (Action::DirectoryMade, _, _) => root.remove_empty_directory(path),
        _ => Err(io::Error::other(format!(
            "the old content of /{path} was not kept"
        ))),
    }
}

/// Whether there is what was there before the injection.
fn is_back(root: &Root, change: &Change) -> io::Result<bool> {
    let path = change.path.as_str();
    let as_before = || Ok(change.old_hash.is_some() && root.hash(path)? == change.old_hash);
    match change.action {
        Action::Appended | Action::Replaced | Action::Removed => as_before(),
        Action::Moved => {
            let moved_to = change.moved_to.as_deref().unwrap_or(path);
            Ok(as_before()? && root.size(moved_to)?.is_none())
        }
        Action::Created => Ok(root.size(path)?.is_none()),
        Action::Linked => Ok(root.link_target(path).is_none() && root.size(path)?.is_none()),
        Action::DirectoryMade => Ok(!root.is_directory(path)),
    }
}
