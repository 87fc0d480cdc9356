//! The parameters of the generator, read from `parameters.toml`.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::Deserialize;

const FILE: &str = include_str!("../parameters.toml");

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parameters {
    pub boots: Vec<usize>,
    pub sets: BTreeMap<String, Set>,
    pub site: SiteShares,
    pub references: References,
    pub traces: Traces,
    pub handling: HandlingShares,
    pub staging: Staging,
    pub clock: Clock,
    pub noise: Noise,
    pub makespan: Makespan,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Set {
    pub first_seed: u64,
    pub sites: u64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SiteShares {
    pub machines_least: usize,
    pub machines_most: usize,
    pub domain: f64,
    pub named_by_function: f64,
    pub named_by_theme: f64,
    pub rhel: f64,
    pub hosts_file: f64,
    pub dynamic: f64,
    pub storage_network: f64,
    pub alias: f64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct References {
    pub address: f64,
    pub short: f64,
    pub alias: f64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Traces {
    pub configured: f64,
    pub logged: f64,
    pub journal: f64,
    pub traditional: f64,
    pub rsyslog: f64,
    pub rotated: f64,
    pub lost: f64,
    pub own_file: f64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HandlingShares {
    pub waits: f64,
    pub restarts: f64,
    pub operator_s: f64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Staging {
    pub operator: f64,
    pub power: f64,
    pub random: f64,
    pub operator_slips: f64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clock {
    pub skewed: f64,
    pub seconds: f64,
    pub stepped: f64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Noise {
    pub lines_per_boot: usize,
    pub stale: f64,
    pub false_evidence: f64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Makespan {
    pub retry_s: f64,
    pub fallen_s: f64,
}

impl Parameters {
    /// The frozen parameters.
    pub fn frozen() -> Result<Self> {
        toml::from_str(FILE).context("failed to read the parameters")
    }
}
