//! The loop: what comes next, do it, write it down.

use std::sync::Arc;
use std::time::Duration;

use lifeboat_failover::Side;
use lifeboat_failover::process::{
    Action, Actor, Ending, Facts, Journal, Next, Phase, Step, Task, next,
};
use tokio::sync::{mpsc, watch};

use super::{Answer, Begin};
use crate::alerts::{self, Gravity, Notice};
use crate::application::Application;
use crate::centre::{Centre, Point, SwitchMoment};
use crate::clock;
use crate::error::Chain;
use crate::event::What;
use crate::names;
use crate::state::{Order, Progress, Watched};
use crate::store::{JournalLine, ProcessRecord, Stored, journal_of};

/// What cannot be written down is tried again after this.
const AGAIN: Duration = Duration::from_secs(1);
/// How long 320 waits for a sign of life.
const SIGN_OF_LIFE: Duration = Duration::from_secs(2);

/// Carries one process out.
pub(super) struct Driver {
    pub(super) centre: Centre,
    pub(super) application: Arc<Application>,
    pub(super) process: Arc<ProcessRecord>,
    journal: Journal,
    pub(super) orders: mpsc::Sender<Order>,
    pub(super) authority: Watched,
    pub(super) answers: mpsc::Receiver<Answer>,
    pub(super) aborted: watch::Receiver<bool>,
    pub(super) progress: watch::Sender<Progress>,
}

/// What became of a step; without a phase it was broken off, and what comes next is asked anew.
pub(super) type Became = Option<Phase>;

impl Driver {
    pub(super) fn new(
        begin: Begin,
        answers: mpsc::Receiver<Answer>,
        aborted: watch::Receiver<bool>,
        progress: watch::Sender<Progress>,
    ) -> Self {
        Self {
            centre: begin.centre,
            application: begin.application,
            process: begin.process,
            journal: journal_of(&begin.journal),
            orders: begin.orders,
            authority: begin.authority,
            answers,
            aborted,
            progress,
        }
    }

    pub(super) async fn drive(mut self) {
        let ending = loop {
            match self.turn().await {
                Ok(Some(ending)) => break ending,
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(process = self.process.id, error = %Chain(&error), "the process waits until its journal can be written");
                    tokio::time::sleep(AGAIN).await;
                }
            }
        };
        let process = self.process.id.clone();
        // An owner that is gone takes its process up when it is back.
        let _ = self.orders.send(Order::Ended { process, ending }).await;
    }

    /// One step.
    async fn turn(&mut self) -> Stored<Option<Ending>> {
        let grace = self.application.terms.length;
        let facts = Facts {
            old_side_there: self.centre.links().is_back(self.old_host(), grace).await,
            abort: *self.aborted.borrow() && !self.is_promoted(),
        };
        match next(&self.process.plan, &self.journal, facts) {
            Next::End(ending) => {
                if ending != Ending::Done && !self.is_promoted() {
                    // Nothing had to be taken back, and still nobody must be promoted.
                    self.give_epoch_up().await;
                }
                return Ok(Some(ending));
            }
            Next::Skip(step) => {
                let reason = self.why_skipped(facts);
                self.write(step, Phase::Skipped { reason }).await?;
            }
            Next::Ask(step) => {
                if let Some(phase) = self.ask(step).await {
                    self.write(step, phase).await?;
                }
            }
            Next::Do(step) => self.do_step(step).await?,
            Next::Undo(step) => self.undo_step(step).await?,
        }
        Ok(None)
    }

    fn old_host(&self) -> &str {
        &self.application.side(self.process.plan.from).host.name
    }

    /// Whether the new side holds the epoch: from here on nothing is taken back.
    fn is_promoted(&self) -> bool {
        self.authority.borrow().active == self.process.plan.to
    }

    fn why_skipped(&self, facts: Facts) -> String {
        match facts.old_side_there {
            false => format!("{} is not there", self.old_host()),
            true => "the answer was no".to_owned(),
        }
    }

    async fn do_step(&mut self, index: usize) -> Stored<()> {
        if let Some(second) = self.beside(index) {
            return self.do_both(index, second).await;
        }
        self.write(index, Phase::Begun).await?;
        self.point(index, Point::BeforeEffect, false).await;
        let step = self.process.plan.steps[index].clone();
        let became = match step.task {
            Task::Act { action, .. } => self.act(index, &step, action).await,
            Task::LookAgain => Some(self.look_again().await),
            // The core asks these.
            Task::Confirm(_) | Task::AskToReplicate(_) => None,
        };
        let Some(phase) = became else {
            return Ok(());
        };
        self.point(index, Point::AfterEffect, false).await;
        self.tell_failure(&step, &phase).await;
        self.write(index, phase).await?;
        self.point(index, Point::AfterEntry, false).await;
        Ok(())
    }

    /// The other half of a step that concerns both sides (324a-b to 336a-b): beyond the point of no
    /// return they do not wait for each other.
    fn beside(&self, index: usize) -> Option<usize> {
        let (first, second) = (
            self.process.plan.steps.get(index)?,
            self.process.plan.steps.get(index + 1)?,
        );
        let stem = first.number.strip_suffix('a')?;
        let pair = second.number.strip_suffix('b') == Some(stem);
        (pair && self.is_promoted()).then_some(index + 1)
    }

    async fn do_both(&mut self, first: usize, second: usize) -> Stored<()> {
        for index in [first, second] {
            self.write(index, Phase::Begun).await?;
        }
        self.point(first, Point::BeforeEffect, false).await;
        let became = tokio::join!(self.act_at(first), self.act_at(second));
        self.point(first, Point::AfterEffect, false).await;
        for (index, became) in [(first, became.0), (second, became.1)] {
            if let Some(phase) = became {
                self.tell_failure(&self.process.plan.steps[index], &phase)
                    .await;
                self.write(index, phase).await?;
            }
        }
        self.point(first, Point::AfterEntry, false).await;
        Ok(())
    }

    async fn act_at(&self, index: usize) -> Became {
        let step = &self.process.plan.steps[index];
        match step.task {
            Task::Act { action, .. } => self.act_there(index, step, action).await,
            _ => None,
        }
    }

    async fn undo_step(&mut self, index: usize) -> Stored<()> {
        self.write(index, Phase::UndoBegun).await?;
        self.point(index, Point::BeforeEffect, true).await;
        let step = self.process.plan.steps[index].clone();
        let Task::Act {
            undo: Some(undo), ..
        } = step.task
        else {
            return self.write(index, Phase::Undone).await;
        };
        let phase = match self.give_epoch_up().await {
            true => self.take_back(index, &step, undo).await,
            false => Phase::UndoFailed {
                reason: "who serves could not be settled".to_owned(),
            },
        };
        self.point(index, Point::AfterEffect, true).await;
        self.tell_failure(&step, &phase).await;
        self.write(index, phase).await?;
        self.point(index, Point::AfterEntry, true).await;
        Ok(())
    }

    async fn act(&mut self, index: usize, step: &Step, action: Action) -> Became {
        match (step.actor, action) {
            (_, Action::Fence) => self.fence().await,
            (_, Action::AwaitFence) => self.await_fence().await,
            (_, Action::Promote) => Some(self.promote().await),
            (Actor::ControlCentre, Action::CheckNameServers) => Some(self.check_names().await),
            (Actor::ControlCentre, Action::PointNames) => Some(self.point_names().await),
            (Actor::ControlCentre, other) => Some(failed(format!(
                "{other:?} is not an action of the control centre"
            ))),
            _ => self.act_there(index, step, action).await,
        }
    }

    /// Step 320. An old side that is back after steps on it were left out would lose data that it
    /// still holds, so the switch is taken back and can be asked for again.
    async fn look_again(&self) -> Phase {
        let there = self
            .centre
            .links()
            .is_alive(self.old_host(), SIGN_OF_LIFE)
            .await;
        let left_out = self
            .process
            .plan
            .steps
            .iter()
            .enumerate()
            .any(|(index, step)| {
                step.needs_old_side
                    && self.journal.0.iter().any(|entry| {
                        entry.step == index
                            && matches!(
                                entry.phase,
                                Phase::Skipped { .. } | Phase::Failed { lost: true, .. }
                            )
                    })
            });
        match (there, left_out) {
            (true, false) => done(format!("{} answers", self.old_host())),
            (false, _) => done(format!("{} does not answer", self.old_host())),
            (true, true) => failed(format!(
                "{} is back after steps on it had been left out: it may hold data that the other side does not have, so everything is taken back; ask again",
                self.old_host()
            )),
        }
    }

    async fn check_names(&self) -> Phase {
        let Some(names) = &self.application.names else {
            return done("the application has no records in the control centre's name servers");
        };
        self.named(names::check(names).await).await
    }

    async fn point_names(&self) -> Phase {
        let Some(names) = &self.application.names else {
            return done("the application has no records in the control centre's name servers");
        };
        self.named(names::point(names, self.process.plan.to).await)
            .await
    }

    /// One name server is enough: users ask the other one when the first is silent. What is down
    /// is set right when it comes back.
    async fn named(&self, said: Result<names::Said, names::KeyError>) -> Phase {
        let said = match said {
            Ok(said) => said,
            Err(error) => return failed(Chain(&error).to_string()),
        };
        if said.good.is_empty() {
            return failed(said.bad.join("; "));
        }
        if !said.bad.is_empty() {
            let text = said.bad.join("; ");
            self.notify("names", Gravity::Warning, text).await;
        }
        done([said.good, said.bad].concat().join("; "))
    }

    /// Asks a question; nothing when the process is aborted meanwhile.
    async fn ask(&mut self, index: usize) -> Became {
        super::asking::ask(self, index).await
    }

    /// Writes a line of the journal, and shows it then.
    pub(super) async fn write(&mut self, step: usize, phase: Phase) -> Stored<()> {
        let store = self.centre.store();
        store.put_entry(&self.process.id, step, &phase).await?;
        self.journal.push(step, phase.clone());
        let line = JournalLine {
            at: clock::unix(),
            step,
            phase: phase.clone(),
        };
        self.progress
            .send_modify(|progress| progress.journal.push(line));
        let planned = &self.process.plan.steps[step];
        let what = What::Step {
            process: self.process.id.clone(),
            step,
            number: planned.number.clone(),
            title: planned.title.clone(),
            phase,
        };
        self.centre
            .events()
            .tell(Some(&self.application.name), what);
        Ok(())
    }

    async fn tell_failure(&self, step: &Step, phase: &Phase) {
        let reason = match phase {
            Phase::Failed { reason, .. } | Phase::UndoFailed { reason } => reason,
            _ => return,
        };
        let text = format!("step {} ({}): {reason}", step.number, step.title);
        self.notify(&format!("switch.{}", step.number), Gravity::Warning, text)
            .await;
    }

    async fn notify(&self, subject: &str, gravity: Gravity, text: String) {
        let notice = Notice {
            application: Some(self.application.name.clone()),
            subject: subject.to_owned(),
            gravity,
            text,
            over: false,
        };
        alerts::raise(&self.centre, notice).await;
    }

    async fn point(&self, step: usize, point: Point, undo: bool) {
        self.centre.pass(SwitchMoment { step, point, undo });
    }

    pub(super) fn new_side(&self) -> Side {
        self.process.plan.to
    }
}

pub(super) fn done(evidence: impl Into<String>) -> Phase {
    Phase::Done {
        evidence: evidence.into(),
    }
}

pub(super) fn failed(reason: impl Into<String>) -> Phase {
    Phase::Failed {
        reason: reason.into(),
        lost: false,
    }
}
