//! What is made of everything that is seen of one application, for its state machine and for
//! Auto Pilot.

use lifeboat_agent::profile::Role;
use lifeboat_agent::wire::UnixMillis;
use lifeboat_failover::Side;
use lifeboat_failover::autopilot::Condition;
use lifeboat_failover::health::Level;
use serde::Serialize;

use super::state::{HEARD, Host, State};
use super::view::Levels;
use crate::alerts::moment;

/// So many of the newest values of a queue show whether it was empty lately.
const LATELY: usize = 4;
/// By so many seconds the other side may be behind and still have everything.
const BEHIND: f64 = 10.0;

/// What is made of everything that is seen of one application.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Observed {
    /// How the application is on the side that serves.
    pub condition: Condition,
    /// What degraded, if something did (204, 230).
    pub degraded: Option<Degraded>,
    /// Whether data of the active side arrive at the other.
    pub replicating: bool,
    /// Whether the other side has everything.
    pub complete: bool,
    /// What shows all this, in sentences; the first departure first.
    pub evidence: Vec<String>,
}

/// What degraded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Degraded {
    /// The primary or its replication (206).
    Primary,
    /// The users' way to it (232).
    UserAccess,
}

impl State {
    /// What is made of an application whose `active` side serves. Where nothing is said about
    /// replication, it is what it was taken for (`flows`).
    pub(super) fn observed(
        &self,
        application: &str,
        (active, flows): (Side, bool),
        now: UnixMillis,
    ) -> Observed {
        let health = self.health(application, now);
        let serving = self.hosts.values().find(|host| {
            let origin = &host.origin;
            origin.application == application
                && origin.side == active
                && origin.role == Role::Application
                && host.is_real()
        });
        let levels = health.sides.get(&active).copied();
        let causes = health.causes.iter();
        let evidence = causes.map(|cause| {
            let level = match cause.trouble.level {
                Level::Failed => "failed",
                Level::Degrading | Level::Normal => "is impaired",
            };
            let because = cause.because_of.as_ref();
            let because = because.map_or_else(String::new, |other| format!(", because of {other}"));
            format!(
                "{} ({}) {level} since {}{because}: {}",
                cause.subject,
                cause.side,
                moment(cause.trouble.since),
                cause.trouble.reason
            )
        });
        let every = self.every_of(application);
        let replicating = serving.and_then(|host| host.replicates(every, now));
        let replicating = replicating.unwrap_or(flows);
        Observed {
            condition: condition(serving, levels),
            degraded: levels.and_then(degraded),
            replicating,
            complete: replicating && serving.is_some_and(Host::has_sent_everything),
            evidence: evidence.collect(),
        }
    }
}

fn condition(serving: Option<&Host>, levels: Option<Levels>) -> Condition {
    let silent = |host: &Host| {
        let heard = host.metrics.get(HEARD);
        heard.is_some_and(|entry| entry.series.judged.trouble.is_some())
    };
    match (serving, levels) {
        (None, _) | (_, None) => Condition::Silent,
        (Some(host), _) if silent(host) => Condition::Silent,
        (_, Some(levels)) if levels.subsystems.max(levels.access) == Level::Failed => {
            Condition::Unavailable
        }
        _ => Condition::Well,
    }
}

fn degraded(levels: Levels) -> Option<Degraded> {
    if levels.subsystems.max(levels.replication) > Level::Normal {
        return Some(Degraded::Primary);
    }
    (levels.access > Level::Normal).then_some(Degraded::UserAccess)
}

impl Host {
    /// Whether its data arrive at the other side, if its replication says so.
    fn replicates(&self, every: UnixMillis, now: UnixMillis) -> Option<bool> {
        let entry = self.metrics.get("replication.running");
        entry.map(|entry| {
            let look = entry.series.latest();
            let look = look.filter(|look| !self.is_stale(look, every, now));
            look.and_then(|look| look.value)
                .is_some_and(|value| value > 0.5)
        })
    }

    /// Whether the other side had everything a moment ago.
    fn has_sent_everything(&self) -> bool {
        let values = |name: &str| self.metrics.get(name).map(|entry| entry.series.values());
        let empty_lately = |queue: Vec<f64>| queue.iter().rev().take(LATELY).any(|one| *one <= 0.0);
        let little_behind = |lag: Vec<f64>| lag.last().is_some_and(|one| *one <= BEHIND);
        let queue = values("replication.queue").map(empty_lately);
        let lag = values("replication.lag").map(little_behind);
        // Without a word on it nobody knows.
        queue.or(lag).unwrap_or(false)
    }
}
