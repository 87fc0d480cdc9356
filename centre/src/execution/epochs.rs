//! The steps that concern who serves, and the actions that agents carry out.

use std::time::Duration;

use lifeboat_agent::wire::{ActionRequest, Outcome, Values};
use lifeboat_failover::authority::{CentreRecord, Proof, Waiting};
use lifeboat_failover::process::{Action, Actor, Phase, Step};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

use super::driver::{Became, Driver, done, failed};
use super::values;
use crate::state::Order;

/// How long a side may take for a word beyond the leases.
const WORD: Duration = Duration::from_secs(5);
/// How long the new side may take to say that it serves.
const PROMOTION: Duration = Duration::from_secs(30);
/// How long the new side's agent may be away in the middle of a step.
const AWAY: Duration = Duration::from_secs(60);
/// How long the new side may take to restart, and how long users wait for the old one to.
const REBOOT: Duration = Duration::from_secs(900);
const REBOOT_OF_OLD: Duration = Duration::from_secs(120);
/// No action takes longer; each has its own, shorter end at the agent.
const LONGEST: Duration = Duration::from_secs(2 * 3600);
const REFUSED_AGAIN: Duration = Duration::from_millis(100);
/// So much of what an agent saw is kept in the journal.
const EVIDENCE: usize = 4096;

impl Driver {
    /// Begins to replace the epoch; the machine says the fence again and again.
    async fn replace(&self) {
        // An owner that is gone ends this task too.
        let _ = self.orders.send(Order::Replace(self.new_side())).await;
    }

    /// Gives the replacement up and waits until it is settled who serves. `false` when the new
    /// side was promoted, or nothing is settled in time.
    pub(super) async fn give_epoch_up(&mut self) -> bool {
        let (reply, given_up) = oneshot::channel();
        if self.orders.send(Order::Abandon(reply)).await.is_err() {
            return false;
        }
        if !given_up.await.unwrap_or(false) {
            return false;
        }
        // A fence that took hold meanwhile costs the old side its epoch; it gets a new one.
        let patience = self.application.terms.granted() * 3 + WORD;
        let settled = |record: &CentreRecord| record.switching.is_none() && !record.fenced;
        let waited = timeout(patience, self.authority.wait_for(settled)).await;
        matches!(waited, Ok(Ok(_)))
    }

    /// The old side is told to serve no more, and says that it does not.
    pub(super) async fn fence(&mut self) -> Became {
        self.replace().await;
        let (to, patience) = (self.new_side(), self.application.terms.length + WORD);
        let fenced = |record: &CentreRecord| record.fenced || record.active == to;
        let mut authority = self.authority.clone();
        let mut aborted = self.aborted.clone();
        tokio::select! {
            waited = timeout(patience, authority.wait_for(fenced)) => match waited {
                Ok(Ok(_)) => Some(done("the old side says that it serves no more")),
                _ => Some(failed("the old side did not say that it serves no more; its lease has to run out")),
            },
            _ = aborted.wait_for(|aborted| *aborted) => None,
        }
    }

    /// Proof: its word, or the end of every lease.
    pub(super) async fn await_fence(&mut self) -> Became {
        self.replace().await;
        let (to, patience) = (self.new_side(), self.application.terms.granted() * 3 + WORD);
        let mut authority = self.authority.clone();
        let mut aborted = self.aborted.clone();
        let proved = |record: &CentreRecord| record.active == to;
        let waited = tokio::select! {
            waited = timeout(patience, authority.wait_for(proved)) => match waited {
                Ok(Ok(record)) => Some(*record),
                _ => None,
            },
            _ = aborted.wait_for(|aborted| *aborted) => return None,
        };
        if let Some(record) = waited {
            return Some(done(words_of(&record)));
        }
        match self.give_epoch_up().await {
            true => Some(failed(
                "there is no proof that the old side serves no more: neither did it say so, nor did the other side promise to renew its lease no more",
            )),
            false if self.authority.borrow().active == to => {
                Some(done("the proof came at the last moment"))
            }
            false => Some(failed("who serves could not be settled")),
        }
    }

    /// The new side says that it serves.
    pub(super) async fn promote(&mut self) -> Phase {
        let patience = self.application.terms.granted() * 3 + PROMOTION;
        let to = self.new_side();
        let serves = |record: &CentreRecord| record.active == to && record.switching.is_none();
        match timeout(patience, self.authority.wait_for(serves)).await {
            Ok(Ok(record)) => done(format!("the {to} serves in {}", record.grantor.epoch)),
            _ => failed(format!(
                "the {to} did not say that it serves: look at its agent"
            )),
        }
    }

    /// An action of an agent. Before the promotion an abort breaks off the waiting for it.
    pub(super) async fn act_there(&self, index: usize, step: &Step, action: Action) -> Became {
        let id = format!("{}-{index}", self.process.id);
        if let Some(problem) = self.partner_is_gone(step, action) {
            return Some(failed(problem));
        }
        let mut aborted = self.aborted.clone();
        let grace = self.grace(step, action);
        let to = self.new_side();
        let promoted = self.authority.borrow().active == to;
        tokio::select! {
            phase = self.perform(id, step, action, grace) => Some(phase),
            _ = aborted.wait_for(|aborted| *aborted), if !promoted => None,
        }
    }

    pub(super) async fn take_back(&mut self, index: usize, step: &Step, undo: Action) -> Phase {
        let id = format!("{}-{index}-undo", self.process.id);
        match self.perform(id, step, undo, AWAY).await {
            Phase::Failed { reason, .. } => Phase::UndoFailed { reason },
            _ => Phase::Undone,
        }
    }

    /// How long the agent may be away before the step counts as failed. An old side is given up
    /// when its leases have run out: it is not coming back before.
    fn grace(&self, step: &Step, action: Action) -> Duration {
        match (action, step.needs_old_side) {
            (Action::Reboot, false) => REBOOT,
            (Action::Reboot, true) => REBOOT_OF_OLD,
            (_, true) => self.application.terms.length,
            (_, false) => AWAY,
        }
    }

    /// A directory server that replicates with one that is gone would wait for it for minutes.
    fn partner_is_gone(&self, step: &Step, action: Action) -> Option<String> {
        let side = step.actor.side()?;
        let partner = self.application.host(Actor::Directory(side.other()))?;
        let gone =
            action == Action::ReplicateDirectory && !self.centre.links().is_there(&partner.name);
        gone.then(|| {
            format!(
                "{} is not there: the directory replicates when it is back",
                partner.name
            )
        })
    }

    /// How far the old side's data were when it was last seen: what the new side has to prove itself
    /// against. An image that is restored is behind, and is to be.
    async fn last_seen(&self, action: Action) -> Values {
        let plan = &self.process.plan;
        if action != Action::StartServices || crate::restore::keeps_an_image(plan) {
            return Values::new();
        }
        match self
            .centre
            .store()
            .position(&self.application.name, plan.from)
            .await
        {
            Ok(position) => position
                .map(|seen| ("seen".to_owned(), seen))
                .into_iter()
                .collect(),
            Err(error) => {
                tracing::error!(error = %crate::error::Chain(&error), "the old side's last position is not known");
                Values::new()
            }
        }
    }

    /// Asks until the action is done or failed. A refusal is tried again for as long as it may
    /// come from a lease that is just being given.
    async fn perform(&self, id: String, step: &Step, action: Action, grace: Duration) -> Phase {
        let Some(host) = self.application.host(step.actor) else {
            return failed("the application has no such host");
        };
        let links = self.centre.links();
        let begun = Instant::now();
        let patience = self.application.terms.granted() * 3;
        let mut values = values::of(&self.application, &self.process.plan, step, action);
        values.extend(self.last_seen(action).await);
        loop {
            let request = ActionRequest {
                id: id.clone(),
                action,
                values: values.clone(),
                epoch: Some(self.authority.borrow().grantor.epoch),
            };
            let outcome = tokio::select! {
                outcome = links.ask(&host.name, request) => outcome,
                () = links.is_gone(&host.name, grace) => return Phase::Failed {
                    reason: format!("{} is not there", host.name),
                    lost: true,
                },
                () = sleep(LONGEST) => return failed(format!("{} did not end", host.name)),
            };
            match outcome {
                Outcome::Done { evidence, .. } => return done(in_short(&evidence)),
                Outcome::Failed { reason, evidence } => {
                    let mut all = vec![reason];
                    all.extend(evidence);
                    return failed(in_short(&all));
                }
                Outcome::Refused { reason } if begun.elapsed() > patience => {
                    return failed(format!("{} refuses: {reason}", host.name));
                }
                Outcome::Refused { .. } => sleep(REFUSED_AGAIN).await,
            }
        }
    }
}

fn words_of(record: &CentreRecord) -> String {
    match record.switching.map(|switching| switching.waiting) {
        Some(Waiting::Promotion(Proof::Fenced)) => "the old side said so",
        Some(Waiting::Promotion(Proof::Lapsed)) => "every lease has run out",
        _ => "the new side serves already",
    }
    .to_owned()
}

fn in_short(lines: &[String]) -> String {
    let mut text = lines.join("; ");
    if text.len() > EVIDENCE {
        let end = (0..=EVIDENCE).rev().find(|end| text.is_char_boundary(*end));
        text.truncate(end.unwrap_or(0));
        text.push_str(" ...");
    }
    text
}
