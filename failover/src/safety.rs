//! What may run beside what: the rules of steps 612 and 704, and of switches.

use serde::{Deserialize, Serialize};

use crate::side::Side;
use crate::state::State;

/// The processes that touch an application's data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Process {
    /// 300, either way.
    Switch,
    /// 600.
    Archive,
    /// 700.
    Restore,
}

/// Why a process may not start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NotSafe {
    /// Another one is running.
    #[error("{} is in progress: wait until it has ended", name(*.0))]
    Running(Process),
    /// A restore would overwrite what users work on.
    #[error("the secondary serves users: an image is restored only while it does not")]
    SecondaryActive,
}

fn name(process: Process) -> &'static str {
    match process {
        Process::Switch => "a switch",
        Process::Archive => "an archive",
        Process::Restore => "a restore",
    }
}

/// Whether `process` may start in `state` beside `running`.
pub fn safe_to_start(process: Process, running: &[Process], state: State) -> Result<(), NotSafe> {
    // A restore carries out switches of its own (718, 724).
    let in_the_way = running.iter().find(|other| {
        !(process == Process::Switch && **other == Process::Restore && restoring(running))
    });
    if let Some(other) = in_the_way {
        return Err(NotSafe::Running(*other));
    }
    if process == Process::Restore && state.active() != Some(Side::Primary) {
        return Err(match state.active() {
            Some(_) => NotSafe::SecondaryActive,
            None => NotSafe::Running(Process::Switch),
        });
    }
    Ok(())
}

fn restoring(running: &[Process]) -> bool {
    running.iter().all(|process| *process == Process::Restore)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_stands_back_behind_everything_else() {
        for running in [Process::Restore, Process::Archive, Process::Switch] {
            let refused = safe_to_start(Process::Archive, &[running], State::Normal);
            assert_eq!(refused, Err(NotSafe::Running(running)));
        }
        assert_eq!(
            safe_to_start(Process::Archive, &[], State::SecondaryEngaged),
            Ok(())
        );
    }

    #[test]
    fn a_restore_needs_a_secondary_at_rest() {
        assert_eq!(safe_to_start(Process::Restore, &[], State::Normal), Ok(()));
        for state in [State::SecondaryEngaged, State::ResyncPrimary] {
            assert_eq!(
                safe_to_start(Process::Restore, &[], state),
                Err(NotSafe::SecondaryActive)
            );
        }
        let switching = safe_to_start(Process::Restore, &[], State::EngagingSecondary);
        assert_eq!(switching, Err(NotSafe::Running(Process::Switch)));
    }

    #[test]
    fn a_restore_may_switch_and_nothing_else_may_beside_it() {
        assert_eq!(
            safe_to_start(Process::Switch, &[Process::Restore], State::Normal),
            Ok(())
        );
        let beside = safe_to_start(Process::Switch, &[Process::Archive], State::Normal);
        assert_eq!(beside, Err(NotSafe::Running(Process::Archive)));
    }
}
