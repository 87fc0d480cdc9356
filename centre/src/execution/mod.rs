//! Carries a journaled process out: asks the core what comes next, does it, writes it down.
//!
//! Every line of the journal is on disk before anything that follows from it happens, so that a
//! control centre that dies at any moment is followed by one that goes on, or undoes, from there.

mod asking;
mod driver;
mod epochs;
mod values;

use std::sync::Arc;

use lifeboat_failover::process::{Phase, Plan, Task};
use tokio::sync::{mpsc, watch};

use crate::application::Application;
use crate::centre::Centre;
use crate::state::{Order, Progress, Watched};
use crate::store::{JournalLine, ProcessRecord};

/// With what the execution of a process begins.
pub(crate) struct Begin {
    pub(crate) centre: Centre,
    pub(crate) application: Arc<Application>,
    pub(crate) process: Arc<ProcessRecord>,
    pub(crate) journal: Vec<JournalLine>,
    pub(crate) orders: mpsc::Sender<Order>,
    pub(crate) authority: Watched,
}

/// An answer of the operator.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) yes: bool,
    pub(crate) by: String,
}

/// A process that is being carried out.
pub(crate) struct Running {
    answers: mpsc::Sender<Answer>,
    abort: watch::Sender<bool>,
    progress: watch::Receiver<Progress>,
}

impl Running {
    /// Answers the question that is being asked; `false` when none is.
    pub(crate) fn answer(&self, yes: bool, by: String) -> bool {
        let asked = self.progress.borrow().question.is_some();
        asked && self.answers.try_send(Answer { yes, by }).is_ok()
    }

    /// Wants it undone.
    pub(crate) fn abort(&self) {
        self.abort.send_replace(true);
    }
}

/// Begins, or goes on.
pub(crate) fn start(begin: Begin) -> (Running, watch::Receiver<Progress>) {
    let (answers, answered) = mpsc::channel(1);
    let (abort, aborted) = watch::channel(begin.process.abort_by.is_some());
    let (progress, shown) = watch::channel(Progress {
        journal: begin.journal.clone(),
        question: None,
    });
    let centre = begin.centre.clone();
    let driver = driver::Driver::new(begin, answered, aborted, progress);
    centre.spawn(driver.drive());
    let running = Running {
        answers,
        abort,
        progress: shown.clone(),
    };
    (running, shown)
}

/// The progress of a process that ended long ago.
pub(crate) fn past(journal: Vec<JournalLine>) -> watch::Receiver<Progress> {
    let question = None;
    watch::channel(Progress { journal, question }).1
}

/// Whether step 366 of a process let data flow back.
pub(crate) fn replicates_back(plan: &Plan, journal: &[JournalLine]) -> bool {
    let asked = plan
        .steps
        .iter()
        .position(|step| matches!(step.task, Task::AskToReplicate(_)));
    let Some(resumed) = asked.map(|asked| asked + 1) else {
        return false;
    };
    let last = journal.iter().rev().find(|line| line.step == resumed);
    last.is_some_and(|line| matches!(line.phase, Phase::Done { .. }))
}
