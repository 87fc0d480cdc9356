//! How long a recovery will take: the schedule played through with the boots seen.
//!
//! Each draw takes, for each machine, one of its own boots; the middle of the draws is the
//! prediction and nine in ten of them lie in the interval. Few boots tell little about the next
//! one, so that each drawn delay is blurred, the less the more boots there are.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::order::{Order, Readiness};
use crate::schedule::{Budget, Need, Node, Standing, sequence};
use crate::simulate::{longest_path_s, simulate};

const DRAWS: usize = 400;
/// Work of the limited simulation, in machines squared, over all draws.
const MOST_WORK: usize = 40_000_000;
/// Spread (of the logarithm) of a machine's boots where no machine has two to compare.
const USUAL_SPREAD: f64 = 0.3;
/// Where nothing is known, only the relation to others matters.
const ANY_DELAY_S: f64 = 30.0;

/// What the host gives a recovery.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostBudget {
    /// Memory for all guests, MiB; `None` is enough for all.
    pub memory_mib: Option<u64>,
    /// Machines that may boot at the same time; `None` is all.
    pub parallel: Option<usize>,
    /// Memory of each machine, MiB; one without an entry takes none.
    pub machine_mib: BTreeMap<String, u64>,
}

impl HostBudget {
    fn budget(&self) -> Budget {
        Budget {
            memory_mib: self.memory_mib.unwrap_or(u64::MAX),
            booting: self.parallel.unwrap_or(usize::MAX),
        }
    }
}

/// The expected time from the start of a session to the last ready machine.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Prediction {
    /// The middle of all draws, seconds; `None` is unknown.
    pub rta_s: Option<f64>,
    /// One draw in twenty is quicker.
    pub low_s: Option<f64>,
    /// One draw in twenty is slower.
    pub high_s: Option<f64>,
    /// The machines that the end waits for, first to last.
    pub critical_path: Vec<String>,
    /// How many boots with a measured delay stand behind it.
    pub boots_used: usize,
    /// Machines whose delay nobody saw; they count like the middle of the others.
    pub assumed: Vec<String>,
    /// Machines that the host has no room for.
    pub never_started: Vec<String>,
}

impl Order {
    /// What a machine waits for: its own dependencies and, softly, those of its group.
    pub fn needs(&self, machine: &str) -> BTreeMap<String, Need> {
        let group = self
            .groups
            .iter()
            .find(|g| g.members.iter().any(|m| m == machine));
        let members = group.map_or(&[][..], |group| &group.members);
        let mut needs = BTreeMap::new();
        for edge in &self.edges {
            let own = edge.after == machine;
            if own || members.contains(&edge.after) {
                let need = if own { edge.kind.into() } else { Need::Soft };
                let entry = needs.entry(edge.before.clone()).or_insert(need);
                *entry = need.max(*entry);
            }
        }
        needs
    }

    /// The machines as the schedule sees them, in the sequence of `machines`, all waiting.
    pub fn nodes(&self, host: &HostBudget) -> Vec<Node> {
        let index: BTreeMap<&str, usize> = self
            .machines
            .iter()
            .enumerate()
            .map(|(at, name)| (name.as_str(), at))
            .collect();
        let group_of = |name: &String| self.groups.iter().position(|g| g.members.contains(name));
        let usual = self.usual_delay_s();
        let mut nodes: Vec<Node> = self
            .machines
            .iter()
            .map(|name| Node {
                name: name.clone(),
                memory_mib: host.machine_mib.get(name).copied().unwrap_or(0),
                expected_s: self.ready.get(name).map_or(usual, |ready| ready.median_s),
                needs: BTreeMap::new(),
                group: group_of(name),
                standing: Standing::Waiting,
            })
            .collect();
        self.add_needs(&mut nodes, &index);
        nodes
    }

    /// One pass over the edges: asking [`Order::needs`] for each machine would be quadratic.
    fn add_needs(&self, nodes: &mut [Node], index: &BTreeMap<&str, usize>) {
        let members: Vec<Vec<usize>> = self
            .groups
            .iter()
            .map(|g| {
                g.members
                    .iter()
                    .filter_map(|m| index.get(m.as_str()).copied())
                    .collect()
            })
            .collect();
        for edge in &self.edges {
            let ends = (
                index.get(edge.before.as_str()),
                index.get(edge.after.as_str()),
            );
            let (Some(before), Some(after)) = ends else {
                continue;
            };
            let of_group = nodes[*after].group.and_then(|g| members.get(g)).cloned();
            for member in of_group.unwrap_or_default() {
                nodes[member].needs.entry(*before).or_insert(Need::Soft);
            }
            let need = edge.kind.into();
            let entry = nodes[*after].needs.entry(*before).or_insert(need);
            *entry = need.max(*entry);
        }
    }

    /// Seconds that a machine will probably take: its own median, else that of the others.
    pub fn expected_s(&self, machine: &str) -> f64 {
        let own = self.ready.get(machine).map(|ready| ready.median_s);
        own.unwrap_or_else(|| self.usual_delay_s())
    }

    fn usual_delay_s(&self) -> f64 {
        let medians = self.ready.values().map(|ready| ready.median_s).collect();
        middle(medians).unwrap_or(ANY_DELAY_S)
    }

    /// Predicts a recovery on a host; unknown when no delay was ever seen.
    pub fn predict(&self, host: &HostBudget) -> Prediction {
        let nodes = self.nodes(host);
        let delays: Vec<f64> = nodes.iter().map(|node| node.expected_s).collect();
        let run = simulate(&nodes, host.budget(), &delays);
        let name = |at: &usize| self.machines[*at].clone();
        let waiting = (0..nodes.len()).filter(|at| run.standing[*at] == Standing::Waiting);
        let never_started: Vec<String> = waiting.map(|at| name(&at)).collect();
        let known = |machine: &&String| self.ready.contains_key(*machine);
        let mut prediction = Prediction {
            critical_path: run.chain.iter().map(name).collect(),
            boots_used: self
                .machines
                .iter()
                .filter_map(|m| self.ready.get(m))
                .map(|r| r.boots)
                .sum(),
            assumed: self
                .machines
                .iter()
                .filter(|m| !known(m))
                .cloned()
                .collect(),
            never_started,
            ..Prediction::default()
        };
        if prediction.boots_used == 0 {
            prediction.critical_path.clear();
        } else if prediction.never_started.is_empty() {
            let draws = self.draws(&nodes, host.budget(), &delays);
            prediction.rta_s = quantile(&draws, 0.5);
            prediction.low_s = quantile(&draws, 0.05);
            prediction.high_s = quantile(&draws, 0.95);
        }
        prediction
    }

    fn draws(&self, nodes: &[Node], budget: Budget, usual: &[f64]) -> Vec<f64> {
        let seen: Vec<Option<&Readiness>> =
            self.machines.iter().map(|m| self.ready.get(m)).collect();
        let spread = spread(&seen);
        let order = sequence(nodes);
        let limited = budget != Budget::UNLIMITED;
        let count = match limited {
            true => (MOST_WORK / (nodes.len() * nodes.len()).max(1)).clamp(20, DRAWS),
            false => DRAWS,
        };
        let mut chance = Chance(0x9e37_79b9_7f4a_7c15);
        let mut ends: Vec<f64> = (0..count)
            .map(|_| {
                let delays: Vec<f64> = seen
                    .iter()
                    .zip(usual)
                    .map(|(seen, usual)| chance.delay(*seen, *usual, spread))
                    .collect();
                match limited {
                    true => simulate(nodes, budget, &delays).end_s(),
                    false => longest_path_s(nodes, &order, &delays),
                }
            })
            .collect();
        ends.sort_by(f64::total_cmp);
        ends
    }
}

/// Typical distance, as a logarithm, of a boot from the middle of its machine.
fn spread(seen: &[Option<&Readiness>]) -> f64 {
    let several = seen
        .iter()
        .flatten()
        .filter(|ready| ready.seconds.len() > 1);
    let squares: Vec<f64> = several
        .flat_map(|ready| {
            let distance = |s: &f64| (s.max(1.0) / ready.median_s.max(1.0)).ln().powi(2);
            ready.seconds.iter().map(distance).collect::<Vec<_>>()
        })
        .collect();
    if squares.is_empty() {
        return USUAL_SPREAD;
    }
    (squares.iter().sum::<f64>() / squares.len() as f64)
        .sqrt()
        .clamp(0.05, 1.0)
}

fn middle(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    quantile(&values, 0.5)
}

/// Of sorted values, to a tenth of a second.
fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let at = (share * sorted.len().saturating_sub(1) as f64).round() as usize;
    sorted.get(at).map(|value| (value * 10.0).round() / 10.0)
}

/// The same draws in every run: a prediction is a function of the logs.
struct Chance(u64);

impl Chance {
    /// Uniform in 0 to 1.
    fn share(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Normal, by twelve uniforms.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.share()).sum::<f64>() - 6.0
    }

    fn delay(&mut self, seen: Option<&Readiness>, usual: f64, spread: f64) -> f64 {
        let seconds = seen.map_or(&[][..], |ready| &ready.seconds);
        let at = (self.share() * seconds.len() as f64) as usize;
        let drawn = seconds.get(at).copied().unwrap_or(usual);
        let blur = spread / (seconds.len().max(1) as f64).sqrt();
        drawn * (self.normal() * blur).exp()
    }
}
