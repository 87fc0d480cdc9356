//! Watching: every check in a task of its own with a time of its own; none waits for another.

mod host;
mod icmp;
#[cfg(feature = "snmp")]
mod snmp;
#[cfg(feature = "sql")]
mod sql;
mod stores;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::actions::is_running;
use super::clock;
use super::command::{Given, run};
use super::config::Loaded;
use super::event::Event;
use super::log::Chain;
use crate::probe::log_in;
use crate::profile::{Check, Filled, Probe, When};
use crate::wire::{Health, Metric, UnixMillis};

/// Metrics that wait for the next report.
const WAITING: usize = 2000;

/// What is looked at, and what was seen since the last report.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    metrics: Vec<Metric>,
    /// Checks of which the last round did not end yet: they are not begun again.
    busy: Arc<Mutex<BTreeSet<String>>>,
    offset: Option<f64>,
}

/// What one look gave.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Seen {
    value: f64,
    unit: String,
    text: Option<String>,
}

impl Seen {
    fn new(value: f64, unit: &str) -> Self {
        Self {
            value,
            unit: unit.to_owned(),
            text: None,
        }
    }
}

fn metric(
    name: impl Into<String>,
    seen: Result<Seen, String>,
    good: impl Fn(f64) -> bool,
) -> Metric {
    let (value, unit, state, text) = match seen {
        Ok(seen) if good(seen.value) => (seen.value, seen.unit, Health::Good, seen.text),
        Ok(seen) => (seen.value, seen.unit, Health::Bad, seen.text),
        Err(why) => (0.0, "bool".to_owned(), Health::Bad, Some(why)),
    };
    Metric {
        name: name.into(),
        // Not every number is one in JSON.
        value: if value.is_finite() { value } else { 0.0 },
        unit,
        state,
        time: clock::unix(),
        text,
    }
}

fn unknown(name: impl Into<String>, why: String) -> Metric {
    Metric {
        state: Health::Unknown,
        ..metric(name, Err(why), |_| false)
    }
}

impl Watch {
    /// The control centre said what time it is.
    pub(crate) fn heard_time(&mut self, centre: UnixMillis) {
        if centre > 0 {
            let (here, there) = (clock::unix(), centre);
            let difference = here.abs_diff(there);
            let seconds = Duration::from_millis(difference).as_secs_f64();
            self.offset = Some(if here >= there { seconds } else { -seconds });
        }
    }

    /// Everything seen since it was taken last.
    pub(crate) fn take(&mut self) -> Vec<Metric> {
        std::mem::take(&mut self.metrics)
    }

    /// Keeps what was seen; the oldest goes when nobody takes it.
    pub(crate) fn keep(&mut self, metrics: Vec<Metric>) {
        self.metrics.extend(metrics);
        let over = self.metrics.len().saturating_sub(WAITING);
        self.metrics.drain(..over);
    }

    /// Begins a round: every check that is not busy.
    pub(crate) fn look(
        &mut self,
        loaded: Option<&Arc<Loaded>>,
        values: &Filled,
        serves: bool,
        every: Duration,
        events: &mpsc::Sender<Event>,
    ) {
        if let Some(offset) = self.offset {
            let seen = Ok(Seen::new(offset, "s"));
            self.keep(vec![metric("host.clock-offset", seen, |offset| {
                offset.abs() < 5.0
            })]);
        }
        self.begin("host", every, events, async { host::look() });
        let Some(loaded) = loaded else { return };
        let (one, all) = (loaded.clone(), values.clone());
        self.begin(
            "services",
            every.max(Duration::from_secs(10)),
            events,
            async move { services(&one, &all, serves).await },
        );
        let (one, all) = (loaded.clone(), values.clone());
        self.begin("stores", every, events, async move {
            stores::look(one, all, serves).await
        });
        let (one, all) = (loaded.clone(), values.clone());
        self.begin("replication", Duration::from_secs(30), events, async move {
            replication(&one, &all).await
        });
        for check in loaded
            .profile
            .check
            .iter()
            .filter(|one| one.when == When::Always || serves)
        {
            let limit = Duration::from_secs(check.limit_s.into());
            let (one, all) = (check.clone(), values.clone());
            self.begin(&check.name, limit * 2, events, async move {
                vec![look_at(&one, &all, limit).await]
            });
        }
    }

    /// Starts a look beside everything else. One that never ends is given up after `limit`.
    fn begin(
        &self,
        name: &str,
        limit: Duration,
        events: &mpsc::Sender<Event>,
        look: impl Future<Output = Vec<Metric>> + Send + 'static,
    ) {
        let (name, busy, events) = (name.to_owned(), self.busy.clone(), events.clone());
        if !busy.lock().is_ok_and(|mut busy| busy.insert(name.clone())) {
            return;
        }
        tokio::spawn(async move {
            let seen = tokio::time::timeout(limit, look).await;
            let late = |_| {
                vec![unknown(
                    &name,
                    format!("no answer within {} s", limit.as_secs()),
                )]
            };
            let seen = seen.unwrap_or_else(late);
            if let Ok(mut busy) = busy.lock() {
                busy.remove(&name);
            }
            // The owner is gone only at the very end.
            let _ = events.send(Event::Seen(seen)).await;
        });
    }
}

/// Services that should run and do not are bad; so are those that run without a lease.
async fn services(loaded: &Loaded, values: &Filled, serves: bool) -> Vec<Metric> {
    let mut metrics = Vec::new();
    for service in &loaded.profile.service {
        let name = format!("service.{}", service.name);
        metrics.push(match is_running(service, values).await {
            Ok(runs) => {
                let seen = Seen::new(f64::from(u8::from(runs)), "bool");
                metric(name, Ok(seen), |_| runs == serves)
            }
            Err(why) => unknown(name, why),
        });
    }
    metrics
}

async fn replication(loaded: &Loaded, values: &Filled) -> Vec<Metric> {
    let Some(replication) = &loaded.profile.replication else {
        return Vec::new();
    };
    let mut metrics = Vec::new();
    let parts = [
        ("replication.queue", &replication.queue, "count"),
        ("replication.lag", &replication.lag, "s"),
    ];
    for (name, argv, unit) in parts {
        let Some(argv) = argv else { continue };
        metrics.push(metric(name, number(argv, unit, values).await, |_| true));
    }
    if let Some(argv) = &replication.state {
        let said = said(argv, values, Duration::from_secs(20)).await;
        let state = said.map(|text| Seen {
            value: f64::from(u8::from(text.trim() == "running")),
            unit: "bool".to_owned(),
            text: Some(text.trim().chars().take(200).collect()),
        });
        metrics.push(metric("replication.running", state, |_| true));
    }
    if let Some(argv) = &replication.position
        && let Ok(text) = said(argv, values, Duration::from_secs(20)).await
        && !text.trim().is_empty()
    {
        let seen = Seen {
            value: 1.0,
            unit: "bool".to_owned(),
            text: Some(text.trim().chars().take(200).collect()),
        };
        metrics.push(metric("replication.position", Ok(seen), |_| true));
    }
    metrics
}

/// What a command prints, when it succeeds.
async fn said(argv: &[String], values: &Filled, limit: Duration) -> Result<String, String> {
    let argv = values.all(argv).map_err(|error| error.to_string())?;
    let output = run(&argv, Given::looks(limit))
        .await
        .map_err(|error| Chain(&error).to_string())?;
    match output.code {
        Some(0) => Ok(output.printed),
        _ => Err(output.line()),
    }
}

async fn number(argv: &[String], unit: &str, values: &Filled) -> Result<Seen, String> {
    let text = said(argv, values, Duration::from_secs(20)).await?;
    let value = text.trim().parse::<f64>();
    value.map(|value| Seen::new(value, unit)).map_err(|_| {
        format!(
            "`{}` is not a number",
            text.trim().chars().take(80).collect::<String>()
        )
    })
}

/// One check. Its value is judged by the range that the profile calls good.
async fn look_at(check: &Check, values: &Filled, limit: Duration) -> Metric {
    let seen = match tokio::time::timeout(limit, probe(&check.probe, values)).await {
        Ok(seen) => seen,
        Err(_) => Err(format!("no answer within {} s", limit.as_secs())),
    };
    let good = |value| {
        check.good_from.is_none_or(|least| value >= least)
            && check.good_to.is_none_or(|most| value <= most)
    };
    metric(&check.name, seen, good)
}

async fn probe(probe: &Probe, values: &Filled) -> Result<Seen, String> {
    let begin = Instant::now();
    match probe {
        Probe::Smtp(_) | Probe::Imap(_) | Probe::Pop3(_) | Probe::Http(_) | Probe::Tcp(_) => {
            log_in(probe, values).await?;
        }
        Probe::Ping(host) => {
            icmp::ping(&values.text(host).map_err(|error| error.to_string())?).await?
        }
        #[cfg(feature = "sql")]
        Probe::Sql(question) => return sql::ask(question, values, begin).await,
        #[cfg(feature = "snmp")]
        Probe::Snmp(question) => return snmp::ask(question, values).await,
        #[cfg(not(feature = "sql"))]
        Probe::Sql(_) => return Err("this agent was built without SQL".to_owned()),
        #[cfg(not(feature = "snmp"))]
        Probe::Snmp(_) => return Err("this agent was built without SNMP".to_owned()),
        Probe::Command { argv, unit } => return number(argv, unit, values).await,
    }
    Ok(Seen::new(begin.elapsed().as_secs_f64(), "s"))
}
