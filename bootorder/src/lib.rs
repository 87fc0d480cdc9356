//! Boot order from evidence: events and configuration to dependencies to a plan.
//!
//! The way of the data: `readers` turn logs into boots with events, `facts` turn configuration
//! into references, both become a site; `estimators` make claims about it; `combine` makes edges
//! of the claims; `plan` breaks cycles and orders. Nothing here runs, mounts or connects anything.

mod classify;
mod combine;
mod estimators;
mod event;
mod facts;
mod folder;
mod gates;
mod identity;
mod operator;
mod options;
mod order;
mod plan;
mod readers;
mod services;
mod site;
mod strangers;
mod targets;
mod zones;

pub use estimators::reference::{
    Cell, Dependency, Initialization, Reference, chains, correlation, dependencies,
    initialization_order, machine_order, reference_method,
};
pub use folder::{MachineFolder, read_directory};
pub use identity::{Identity, Interface, machine_identity};
pub use operator::{OperatorError, OperatorWord, Verdict, validate};
pub use options::{EstimatorName, Options, Recency, Threshold, Unit, Weighting};
pub use order::{Edge, Evidence, Kind, LearnedGate, Order, PlanEntry, ServiceOrder, Source};

use plan::{Link, break_cycles, topological};
use site::Site;

const MAX_CYCLE_WARNINGS: usize = 50;

/// Works out the order of a site.
///
/// Never fails as a whole: what is wrong with one machine becomes a warning, and the machine is
/// ordered by what else is known. The result depends on the machines, not on their sequence.
pub fn order(machines: &[MachineFolder], operator: &[OperatorWord], options: &Options) -> Order {
    let mut warnings = Vec::new();
    let site = Site::read(machines, &mut warnings);
    warnings.extend(strangers::missing_hosts(&site));
    let claims = estimators::claims(&site, options);
    let timing = estimators::hints(&site, options);
    let mut edges = combine::machine_edges(&site, &claims, &timing, options);
    combine::apply_operator(&site, &mut edges, operator, &mut warnings);
    let (edges, given_up) = acyclic(&site, edges, &mut warnings);
    let mut hints = combine::hint_edges(&site, &timing, &edges, options);
    let plan = make_plan(&site, &edges, &hints);
    hints.extend(given_up);
    Order {
        machines: site
            .machines
            .iter()
            .map(|machine| machine.name.clone())
            .collect(),
        plan,
        services: ServiceOrder {
            edges: combine::service_edges(&site, &claims, options),
        },
        edges,
        gates: gates::learned_gates(&site),
        ready_delays_s: gates::ready_delays(&site),
        hints,
        warnings,
    }
}

/// Every start of a well-known service that the logs show: what the reference method reads.
pub fn initializations(machines: &[MachineFolder]) -> Vec<Initialization> {
    estimators::initializations(&Site::read(machines, &mut Vec::new()))
}

fn links(site: &Site, edges: &[Edge]) -> Vec<Link> {
    let class = |edge: &Edge| match (edge.source, edge.kind) {
        (Source::Operator, _) => 2,
        (_, Kind::Hard) => 1,
        (_, Kind::Soft) => 0,
    };
    let link = |edge: &Edge| {
        let (before, after) = (site.index(&edge.before)?, site.index(&edge.after)?);
        Some(Link {
            before,
            after,
            strength: (class(edge), edge.confidence),
        })
    };
    edges.iter().filter_map(link).collect()
}

/// Splits the edges into those that can be kept together and those given up to break cycles.
fn acyclic(site: &Site, edges: Vec<Edge>, warnings: &mut Vec<String>) -> (Vec<Edge>, Vec<Edge>) {
    let keep = break_cycles(site.machines.len(), &links(site, &edges));
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
        warnings.push(format!(
            "{more} more edges were given up to break cycles; they are among the hints"
        ));
    }
    (kept.into_iter().map(|(edge, _)| edge).collect(), given_up)
}

fn make_plan(site: &Site, edges: &[Edge], hints: &[Edge]) -> Vec<PlanEntry> {
    let priority = priorities(site, hints);
    let order = topological(&links(site, edges), &priority);
    order
        .into_iter()
        .map(|index| {
            let machine = site.machines[index].name.clone();
            let mut incoming: Vec<&Edge> =
                edges.iter().filter(|edge| edge.after == machine).collect();
            incoming.sort_by(|a, b| a.before.cmp(&b.before));
            let after = incoming.iter().map(|edge| edge.before.clone()).collect();
            PlanEntry {
                machine,
                after,
                evidence: incoming.into_iter().flat_map(evidence_lines).collect(),
            }
        })
        .collect()
}

fn evidence_lines(edge: &Edge) -> Vec<String> {
    let head = edge.headline();
    edge.evidence
        .iter()
        .map(|fact| format!("{head}: {}", fact.line()))
        .collect()
}

/// What decides among machines that could start at the same time: timing, then role.
fn priorities(site: &Site, hints: &[Edge]) -> Vec<(i64, u32)> {
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
