//! Carries out what `lifeboat_failover::authority::Centre` wants, in its order: nothing is said
//! before it is written down.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use lifeboat_agent::wire::ToAgent;
use lifeboat_failover::Side;
use lifeboat_failover::authority::{Centre as Machine, CentreRecord, Effect, Message, Party};
use lifeboat_failover::lease::{Epoch, Moment};
use tokio::sync::watch;

use crate::application::Application;
use crate::centre::Centre;
use crate::clock;
use crate::error::Chain;

/// What could not be written down is tried again after this.
const AGAIN: Duration = Duration::from_secs(1);

/// Who serves, for one application.
pub(crate) struct Authority {
    centre: Centre,
    application: Arc<Application>,
    machine: Machine,
    waiting: VecDeque<Effect<CentreRecord>>,
    kept: watch::Sender<CentreRecord>,
    again: Option<Moment>,
    leased: Epoch,
}

impl Authority {
    pub(crate) fn start(
        centre: Centre,
        application: Arc<Application>,
        record: CentreRecord,
        leased: Epoch,
    ) -> (Self, watch::Receiver<CentreRecord>) {
        let (kept, watched) = watch::channel(record);
        let authority = Self {
            centre,
            machine: Machine::start(application.terms, record, clock::now()),
            application,
            waiting: VecDeque::new(),
            kept,
            again: None,
            leased,
        };
        (authority, watched)
    }

    /// What is written down.
    pub(crate) fn record(&self) -> CentreRecord {
        *self.kept.borrow()
    }

    /// The file of the application was read again.
    pub(crate) fn update(&mut self, application: Arc<Application>) {
        self.application = application;
    }

    /// When [`Authority::tick`] wants to be called at the latest.
    pub(crate) fn wakes(&self) -> Moment {
        let wakes = self.machine.wakes();
        // A lease of our own that lapses lets a switch go on.
        let now = clock::now();
        let left = self.machine.remaining(now);
        let wakes = match self.machine.record().switching {
            Some(_) if left > Duration::ZERO => wakes.min(now.saturating_add(left)),
            _ => wakes,
        };
        self.again.map_or(wakes, |again| wakes.min(again))
    }

    pub(crate) async fn tick(&mut self) {
        let effects = self.machine.tick(clock::now());
        self.carry_out(effects).await;
    }

    /// An agent came: the next [`Authority::tick`], which is due at once, tells it who serves.
    pub(crate) fn meet(&mut self) {
        self.machine.meet(clock::now());
    }

    /// Whether the side that serves is known to do so by a lease, without which it stops.
    pub(crate) fn is_leased(&self) -> bool {
        self.leased == self.record().grantor.epoch
    }

    pub(crate) async fn hear(&mut self, side: Side, message: Message) {
        self.note_lease(side, message).await;
        let effects = self.machine.hear(Party::Agent(side), message, clock::now());
        self.carry_out(effects).await;
    }

    async fn note_lease(&mut self, side: Side, message: Message) {
        let record = self.machine.record();
        let Message::Renew { epoch, .. } = message else {
            return;
        };
        let new = epoch == record.grantor.epoch && side == record.active && epoch != self.leased;
        if !new {
            return;
        }
        let store = self.centre.store();
        match store.put_leased(&self.application.name, epoch).await {
            Ok(()) => self.leased = epoch,
            Err(error) => tracing::error!(error = %Chain(&error), "a lease is not written down"),
        }
    }

    /// Begins to replace the epoch so that `to` serves. Nothing when that is under way already, or
    /// done.
    pub(crate) async fn replace(&mut self, to: Side) {
        let record = self.machine.record();
        if record.active == to && record.switching.is_none() {
            return;
        }
        let (_, effects) = self.machine.begin(to, clock::now());
        self.carry_out(effects).await;
    }

    /// A side that serves and lost its record gets a new epoch, with the same proofs as any other:
    /// by an old word it must not serve.
    pub(crate) async fn renew(&mut self, side: Side) {
        let record = self.machine.record();
        if record.active == side && record.switching.is_none() {
            let (_, effects) = self.machine.begin(side, clock::now());
            self.carry_out(effects).await;
        }
    }

    /// Gives the replacement up; `false` beyond the point of no return.
    pub(crate) async fn abandon(&mut self) -> bool {
        let (given_up, effects) = self.machine.abandon(clock::now());
        self.carry_out(effects).await;
        given_up
    }

    async fn carry_out(&mut self, effects: Vec<Effect<CentreRecord>>) {
        self.waiting.extend(effects);
        if self.again.is_some_and(|again| clock::now() < again) {
            return;
        }
        self.again = None;
        while let Some(effect) = self.waiting.front() {
            match *effect {
                Effect::Keep(record) => {
                    let kept = self
                        .centre
                        .store()
                        .put_authority(&self.application.name, &record);
                    if let Err(error) = kept.await {
                        tracing::error!(error = %Chain(&error), "nothing more is said to the agents before this is written down");
                        self.again = Some(clock::now().saturating_add(AGAIN));
                        return;
                    }
                    self.kept.send_replace(record);
                }
                Effect::Send(Party::Agent(side), message) => {
                    let host = &self.application.side(side).host.name;
                    self.centre.links().say(host, ToAgent::Lease(message));
                }
                // A control centre serves nobody and does not speak to itself.
                Effect::Send(Party::Centre, _) | Effect::ServeUntil(_) | Effect::StopServing => {}
            }
            self.waiting.pop_front();
        }
    }
}
