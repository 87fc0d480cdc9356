//! The order of a site as a picture: machines in columns, edges with what they rest on.

use std::collections::{BTreeMap, BTreeSet};

use lifeboat_bootorder::{Edge, Evidence, Kind, OperatorWord, Order, Source, Verdict};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The picture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct OrderGraph {
    /// When the order was worked out, Unix time in milliseconds.
    pub worked_out_ms: u64,
    /// What it was worked out for has changed since: work it out again.
    pub stale: bool,
    /// The machines, in the order of the plan.
    pub machines: Vec<GraphMachine>,
    /// What is known of pairs of them.
    pub edges: Vec<GraphEdge>,
    /// The operator's words that are followed.
    pub words: Vec<OperatorWord>,
    /// What went wrong or stays uncertain.
    pub warnings: Vec<String>,
}

/// A machine of the picture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GraphMachine {
    /// Its name.
    pub name: String,
    /// Its column: one more than that of the last machine that it waits for.
    pub wave: usize,
    /// Machines that must be ready before.
    pub after: Vec<String>,
    /// Why it stands where it does, for people.
    pub reasons: Vec<String>,
    /// Seconds that it will probably take from start to ready.
    pub expected_s: f64,
    /// Number of the group that it starts together with.
    pub group: Option<usize>,
    /// The end of the recovery will probably wait for it.
    pub critical: bool,
    /// Ports that were served before.
    pub gates: Vec<GraphGate>,
}

/// A port that was served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GraphGate {
    /// TCP port.
    pub port: u16,
    /// Human name of the service.
    pub service: String,
}

/// What became of an edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EdgeStatus {
    /// The plan follows it.
    Followed,
    /// It closed a circle and gave way.
    GivenUp,
    /// Only start times suggest it; it orders nothing.
    Hint,
    /// The operator rejected it.
    Rejected,
}

/// A dependency of the picture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GraphEdge {
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
    /// What became of it.
    pub status: EdgeStatus,
    /// A longer path says the same.
    pub implied: bool,
    /// Both ends follow each other on the critical path.
    pub critical: bool,
    /// The operator's word on it, if there is one.
    pub word: Option<Verdict>,
    /// Why.
    pub evidence: Vec<Evidence>,
}

/// Draws it.
pub fn order_graph(order: &Order, worked_out_ms: u64, stale: bool) -> OrderGraph {
    let waves = waves(order);
    let machine = |entry: &lifeboat_bootorder::PlanEntry| GraphMachine {
        name: entry.machine.clone(),
        wave: waves.get(entry.machine.as_str()).copied().unwrap_or(0),
        after: entry.after.clone(),
        reasons: entry.reasons.clone(),
        expected_s: order.expected_s(&entry.machine),
        group: order
            .groups
            .iter()
            .position(|group| group.members.contains(&entry.machine)),
        critical: order.prediction.critical_path.contains(&entry.machine),
        gates: gates(order, &entry.machine),
    };
    OrderGraph {
        worked_out_ms,
        stale,
        machines: order.plan.iter().map(machine).collect(),
        edges: edges(order),
        words: order.operator.clone(),
        warnings: order.warnings.clone(),
    }
}

/// The plan lists machines behind those they wait for.
fn waves(order: &Order) -> BTreeMap<&str, usize> {
    let mut waves: BTreeMap<&str, usize> = BTreeMap::new();
    for entry in &order.plan {
        let before = entry
            .after
            .iter()
            .filter_map(|other| waves.get(other.as_str()));
        let wave = before.max().map_or(0, |last| last + 1);
        waves.insert(&entry.machine, wave);
    }
    waves
}

fn gates(order: &Order, machine: &str) -> Vec<GraphGate> {
    let learned = order.gates.get(machine).into_iter().flatten();
    learned
        .map(|gate| GraphGate {
            port: gate.port,
            service: gate.service.clone(),
        })
        .collect()
}

fn edges(order: &Order) -> Vec<GraphEdge> {
    let needed: BTreeSet<_> = order.reduced_edges().into_iter().map(ends).collect();
    let drawn = |status| {
        let needed = &needed;
        move |edge: &Edge| GraphEdge {
            before: edge.before.clone(),
            after: edge.after.clone(),
            kind: edge.kind,
            confidence: edge.confidence,
            source: edge.source,
            status,
            implied: status == EdgeStatus::Followed && !needed.contains(&ends(edge)),
            critical: is_critical(order, edge),
            word: word(order, edge),
            evidence: edge.evidence.clone(),
        }
    };
    let followed = order.edges.iter().map(drawn(EdgeStatus::Followed));
    let given_up = order.given_up.iter().map(drawn(EdgeStatus::GivenUp));
    let hints = order.hints.iter().map(drawn(EdgeStatus::Hint));
    let rejected = order.operator.iter().filter_map(rejected);
    followed
        .chain(given_up)
        .chain(hints)
        .chain(rejected)
        .collect()
}

fn ends(edge: &Edge) -> (&str, &str) {
    (&edge.before, &edge.after)
}

fn is_critical(order: &Order, edge: &Edge) -> bool {
    let path = &order.prediction.critical_path;
    let mut pairs = path.windows(2);
    pairs.any(|pair| (pair[0].as_str(), pair[1].as_str()) == ends(edge))
}

fn word(order: &Order, edge: &Edge) -> Option<Verdict> {
    let mut words = order.operator.iter();
    let said = words.find(|word| (word.before.as_str(), word.after.as_str()) == ends(edge));
    said.map(|word| word.verdict)
}

/// The order holds no such edge any more, so that its evidence is not known here.
fn rejected(word: &OperatorWord) -> Option<GraphEdge> {
    (word.verdict == Verdict::Reject).then(|| GraphEdge {
        before: word.before.clone(),
        after: word.after.clone(),
        kind: Kind::Soft,
        confidence: 0.0,
        source: Source::Operator,
        status: EdgeStatus::Rejected,
        implied: false,
        critical: false,
        word: Some(Verdict::Reject),
        evidence: Vec::new(),
    })
}
