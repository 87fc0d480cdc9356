//! Agents that report, for tests.

use super::*;
use crate::alerts::{Alert, Alerts, Patience};
use crate::store::Store;
use lifeboat_agent::profile::Role;
use lifeboat_agent::wire::{Health, Metric, Report, Serving};
use lifeboat_failover::Side;

pub(super) const EVERY: u64 = 30_000;
/// A moment in 2026, at the beginning of an hour.
pub(super) const BEGIN: u64 = 1_795_000_000_000 / records::HOUR * records::HOUR;

pub(super) struct House {
    pub(super) store: Store,
    pub(super) observation: Observation,
    pub(super) alerts: Alerts,
    pub(super) now: u64,
    pub(super) number: u64,
    pub(super) folder: tempfile::TempDir,
}

pub(super) fn patience() -> Patience {
    Patience {
        settle: 0,
        ..Patience::default()
    }
}

pub(super) async fn house() -> House {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(folder.path()).await.expect("a store");
    let alerts = Alerts::new(store.pool().clone(), patience());
    let observation = open(&store, &alerts, BEGIN).await;
    House {
        store,
        observation,
        alerts,
        now: BEGIN,
        number: 0,
        folder,
    }
}

pub(super) async fn open(store: &Store, alerts: &Alerts, now: u64) -> Observation {
    let settings = Settings::default();
    let observation = Observation::new(store.pool().clone(), alerts.clone(), settings);
    observation.recall(now).await.expect("recalled");
    observation
}

pub(super) fn host(name: &str, side: Side, role: Role) -> Origin {
    Origin {
        application: "mail".to_owned(),
        side,
        host: name.to_owned(),
        role,
    }
}

pub(super) fn mail_a() -> Origin {
    host("mail-a", Side::Primary, Role::Application)
}

pub(super) fn mail_b() -> Origin {
    host("mail-b", Side::Secondary, Role::Application)
}

pub(super) fn metric(name: &str, value: f64, unit: &str) -> Metric {
    Metric {
        name: name.to_owned(),
        value,
        unit: unit.to_owned(),
        state: Health::Good,
        time: 0,
        text: None,
    }
}

pub(super) fn bad(name: &str, why: &str) -> Metric {
    Metric {
        state: Health::Bad,
        text: Some(why.to_owned()),
        ..metric(name, 0.0, "bool")
    }
}

pub(super) fn healthy() -> Vec<Metric> {
    vec![
        metric("host.load", 0.3, "1"),
        metric("store.mail.mounted", 1.0, "bool"),
        metric("store.mail.size", 1e11, "bytes"),
        metric("store.mail.free", 6e10, "bytes"),
        metric("service.dovecot", 1.0, "bool"),
        metric("access.imap", 0.1, "s"),
        metric("replication.running", 1.0, "bool"),
        metric("replication.lag", 1.0, "s"),
    ]
}

pub(super) fn with(change: Metric) -> Vec<Metric> {
    let mut metrics = healthy();
    metrics.retain(|metric| metric.name != change.name);
    metrics.push(change);
    metrics
}

impl House {
    /// A report whose metrics were seen when it was made, by a clock that is an hour off.
    pub(super) async fn report(&mut self, origin: &Origin, mut metrics: Vec<Metric>, serves: bool) {
        let there = self.now + records::HOUR;
        for metric in &mut metrics {
            metric.time = there;
        }
        self.number += 1;
        let report = Report {
            number: self.number,
            time: there,
            boot: "boot".to_owned(),
            serving: Serving {
                epoch: None,
                lease_left_ms: if serves { 9000 } else { 0 },
                wanted: serves,
                cannot_stop: false,
                renews: None,
            },
            metrics,
        };
        let taken = self.observation.take(origin, &report, self.now).await;
        taken.expect("taken");
    }

    pub(super) async fn rounds(&mut self, count: u32, metrics: impl Fn(u32) -> Vec<Metric>) {
        for round in 0..count {
            self.report(&mail_a(), metrics(round), true).await;
            self.report(&mail_b(), vec![metric("host.load", 0.1, "1")], false)
                .await;
            self.pass(EVERY).await;
        }
    }

    pub(super) async fn pass(&mut self, millis: u64) {
        self.now += millis;
        self.observation.sweep(self.now).await.expect("swept");
    }

    pub(super) async fn health(&self) -> ApplicationHealth {
        self.observation.health("mail", self.now).await
    }

    pub(super) async fn causes(&self) -> Vec<(String, Option<String>)> {
        let causes = self.health().await.causes.into_iter();
        causes
            .map(|cause| (cause.subject.to_string(), cause.because_of))
            .collect()
    }

    pub(super) async fn open_alerts(&self) -> Vec<Alert> {
        self.alerts
            .list(Some("mail"), true, 100)
            .await
            .expect("read")
    }
}
