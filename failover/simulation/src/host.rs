//! A host of the application: its clock, its agent, its watchdog.

use std::time::Duration;

use lifeboat_failover::Side;
use lifeboat_failover::authority::{Agent, AgentRecord, Start};
use lifeboat_failover::lease::{Moment, Terms};

/// A clock of its own speed and beginning.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    permille: u64,
    began: u64,
    offset: u64,
}

impl Clock {
    /// A clock that starts at real time `began` (microseconds) somewhere within an hour.
    pub fn new(random: &mut fastrand::Rng, drift_permille: u32, began: u64) -> Self {
        let drift = u64::from(drift_permille).saturating_sub(1);
        Self {
            permille: random.u64(1000 - drift..=1000 + drift),
            began,
            offset: random.u64(0..3_600_000_000),
        }
    }

    /// What it shows.
    pub fn at(&self, real: u64) -> Moment {
        let passed = real.saturating_sub(self.began) * self.permille / 1000;
        Duration::from_micros(self.offset + passed)
    }

    /// When it will show `moment`; at once if it did.
    pub fn real(&self, moment: Moment) -> u64 {
        let shown = u64::try_from(moment.as_micros()).unwrap_or(u64::MAX);
        let passed = shown.saturating_sub(self.offset);
        self.began + (passed * 1000).div_ceil(self.permille)
    }

    /// The beginning of a new boot: the same oscillator, another count.
    pub fn reboot(&mut self, random: &mut fastrand::Rng, real: u64) {
        self.began = real;
        self.offset = random.u64(0..3_600_000_000);
    }
}

/// One host.
#[derive(Debug)]
pub struct Host {
    /// Its clock.
    pub clock: Clock,
    /// Its agent's record on disk.
    pub record: AgentRecord,
    /// Its agent, when it runs.
    pub agent: Option<Agent>,
    /// Whether the application runs.
    pub serving: bool,
    /// For what the watchdog is armed.
    pub armed: Moment,
    /// Starts of its agent so far.
    pub incarnations: u64,
    /// Until when (real time) the whole host stands still.
    pub host_paused: u64,
    /// Until when (real time) only the agent stands still.
    pub agent_paused: u64,
}

impl Host {
    /// A host whose agent starts now.
    pub fn new(
        side: Side,
        terms: Terms,
        record: AgentRecord,
        clock: Clock,
        same_incarnation: bool,
    ) -> Self {
        let mut host = Self {
            clock,
            record,
            agent: None,
            serving: false,
            armed: Moment::ZERO,
            incarnations: 0,
            host_paused: 0,
            agent_paused: 0,
        };
        host.start_agent(side, terms, 0, same_incarnation);
        host
    }

    /// Starts the agent.
    pub fn start_agent(&mut self, side: Side, terms: Terms, real: u64, same_incarnation: bool) {
        self.incarnations += u64::from(!same_incarnation);
        let start = Start {
            now: self.clock.at(real),
            incarnation: self.incarnations,
            armed_until: self.armed,
        };
        self.agent = Some(Agent::start(side, terms, self.record, start));
    }

    /// Power off and on again: the application is not started, the agent is not yet.
    pub fn reboot(&mut self, random: &mut fastrand::Rng, real: u64) {
        self.agent = None;
        self.serving = false;
        self.armed = Moment::ZERO;
        self.host_paused = 0;
        self.agent_paused = 0;
        self.clock.reboot(random, real);
    }

    /// The watchdog looks: whether it had to stop the application.
    pub fn watchdog(&mut self, real: u64) -> bool {
        let expired = self.serving && self.clock.at(real) >= self.armed;
        if expired {
            self.serving = false;
        }
        expired
    }

    /// Whether users are served at this real time.
    pub fn serves(&self, real: u64) -> bool {
        self.serving && real >= self.host_paused
    }
}
