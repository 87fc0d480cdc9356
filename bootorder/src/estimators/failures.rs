//! Failures that name another machine and clear once it is there: the best evidence.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::{Claim, Estimator, Node};
use crate::classify::{Failure, What};
use crate::clock;
use crate::event::{Boot, Event};
use crate::model::Feature;
use crate::options::{EstimatorName, Options};
use crate::order::{Evidence, Kind, Source};
use crate::services;
use crate::site::Site;
use crate::targets::{Target, Targets};

/// Silence of this length after the last failure counts as "it cleared".
const QUIET_US: u64 = 120_000_000;

/// Parts of the names of programs that watch, copy or collect.
const OBSERVERS: &[&str] = &[
    "nagios",
    "icinga",
    "zabbix",
    "check_",
    "prometheus",
    "exporter",
    "telegraf",
    "collectd",
    "munin",
    "monit",
    "netdata",
    "checkmk",
    "check-mk",
    "sensu",
    "smokeping",
    "cacti",
    "librenms",
    "bareos-dir",
    "bareos-sd",
    "bareos-fd",
    "bacula",
    "borg",
    "restic",
    "rsnapshot",
    "backup",
    "amanda",
    "duplicity",
    "urbackup",
    "rsyslog",
    "syslog-ng",
    "filebeat",
    "metricbeat",
    "logstash",
    "fluent",
    "promtail",
    "vector",
    "nxlog",
    "journal-upload",
    "graylog",
    "ansible",
    "puppet",
    "chef",
    "salt",
    "sshd",
    "nmap",
    "sssd_pac",
];

pub(super) struct Failures;

impl Estimator for Failures {
    fn claims(&self, site: &Site, _: &Options) -> Vec<Claim> {
        let targets = Targets::new(site);
        let mut claims = Vec::new();
        for (index, machine) in site.machines.iter().enumerate() {
            for boot in &machine.history.boots {
                for (key, events) in groups(&targets, index, boot) {
                    claims.push(claim(site, index, boot, &key, &events));
                }
            }
        }
        claims
    }
}

/// Failures of one program against one service of one machine, in one boot.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Group {
    target: Target,
    program: String,
    failure: Failure,
}

fn groups<'a>(
    targets: &Targets<'_>,
    machine: usize,
    boot: &'a Boot,
) -> BTreeMap<Group, Vec<&'a Event>> {
    let mut groups: BTreeMap<Group, Vec<&Event>> = BTreeMap::new();
    let starting = boot
        .events
        .iter()
        .take_while(|event| event.what != What::Stopping);
    for event in starting {
        let What::Failure(failure) = event.what else {
            continue;
        };
        for target in targets.of(machine, failure, event) {
            let group = Group {
                target,
                program: program_of(event).to_owned(),
                failure,
            };
            groups.entry(group).or_default().push(event);
        }
    }
    groups
}

fn program_of(event: &Event) -> &str {
    if event.identifier.is_empty() {
        &event.unit
    } else {
        &event.identifier
    }
}

fn claim(site: &Site, machine: usize, boot: &Boot, group: &Group, events: &[&Event]) -> Claim {
    let clearing = clearing(boot, events);
    let state = target_state(site, &group.target, boot, events[0]);
    let quiet = events
        .last()
        .is_some_and(|last| boot.has_quiet_after(last.monotonic_us, QUIET_US));
    let cleared = clearing.is_some() || quiet;
    let usual = group
        .target
        .service
        .as_deref()
        .and_then(services::by_key)
        .map(|s| s.needed);
    let mut evidence =
        vec![site.event_evidence(machine, events[0], &remark(site, group, count_of(events)))];
    if let Some(event) = clearing {
        evidence.push(site.event_evidence(machine, event, "it cleared"));
    }
    if let TargetState::Missing(Some(started)) = &state {
        evidence.push(started.clone());
    }
    Claim {
        before: Node {
            machine: group.target.machine,
            service: group.target.service.clone(),
        },
        after: Node {
            machine,
            service: after_service(site, machine, events[0]),
        },
        kind: observed_kind(boot, events, cleared)
            .or(usual)
            .unwrap_or(Kind::Soft),
        feature: feature(group, events[0], &state, cleared),
        amount: 1.0,
        source: Source::Logs,
        estimator: EstimatorName::Failures,
        boot: boot.id.clone(),
        evidence,
    }
}

fn feature(group: &Group, event: &Event, state: &TargetState, cleared: bool) -> Feature {
    let fetches = matches!(group.target.service.as_deref(), Some("ssh" | "rsync"))
        || ["ssh: connect to host", "rsync:", "rsync error"]
            .iter()
            .any(|words| event.message.contains(words));
    if fetches || is_observer(&group.program) {
        return Feature::FailureObserver;
    }
    match state {
        TargetState::Serving => Feature::FailureServing,
        _ if !group.target.named => Feature::FailureByRole,
        TargetState::Missing(_) => Feature::FailureMissing,
        TargetState::Unknown if cleared => Feature::FailureCleared,
        TargetState::Unknown => Feature::FailureOpen,
    }
}

/// Programs that contact everybody and need nobody whom they miss.
fn is_observer(program: &str) -> bool {
    let program = program.to_ascii_lowercase();
    OBSERVERS.iter().any(|word| program.contains(word))
}

/// How many records the kept ones stand for.
fn count_of(events: &[&Event]) -> usize {
    events.iter().map(|event| event.count as usize).sum()
}

fn remark(site: &Site, group: &Group, count: usize) -> String {
    let machine = &site.machines[group.target.machine].name;
    let service = group.target.service.as_deref().and_then(services::by_key);
    let whom = service.map_or_else(|| machine.clone(), |s| format!("{} on {machine}", s.name));
    let times = if count > 1 {
        format!(", {count} times in this boot")
    } else {
        String::new()
    };
    format!("{}: {whom}{times}", group.failure.word())
}

fn after_service(site: &Site, machine: usize, event: &Event) -> Option<String> {
    let service =
        services::by_unit(&event.unit).or_else(|| services::by_unit(&event.identifier))?;
    site.machines[machine]
        .plays(service)
        .then(|| service.key.clone())
}

/// The record in which the same program or unit got through after its last failure.
fn clearing<'a>(boot: &'a Boot, events: &[&Event]) -> Option<&'a Event> {
    let last = events.last()?;
    boot.events.iter().find(|event| {
        let later = event.monotonic_us > last.monotonic_us;
        let good = matches!(event.what, What::Started | What::Ready | What::Cleared);
        later && good && is_same_party(event, last)
    })
}

fn is_same_party(event: &Event, failed: &Event) -> bool {
    let unit = !failed.unit.is_empty() && event.unit == failed.unit;
    unit || (event.what != What::Started && event.identifier == failed.identifier)
}

/// What the boot showed: hard when a unit failed over it and was not started again, soft when it
/// got through by itself; `None` when the log ends before.
fn observed_kind(boot: &Boot, events: &[&Event], cleared: bool) -> Option<Kind> {
    let is_party = |event: &&Event| {
        !event.unit.is_empty() && events.iter().any(|failed| failed.unit == event.unit)
    };
    let mut of_party = boot.events.iter().rev().filter(is_party);
    let last = of_party.find(|e| matches!(e.what, What::UnitFailed | What::Started));
    match last.map(|event| event.what) {
        Some(What::UnitFailed) => Some(Kind::Hard),
        _ => cleared.then_some(Kind::Soft),
    }
}

enum TargetState {
    /// Down, or its service had not been started; with the record of its start.
    Missing(Option<Evidence>),
    Serving,
    Unknown,
}

fn target_state(site: &Site, target: &Target, boot: &Boot, failure: &Event) -> TargetState {
    let other = &site.machines[target.machine].history;
    let at = boot.wall_s(failure.monotonic_us);
    let (Some(first), Some(last)) = (other.boots.first(), other.boots.last()) else {
        return TargetState::Unknown;
    };
    if let Some(running) = other
        .boots
        .iter()
        .find(|b| b.start_s() <= at && at <= b.end_s())
    {
        return match service_start(running, target) {
            None => TargetState::Unknown,
            Some(event) => {
                let start = running.wall_s(event.monotonic_us);
                match clock::first_of((running, start), (boot, at)) {
                    Some(Ordering::Less) => TargetState::Serving,
                    Some(_) => TargetState::Missing(Some(site.event_evidence(
                        target.machine,
                        event,
                        "started later",
                    ))),
                    None => TargetState::Unknown,
                }
            }
        };
    }
    let next = other
        .boots
        .iter()
        .find(|b| b.start_s() > at && b.start_s() < at + 3600.0);
    let covered = next.is_some() || (first.start_s() < at && at < last.end_s());
    if !covered {
        return TargetState::Unknown;
    }
    let start = next.and_then(|b| service_start(b, target).or(b.events.first()));
    TargetState::Missing(
        start.map(|event| site.event_evidence(target.machine, event, "was not up before")),
    )
}

fn service_start<'a>(boot: &'a Boot, target: &Target) -> Option<&'a Event> {
    let wanted = target.service.as_deref()?;
    boot.events.iter().find(|event| {
        event.what == What::Started
            && services::by_unit(&event.unit).is_some_and(|s| s.key == wanted)
    })
}
