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

    /// Whether the guest's disks may be written later.
    pub(super) fn writable(&self) -> bool {
        self.task.inject.is_some()
    }
}
