//! The agent's machine: holder of the active side's lease, grantor of the other's.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::lease::{Epoch, Grantor, GrantorRecord, Holder, Moment, NotGranted, Terms};
use crate::side::Side;

use super::message::{Effect, Message, Party, Proof};

/// What an agent must not forget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct AgentRecord {
    /// The epoch in which it serves, if it does.
    pub serves: Option<Epoch>,
    /// The newest epoch in which it will never serve again.
    pub fenced: Epoch,
    /// What it promised as a grantor.
    pub grantor: GrantorRecord,
}

/// How an agent starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    /// The moment.
    pub now: Moment,
    /// Differs at every start: answers to an earlier one's questions are worth nothing, because a
    /// reboot begins a new clock.
    pub incarnation: u64,
    /// For what the watchdog is armed in this boot of the host; zero when it is not. A restarted
    /// agent lets the application run on until then.
    pub armed_until: Moment,
}

/// The agent of one side.
#[derive(Debug, Clone)]
pub struct Agent {
    side: Side,
    terms: Terms,
    incarnation: u64,
    record: AgentRecord,
    holder: Option<Holder>,
    grantor: Grantor,
    asks_again: Moment,
}

type Effects = Vec<Effect<AgentRecord>>;

impl Agent {
    /// An agent that starts with what it had written down. Until it has a lease the application
    /// does not run, whatever it did before.
    pub fn start(side: Side, terms: Terms, record: AgentRecord, start: Start) -> Self {
        let holder = record.serves.map(|epoch| {
            let mut holder = Holder::new(terms, epoch);
            holder.take_over(start.armed_until);
            holder
        });
        Self {
            side,
            terms,
            incarnation: start.incarnation,
            record,
            holder,
            grantor: Grantor::restart(terms, record.grantor, start.now),
            asks_again: start.now,
        }
    }

    /// Its side.
    pub fn side(&self) -> Side {
        self.side
    }

    /// What it has written down.
    pub fn record(&self) -> AgentRecord {
        self.record
    }

    /// Whether the application may serve now.
    pub fn may_serve(&self, now: Moment) -> bool {
        self.holder
            .as_ref()
            .is_some_and(|holder| holder.may_serve(now))
    }

    /// Until when the application may serve; zero without a lease.
    pub fn valid_until(&self) -> Moment {
        self.holder
            .as_ref()
            .map_or(Moment::ZERO, Holder::valid_until)
    }

    /// When [`Agent::tick`] wants to be called at the latest.
    pub fn wakes(&self) -> Moment {
        match &self.holder {
            Some(holder) if holder.valid_until() > Moment::ZERO => {
                self.asks_again.min(holder.valid_until())
            }
            _ => self.asks_again,
        }
    }

    /// Somebody who can renew the lease is within reach again, and is asked at once: waiting for
    /// the next turn would cost a part of the lease each time that he comes and goes.
    pub fn meet(&mut self, now: Moment) {
        self.asks_again = self.asks_again.min(now);
    }

    /// Time passed: asks for the lease in time, and stops serving when it ran out.
    pub fn tick(&mut self, now: Moment) -> Effects {
        let mut effects = Vec::new();
        let due = now >= self.asks_again;
        if due {
            self.asks_again = now.saturating_add(self.terms.renewal());
        }
        let Some(holder) = &mut self.holder else {
            let fenced = Message::Fenced {
                epoch: self.record.fenced,
            };
            // Said again and again: the control centre may have missed it, and then nobody serves.
            return match due && self.record.fenced > Epoch(0) {
                true => vec![Effect::Send(Party::Centre, fenced)],
                false => effects,
            };
        };
        if !holder.may_serve(now) {
            holder.lapse();
            effects.push(Effect::StopServing);
        }
        if due {
            let ask = Message::Renew {
                epoch: holder.epoch(),
                incarnation: self.incarnation,
                asked: now,
            };
            effects.push(Effect::Send(Party::Centre, ask));
            effects.push(Effect::Send(Party::Agent(self.side.other()), ask));
        }
        effects
    }

    /// A message arrived.
    pub fn hear(&mut self, from: Party, message: Message, now: Moment) -> Effects {
        match message {
            Message::Granted {
                epoch,
                incarnation,
                asked,
            } => self.granted(epoch, incarnation, asked, now),
            Message::Refused { epoch, why } => self.refused(epoch, why),
            Message::Renew {
                epoch,
                incarnation,
                asked,
            } => self.renew(from, epoch, incarnation, asked, now),
            _ if from != Party::Centre => Vec::new(),
            Message::StopGranting { epoch, attempt } => {
                let holds = self.grantor.stop(epoch, attempt);
                self.answer(holds.then_some(Message::Stopped { epoch, attempt }))
            }
            Message::ResumeGranting { epoch, attempt } => {
                self.grantor.resume(epoch, attempt);
                self.answer(None)
            }
            Message::Fence { epoch } => self.fence(epoch),
            Message::Promote { epoch, proof } => self.promote(epoch, proof, now),
            Message::TakeUp { epoch } => self.take_up(epoch),
            Message::Stopped { .. } | Message::Fenced { .. } | Message::Promoted { .. } => {
                Vec::new()
            }
        }
    }

    fn granted(&mut self, epoch: Epoch, incarnation: u64, asked: Moment, now: Moment) -> Effects {
        if incarnation != self.incarnation {
            return Vec::new();
        }
        let Some(holder) = &mut self.holder else {
            return Vec::new();
        };
        holder.granted(epoch, asked);
        if holder.may_serve(now) {
            vec![Effect::ServeUntil(holder.valid_until())]
        } else {
            Vec::new()
        }
    }

    /// A newer epoch is the only refusal that ends a lease at once: the others leave it to lapse.
    fn refused(&mut self, epoch: Epoch, why: NotGranted) -> Effects {
        let asked = self.record.serves == Some(epoch);
        match why {
            NotGranted::Superseded(newer) if asked && newer > epoch => self.stop_serving(epoch),
            _ => Vec::new(),
        }
    }

    fn renew(
        &mut self,
        from: Party,
        epoch: Epoch,
        incarnation: u64,
        asked: Moment,
        now: Moment,
    ) -> Effects {
        // Who serves does not vouch for another who does: the newer epoch of the two wins.
        let mine = self.record.serves.filter(|mine| *mine >= epoch);
        let verdict = match mine {
            Some(mine) => Err(NotGranted::Superseded(mine)),
            None => self.grantor.renew(epoch, now),
        };
        let answer = match verdict {
            Ok(()) => Message::Granted {
                epoch,
                incarnation,
                asked,
            },
            Err(why) => Message::Refused { epoch, why },
        };
        vec![Effect::Send(from, answer)]
    }

    fn fence(&mut self, epoch: Epoch) -> Effects {
        let mut effects = Vec::new();
        if self.record.serves.is_none_or(|serves| serves <= epoch) {
            effects = self.stop_serving(epoch);
        }
        if self.record.fenced >= epoch {
            effects.push(Effect::Send(Party::Centre, Message::Fenced { epoch }));
        }
        effects
    }

    /// Stops first and writes down then: a crash between the two leaves it stopped.
    fn stop_serving(&mut self, epoch: Epoch) -> Effects {
        self.holder = None;
        self.record.serves = None;
        self.record.fenced = self.record.fenced.max(epoch);
        vec![Effect::StopServing, Effect::Keep(self.record)]
    }

    fn promote(&mut self, epoch: Epoch, proof: Proof, now: Moment) -> Effects {
        let promoted = Effect::Send(Party::Centre, Message::Promoted { epoch });
        if self.record.serves == Some(epoch) {
            return vec![promoted];
        }
        let newer = epoch > self.record.fenced && self.record.serves.is_none_or(|old| old < epoch);
        let safe = match proof {
            Proof::Fenced => true,
            Proof::Lapsed => self.grantor.remaining(now) == Duration::ZERO,
        };
        if !newer || !safe || epoch <= self.grantor.record().epoch {
            return Vec::new();
        }
        self.record.serves = Some(epoch);
        self.holder = Some(Holder::new(self.terms, epoch));
        self.asks_again = now;
        let mut effects = vec![Effect::Keep(self.record), promoted];
        effects.extend(
            self.tick(now)
                .into_iter()
                .filter(|effect| matches!(effect, Effect::Send(..))),
        );
        effects
    }

    /// A returning old holder learns that it was replaced; a passive side that it renews this now.
    fn take_up(&mut self, epoch: Epoch) -> Effects {
        if self.record.serves.is_some_and(|serves| serves >= epoch) {
            return Vec::new();
        }
        self.grantor.take_up(epoch);
        self.record.grantor = self.grantor.record();
        match self.record.serves {
            Some(old) => self.stop_serving(old),
            None => vec![Effect::Keep(self.record)],
        }
    }

    fn answer(&mut self, message: Option<Message>) -> Effects {
        self.record.grantor = self.grantor.record();
        let mut effects = vec![Effect::Keep(self.record)];
        effects.extend(message.map(|message| Effect::Send(Party::Centre, message)));
        effects
    }
}
