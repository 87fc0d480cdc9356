//! What is known of all watched hosts, in memory. Changes here, and nowhere else.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lifeboat_agent::wire::{Health, Metric, Serving, UnixMillis};
use lifeboat_failover::Side;
use lifeboat_failover::health::learn;

use super::USERS;
use super::records::Remembered;
use super::rules::{Part, judging};
use super::series::{Circumstances, Look, Series, Trouble};
use super::subjects::{self, Cause, Origin, Subject, subject_of, together};

/// A host has so many metrics at most; more than that is no profile of anybody.
const METRICS: usize = 1000;
const NAME: usize = 128;
const UNIT: usize = 16;
const TEXT: usize = 300;
/// What was seen for less long than that says nothing about what is ordinary.
pub(super) const LEAST: Duration = Duration::from_secs(19 * 60);
/// An agent keeps what it cannot send for less than this.
const LATE: UnixMillis = 3600 * 1000;
/// The metric by which silence is told.
pub(super) const HEARD: &str = "host.heard";

/// A metric of a host.
#[derive(Debug, Default)]
pub(super) struct Entry {
    /// Its number in the database, once it has one.
    pub(super) id: Option<i64>,
    pub(super) series: Series,
}

#[derive(Debug)]
pub(super) struct Host {
    pub(super) origin: Origin,
    pub(super) heard: UnixMillis,
    pub(super) serving: Option<Serving>,
    pub(super) metrics: BTreeMap<String, Entry>,
}

#[derive(Debug, Default)]
struct Application {
    /// Roots of which somebody was told.
    told: Vec<String>,
    causes: Vec<Cause>,
    expected: bool,
    hold_ended: bool,
}

/// What changed in an application since it was asked last.
#[derive(Debug)]
pub(super) struct News {
    /// Whether trouble is expected now: nobody is told of it.
    pub(super) expected: bool,
    /// Roots of which somebody was told and that are none any more.
    pub(super) gone: Vec<String>,
}

/// Everything that is known.
#[derive(Debug)]
pub(super) struct State {
    every: UnixMillis,
    /// How often the agents of an application report, where that was said.
    paces: BTreeMap<String, UnixMillis>,
    pub(super) hosts: BTreeMap<(String, String), Host>,
    applications: BTreeMap<String, Application>,
}

fn place(origin: &Origin) -> (String, String) {
    (origin.application.clone(), origin.host.clone())
}

fn millis(every: Duration) -> UnixMillis {
    u64::try_from(every.as_millis()).unwrap_or(u64::MAX).max(1)
}

fn short(text: &str, most: usize) -> String {
    text.chars()
        .filter(|sign| !sign.is_control())
        .take(most)
        .collect()
}

impl State {
    pub(super) fn new(every: Duration) -> Self {
        Self {
            every: millis(every),
            paces: BTreeMap::new(),
            hosts: BTreeMap::new(),
            applications: BTreeMap::new(),
        }
    }

    /// Puts back what the database had. Who was silent is so until it is heard; nobody else is
    /// called silent for the time in which nobody listened.
    pub(super) fn recall(
        &mut self,
        origin: Origin,
        (heard, now): (UnixMillis, UnixMillis),
        series: Vec<Remembered>,
    ) {
        let metrics = series.into_iter().map(|one| {
            let entry = Entry {
                id: Some(one.id),
                series: one.series,
            };
            (one.metric, entry)
        });
        let metrics: BTreeMap<String, Entry> = metrics.collect();
        let silent = metrics
            .get(HEARD)
            .is_some_and(|entry| entry.series.judged.trouble.is_some());
        let host = Host {
            heard: if silent { heard } else { now },
            serving: None,
            metrics,
            origin,
        };
        self.hosts.insert(place(&host.origin), host);
    }

    /// Somebody was told of a root before: else its end would never be told.
    pub(super) fn told(&mut self, application: String, root: String) {
        self.applications
            .entry(application)
            .or_default()
            .told
            .push(root);
    }

    fn host(&mut self, origin: &Origin, now: UnixMillis) -> &mut Host {
        let host = self.hosts.entry(place(origin)).or_insert_with(|| Host {
            origin: origin.clone(),
            heard: now,
            serving: None,
            metrics: BTreeMap::new(),
        });
        host.origin = origin.clone();
        host
    }

    /// What a host says about serving.
    pub(super) fn serving(&mut self, origin: &Origin, serving: &Serving) {
        self.host(origin, 0).serving = Some(*serving);
    }

    /// Whether a side serves, by the word of its agents.
    pub(super) fn serves(&self, application: &str, side: Side) -> bool {
        let hosts = self.hosts.values();
        hosts
            .filter(|host| host.origin.application == application && host.origin.side == side)
            .any(|host| host.serves())
    }

    pub(super) fn entry(&mut self, origin: &Origin, metric: &str) -> Option<&mut Entry> {
        let host = self.hosts.get_mut(&place(origin))?;
        host.metrics.get_mut(metric)
    }

    /// The numbers of a host's series have to be asked for again.
    pub(super) fn forget_ids(&mut self, origin: &Origin) {
        let host = self.hosts.get_mut(&place(origin));
        let metrics = host.map(|host| host.metrics.values_mut());
        for entry in metrics.into_iter().flatten() {
            entry.id = None;
        }
    }

    /// Judges a report; gives what is to be kept, and whether it changed what counts.
    pub(super) fn look(
        &mut self,
        origin: &Origin,
        made: UnixMillis,
        metrics: &[Metric],
        now: UnixMillis,
    ) -> Vec<(String, Look, bool)> {
        let host = self.host(origin, now);
        host.heard = now;
        let mut looked = Vec::new();
        for metric in metrics.iter().take(2 * METRICS) {
            let name = short(&metric.name, NAME);
            let full = host.metrics.len() >= METRICS && !host.metrics.contains_key(&name);
            // Silence is for the control centre to tell.
            if name.is_empty() || name == HEARD || full {
                continue;
            }
            // How long before the report, by the agent's own clock.
            let before = made.saturating_sub(metric.time).min(LATE);
            let look = look_of(metric, now.saturating_sub(before));
            let changed = host.judge(&name, &short(&metric.unit, UNIT), look.clone());
            looked.push((name, look, changed));
        }
        looked
    }

    /// Notes who is silent and what is not looked at any more; gives what is known otherwise now.
    pub(super) fn sweep(&mut self, now: UnixMillis) -> Vec<(Origin, String)> {
        let mut changed = Vec::new();
        for host in self.hosts.values_mut() {
            let pace = self.paces.get(&host.origin.application);
            let every = pace.copied().unwrap_or(self.every);
            let mut names = host.forget_stale(every);
            if host.is_real() && host.note_silence(every, now) {
                names.push(HEARD.to_owned());
            }
            changed.extend(names.into_iter().map(|name| (host.origin.clone(), name)));
        }
        changed
    }

    /// All applications that have a host.
    pub(super) fn applications(&self) -> BTreeSet<String> {
        self.hosts.keys().map(|(name, _)| name.clone()).collect()
    }

    /// Metrics whose range is to be learnt: every hour, and once as soon as there is enough.
    pub(super) fn due_to_learn(&self, now: UnixMillis) -> Vec<(Origin, String, i64)> {
        let mut due = Vec::new();
        for host in self.hosts.values() {
            for (name, entry) in &host.metrics {
                let learns = judging(name).rule.is_some_and(|rule| rule.learn);
                let old = now.saturating_sub(entry.series.judged.learnt) >= LATE;
                if let Some(id) = entry.id.filter(|_| learns && old) {
                    due.push((host.origin.clone(), name.clone(), id));
                }
            }
        }
        due
    }

    pub(super) fn expect(&mut self, application: &str, expected: bool) {
        let known = self.applications.entry(application.to_owned()).or_default();
        known.hold_ended = known.expected && !expected;
        known.expected = expected;
    }

    pub(super) fn forget(&mut self, application: &str) {
        self.hosts.retain(|(owner, _), _| owner != application);
        self.paces.remove(application);
    }

    /// All that is not well, in the order of causes.
    pub(super) fn causes(&self, application: &str) -> Vec<Cause> {
        let mut troubles: BTreeMap<Subject, (Origin, Trouble)> = BTreeMap::new();
        let hosts = self.hosts.values();
        for host in hosts.filter(|host| host.origin.application == application) {
            for (name, entry) in &host.metrics {
                let Some(trouble) = &entry.series.judged.trouble else {
                    continue;
                };
                let subject = subject_of(&host.origin.host, name);
                let so_far = troubles.remove(&subject).map(|(_, trouble)| trouble);
                let trouble = together(name, trouble, so_far);
                troubles.insert(subject, (host.origin.clone(), trouble));
            }
        }
        // Two looks may lie that far apart, and each is confirmed by a second one.
        let slack = Duration::from_millis(2 * self.every_of(application) + 1000);
        subjects::explain(&troubles, USERS, slack)
    }

    /// Whether `causes` are others than before, and of which roots somebody was told in vain.
    pub(super) fn news(&mut self, application: &str, causes: &[Cause]) -> Option<News> {
        let known = self.applications.entry(application.to_owned()).or_default();
        let roots: Vec<String> = causes
            .iter()
            .filter(|cause| cause.because_of.is_none())
            .map(|cause| cause.subject.to_string())
            .collect();
        let first = std::mem::take(&mut known.hold_ended);
        if !first && same(&known.causes, causes) && known.told.iter().all(|one| roots.contains(one))
        {
            return None;
        }
        known.causes = causes.to_vec();
        let gone = known.told.extract_if(.., |one| !roots.contains(one));
        let mut gone: Vec<String> = gone.collect();
        gone.dedup();
        if !known.expected {
            known.told = roots;
        }
        Some(News {
            expected: known.expected,
            gone,
        })
    }
}

/// The numbers in a reason change with every look: that is no news.
fn same(before: &[Cause], now: &[Cause]) -> bool {
    let key = |cause: &Cause| {
        (
            cause.subject.clone(),
            cause.trouble.level,
            cause.because_of.clone(),
        )
    };
    before.iter().map(key).eq(now.iter().map(key))
}

fn look_of(metric: &Metric, at: UnixMillis) -> Look {
    // A check that failed has no number, whatever stands in its place.
    let failed = metric.state == Health::Unknown
        || (metric.state == Health::Bad && metric.unit == "bool" && metric.text.is_some());
    Look {
        at,
        value: Some(metric.value).filter(|value| value.is_finite() && !failed),
        state: metric.state,
        text: metric.text.as_deref().map(|text| short(text, TEXT)),
    }
}

impl Host {
    /// Whether there is an agent; what is seen from outside has none, and is never silent.
    pub(super) fn is_real(&self) -> bool {
        self.origin.host != USERS
    }

    /// Whether it serves, by its own word.
    pub(super) fn serves(&self) -> bool {
        self.serving
            .is_some_and(|serving| serving.wanted && serving.lease_left_ms > 0)
    }

    fn judge(&mut self, name: &str, unit: &str, mut look: Look) -> bool {
        let judging = judging(name);
        if judging.distance {
            look.value = look.value.map(f64::abs);
        }
        let whole = judging.whole_of(name);
        let whole = whole.and_then(|whole| self.metrics.get(&whole)?.series.value());
        let around = Circumstances {
            whole,
            serves: self.serves(),
        };
        let entry = self.metrics.entry(name.to_owned()).or_default();
        let changed = entry.series.look(judging, around, unit, look);
        let judged = &mut entry.series.judged;
        let learns = judging.rule.is_some_and(|rule| rule.learn);
        if judged.range.is_none() && learns && entry.series.span() >= LEAST {
            // The first range comes from memory, so that the first half hour is enough.
            let values = entry.series.values();
            entry.series.judged.range = learn(&values);
            return changed || entry.series.judged.range.is_some();
        }
        changed
    }

    /// Says whether it became silent, or was heard again.
    fn note_silence(&mut self, every: UnixMillis, now: UnixMillis) -> bool {
        let since = now.saturating_sub(self.heard);
        let silent = since > every.saturating_mul(5) / 2 + 3000;
        if !silent && !self.metrics.contains_key(HEARD) {
            return false;
        }
        let look = Look {
            at: now,
            value: Some(f64::from(u8::from(!silent))),
            state: if silent { Health::Bad } else { Health::Good },
            text: silent.then(|| format!("nothing was heard of its agent for {} s", since / 1000)),
        };
        self.judge(HEARD, "bool", look)
    }

    /// What is not looked at any more while its host still reports has nothing to say. Gives what
    /// had.
    fn forget_stale(&mut self, every: UnixMillis) -> Vec<String> {
        let limit = self.heard.saturating_sub(every.saturating_mul(4) + 30_000);
        let mut forgotten = Vec::new();
        for (name, entry) in &mut self.metrics {
            let old = entry.series.latest().is_none_or(|look| look.at < limit);
            if name != HEARD && old && entry.series.forget() {
                forgotten.push(name.clone());
            }
        }
        forgotten
    }

    /// Whether nobody looked for so long that a look says nothing about now.
    pub(super) fn is_stale(&self, look: &Look, every: UnixMillis, now: UnixMillis) -> bool {
        now.saturating_sub(look.at) > every.saturating_mul(4) + 30_000
    }
}

impl State {
    /// How often the agents of an application report.
    pub(super) fn every_of(&self, application: &str) -> UnixMillis {
        self.paces.get(application).copied().unwrap_or(self.every)
    }

    pub(super) fn set_pace(&mut self, application: &str, every: Duration) {
        self.paces.insert(application.to_owned(), millis(every));
    }
}

/// In which of the three areas of a side's health a part counts.
pub(super) fn area(part: Part) -> Area {
    match part {
        Part::Access | Part::Device => Area::Access,
        Part::Replication => Area::Replication,
        Part::Host | Part::Store | Part::Service | Part::Other => Area::Subsystems,
    }
}

/// The three things of which transition 204 speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Area {
    /// Services, stores, hosts.
    Subsystems,
    /// What users do.
    Access,
    /// The way of data to the other side.
    Replication,
}
