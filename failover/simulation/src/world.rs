//! Time, messages and faults.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use lifeboat_failover::Side;
use lifeboat_failover::authority::{
    AgentRecord, Centre, CentreRecord, Effect, Message, Party, Proof,
};
use lifeboat_failover::lease::{Epoch, GrantorRecord, Terms};

use crate::host::{Clock, Host};

const SECOND: u64 = 1_000_000;
/// Faults happen until then.
const CALM: u64 = 240 * SECOND;
/// Then everything has to be well again.
const END: u64 = CALM + 90 * SECOND;

/// Mistakes that the simulation has to find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// The control centre does not wait for its own leases to lapse.
    CentreDoesNotWait,
    /// The candidate takes the control centre's word for proof and does not wait for its own.
    CandidateDoesNotWait,
    /// The watchdog does nothing.
    NoWatchdog,
    /// Answers to questions of an earlier boot count.
    IncarnationsIgnored,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::CentreDoesNotWait,
        Self::CandidateDoesNotWait,
        Self::NoWatchdog,
        Self::IncarnationsIgnored,
    ];
}

/// What went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Both sides served at once.
    BothServe,
    /// Long after the last fault no side served.
    NobodyServes,
}

/// What was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Verdict {
    /// The first thing that went wrong.
    pub fault: Option<Fault>,
    /// Epochs that were handed to a side.
    pub promotions: u64,
    /// Of them, after leases lapsed.
    pub lapsed: u64,
    /// Crashes of processes and hosts.
    pub crashes: u64,
    /// Times the watchdog stopped the application.
    pub fenced_by_watchdog: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Deliver(usize),
    Wake(u8),
    Mischief,
    Command,
    Restart(u8),
    Look,
}

const PARTIES: [Party; 3] = [
    Party::Centre,
    Party::Agent(Side::Primary),
    Party::Agent(Side::Secondary),
];

fn place(party: Party) -> usize {
    match party {
        Party::Centre => 0,
        Party::Agent(Side::Primary) => 1,
        Party::Agent(Side::Secondary) => 2,
    }
}

/// One history.
pub struct World {
    random: fastrand::Rng,
    bug: Option<Bug>,
    terms: Terms,
    now: u64,
    order: u64,
    queue: BinaryHeap<Reverse<(u64, u64, What)>>,
    messages: Vec<(Party, Party, Message)>,
    cut_until: [[u64; 3]; 3],
    wakes: [u64; 3],
    loss: f64,
    slowest: u64,
    hosts: [Host; 2],
    centre: Option<Centre>,
    centre_record: CentreRecord,
    centre_clock: Clock,
    centre_paused: u64,
    verdict: Verdict,
}

impl World {
    /// The beginning of the history of `seed`: the primary serves in epoch 1.
    pub fn new(seed: u64, bug: Option<Bug>) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let terms = Terms::DEFAULT;
        let same = bug == Some(Bug::IncarnationsIgnored);
        let mut host = |side, record| {
            let clock = Clock::new(&mut random, terms.drift_permille, 0);
            Host::new(side, terms, record, clock, same)
        };
        let hosts = [
            host(Side::Primary, first_holder()),
            host(Side::Secondary, first_grantor()),
        ];
        let centre_clock = Clock::new(&mut random, terms.drift_permille, 0);
        let centre_record = CentreRecord::first();
        let mut world = Self {
            bug,
            terms,
            now: 0,
            order: 0,
            queue: BinaryHeap::new(),
            messages: Vec::new(),
            cut_until: [[0; 3]; 3],
            wakes: [0; 3],
            loss: random.f64() * 0.3,
            slowest: *random
                .choice(&[5_000, 300_000, 8 * SECOND])
                .unwrap_or(&5_000),
            hosts,
            centre: None,
            centre_record,
            centre_clock,
            centre_paused: 0,
            verdict: Verdict::default(),
            random,
        };
        world.start_centre();
        world.begin();
        world
    }

    fn begin(&mut self) {
        for party in 0..3 {
            self.at(0, What::Wake(party));
        }
        let mut time = 0;
        while time < CALM {
            time += self.random.u64(SECOND / 2..20 * SECOND);
            self.at(time.min(CALM), What::Mischief);
        }
        for _ in 0..self.random.u32(1..8) {
            let time = self.random.u64(0..CALM);
            self.at(time, What::Command);
        }
        self.at(END, What::Look);
    }

    /// Plays it to its end.
    pub fn play(mut self) -> Verdict {
        while let Some(Reverse((time, _, what))) = self.queue.pop() {
            self.now = time;
            self.watchdogs();
            self.happen(what);
            self.watchdogs();
            if self.hosts.iter().all(|host| host.serves(self.now)) {
                self.verdict.fault = Some(Fault::BothServe);
                return self.verdict;
            }
            if what == What::Look {
                break;
            }
        }
        if !self.hosts.iter().any(|host| host.serves(self.now)) {
            self.verdict.fault = Some(Fault::NobodyServes);
        }
        self.verdict
    }

    fn at(&mut self, time: u64, what: What) {
        self.order += 1;
        self.queue.push(Reverse((time, self.order, what)));
    }

    fn calm(&self) -> bool {
        self.now >= CALM
    }

    fn watchdogs(&mut self) {
        if self.bug == Some(Bug::NoWatchdog) {
            return;
        }
        for host in &mut self.hosts {
            if self.now >= host.host_paused {
                self.verdict.fenced_by_watchdog += u64::from(host.watchdog(self.now));
            }
        }
    }

    fn happen(&mut self, what: What) {
        match what {
            What::Deliver(index) => self.deliver(index),
            What::Wake(party) if self.wakes[usize::from(party)] <= self.now => {
                self.wake(usize::from(party))
            }
            What::Wake(_) | What::Look => {}
            What::Mischief => self.mischief(),
            What::Command => self.command(),
            What::Restart(party) => self.restart(usize::from(party)),
        }
    }

    /// Until when a party stands still; `None` when it does not run at all.
    fn stands_until(&self, party: usize) -> Option<u64> {
        match party {
            0 => self.centre.as_ref().map(|_| self.centre_paused),
            side => {
                let host = &self.hosts[side - 1];
                host.agent
                    .as_ref()
                    .map(|_| host.host_paused.max(host.agent_paused))
            }
        }
    }

    fn deliver(&mut self, index: usize) {
        let (from, to, message) = self.messages[index];
        let party = place(to);
        match self.stands_until(party) {
            None => {}
            Some(until) if until > self.now => self.at(until, What::Deliver(index)),
            Some(_) => self.hear(from, party, message),
        }
    }

    fn hear(&mut self, from: Party, party: usize, message: Message) {
        if party == 0 {
            let moment = self.centre_clock.at(self.now);
            let effects = self
                .centre
                .as_mut()
                .map(|centre| centre.hear(from, message, moment));
            self.act_centre(effects.unwrap_or_default());
        } else {
            let host = &mut self.hosts[party - 1];
            let moment = host.clock.at(self.now);
            let effects = host
                .agent
                .as_mut()
                .map(|agent| agent.hear(from, message, moment));
            self.act_agent(party, effects.unwrap_or_default());
        }
    }

    fn wake(&mut self, party: usize) {
        match self.stands_until(party) {
            None => return,
            Some(until) if until > self.now => {
                self.wake_at(party, until);
                return;
            }
            Some(_) => {}
        }
        if party == 0 {
            let moment = self.centre_clock.at(self.now);
            let effects = self.centre.as_mut().map(|centre| centre.tick(moment));
            self.act_centre(effects.unwrap_or_default());
        } else {
            let host = &mut self.hosts[party - 1];
            let moment = host.clock.at(self.now);
            let effects = host.agent.as_mut().map(|agent| agent.tick(moment));
            self.act_agent(party, effects.unwrap_or_default());
        }
    }

    fn wake_at(&mut self, party: usize, time: u64) {
        let time = time.max(self.now + 1);
        self.wakes[party] = time;
        let name = u8::try_from(party).unwrap_or_default();
        self.at(time, What::Wake(name));
    }

    /// How many of `count` effects happen before a crash, if there is one.
    fn survives(&mut self, count: usize) -> usize {
        if count > 0 && !self.calm() && self.random.u32(0..400) == 0 {
            self.random.usize(0..count)
        } else {
            count
        }
    }

    fn act_centre(&mut self, effects: Vec<Effect<CentreRecord>>) {
        let count = self.survives(effects.len());
        let crashes = count < effects.len();
        for effect in effects.into_iter().take(count) {
            match effect {
                Effect::Keep(record) => {
                    self.count_promotion(&record);
                    self.centre_record = record;
                }
                Effect::Send(to, message) => self.send(Party::Centre, to, message),
                Effect::ServeUntil(_) | Effect::StopServing => {}
            }
        }
        if crashes {
            self.crash_centre();
        } else if let Some(centre) = &self.centre {
            let time = self.centre_clock.real(centre.wakes());
            self.wake_at(0, time);
        }
    }

    fn count_promotion(&mut self, record: &CentreRecord) {
        if record.grantor.epoch > self.centre_record.grantor.epoch {
            self.verdict.promotions += 1;
            let waiting = record.switching.map(|switching| switching.waiting);
            let lapsed = lifeboat_failover::authority::Waiting::Promotion(Proof::Lapsed);
            self.verdict.lapsed += u64::from(waiting == Some(lapsed));
        }
    }

    fn act_agent(&mut self, party: usize, effects: Vec<Effect<AgentRecord>>) {
        let count = self.survives(effects.len());
        let crashes = count < effects.len();
        for effect in effects.into_iter().take(count) {
            let host = &mut self.hosts[party - 1];
            match effect {
                Effect::Keep(record) => host.record = record,
                Effect::ServeUntil(moment) => {
                    host.armed = moment;
                    host.serving = true;
                }
                Effect::StopServing => host.serving = false,
                Effect::Send(to, message) => self.send(PARTIES[party], to, message),
            }
        }
        if crashes {
            self.crash_agent(party);
        } else if let Some(agent) = &self.hosts[party - 1].agent {
            let time = self.hosts[party - 1].clock.real(agent.wakes());
            self.wake_at(party, time);
        }
    }

    fn send(&mut self, from: Party, to: Party, message: Message) {
        let message = match message {
            Message::Promote { epoch, .. } if self.bug == Some(Bug::CandidateDoesNotWait) => {
                Message::Promote {
                    epoch,
                    proof: Proof::Fenced,
                }
            }
            other => other,
        };
        let cut = self.cut_until[place(from)][place(to)] > self.now;
        if !self.calm() && (cut || self.random.f64() < self.loss) {
            return;
        }
        let copies = if self.random.u32(0..20) == 0 { 2 } else { 1 };
        for _ in 0..copies {
            let slowest = if self.calm() { 5_000 } else { self.slowest };
            let time = self.now + self.random.u64(200..=slowest);
            self.messages.push((from, to, message));
            self.at(time, What::Deliver(self.messages.len() - 1));
        }
    }

    fn start_centre(&mut self) {
        let mut terms = self.terms;
        if self.bug == Some(Bug::CentreDoesNotWait) {
            terms.length = Duration::from_millis(300);
        }
        let moment = self.centre_clock.at(self.now);
        self.centre = Some(Centre::start(terms, self.centre_record, moment));
    }

    fn command(&mut self) {
        if self.now < self.centre_paused {
            return;
        }
        let moment = self.centre_clock.at(self.now);
        let give_up = self.random.u32(0..4) == 0;
        let to = if self.random.bool() {
            Side::Primary
        } else {
            Side::Secondary
        };
        let effects = self.centre.as_mut().map(|centre| match give_up {
            true => centre.abandon(moment).1,
            false => centre.begin(to, moment).1,
        });
        self.act_centre(effects.unwrap_or_default());
        if !give_up && self.random.u32(0..3) == 0 {
            let later = self.now + self.random.u64(0..15 * SECOND);
            self.at(later, What::Command);
        }
    }

    fn mischief(&mut self) {
        if self.calm() {
            return self.heal();
        }
        let length = self.random.u64(SECOND / 10..100 * SECOND);
        let until = (self.now + length).min(CALM);
        let party = self.random.usize(0..3);
        match self.random.u32(0..10) {
            0 | 1 => self.cut_until[party][(party + self.random.usize(1..3)) % 3] = until,
            2 | 3 => self.cut_off(party, until),
            4 | 5 => self.pause(party, until),
            6 => self.pause_host(party, until),
            7 => self.crash(party),
            8 => self.crash_host(party),
            _ => self.at(self.now, What::Command),
        }
    }

    fn cut_off(&mut self, party: usize, until: u64) {
        for other in 0..3 {
            self.cut_until[party][other] = until;
            self.cut_until[other][party] = until;
        }
    }

    fn pause(&mut self, party: usize, until: u64) {
        match party {
            0 => self.centre_paused = until,
            side => self.hosts[side - 1].agent_paused = until,
        }
    }

    fn pause_host(&mut self, party: usize, until: u64) {
        match party {
            0 => self.centre_paused = until,
            side => self.hosts[side - 1].host_paused = until,
        }
    }

    fn crash(&mut self, party: usize) {
        match party {
            0 => self.crash_centre(),
            side => self.crash_agent(side),
        }
    }

    fn crash_centre(&mut self) {
        self.verdict.crashes += 1;
        self.centre = None;
        self.restart_later(0);
    }

    fn crash_agent(&mut self, party: usize) {
        self.verdict.crashes += 1;
        self.hosts[party - 1].agent = None;
        self.restart_later(party);
    }

    fn crash_host(&mut self, party: usize) {
        if party == 0 {
            self.centre_clock.reboot(&mut self.random, self.now);
            return self.crash_centre();
        }
        self.verdict.crashes += 1;
        self.hosts[party - 1].reboot(&mut self.random, self.now);
        self.restart_later(party);
    }

    fn restart_later(&mut self, party: usize) {
        let time = self.now + self.random.u64(SECOND / 10..40 * SECOND);
        let name = u8::try_from(party).unwrap_or_default();
        self.at(time, What::Restart(name));
    }

    fn restart(&mut self, party: usize) {
        let same = self.bug == Some(Bug::IncarnationsIgnored);
        if party == 0 {
            if self.centre.is_none() {
                self.start_centre();
            }
        } else {
            let side = if party == 1 {
                Side::Primary
            } else {
                Side::Secondary
            };
            let host = &mut self.hosts[party - 1];
            if host.agent.is_none() {
                host.start_agent(side, self.terms, self.now, same);
            }
        }
        self.wake_at(party, self.now);
    }

    fn heal(&mut self) {
        self.cut_until = [[0; 3]; 3];
        for party in 0..3 {
            self.restart(party);
        }
    }
}

fn first_holder() -> AgentRecord {
    AgentRecord {
        serves: Some(Epoch(1)),
        ..AgentRecord::default()
    }
}

fn first_grantor() -> AgentRecord {
    AgentRecord {
        grantor: GrantorRecord {
            epoch: Epoch(1),
            ..GrantorRecord::default()
        },
        ..AgentRecord::default()
    }
}
