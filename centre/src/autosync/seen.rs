//! What the agents' reports say of replication, and what process 500 is doing; in memory only.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lifeboat_agent::wire::{Health, Metric, Report};
use lifeboat_failover::Side;
use lifeboat_failover::autosync::{Memory, Session};
use lifeboat_failover::process::Actor;

use super::Settings;
use crate::application::Application;

/// A report that is older than so many rounds of reports says nothing any more.
const ROUNDS: u32 = 3;

/// Everything that is remembered between rounds.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    hosts: Mutex<BTreeMap<String, Latest>>,
    doing: Mutex<BTreeMap<String, Doing>>,
}

/// What a host told last about replication.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Latest {
    at: Instant,
    /// `absent`, `running` or `paused`.
    state: Option<String>,
    pub(crate) lag: Option<f64>,
    pub(crate) queue: Option<f64>,
    /// It could not be asked: the other side does not answer, or the engine is ill.
    blind: bool,
    pub(super) position: Option<String>,
}

/// What process 500 does for an application.
#[derive(Debug, Clone, Default)]
pub(crate) struct Doing {
    pub(super) doing: Option<String>,
    pub(super) trouble: Option<String>,
    pub(super) memory: Memory,
    pub(super) not_before: Option<Instant>,
    pub(super) position: Option<String>,
    pub(super) told: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change is whole before the lock is given back.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Seen {
    /// Takes a report in.
    pub(crate) fn report(&self, host: &str, report: &Report) {
        let about = |metric: &&Metric| metric.name.starts_with("replication.");
        let metrics: Vec<&Metric> = report.metrics.iter().filter(about).collect();
        if metrics.is_empty() {
            return;
        }
        let mut hosts = lock(&self.hosts);
        let latest = hosts.entry(host.to_owned()).or_insert_with(Latest::nothing);
        latest.take(&metrics);
    }

    /// What the host of a side told lately.
    pub(crate) fn latest(&self, application: &Application, side: Side) -> Option<Latest> {
        let host = application.host(Actor::Application(side))?;
        let latest = lock(&self.hosts).get(&host.name).cloned()?;
        let old = application
            .report_every
            .saturating_mul(ROUNDS)
            .max(Duration::from_secs(5));
        (latest.at.elapsed() < old).then_some(latest)
    }

    pub(super) fn doing(&self, application: &str) -> Doing {
        lock(&self.doing)
            .get(application)
            .cloned()
            .unwrap_or_default()
    }

    /// Begins something, unless something is being done.
    pub(super) fn begin(&self, application: &str, what: &str) -> bool {
        let mut doing = lock(&self.doing);
        let one = doing.entry(application.to_owned()).or_default();
        if one.doing.is_some() {
            return false;
        }
        one.doing = Some(what.to_owned());
        true
    }

    pub(super) fn change(&self, application: &str, change: impl FnOnce(&mut Doing)) {
        change(lock(&self.doing).entry(application.to_owned()).or_default());
    }

    /// Old trouble counts no more.
    pub(super) fn forget(&self, application: &str) {
        self.change(application, |doing| {
            (doing.memory, doing.not_before) = (Memory::default(), None);
        });
    }
}

impl Latest {
    fn nothing() -> Self {
        Self {
            at: Instant::now(),
            state: None,
            lag: None,
            queue: None,
            blind: false,
            position: None,
        }
    }

    fn take(&mut self, metrics: &[&Metric]) {
        let good = |name: &str| {
            let found = metrics.iter().find(|metric| metric.name == name);
            found.filter(|metric| metric.state != Health::Unknown)
        };
        self.at = Instant::now();
        self.blind = metrics.iter().any(|metric| metric.state == Health::Unknown);
        self.lag = good("replication.lag").map(|metric| metric.value);
        self.queue = good("replication.queue").map(|metric| metric.value);
        self.state = good("replication.running").and_then(|metric| metric.text.clone());
        let position = good("replication.position").and_then(|metric| metric.text.clone());
        // A side that does not serve tells none; the last one still counts.
        self.position = position.or(self.position.take());
    }

    /// The session as process 500 knows it; none where nobody can say.
    pub(crate) fn session(&self, settings: &Settings) -> Option<Session> {
        Some(match self.state.as_deref()? {
            "absent" => Session::Absent,
            "paused" => Session::Paused,
            "running" => Session::Running {
                healthy: !self.blind
                    && self.lag.is_none_or(|lag| lag <= settings.lag_at_most_s)
                    && !self
                        .queue
                        .zip(settings.queue_at_most)
                        .is_some_and(|(queue, most)| queue > most),
            },
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metric(name: &str, value: f64, state: Health, text: Option<&str>) -> Metric {
        Metric {
            name: format!("replication.{name}"),
            value,
            unit: "1".to_owned(),
            state,
            time: 0,
            text: text.map(str::to_owned),
        }
    }

    fn session(metrics: &[Metric]) -> Option<Session> {
        let mut latest = Latest::nothing();
        latest.take(&metrics.iter().collect::<Vec<_>>());
        latest.session(&Settings {
            queue_at_most: Some(100.0),
            ..Settings::default()
        })
    }

    fn running(healthy: bool) -> Option<Session> {
        Some(Session::Running { healthy })
    }

    #[test]
    fn a_session_is_what_the_engine_says_of_it() {
        let state = |text| metric("running", 1.0, Health::Good, Some(text));
        assert_eq!(session(&[state("absent")]), Some(Session::Absent));
        assert_eq!(session(&[state("paused")]), Some(Session::Paused));
        assert_eq!(session(&[state("running")]), running(true));
        assert_eq!(session(&[state("dancing")]), None);
        let lag = |value| metric("lag", value, Health::Good, None);
        assert_eq!(session(&[state("running"), lag(59.0)]), running(true));
        assert_eq!(session(&[state("running"), lag(61.0)]), running(false));
        let queue = |value| metric("queue", value, Health::Good, None);
        assert_eq!(session(&[state("running"), queue(101.0)]), running(false));
        let blind = metric("queue", 0.0, Health::Unknown, Some("rsync failed"));
        assert_eq!(session(&[state("running"), blind]), running(false));
        assert_eq!(
            session(&[metric("running", 0.0, Health::Unknown, None)]),
            None
        );
    }

    #[test]
    fn the_last_position_of_a_side_stays() {
        let mut latest = Latest::nothing();
        let position = metric("position", 1.0, Health::Good, Some("2,0/3000"));
        latest.take(&[&position]);
        latest.take(&[&metric("lag", 0.0, Health::Good, None)]);
        assert_eq!(latest.position.as_deref(), Some("2,0/3000"));
    }
}
