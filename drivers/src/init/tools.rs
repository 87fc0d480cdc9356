//! What the micro-VM can call on: modules of its kernel and the kit.

use std::io;

use super::kit::Kit;
use crate::report::Task;

/// Modules and programs for the volumes that need them.
pub(super) struct Tools<'a> {
    task: &'a Task,
    /// The programs.
    pub kit: Kit,
}

impl<'a> Tools<'a> {
    pub(super) fn new(task: &'a Task, kit: Kit) -> Self {
        Self { task, kit }
    }

    /// Loads the modules of a filesystem or another part of the kernel; once
    /// loaded they cost nothing more.
    pub(super) fn load(&self, part: &str) -> io::Result<()> {
        for module in self.task.filesystems.get(part).into_iter().flatten() {
            super::load_module(module)?;
        }
        Ok(())
    }

    /// The root that the operator chose among several.
    pub(super) fn wanted_root(&self) -> Option<&str> {
        self.task.inject.as_ref()?.root.as_deref()
    }

    /// Whether the guest's disks may be written later.
    pub(super) fn writable(&self) -> bool {
        self.task.inject.is_some() || self.task.undo.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_the_guest_may_write() {
        let task = |inject: &str, undo: &str| -> Task {
            let text = format!(
                r#"{{"disks": 1, "inject": {inject}, "undo": {undo}, "machine_folder": false,
                    "modules": [], "filesystems": {{}}, "kit": false, "output_bytes": 1}}"#
            );
            serde_json::from_str(&text).unwrap()
        };
        let manifest = serde_json::to_string(&crate::report::Manifest::default()).unwrap();
        let writable = |task: &Task| Tools::new(task, Kit::on(None)).writable();
        assert!(writable(&task("null", &manifest)));
        assert!(!writable(&task("null", "null")));
    }
}
