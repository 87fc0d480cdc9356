//! What comes next, from a plan and its journal.

use serde::{Deserialize, Serialize};

use super::plan::{Action, Failure, Plan, Task};

/// What became of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Its action was asked for.
    Begun,
    /// Its effect is there.
    Done {
        /// What shows it.
        evidence: String,
    },
    /// Its effect could not be had.
    Failed {
        /// Why.
        reason: String,
        /// Whether its host is gone rather than unable.
        lost: bool,
    },
    /// It was left out.
    Skipped {
        /// Why.
        reason: String,
    },
    /// The operator, or silence, answered.
    Answered {
        /// The answer.
        yes: bool,
        /// Who.
        by: String,
    },
    /// Taking its effect back was asked for.
    UndoBegun,
    /// Its effect is gone again.
    Undone,
    /// Its effect could not be taken back.
    UndoFailed {
        /// Why.
        reason: String,
    },
}

/// One line of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Which step, by its place in the plan.
    pub step: usize,
    /// What became of it.
    pub phase: Phase,
}

/// Everything that was begun and that ended, in order. Written before the next thing is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(transparent)]
pub struct Journal(pub Vec<Entry>);

/// What is known beside the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// Whether the old side can be reached.
    pub old_side_there: bool,
    /// Whether the operator wants the process undone.
    pub abort: bool,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// The new side serves.
    Done,
    /// The old side serves as before.
    Reverted,
    /// It was to be reverted, and something could not be taken back (its step).
    HalfReverted(usize),
    /// It stopped at this step, beyond the point of no return; it can be taken up again.
    Stopped(usize),
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Do this step, again if need be.
    Do(usize),
    /// Leave this step out: the old side is gone, or the answer was no.
    Skip(usize),
    /// Ask this step's question.
    Ask(usize),
    /// Take this step's effect back.
    Undo(usize),
    /// Nothing.
    End(Ending),
}

/// Where one step stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Not yet its turn, or its turn now.
    Open,
    /// Begun, without an end.
    Begun,
    /// Done, skipped, answered yes, or failed in a way that is gone over.
    Passed,
    /// Answered no.
    No,
    /// Failed, and that is final for the process.
    Failed,
    /// Taken back.
    Undone,
    /// Could not be taken back.
    Stuck,
}

impl Journal {
    /// Adds an entry.
    pub fn push(&mut self, step: usize, phase: Phase) {
        self.0.push(Entry { step, phase });
    }

    fn last(&self, step: usize) -> Option<&Phase> {
        self.0
            .iter()
            .rev()
            .find(|entry| entry.step == step)
            .map(|entry| &entry.phase)
    }

    /// Whether the step's effect may be there: it was begun at some time and not taken back.
    fn may_have_effect(&self, step: usize) -> bool {
        let begun = self
            .0
            .iter()
            .any(|entry| entry.step == step && entry.phase == Phase::Begun);
        begun && !matches!(self.last(step), Some(Phase::Undone))
    }

    fn reverting(&self) -> bool {
        self.0.iter().any(|entry| {
            matches!(
                entry.phase,
                Phase::UndoBegun | Phase::Undone | Phase::UndoFailed { .. }
            )
        })
    }
}

/// Where step `index` of `plan` stands.
pub fn fate(plan: &Plan, journal: &Journal, index: usize) -> Fate {
    let step = &plan.steps[index];
    match journal.last(index) {
        None => Fate::Open,
        Some(Phase::Begun | Phase::UndoBegun) => Fate::Begun,
        Some(Phase::Done { .. } | Phase::Skipped { .. }) => Fate::Passed,
        Some(Phase::Answered { yes, .. }) => match (yes, step.task) {
            (false, Task::Confirm(_)) => Fate::No,
            _ => Fate::Passed,
        },
        // A host that is gone cannot be asked; what follows looks again whether it is there.
        Some(Phase::Failed { lost: true, .. }) if step.needs_old_side => Fate::Passed,
        Some(Phase::Failed { .. }) if step.failure == Failure::GoOn => Fate::Passed,
        Some(Phase::Failed { .. }) => Fate::Failed,
        Some(Phase::Undone) => Fate::Undone,
        Some(Phase::UndoFailed { .. }) => Fate::Stuck,
    }
}

/// What comes next. A pure function: asked again after a crash, it answers the same.
pub fn next(plan: &Plan, journal: &Journal, facts: Facts) -> Next {
    let promoted = journal.may_have_effect(plan.point_of_no_return());
    let stands = (0..plan.steps.len()).find(|&index| fate(plan, journal, index) != Fate::Passed);
    let Some(index) = stands else {
        return Next::End(Ending::Done);
    };
    let ends = matches!(fate(plan, journal, index), Fate::Failed | Fate::No);
    if !promoted && (ends || facts.abort || journal.reverting()) {
        return revert(plan, journal);
    }
    if ends {
        return Next::End(Ending::Stopped(index));
    }
    forward(plan, journal, facts, index)
}

fn forward(plan: &Plan, journal: &Journal, facts: Facts, index: usize) -> Next {
    let step = &plan.steps[index];
    let kept = refused_replication(plan, journal, index) || not_compared(plan, journal, index);
    if step.needs_old_side && (!facts.old_side_there || kept) {
        return Next::Skip(index);
    }
    match step.task {
        Task::Confirm(_) | Task::AskToReplicate(_) => Next::Ask(index),
        Task::Act { .. } | Task::LookAgain => Next::Do(index),
    }
}

/// Step 368: the step right after the question of 364 is left out when the answer was no.
fn refused_replication(plan: &Plan, journal: &Journal, index: usize) -> bool {
    let Some(before) = index.checked_sub(1) else {
        return false;
    };
    matches!(plan.steps[before].task, Task::AskToReplicate(_))
        && matches!(
            journal.last(before),
            Some(Phase::Answered { yes: false, .. })
        )
}

/// An old side that comes back in the middle of a switch, and was not compared with the new one
/// before, may have what nobody else has: nothing is sent there before that was fetched.
fn not_compared(plan: &Plan, journal: &Journal, index: usize) -> bool {
    let is = |step: usize, wanted: Action| matches!(plan.steps[step].task, Task::Act { action, .. } if action == wanted);
    let compare = (0..plan.steps.len()).find(|&step| is(step, Action::VerifyReplica));
    is(index, Action::ResumeReplication)
        && compare.is_some_and(|step| !matches!(journal.last(step), Some(Phase::Done { .. })))
}

fn revert(plan: &Plan, journal: &Journal) -> Next {
    let stuck = (0..plan.steps.len()).find(|&step| fate(plan, journal, step) == Fate::Stuck);
    let left = (0..plan.steps.len()).rev().find(|&step| {
        undoable(plan, step)
            && journal.may_have_effect(step)
            && fate(plan, journal, step) != Fate::Stuck
    });
    match (left, stuck) {
        (Some(step), _) => Next::Undo(step),
        (None, Some(step)) => Next::End(Ending::HalfReverted(step)),
        (None, None) => Next::End(Ending::Reverted),
    }
}

fn undoable(plan: &Plan, step: usize) -> bool {
    matches!(plan.steps[step].task, Task::Act { undo: Some(_), .. })
}
