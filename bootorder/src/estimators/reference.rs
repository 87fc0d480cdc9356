//! The reference method, literally: sequential time-based correlations, a threshold, an order.
//!
//! It is the baseline and one estimator among others; alone it orders well and identifies badly.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::options::{Options, Threshold, Unit};
use crate::plan::{Link, break_cycles, topological};

/// One initialisation of a service, as a log shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Initialization {
    /// Human name of the service.
    pub service: String,
    /// The machine that hosts it.
    pub machine: String,
    /// Seconds, comparable across machines.
    pub time_s: f64,
    /// Whether the logs show a failure meanwhile.
    pub failed: bool,
}

/// "`after` depends on `before`".
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Dependency {
    /// Initialises first.
    pub before: String,
    /// Depends on it.
    pub after: String,
    /// The correlation behind it, 0 to 1.
    pub correlation: f64,
}

/// One cell: positive when `column` comes before `row`, negative when `row` comes first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// Name of the row.
    pub row: String,
    /// Name of the column.
    pub column: String,
    /// Signed correlation.
    pub value: f64,
    /// How many instances stand behind it.
    pub samples: usize,
}

/// What the method finds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Reference {
    /// The matrix, lower triangle.
    pub matrix: Vec<Cell>,
    /// Pairs above the threshold.
    pub dependencies: Vec<Dependency>,
    /// Services (or machines) in initialisation order.
    pub services: Vec<String>,
    /// Machines in boot order.
    pub machines: Vec<String>,
}

/// Runs the whole method over monitored initialisations.
pub fn reference_method(initializations: &[Initialization], options: &Options) -> Reference {
    let mut hosts: BTreeMap<String, String> = BTreeMap::new();
    let mut times: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
    let last = initializations
        .iter()
        .map(|i| i.time_s)
        .fold(f64::MIN, f64::max);
    for one in initializations {
        let name = match options.unit {
            Unit::Service => &one.service,
            Unit::Machine => &one.machine,
        };
        hosts.insert(name.clone(), one.machine.clone());
        times
            .entry(name.clone())
            .or_default()
            .push((one.time_s, weight(one, options, last)));
    }
    let matrix = matrix(&times, options);
    let dependencies = dependencies(&matrix, &options.threshold);
    let names: Vec<String> = times.into_keys().collect();
    let services = initialization_order(&names, &dependencies);
    let machines = machine_order(&hosts, &dependencies);
    Reference {
        matrix,
        dependencies,
        services,
        machines,
    }
}

fn weight(one: &Initialization, options: &Options, last_s: f64) -> f64 {
    let recency = options
        .recency
        .as_ref()
        .map_or(1.0, |r| r.weight(one.time_s, last_s));
    if one.failed {
        recency * options.failed_weight
    } else {
        recency
    }
}

fn matrix(times: &BTreeMap<String, Vec<(f64, f64)>>, options: &Options) -> Vec<Cell> {
    let named: Vec<(&String, &Vec<(f64, f64)>)> = times.iter().collect();
    let mut cells = Vec::new();
    for (at, (row, row_times)) in named.iter().enumerate() {
        for (column, column_times) in &named[..at] {
            let (after, samples) = correlation(row_times, column_times, options);
            let (before, other_samples) = correlation(column_times, row_times, options);
            let row_is_later = after >= before;
            cells.push(Cell {
                row: (*row).clone(),
                column: (*column).clone(),
                value: if row_is_later { after } else { -before },
                samples: if row_is_later { samples } else { other_samples },
            });
        }
    }
    cells
}

/// "A after B": the mean weight of the gaps between each A and the last B before it.
///
/// Times come with the weight of their initialisation; an A without a B before it is no instance.
pub fn correlation(a: &[(f64, f64)], b: &[(f64, f64)], options: &Options) -> (f64, usize) {
    let mut b: Vec<f64> = b.iter().map(|(time, _)| *time).collect();
    b.sort_by(f64::total_cmp);
    let (mut sum, mut weights, mut samples) = (0.0, 0.0, 0);
    for (time, weight) in a {
        let earlier = b.partition_point(|other| other <= time);
        let Some(last) = earlier.checked_sub(1).and_then(|at| b.get(at)) else {
            continue;
        };
        sum += weight * options.weighting.weight(time - last);
        weights += weight;
        samples += 1;
    }
    if weights > 0.0 {
        (sum / weights, samples)
    } else {
        (0.0, samples)
    }
}

/// The pairs whose absolute value exceeds the threshold.
pub fn dependencies(matrix: &[Cell], threshold: &Threshold) -> Vec<Dependency> {
    let strong = matrix
        .iter()
        .filter(|cell| cell.value.abs() > threshold.at(cell.samples));
    strong
        .map(|cell| {
            let (before, after) = if cell.value > 0.0 {
                (&cell.column, &cell.row)
            } else {
                (&cell.row, &cell.column)
            };
            Dependency {
                before: before.clone(),
                after: after.clone(),
                correlation: cell.value.abs(),
            }
        })
        .collect()
}

/// An order of the names that respects the dependencies; the weakest of a cycle gives way.
pub fn initialization_order(names: &[String], dependencies: &[Dependency]) -> Vec<String> {
    let mut sorted: Vec<&String> = names.iter().collect();
    sorted.sort();
    sorted.dedup();
    let index = |name: &String| sorted.binary_search(&name).ok();
    let links: Vec<Link> = dependencies
        .iter()
        .filter_map(|d| {
            let (before, after) = (index(&d.before)?, index(&d.after)?);
            (before != after).then_some(Link {
                before,
                after,
                strength: (0, d.correlation),
            })
        })
        .collect();
    let kept = break_cycles(sorted.len(), &links);
    let links: Vec<Link> = links
        .iter()
        .zip(kept)
        .filter(|(_, keep)| *keep)
        .map(|(l, _)| *l)
        .collect();
    let priority: Vec<usize> = (0..sorted.len()).collect();
    topological(&links, &priority)
        .into_iter()
        .map(|at| sorted[at].clone())
        .collect()
}

/// The boot order of machines that follows from the dependencies of their services.
pub fn machine_order(hosts: &BTreeMap<String, String>, dependencies: &[Dependency]) -> Vec<String> {
    let machines: Vec<String> = hosts.values().cloned().collect();
    let between: Vec<Dependency> = dependencies
        .iter()
        .filter_map(|d| {
            let (before, after) = (hosts.get(&d.before)?, hosts.get(&d.after)?);
            let differ = before != after;
            differ.then(|| Dependency {
                before: before.clone(),
                after: after.clone(),
                correlation: d.correlation,
            })
        })
        .collect();
    initialization_order(&machines, &between)
}

/// Names that depend on each other directly or not, each group in initialisation order.
pub fn chains(names: &[String], dependencies: &[Dependency]) -> Vec<Vec<String>> {
    let mut chains: Vec<Vec<String>> = Vec::new();
    for name in initialization_order(names, dependencies) {
        let touches = |chain: &Vec<String>| {
            dependencies
                .iter()
                .any(|d| d.after == name && chain.contains(&d.before))
        };
        let (mut joined, rest): (Vec<_>, Vec<_>) = chains.into_iter().partition(touches);
        chains = rest;
        let mut chain: Vec<String> = joined.drain(..).flatten().collect();
        chain.push(name);
        chains.push(chain);
    }
    chains.sort();
    chains
}
