//! The result: who waits for whom, and why.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::event::printable;
use crate::operator::OperatorWord;
use crate::prediction::Prediction;
use crate::schedule::Need;

/// What happens to the later machine when the earlier one is missing.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
#[schema(as = DependencyKind)]
pub enum Kind {
    /// It retries: waiting helps, but never blocks beyond a timeout.
    Soft,
    /// It fails and does not come back by itself.
    Hard,
}

/// The strongest family of evidence behind an edge, weakest first.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
#[schema(as = EvidenceSource)]
pub enum Source {
    /// Start times alone; never an edge, only a hint.
    Timing,
    /// The table of well-known services.
    Table,
    /// A dependency declared inside a machine (systemd units).
    Declared,
    /// A configuration file names the other machine.
    Configuration,
    /// A failure in the logs names the other machine.
    Logs,
    /// The operator said so.
    Operator,
}

/// One fact, with the place where it can be looked up.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema,
)]
pub struct Evidence {
    /// The machine whose folder holds the file.
    pub machine: String,
    /// The file, relative to the machine folder.
    pub file: String,
    /// The record inside the file: a journal sequence number or a line.
    pub record: String,
    /// Wall clock time of the record (RFC 3339), where it has one.
    pub time: Option<String>,
    /// The record itself or what was concluded from it; printable and bounded.
    pub text: String,
}

/// "`after` depends on `before`".
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = DependencyEdge)]
pub struct Edge {
    /// Must be ready first.
    pub before: String,
    /// Starts then.
    pub after: String,
    /// Hard or soft.
    pub kind: Kind,
    /// How sure, 0 to 1.
    pub confidence: f64,
    /// The strongest family of evidence.
    pub source: Source,
    /// Why.
    pub evidence: Vec<Evidence>,
}

/// One step of the plan; steps are listed in start order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PlanEntry {
    /// The machine to start.
    pub machine: String,
    /// Every machine that must be ready before; always earlier in the list.
    pub after: Vec<String>,
    /// One line for each fact that put it there.
    pub evidence: Vec<String>,
    /// The same for people: one sentence for each machine that it waits for, the surest first.
    #[serde(default)]
    pub reasons: Vec<String>,
}

/// Machines of one role that name each other: they start together, and what one of them needs
/// is there before any of them starts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = StartGroup)]
pub struct Group {
    /// Its machines, by name.
    pub members: Vec<String>,
    /// Human name of the role that they share.
    pub role: String,
    /// The dependencies among them, which order nothing.
    pub edges: Vec<Edge>,
}

/// How long a machine took from boot to ready, as its logs tell.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = BootTimes)]
pub struct Readiness {
    /// Boots with a known delay.
    pub boots: usize,
    /// The middle one, seconds.
    pub median_s: f64,
    /// The quickest.
    pub fastest_s: f64,
    /// The slowest.
    pub slowest_s: f64,
    /// Median distance from the median.
    pub spread_s: f64,
    /// After so many seconds without its gates open something is wrong.
    pub timeout_s: u64,
    /// The delays themselves, shortest first; of many boots the last ones.
    pub seconds: Vec<f64>,
}

/// The same dependencies between services ("dir1: DNS server").
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ServiceOrder {
    /// Edges whose ends are services.
    pub edges: Vec<Edge>,
}

/// A port that was served before the capture and so tells when the machine is ready.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct LearnedGate {
    /// TCP port.
    pub port: u16,
    /// Human name of the service.
    pub service: String,
    /// Why it is believed to listen.
    pub evidence: Vec<Evidence>,
}

/// Everything that was found out about the order of a site.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Order {
    /// All machines, by name.
    pub machines: Vec<String>,
    /// The schedule; acyclic, covers every machine once.
    pub plan: Vec<PlanEntry>,
    /// Dependencies between machines; acyclic.
    pub edges: Vec<Edge>,
    /// Dependencies between services.
    pub services: ServiceOrder,
    /// Learned gates of each machine.
    pub gates: BTreeMap<String, Vec<LearnedGate>>,
    /// Median seconds from boot to ready, where the logs tell.
    pub ready_delays_s: BTreeMap<String, f64>,
    /// Boot-to-ready delays with their spread, where the logs tell.
    #[serde(default)]
    pub ready: BTreeMap<String, Readiness>,
    /// Boots in the logs of each machine.
    #[serde(default)]
    pub boots: BTreeMap<String, usize>,
    /// Machines that start together.
    #[serde(default)]
    pub groups: Vec<Group>,
    /// Edges that gave way because they closed a circle.
    #[serde(default)]
    pub given_up: Vec<Edge>,
    /// The operator's words that were followed.
    #[serde(default)]
    pub operator: Vec<OperatorWord>,
    /// How long a recovery will take on a host that carries all machines at once.
    #[serde(default)]
    pub prediction: Prediction,
    /// What timing alone suggests; never an edge.
    pub hints: Vec<Edge>,
    /// What went wrong or stays uncertain, naming machine and file.
    pub warnings: Vec<String>,
}

impl Evidence {
    pub(crate) fn line(&self) -> String {
        if self.file.is_empty() {
            return self.text.clone();
        }
        let mut place = format!("{}:{}", printable(&self.machine), printable(&self.file));
        if !self.record.is_empty() {
            place = format!("{place} {}", printable(&self.record));
        }
        match &self.time {
            Some(time) => format!("{place} {time} {}", self.text),
            None => format!("{place} {}", self.text),
        }
    }
}

impl From<Kind> for Need {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Soft => Self::Soft,
            Kind::Hard => Self::Hard,
        }
    }
}

impl Kind {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Soft => "soft",
            Self::Hard => "hard",
        }
    }
}

impl Source {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Timing => "timing",
            Self::Table => "table",
            Self::Declared => "declared",
            Self::Configuration => "configuration",
            Self::Logs => "logs",
            Self::Operator => "operator",
        }
    }
}

impl Edge {
    pub(crate) fn headline(&self) -> String {
        format!(
            "after {} ({}, {:.2}, {})",
            printable(&self.before),
            self.kind.word(),
            self.confidence,
            self.source.word()
        )
    }
}

impl Order {
    /// The edges that are not implied by a longer path.
    pub fn reduced_edges(&self) -> Vec<&Edge> {
        let mut next: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for edge in &self.edges {
            next.entry(&edge.before).or_default().insert(&edge.after);
        }
        self.edges
            .iter()
            .filter(|edge| !has_detour(&next, edge))
            .collect()
    }

    /// The group that a machine starts together with.
    pub fn group_of(&self, machine: &str) -> Option<&Group> {
        let mut groups = self.groups.iter();
        groups.find(|group| group.members.iter().any(|member| member == machine))
    }
}

fn has_detour(next: &BTreeMap<&str, BTreeSet<&str>>, edge: &Edge) -> bool {
    let mut seen = BTreeSet::new();
    let mut waiting: Vec<&str> = match next.get(edge.before.as_str()) {
        Some(after) => after.iter().copied().filter(|n| *n != edge.after).collect(),
        None => return false,
    };
    while let Some(node) = waiting.pop() {
        if node == edge.after {
            return true;
        }
        if seen.insert(node)
            && let Some(after) = next.get(node)
        {
            waiting.extend(after.iter().copied());
        }
    }
    false
}
