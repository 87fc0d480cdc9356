//! The lease on this host: the pure machine's effects in their order, and what they mean for the
//! application.
//!
//! Whatever follows a stop waits until the application has really stopped: `Fenced` is never said
//! before. A failed stop is tried again until it succeeds.

use std::collections::VecDeque;
use std::time::Duration;

use lifeboat_failover::authority::{Agent, AgentRecord, Effect, Message, Party, Start};
use lifeboat_failover::lease::{Epoch, Moment};

use crate::wire::{LeasePart, Part, Serving};

/// What the owner has to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Do {
    /// Write it down; [`Lease::kept`] or [`Lease::not_kept`] follows.
    Keep(AgentRecord),
    /// Say something.
    Send(Party, Message),
    /// Arm the watchdog.
    Arm(Moment),
    /// Stop the application; [`Lease::fenced`] follows.
    Fence,
    /// Take the application up again.
    Resume,
}

/// What is known of the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It may run; it was never under a lease, and is left alone until the first answer is due.
    Adopted(Moment),
    /// It may run: there is a lease.
    Allowed,
    /// It may run, and was told to be taken up again.
    Resuming,
    /// Nobody knows; it must not run.
    Unknown,
    /// It was stopped.
    Stopped,
}

/// The lease on this host.
#[derive(Debug)]
pub(crate) struct Lease {
    machine: Agent,
    queue: VecDeque<Effect<AgentRecord>>,
    state: State,
    fencing: bool,
    keeping: bool,
    failures: u32,
    wanted: bool,
}

/// With what a lease begins.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Begin {
    pub(crate) record: Option<AgentRecord>,
    pub(crate) start: Start,
    pub(crate) wanted: bool,
}

impl Lease {
    /// Begins with what was written down; without that, with what the control centre says.
    pub(crate) fn begin(part: &Part, lease: &LeasePart, begin: Begin) -> Self {
        let adopted = begin.record.is_none().then_some(lease.first).flatten();
        let record = begin.record.or(lease.first).unwrap_or_default();
        let now = begin.start.now;
        let serves = adopted.is_some_and(|record| record.serves.is_some());
        let state = match begin.start.armed_until > now {
            true => State::Allowed,
            false if serves => State::Adopted(now.saturating_add(lease.terms.length)),
            false => State::Unknown,
        };
        let mut queue = VecDeque::new();
        if begin.record.is_none() {
            queue.push_back(Effect::Keep(record));
        }
        Self {
            machine: Agent::start(part.side, lease.terms, record, begin.start),
            queue,
            state,
            fencing: false,
            keeping: false,
            failures: 0,
            wanted: begin.wanted || serves,
        }
    }

    /// When time matters next.
    pub(crate) fn wakes(&self) -> Moment {
        self.machine.wakes()
    }

    /// Time passed.
    pub(crate) fn tick(&mut self, now: Moment) {
        let effects = self.machine.tick(now);
        self.queue.extend(effects);
    }

    /// Somebody who can renew it is within reach.
    pub(crate) fn meet(&mut self, now: Moment) {
        self.machine.meet(now);
    }

    /// Somebody said something.
    pub(crate) fn hear(&mut self, from: Party, message: Message, now: Moment) {
        let effects = self.machine.hear(from, message, now);
        self.queue.extend(effects);
    }

    /// What to do next; nothing while something has to end first.
    pub(crate) fn next(&mut self, now: Moment) -> Option<Do> {
        while !self.fencing && !self.keeping {
            match self.queue.pop_front()? {
                Effect::Keep(record) => {
                    self.keeping = true;
                    return Some(Do::Keep(record));
                }
                Effect::Send(to, message) => return Some(Do::Send(to, message)),
                Effect::ServeUntil(until) if until > now => {
                    if self.state != State::Resuming {
                        if matches!(self.state, State::Stopped | State::Unknown) && self.wanted {
                            self.state = State::Resuming;
                            self.queue.push_front(Effect::ServeUntil(until));
                            return Some(Do::Arm(until));
                        }
                        self.state = State::Allowed;
                        return Some(Do::Arm(until));
                    }
                    self.state = State::Allowed;
                    return Some(Do::Resume);
                }
                Effect::ServeUntil(_) => {}
                Effect::StopServing if self.may_be_left(now) => {}
                Effect::StopServing => {
                    self.fencing = true;
                    return Some(Do::Fence);
                }
            }
        }
        None
    }

    fn may_be_left(&self, now: Moment) -> bool {
        let replaced = self.machine.record().serves.is_none();
        match self.state {
            State::Stopped => true,
            State::Adopted(until) => !replaced && now < until,
            State::Allowed | State::Resuming | State::Unknown => false,
        }
    }

    /// The record is on disk, or not. What is not is tried again before anything else happens.
    pub(crate) fn kept(&mut self, failed: Option<AgentRecord>) {
        self.keeping = false;
        if let Some(record) = failed {
            self.queue.push_front(Effect::Keep(record));
        }
    }

    /// The stop ended. Says whether it has to be tried again.
    pub(crate) fn fenced(&mut self, ok: bool) -> bool {
        if ok {
            self.fencing = false;
            self.failures = 0;
            self.state = State::Stopped;
            // Replaced for good, it comes back by a new word only.
            if self.machine.record().serves.is_none() {
                self.wanted = false;
            }
        } else {
            self.failures += 1;
        }
        !ok
    }

    /// How often a stop failed in a row.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    /// Services run although they must not: the next stop is done again.
    pub(crate) fn seen_running(&mut self, now: Moment) {
        if self.state == State::Stopped
            && !self.machine.may_serve(now)
            && self.record().serves.is_some()
        {
            self.state = State::Unknown;
            self.queue.push_back(Effect::StopServing);
        }
    }

    /// Whether the application may serve now.
    pub(crate) fn may_serve(&self, now: Moment) -> bool {
        let adopted = matches!(self.state, State::Adopted(until) if now < until);
        !self.fencing && (self.machine.may_serve(now) || adopted)
    }

    /// Whether the application should run when it may.
    pub(crate) fn wanted(&self) -> bool {
        self.wanted
    }

    /// It was started, or stopped, by the control centre.
    pub(crate) fn want(&mut self, wanted: bool) {
        self.wanted = wanted;
    }

    /// What is written down.
    pub(crate) fn record(&self) -> AgentRecord {
        self.machine.record()
    }

    /// The newest epoch that this agent knows of.
    pub(crate) fn newest(&self) -> Epoch {
        let record = self.machine.record();
        let serves = record.serves.unwrap_or_default();
        serves.max(record.fenced).max(record.grantor.epoch)
    }

    /// For the report.
    pub(crate) fn serving(&self, now: Moment) -> Serving {
        let left = match self.machine.may_serve(now) {
            true => self.machine_left(now),
            false => Duration::ZERO,
        };
        Serving {
            epoch: self.machine.record().serves,
            lease_left_ms: u64::try_from(left.as_millis()).unwrap_or(u64::MAX),
            wanted: self.wanted,
            cannot_stop: self.failures > 0,
            renews: self.renews(),
        }
    }

    fn renews(&self) -> Option<Epoch> {
        let AgentRecord {
            serves, grantor, ..
        } = self.machine.record();
        let able = serves.is_none() && !grantor.stopped && grantor.epoch > Epoch(0);
        able.then_some(grantor.epoch)
    }

    fn machine_left(&self, now: Moment) -> Duration {
        self.machine.valid_until().saturating_sub(now)
    }
}

#[cfg(test)]
mod tests {
    use lifeboat_failover::Side;
    use lifeboat_failover::lease::{GrantorRecord, Terms};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn part(first: Option<AgentRecord>) -> Part {
        Part {
            application: "mail".to_owned(),
            side: Side::Primary,
            values: Default::default(),
            lease: Some(LeasePart {
                terms: Terms::DEFAULT,
                peer: None,
                first,
            }),
        }
    }

    fn lease(record: Option<AgentRecord>, armed_until: Moment, wanted: bool) -> Lease {
        let part = part(Some(AgentRecord {
            serves: Some(Epoch(1)),
            ..AgentRecord::default()
        }));
        let start = Start {
            now: SECOND,
            incarnation: 1,
            armed_until,
        };
        let begin = Begin {
            record,
            start,
            wanted,
        };
        Lease::begin(&part, part.lease.as_ref().expect("given"), begin)
    }

    fn holder() -> AgentRecord {
        AgentRecord {
            serves: Some(Epoch(1)),
            ..AgentRecord::default()
        }
    }

    fn grant(lease: &mut Lease, asked: Moment) {
        let message = Message::Granted {
            epoch: Epoch(1),
            incarnation: 1,
            asked,
        };
        lease.hear(Party::Centre, message, asked);
    }

    fn all(lease: &mut Lease, now: Moment) -> Vec<Do> {
        std::iter::from_fn(|| {
            let next = lease.next(now);
            if let Some(Do::Keep(_)) = next {
                lease.kept(None);
            }
            next
        })
        .collect()
    }

    #[test]
    fn a_running_application_is_adopted_without_being_stopped() {
        let mut lease = lease(None, Moment::ZERO, false);
        lease.tick(SECOND);
        let done = all(&mut lease, SECOND);
        assert!(!done.contains(&Do::Fence), "{done:?}");
        assert!(done.contains(&Do::Keep(holder())));
        assert!(lease.wanted());
        // Nobody answered: it is stopped like any other.
        lease.tick(SECOND * 20);
        assert!(all(&mut lease, SECOND * 20).contains(&Do::Fence));
    }

    #[test]
    fn a_restarted_agent_lets_the_application_run_while_the_watchdog_is_armed() {
        let mut lease = lease(Some(holder()), SECOND * 5, true);
        lease.tick(SECOND);
        assert!(lease.may_serve(SECOND));
        assert!(!all(&mut lease, SECOND).contains(&Do::Fence));
        lease.tick(SECOND * 5);
        assert!(all(&mut lease, SECOND * 5).contains(&Do::Fence));
    }

    #[test]
    fn nothing_is_said_before_the_application_has_stopped() {
        let mut lease = lease(Some(holder()), SECOND * 5, true);
        lease.hear(Party::Centre, Message::Fence { epoch: Epoch(1) }, SECOND);
        assert_eq!(all(&mut lease, SECOND), [Do::Fence]);
        assert!(lease.fenced(false), "tried again");
        assert_eq!(all(&mut lease, SECOND), []);
        assert!(!lease.fenced(true));
        let done = all(&mut lease, SECOND);
        let fenced = Do::Send(Party::Centre, Message::Fenced { epoch: Epoch(1) });
        assert!(
            matches!(done[..], [Do::Keep(_), said] if said == fenced),
            "{done:?}"
        );
        assert!(!lease.wanted());
    }

    #[test]
    fn nothing_is_said_before_the_record_is_on_disk() {
        let mut lease = lease(Some(AgentRecord::default()), Moment::ZERO, false);
        let stop = Message::StopGranting {
            epoch: Epoch(1),
            attempt: lifeboat_failover::lease::Attempt(1),
        };
        lease.hear(Party::Centre, stop, SECOND);
        let Some(Do::Keep(record)) = lease.next(SECOND) else {
            panic!("a promise is kept first")
        };
        assert_ne!(record.grantor, GrantorRecord::default());
        assert_eq!(lease.next(SECOND), None);
        lease.kept(Some(record));
        assert_eq!(lease.next(SECOND), Some(Do::Keep(record)));
        lease.kept(None);
        assert!(matches!(lease.next(SECOND), Some(Do::Send(..))));
    }

    #[test]
    fn a_lease_that_comes_back_takes_the_application_up_again_if_it_was_wanted() {
        for wanted in [true, false] {
            let mut lease = lease(Some(holder()), Moment::ZERO, wanted);
            lease.tick(SECOND);
            assert!(all(&mut lease, SECOND).contains(&Do::Fence));
            lease.fenced(true);
            all(&mut lease, SECOND);
            grant(&mut lease, SECOND * 2);
            let done = all(&mut lease, SECOND * 2);
            assert!(matches!(done[0], Do::Arm(_)), "{done:?}");
            assert_eq!(done.contains(&Do::Resume), wanted);
            grant(&mut lease, SECOND * 3);
            assert!(!all(&mut lease, SECOND * 3).contains(&Do::Resume), "once");
        }
    }
}
