//! A site, read and judged: the order and everything that it was made of.

use std::collections::{BTreeMap, BTreeSet};

use crate::combine::Pairs;
use crate::estimators::{self, Claim};
use crate::event::printable;
use crate::folder::MachineFolder;
use crate::groups::take_groups;
use crate::model::Features;
use crate::operator::OperatorWord;
use crate::options::Options;
use crate::order::{Edge, Group, Kind, Order, PlanEntry, ServiceOrder, Source};
use crate::plan::{Link, break_cycles, topological};
use crate::prediction::HostBudget;
use crate::schedule::{Budget, remaining_paths};
use crate::simulate::simulate;
use crate::site::Site;
use crate::{combine, gates, reasons, services, strangers};

const MAX_CYCLE_WARNINGS: usize = 50;

/// The order of a site together with the facts behind it, so that single decisions can be
/// explained afterwards.
pub struct Analysis {
    pub(crate) site: Site,
    pub(crate) claims: Vec<Claim>,
    pub(crate) timing: Vec<Claim>,
    pub(crate) words: Vec<OperatorWord>,
    pub(crate) options: Options,
    order: Order,
}

impl Analysis {
    /// Reads and judges a site.
    ///
    /// Never fails as a whole: what is wrong with one machine becomes a warning, and the machine
    /// is ordered by what else is known. The result depends on the machines, not on their
    /// sequence.
    pub fn new(machines: &[MachineFolder], operator: &[OperatorWord], options: &Options) -> Self {
        let mut warnings = Vec::new();
        let site = Site::read(machines, &mut warnings);
        warnings.extend(strangers::missing_hosts(&site));
        let claims = estimators::claims(&site, options);
        let timing = estimators::hints(&site, &claims, options);
        let mut words = operator.to_vec();
        words.sort();
        words.dedup();
        let mut edges = combine::machine_edges(&site, &claims, &timing, options);
        combine::apply_operator(&site, &mut edges, &words, &mut warnings);
        let mut analysis = Self {
            site,
            claims,
            timing,
            words,
            options: options.clone(),
            order: Order::default(),
        };
        analysis.decide(edges, warnings);
        analysis
    }

    /// The order.
    pub fn order(&self) -> &Order {
        &self.order
    }

    /// What was found about each pair that more than start times speak for, before anything is
    /// concluded: what the model of confidence is fitted on.
    pub fn features(&self) -> Vec<(String, String, Features)> {
        let pairs = Pairs::new(&self.site, &self.claims, &self.timing, &self.options);
        let name = |index: usize| self.site.machines[index].name.clone();
        let named = |pair: (usize, usize)| (name(pair.0), name(pair.1), pairs.features(pair));
        pairs.claimed().map(named).collect()
    }

    /// The order alone.
    pub fn into_order(self) -> Order {
        self.order
    }

    fn decide(&mut self, mut edges: Vec<Edge>, mut warnings: Vec<String>) {
        let groups = take_groups(&self.site, &self.claims, &mut edges);
        let (edges, given_up) = acyclic(&self.site, &groups, edges, &mut warnings);
        let ready = gates::readiness(&self.site);
        let machines = &self.site.machines;
        self.order = Order {
            machines: machines
                .iter()
                .map(|machine| machine.name.clone())
                .collect(),
            services: ServiceOrder {
                edges: combine::service_edges(&self.site, &self.claims, &self.options),
            },
            hints: combine::hint_edges(&self.site, &self.timing, &edges, &self.options),
            gates: gates::learned_gates(&self.site),
            ready_delays_s: ready
                .iter()
                .map(|(name, r)| (name.clone(), r.median_s))
                .collect(),
            boots: machines
                .iter()
                .map(|m| (m.name.clone(), m.history.boots.len()))
                .collect(),
            operator: self.known_words(),
            plan: Vec::new(),
            ready,
            groups,
            given_up,
            edges,
            warnings,
            prediction: crate::Prediction::default(),
        };
        self.order.plan = self.make_plan();
        self.order.prediction = self.order.predict(&HostBudget::default());
    }

    fn known_words(&self) -> Vec<OperatorWord> {
        let known = |name: &String| self.site.index(name).is_some();
        let words = self
            .words
            .iter()
            .filter(|word| known(&word.before) && known(&word.after));
        words.cloned().collect()
    }

    fn make_plan(&self) -> Vec<PlanEntry> {
        let order = &self.order;
        let mut incoming: BTreeMap<&str, Vec<&Edge>> = BTreeMap::new();
        for edge in &order.edges {
            incoming.entry(edge.after.as_str()).or_default().push(edge);
        }
        let claims = self.claims_by_pair();
        self.start_order()
            .into_iter()
            .map(|index| {
                let name = self.site.machines[index].name.as_str();
                let own = incoming.get(name).cloned().unwrap_or_default();
                self.plan_entry(name, own, &claims)
            })
            .collect()
    }

    fn plan_entry(&self, machine: &str, own: Vec<&Edge>, claims: &ByPair) -> PlanEntry {
        let mut by_strength = own.clone();
        by_strength.sort_by(|a, b| {
            let rank = |edge: &Edge| (edge.source, edge.kind);
            rank(b)
                .cmp(&rank(a))
                .then(b.confidence.total_cmp(&a.confidence))
                .then(a.before.cmp(&b.before))
        });
        let mut reasons: Vec<String> = by_strength
            .iter()
            .map(|edge| {
                format!(
                    "after {}: {}",
                    printable(&edge.before),
                    self.reason(edge, claims)
                )
            })
            .collect();
        let mut after: BTreeSet<String> = own.iter().map(|edge| edge.before.clone()).collect();
        if let Some(group) = self.order.group_of(machine) {
            reasons.extend(self.borrowed(machine, group, &mut after));
        }
        PlanEntry {
            machine: machine.to_owned(),
            after: after.into_iter().collect(),
            evidence: own.into_iter().flat_map(evidence_lines).collect(),
            reasons,
        }
    }

    /// What the partners of a machine need; it waits for that too.
    fn borrowed(&self, machine: &str, group: &Group, after: &mut BTreeSet<String>) -> Vec<String> {
        let partners: Vec<String> = group
            .members
            .iter()
            .filter(|m| *m != machine)
            .map(|m| printable(m))
            .collect();
        let mut reasons = vec![format!(
            "together with {}: each is a {} and names the other, so that none can wait",
            partners.join(", "),
            group.role
        )];
        for edge in &self.order.edges {
            let of_partner = edge.after != machine && group.members.contains(&edge.after);
            if of_partner && after.insert(edge.before.clone()) {
                reasons.push(format!(
                    "after {}: {} needs it, and both start together",
                    printable(&edge.before),
                    printable(&edge.after)
                ));
            }
        }
        reasons
    }

    fn reason(&self, edge: &Edge, claims: &ByPair) -> String {
        let pair = (self.site.index(&edge.before), self.site.index(&edge.after));
        let none = Vec::new();
        let claims = match pair {
            (Some(before), Some(after)) => claims.get(&(before, after)).unwrap_or(&none),
            _ => &none,
        };
        reasons::reason(&self.site, edge, claims)
    }

    fn claims_by_pair(&self) -> ByPair<'_> {
        let mut pairs = ByPair::new();
        for claim in &self.claims {
            let pair = (claim.before.machine, claim.after.machine);
            pairs.entry(pair).or_default().push(claim);
        }
        pairs
    }

    /// By the moment at which each may start, then the longest remaining path, then what timing
    /// suggests, then role.
    fn start_order(&self) -> Vec<usize> {
        let nodes = self.order.nodes(&HostBudget::default());
        let delays: Vec<f64> = nodes.iter().map(|node| node.expected_s).collect();
        let run = simulate(&nodes, Budget::UNLIMITED, &delays);
        let remaining = remaining_paths(&nodes);
        let micros = |seconds: f64| (seconds * 1e6) as i64;
        let tie = tie_breakers(&self.site, &self.order.hints);
        let priority: Vec<_> = (0..nodes.len())
            .map(|at| {
                let start = run.ready_s[at].map_or(i64::MAX, |ready| micros(ready - delays[at]));
                (start, -micros(remaining[at]), nodes[at].group, tie[at])
            })
            .collect();
        let links: Vec<Link> = nodes
            .iter()
            .enumerate()
            .flat_map(|(after, node)| {
                let link = move |before: &usize| Link {
                    before: *before,
                    after,
                    strength: (0, 0.0),
                };
                node.needs.keys().map(link).collect::<Vec<_>>()
            })
            .collect();
        topological(&links, &priority)
    }
}

type ByPair<'a> = BTreeMap<(usize, usize), Vec<&'a Claim>>;

/// Numbered edges; the members of a group count as one.
fn links(site: &Site, groups: &[Group], edges: &[Edge]) -> Vec<Link> {
    let mut stands_for: Vec<usize> = (0..site.machines.len()).collect();
    for group in groups {
        let members: Vec<usize> = group.members.iter().filter_map(|m| site.index(m)).collect();
        for member in &members {
            stands_for[*member] = members[0];
        }
    }
    let class = |edge: &Edge| match (edge.source, edge.kind) {
        (Source::Operator, _) => 2,
        (_, Kind::Hard) => 1,
        (_, Kind::Soft) => 0,
    };
    let link = |edge: &Edge| {
        let (before, after) = (site.index(&edge.before)?, site.index(&edge.after)?);
        Some(Link {
            before: stands_for[before],
            after: stands_for[after],
            strength: (class(edge), edge.confidence),
        })
    };
    edges.iter().filter_map(link).collect()
}

/// Splits the edges into those that can be kept together and those given up to break cycles.
fn acyclic(
    site: &Site,
    groups: &[Group],
    edges: Vec<Edge>,
    warnings: &mut Vec<String>,
) -> (Vec<Edge>, Vec<Edge>) {
    let keep = break_cycles(site.machines.len(), &links(site, groups, &edges));
    let (kept, given_up): (Vec<_>, Vec<_>) =
        edges.into_iter().zip(keep).partition(|(_, keep)| *keep);
    let given_up: Vec<Edge> = given_up.into_iter().map(|(edge, _)| edge).collect();
    for edge in given_up.iter().take(MAX_CYCLE_WARNINGS) {
        warnings.push(format!(
            "{} and {} wait for each other, directly or through others: {} before {} ({}, {:.2}, {}) was given up",
            edge.before, edge.after, edge.before, edge.after, edge.kind.word(), edge.confidence, edge.source.word()
        ));
    }
    if let Some(more) = given_up
        .len()
        .checked_sub(MAX_CYCLE_WARNINGS)
        .filter(|more| *more > 0)
    {
        warnings.push(format!("{more} more edges were given up to break cycles"));
    }
    (kept.into_iter().map(|(edge, _)| edge).collect(), given_up)
}

fn evidence_lines(edge: &Edge) -> Vec<String> {
    let head = edge.headline();
    edge.evidence
        .iter()
        .map(|fact| format!("{head}: {}", fact.line()))
        .collect()
}

/// What decides among machines that could start at the same time: timing, then role.
fn tie_breakers(site: &Site, hints: &[Edge]) -> Vec<(i64, u32)> {
    let mut lead = vec![0_i64; site.machines.len()];
    for hint in hints {
        if let (Some(before), Some(after)) = (site.index(&hint.before), site.index(&hint.after)) {
            lead[before] -= 1;
            lead[after] += 1;
        }
    }
    let rank = |index: usize| {
        let roles = site.machines[index]
            .roles
            .keys()
            .filter_map(|key| services::by_key(key));
        roles
            .filter(|service| service.gate)
            .map(|service| service.rank)
            .min()
            .unwrap_or(u32::MAX)
    };
    lead.into_iter()
        .enumerate()
        .map(|(index, lead)| (lead, rank(index)))
        .collect()
}
