//! How an application is, for people and for the state machine.

use std::collections::BTreeMap;

use lifeboat_agent::wire::{Health, UnixMillis};
use lifeboat_failover::Side;
use lifeboat_failover::health::{Level, Range};
use serde::{Deserialize, Serialize};

use super::Part;
use super::state::{Area, Host, State, area};
use super::subjects::{Cause, Origin, Subject, subject_of};

/// How an application is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ApplicationHealth {
    /// Its name.
    pub application: String,
    /// When this was asked.
    pub at: UnixMillis,
    /// The levels of both sides.
    pub sides: BTreeMap<Side, Levels>,
    /// All that is not well: root causes first, each group in the order of time.
    pub causes: Vec<Cause>,
    /// Its hosts.
    pub hosts: Vec<HostHealth>,
}

/// The levels of a side: the three things of which transitions 204 and 230 speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Levels {
    /// Hosts, stores, services.
    pub subsystems: Level,
    /// Log-ins, and what lies between users and hosts.
    pub access: Level,
    /// The way of data from this side.
    pub replication: Level,
}

/// How a host is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HostHealth {
    /// Which.
    pub origin: Origin,
    /// When it was heard last.
    pub heard: UnixMillis,
    /// Whether it serves, by its own word.
    pub serves: bool,
    /// What is looked at there.
    pub subjects: Vec<SubjectHealth>,
}

/// How a subject is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SubjectHealth {
    /// Which.
    pub subject: Subject,
    /// How.
    pub level: Level,
    /// Its metrics.
    pub metrics: Vec<MetricHealth>,
}

/// How a metric is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricHealth {
    /// Its name.
    pub name: String,
    /// The newest value.
    pub value: Option<f64>,
    /// Its unit.
    pub unit: String,
    /// When it was looked at.
    pub at: UnixMillis,
    /// What the agent said about it.
    pub state: Health,
    /// What was seen, where a number does not say it.
    pub text: Option<String>,
    /// Whether nobody looked for so long that it says nothing about now.
    pub stale: bool,
    /// The level that counts.
    pub level: Level,
    /// What was observed to be ordinary.
    pub ordinary: Option<Range>,
}

const WELL: Levels = Levels {
    subsystems: Level::Normal,
    access: Level::Normal,
    replication: Level::Normal,
};

impl Levels {
    fn note(&mut self, part: Part, level: Level) {
        let place = match area(part) {
            Area::Subsystems => &mut self.subsystems,
            Area::Access => &mut self.access,
            Area::Replication => &mut self.replication,
        };
        *place = level.max(*place);
    }
}

impl State {
    /// How an application is.
    pub(super) fn health(&self, application: &str, now: UnixMillis) -> ApplicationHealth {
        let causes = self.causes(application);
        let mut sides: BTreeMap<Side, Levels> = Side::BOTH.map(|side| (side, WELL)).into();
        for cause in &causes {
            let levels = sides.entry(cause.side).or_insert(WELL);
            levels.note(cause.subject.part, cause.trouble.level);
        }
        let hosts = self.hosts.values();
        let hosts = hosts
            .filter(|host| host.origin.application == application)
            .map(|host| host.health(self.every_of(application), now));
        ApplicationHealth {
            application: application.to_owned(),
            at: now,
            sides,
            causes,
            hosts: hosts.collect(),
        }
    }
}

impl Host {
    fn health(&self, every: UnixMillis, now: UnixMillis) -> HostHealth {
        let mut subjects: BTreeMap<Subject, SubjectHealth> = BTreeMap::new();
        for (name, entry) in &self.metrics {
            let Some(look) = entry.series.latest() else {
                continue;
            };
            let trouble = entry.series.judged.trouble.as_ref();
            let level = trouble.map_or(Level::Normal, |trouble| trouble.level);
            let subject = subject_of(&self.origin.host, name);
            let health = subjects
                .entry(subject.clone())
                .or_insert_with(|| SubjectHealth {
                    subject,
                    level: Level::Normal,
                    metrics: Vec::new(),
                });
            health.level = level.max(health.level);
            health.metrics.push(MetricHealth {
                name: name.clone(),
                value: look.value,
                unit: entry.series.unit.clone(),
                at: look.at,
                state: look.state,
                text: look.text.clone(),
                stale: self.is_stale(look, every, now),
                level,
                ordinary: entry.series.judged.range,
            });
        }
        HostHealth {
            origin: self.origin.clone(),
            heard: self.heard,
            serves: self.serves(),
            subjects: subjects.into_values().collect(),
        }
    }
}
