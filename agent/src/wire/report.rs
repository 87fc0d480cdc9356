//! What an agent sees, every few seconds.

use lifeboat_failover::lease::Epoch;
use serde::{Deserialize, Serialize};

use super::UnixMillis;

/// Everything seen since the last report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Grows by one with every report of one start of the agent.
    pub number: u64,
    /// When it was made.
    pub time: UnixMillis,
    /// The boot id of the host.
    pub boot: String,
    /// What it says about serving.
    pub serving: Serving,
    /// What the checks gave.
    pub metrics: Vec<Metric>,
}

/// Whether the host may serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Serving {
    /// Its epoch, if it holds one.
    pub epoch: Option<Epoch>,
    /// For how long its lease still lasts; zero without one.
    pub lease_left_ms: u64,
    /// Whether the application's services were last told to run here.
    pub wanted: bool,
    /// Whether a stop that had to be is still not done.
    pub cannot_stop: bool,
    /// The epoch of the other side whose lease it renews when asked, if it knows one and may.
    #[serde(default)]
    pub renews: Option<Epoch>,
}

/// One thing seen once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Metric {
    /// What was looked at: words between dots, as in `store.mail.free`.
    pub name: String,
    /// The value; of something that is only good or bad, 1 or 0.
    pub value: f64,
    /// The unit of the value: `s`, `bytes`, `1` (a ratio), `count`, `bool`.
    pub unit: String,
    /// What it says about health.
    pub state: Health,
    /// When.
    pub time: UnixMillis,
    /// What was seen, where a number does not say it.
    pub text: Option<String>,
}

/// What a metric says about health by itself. Tendencies are for the control centre to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Health {
    /// As it should be.
    Good,
    /// Not as it should be.
    Bad,
    /// It could not be looked at.
    Unknown,
}
