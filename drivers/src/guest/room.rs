//! Whether there is room for a plan, on every filesystem that it writes to.

use std::collections::BTreeMap;

use super::changeable::existing_directory;
use super::plan::{Edit, Plan};
use super::root::Root;
use crate::refusal::Refusal;

/// Room that must be left on the root.
const ROOM_ON_ROOT: u64 = 16 << 20;
const INODES: u64 = 100;

struct Need {
    path: String,
    bytes: u64,
    inodes: u64,
}

/// Refuses a plan that would fill a filesystem.
pub(super) fn check(root: &Root, plan: &Plan) -> Result<(), Refusal> {
    let mut needs = BTreeMap::new();
    let mut need = |path: &str, bytes: u64, inodes: u64| {
        let path = existing_directory(root, path).to_owned();
        let device = root.device(&path).unwrap_or_default();
        let known = needs.entry(device).or_insert(Need {
            path,
            bytes: 0,
            inodes: 0,
        });
        known.bytes += bytes;
        known.inodes += inodes;
    };
    need(".", ROOM_ON_ROOT, INODES);
    for edit in &plan.edits {
        match edit {
            // A tenth more, for what the filesystem itself needs.
            Edit::Append { path, bytes, .. } => need(path, bytes.len() as u64 / 10 * 11, 0),
            Edit::Write { path, content } => need(path, content.len() as u64, 1),
            Edit::Link { path, .. } => need(path, 0, 1),
            Edit::Remove { .. } | Edit::Move { .. } => {}
        }
    }
    for need in needs.into_values() {
        let (free, free_inodes) = root.free(&need.path).unwrap_or((0, 0));
        if free < need.bytes || free_inodes < need.inodes {
            return Err(Refusal::NoSpace {
                path: format!("/{}", need.path.trim_start_matches("./")),
                needed: need.bytes,
                free,
            });
        }
    }
    Ok(())
}
