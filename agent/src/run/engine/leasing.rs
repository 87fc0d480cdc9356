//! What the lease wants done.

use std::time::Duration;

use lifeboat_failover::authority::{AgentRecord, Message, Party, Start};
use lifeboat_failover::process::Action;
use tokio::time::Instant;

use super::{Engine, RunError};
use crate::run::clock;
use crate::run::event::Event;
use crate::run::keep;
use crate::run::lease::{Begin, Do, Lease};
use crate::run::log::Chain;
use crate::run::watchdog::{armed_until, restart_host, run_fence};
use crate::wire::{FromAgent, FromPeer, Outcome, Part, Values};

/// What is tried again after a second.
#[derive(Debug, Clone, Copy)]
pub(super) enum Again {
    Fence,
    Keep(AgentRecord),
}

const SECOND: Duration = Duration::from_secs(1);

impl Engine {
    /// Takes up a part in an application, as the control centre said or as it was written down.
    pub(super) fn take_part(&mut self, part: Part) -> Result<(), RunError> {
        let lasting = super::without_first(&part);
        let same = |old: &Part| old.side == lasting.side && old.lease == lasting.lease;
        let changed = !self.part.as_ref().is_some_and(same);
        if let Some(lease) = part.lease.as_ref().filter(|_| changed) {
            let silence = lease
                .terms
                .length
                .clamp(super::SHORTEST_SILENCE, super::DEFAULT_SILENCE);
            self.silence.send_replace(silence);
            self.peer.send_replace(lease.peer.clone());
            let begin = Begin {
                record: keep::read(&self.places.lease()).map_err(RunError::State)?,
                start: Start {
                    now: clock::now(),
                    incarnation: self.incarnation,
                    armed_until: armed_until(&self.places),
                },
                wanted: keep::read(&self.places.wanted())
                    .map_err(RunError::State)?
                    .unwrap_or(false),
            };
            self.armed = begin.start.armed_until > begin.start.now;
            let lease = Lease::begin(&part, lease, begin);
            self.remember_wanted(lease.wanted());
            self.lease = Some(lease);
        }
        if part.lease.is_none() {
            self.lease = None;
        }
        self.part = Some(lasting);
        Ok(())
    }

    pub(super) fn centre_heard(&mut self, message: Message) {
        self.hear(Party::Centre, message);
    }

    pub(super) fn peer_heard(&mut self, message: Message) {
        if let Some(part) = &self.part {
            let from = Party::Agent(part.side.other());
            self.hear(from, message);
        }
    }

    fn hear(&mut self, from: Party, message: Message) {
        if let Some(lease) = &mut self.lease {
            lease.hear(from, message, clock::now());
        }
    }

    /// Does what the lease wants, until it has to wait for something.
    pub(super) fn lease_goes_on(&mut self) {
        loop {
            let now = clock::now();
            let Some(next) = self.lease.as_mut().and_then(|lease| lease.next(now)) else {
                return;
            };
            match next {
                Do::Keep(record) => self.keep(record),
                Do::Send(Party::Centre, message) => self.say(FromAgent::Lease(message)),
                Do::Send(Party::Agent(_), message) => self.say_to_peer(message),
                Do::Arm(until) => self.arm(until),
                Do::Fence => self.stop_application(),
                Do::Resume => self.resume(),
            }
        }
    }

    fn keep(&mut self, record: AgentRecord) {
        let kept = keep::write(&self.places.lease(), &record);
        if let Err(error) = &kept {
            tracing::error!(error = %Chain(error), "nothing more is said before this is kept");
            self.again = Some((Instant::now() + SECOND, Again::Keep(record)));
            return;
        }
        self.hello.send_modify(|hello| hello.lease = Some(record));
        if let Some(lease) = &mut self.lease {
            lease.kept(None);
        }
    }

    pub(super) fn try_again(&mut self, again: Again) {
        match again {
            Again::Fence => self.stop_application(),
            Again::Keep(record) => {
                if let Some(lease) = &mut self.lease {
                    lease.kept(Some(record));
                }
            }
        }
    }

    fn say_to_peer(&mut self, message: Message) {
        for outbox in [&mut self.peer_out, &mut self.peer_in] {
            let Some(open) = outbox else { continue };
            match open.try_send(FromPeer::Lease(message)) {
                Ok(()) => return,
                Err(tokio::sync::mpsc::error::TrySendError::Full(_)) => {}
                Err(tokio::sync::mpsc::error::TrySendError::Closed(_)) => *outbox = None,
            }
        }
    }

    fn arm(&mut self, until: lifeboat_failover::lease::Moment) {
        let armed = self.leash.arm(until);
        if let Err(error) = &armed {
            tracing::error!(error = %Chain(error), "the watchdog is not armed");
        }
        self.armed = armed.is_ok() && self.fence.is_some();
    }

    /// Runs the fence beside the loop. Whatever is being done to the application ends first.
    fn stop_application(&mut self) {
        self.break_off("the lease ended");
        if let Some(resuming) = self.resuming.take() {
            resuming.abort();
        }
        let (fence, events) = (self.fence.clone(), self.events.clone());
        tracing::warn!("the application must not serve: stopping it");
        tokio::spawn(async move {
            let work = move || fence.as_ref().is_some_and(run_fence);
            let ok = tokio::task::spawn_blocking(work).await.unwrap_or(false);
            let result = if ok {
                Ok(())
            } else {
                Err("a fence command failed".to_owned())
            };
            let _ = events.send(Event::Fenced(result)).await;
        });
    }

    pub(super) fn fenced(&mut self, result: Result<(), String>) {
        let Some(lease) = &mut self.lease else { return };
        if !lease.fenced(result.is_ok()) {
            let wanted = lease.wanted();
            self.remember_wanted(wanted);
            if let Err(error) = self.leash.arm(Duration::ZERO) {
                tracing::warn!(error = %Chain(&error), "the watchdog is not disarmed: it will stop the application again");
            }
            self.armed = false;
            tracing::info!("the application is stopped");
            return;
        }
        let failures = lease.failures();
        tracing::error!(failures, "the application cannot be stopped, trying again");
        if let Some(fence) = &self.fence
            && fence.restart_host
            && failures >= fence.attempts
        {
            restart_host();
        }
        self.again = Some((Instant::now() + SECOND, Again::Fence));
    }

    pub(super) fn remember_wanted(&mut self, wanted: bool) {
        if let Err(error) = keep::write(&self.places.wanted(), &wanted) {
            tracing::error!(error = %Chain(&error), "after a restart the agent will not know whether the application should run");
        }
    }

    /// The lease is back after the application was stopped for want of one.
    fn resume(&mut self) {
        let (executor, armed) = (self.executor(&Values::new(), self.boot.clone()), self.armed);
        let events = self.events.clone();
        let task = tokio::spawn(async move {
            let result = match executor {
                Ok(_) if !armed => Err("the watchdog is not armed".to_owned()),
                Ok(executor) => resume(&executor).await,
                Err(reason) => Err(reason),
            };
            let _ = events.send(Event::Resumed(result)).await;
        });
        self.resuming = Some(task.abort_handle());
    }

    pub(super) fn resumed(&mut self, result: Result<(), String>) {
        self.resuming = None;
        match result {
            Ok(()) => tracing::info!("the application serves again"),
            Err(reason) => tracing::error!(%reason, "the application could not be taken up again"),
        }
    }
}

async fn resume(executor: &crate::run::actions::Executor) -> Result<(), String> {
    for action in [
        Action::EnsureStores,
        Action::StartServices,
        Action::OpenEntrance,
    ] {
        match executor.perform(action).await {
            Outcome::Done { .. } => {}
            Outcome::Failed { reason, .. } | Outcome::Refused { reason } => return Err(reason),
        }
    }
    Ok(())
}
