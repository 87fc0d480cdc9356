//! The control centre's machine: gives epochs out, one at a time.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::lease::{Attempt, Epoch, Grantor, GrantorRecord, Moment, Terms};
use crate::side::Side;

use super::message::{Effect, Message, Party, Proof};

/// How far the replacement of an epoch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Waiting {
    /// For the candidate's promise to renew the old epoch no more.
    Promise,
    /// For proof that the old holder serves no more.
    Proof,
    /// For the candidate to say that it serves. Beyond this nothing is taken back.
    Promotion(Proof),
}

/// The replacement of an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Switching {
    /// Who will serve.
    pub to: Side,
    /// In which epoch.
    pub epoch: Epoch,
    /// Which attempt this is.
    pub attempt: Attempt,
    /// How far it is.
    pub waiting: Waiting,
}

/// What the control centre must not forget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CentreRecord {
    /// Who serves.
    pub active: Side,
    /// The epoch in which it does, and whether its lease is renewed.
    pub grantor: GrantorRecord,
    /// Attempts so far.
    pub attempts: Attempt,
    /// The newest epoch that anybody was ever promised.
    pub newest: Epoch,
    /// Whether the active side said that it is fenced in its epoch.
    pub fenced: bool,
    /// The replacement under way.
    pub switching: Option<Switching>,
}

impl CentreRecord {
    /// At the very first start: the primary serves in epoch 1.
    pub fn first() -> Self {
        Self {
            active: Side::Primary,
            grantor: GrantorRecord {
                epoch: Epoch(1),
                ..GrantorRecord::default()
            },
            attempts: Attempt(0),
            newest: Epoch(1),
            fenced: false,
            switching: None,
        }
    }
}

/// The control centre, for one application.
#[derive(Debug, Clone)]
pub struct Centre {
    record: CentreRecord,
    grantor: Grantor,
    terms: Terms,
    says_again: Moment,
}

type Effects = Vec<Effect<CentreRecord>>;

impl Centre {
    /// A control centre that starts at `now` with what it had written down.
    pub fn start(terms: Terms, record: CentreRecord, now: Moment) -> Self {
        Self {
            record,
            grantor: Grantor::restart(terms, record.grantor, now),
            terms,
            says_again: now,
        }
    }

    /// What it has written down.
    pub fn record(&self) -> CentreRecord {
        self.record
    }

    /// When [`Centre::tick`] wants to be called at the latest.
    pub fn wakes(&self) -> Moment {
        self.says_again
    }

    /// How long until its own leases have lapsed.
    pub fn remaining(&self, now: Moment) -> Duration {
        self.grantor.remaining(now)
    }

    /// Begins to replace the epoch so that `to` serves. `false` when that is under way already.
    /// `to` may be the side that serves: after it was fenced it needs a new epoch.
    pub fn begin(&mut self, to: Side, now: Moment) -> (bool, Effects) {
        if self.record.switching.is_some() {
            return (false, Vec::new());
        }
        self.record.attempts = Attempt(self.record.attempts.0 + 1);
        self.record.newest = self.record.newest.next();
        let attempt = self.record.attempts;
        self.grantor.stop(self.record.grantor.epoch, attempt);
        self.record.switching = Some(Switching {
            to,
            epoch: self.record.newest,
            attempt,
            waiting: Waiting::Promise,
        });
        let mut effects = self.keep();
        effects.extend(self.say(now));
        (true, effects)
    }

    /// Gives the replacement up. `false` beyond the point of no return.
    pub fn abandon(&mut self, now: Moment) -> (bool, Effects) {
        let Some(switching) = self.record.switching else {
            return (true, Vec::new());
        };
        if matches!(switching.waiting, Waiting::Promotion(_)) {
            return (false, Vec::new());
        }
        self.record.switching = None;
        let (epoch, attempt) = (self.record.grantor.epoch, switching.attempt);
        self.grantor.resume(epoch, attempt);
        let mut effects = self.keep();
        effects.extend(self.say(now));
        (true, effects)
    }

    /// An agent came, and is told at once what it has to know: a passive side that does not know
    /// the epoch cannot renew it.
    pub fn meet(&mut self, now: Moment) {
        self.says_again = self.says_again.min(now);
    }

    /// Time passed: says again what may have been lost, and sees leases lapse.
    pub fn tick(&mut self, now: Moment) -> Effects {
        let mut effects = self.see_lapse(now);
        if self.record.fenced && self.record.switching.is_none() {
            // A switch was given up after its fence took hold: the side that served may serve
            // again, but never again in that epoch.
            effects.extend(self.begin(self.record.active, now).1);
            effects.extend(self.see_lapse(now));
        }
        if now >= self.says_again {
            effects.extend(self.say(now));
        }
        effects
    }

    /// A message arrived.
    pub fn hear(&mut self, from: Party, message: Message, now: Moment) -> Effects {
        let Party::Agent(side) = from else {
            return Vec::new();
        };
        match message {
            Message::Renew {
                epoch,
                incarnation,
                asked,
            } => self.renew(side, epoch, incarnation, asked, now),
            Message::Stopped { epoch, attempt } => self.stopped(side, epoch, attempt, now),
            Message::Fenced { epoch } => self.heard_fenced(side, epoch, now),
            Message::Promoted { epoch } => self.promoted(side, epoch, now),
            _ => Vec::new(),
        }
    }

    fn renew(
        &mut self,
        side: Side,
        epoch: Epoch,
        incarnation: u64,
        asked: Moment,
        now: Moment,
    ) -> Effects {
        let answer = match self.grantor.renew(epoch, now) {
            Ok(()) => Message::Granted {
                epoch,
                incarnation,
                asked,
            },
            Err(why) => Message::Refused { epoch, why },
        };
        vec![Effect::Send(Party::Agent(side), answer)]
    }

    fn stopped(&mut self, side: Side, epoch: Epoch, attempt: Attempt, now: Moment) -> Effects {
        let old = self.record.grantor.epoch;
        match &mut self.record.switching {
            Some(switching)
                if switching.waiting == Waiting::Promise
                    && side == self.record.active.other()
                    && (epoch, attempt) == (old, switching.attempt) =>
            {
                switching.waiting = Waiting::Proof;
            }
            _ => return Vec::new(),
        }
        let mut effects = self.keep();
        effects.extend(self.see_lapse(now));
        effects.extend(self.say(now));
        effects
    }

    fn heard_fenced(&mut self, side: Side, epoch: Epoch, now: Moment) -> Effects {
        if side != self.record.active || epoch < self.record.grantor.epoch || self.record.fenced {
            return Vec::new();
        }
        self.record.fenced = true;
        let mut effects = self.keep();
        effects.extend(self.see_lapse(now));
        effects
    }

    /// Proof is there: the old holder said so, or all leases of the control centre have lapsed
    /// after the candidate's promise. From here on the new epoch is in force.
    fn see_lapse(&mut self, now: Moment) -> Effects {
        let lapsed = self.grantor.remaining(now) == Duration::ZERO;
        let proof = match (self.record.fenced, lapsed) {
            (true, _) => Proof::Fenced,
            (false, true) => Proof::Lapsed,
            (false, false) => return Vec::new(),
        };
        let Some(switching) = self.record.switching.as_mut() else {
            return Vec::new();
        };
        // Who said that it is fenced needs nobody's promise any more.
        if switching.waiting == Waiting::Promise && proof == Proof::Lapsed {
            return Vec::new();
        }
        if matches!(switching.waiting, Waiting::Promotion(_)) {
            return Vec::new();
        }
        switching.waiting = Waiting::Promotion(proof);
        let (to, epoch) = (switching.to, switching.epoch);
        self.record.active = to;
        self.record.fenced = false;
        self.grantor.take_up(epoch);
        let mut effects = self.keep();
        effects.extend(self.say(now));
        effects
    }

    fn promoted(&mut self, side: Side, epoch: Epoch, now: Moment) -> Effects {
        match self.record.switching {
            Some(switching) if switching.to == side && switching.epoch == epoch => {}
            _ => return Vec::new(),
        }
        self.record.switching = None;
        let mut effects = self.keep();
        effects.extend(self.say(now));
        effects
    }

    /// What the other parties have to know, said again and again: any of it may be lost.
    fn say(&mut self, now: Moment) -> Effects {
        self.says_again = now.saturating_add(self.terms.renewal());
        let epoch = self.record.grantor.epoch;
        let active = self.record.active;
        let passive = Effect::Send(Party::Agent(active.other()), Message::TakeUp { epoch });
        let Some(switching) = self.record.switching else {
            let resume = Message::ResumeGranting {
                epoch,
                attempt: self.record.attempts,
            };
            return vec![passive, Effect::Send(Party::Agent(active.other()), resume)];
        };
        let attempt = switching.attempt;
        match switching.waiting {
            Waiting::Promise | Waiting::Proof => {
                let stop = Message::StopGranting { epoch, attempt };
                vec![
                    Effect::Send(Party::Agent(active.other()), stop),
                    Effect::Send(Party::Agent(active), Message::Fence { epoch }),
                ]
            }
            Waiting::Promotion(proof) => {
                let promote = Message::Promote { epoch, proof };
                vec![Effect::Send(Party::Agent(switching.to), promote), passive]
            }
        }
    }

    fn keep(&mut self) -> Effects {
        self.record.grantor = self.grantor.record();
        vec![Effect::Keep(self.record)]
    }
}
