//! Volumes made of partitions: arrays first, then logical volumes, which may
//! lie on arrays.

use super::disks::Found;
use super::lvm::{self, Groups};
use super::raid::{self, Arrays};
use super::tools::Tools;
use crate::refusal::Refusal;

/// What was put together and has to be let go.
pub(super) struct Volumes {
    arrays: Arrays,
    groups: Groups,
    /// Why some volumes were left alone; only one that is needed matters.
    pub problems: Vec<Refusal>,
}

/// Puts together what can be, and adds it to what was found.
pub(super) fn assemble(
    found: &mut Vec<Found>,
    tools: &Tools,
    warnings: &mut Vec<String>,
) -> Volumes {
    let mut problems = Vec::new();
    let (arrays, new) = raid::assemble(found, tools, &mut problems, warnings);
    found.extend(new);
    let (groups, new) = lvm::activate(found, tools, &mut problems);
    found.extend(new);
    Volumes {
        arrays,
        groups,
        problems,
    }
}

impl Volumes {
    /// Whether a volume stayed closed all of whose parts are there.
    pub(super) fn hide_something(&self) -> bool {
        let is_partial = |problem: &Refusal| {
            matches!(
                problem,
                Refusal::Lvm { partial: true, .. } | Refusal::Raid { partial: true, .. }
            )
        };
        !self.problems.iter().all(is_partial)
    }

    /// Lets go of everything, after the last unmount.
    pub(super) fn release(&self, tools: &Tools) {
        self.groups.deactivate(tools);
        self.arrays.stop(tools);
    }
}
