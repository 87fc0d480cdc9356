//! The method of the product, its parts alone, and what it must beat.

use std::collections::{BTreeMap, BTreeSet};

use lifeboat_bootorder::{
    Edge, EstimatorName, Initialization, MachineFolder, Options, initializations, order,
    reference_method,
};

use crate::truth::{Pair, Truth};

/// A way of finding an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    Full,
    Without(EstimatorName),
    Only(EstimatorName),
    Literal,
    LiteralMachines,
    Majority,
    Median,
    Alphabetical,
    AllAtOnce,
    Oracle,
}

impl Method {
    /// All of them, as the table lists them.
    pub fn all() -> Vec<Self> {
        let mut all = vec![Self::Full];
        all.extend(EstimatorName::ALL.map(Self::Without));
        all.extend(
            [
                EstimatorName::RoleTable,
                EstimatorName::Configuration,
                EstimatorName::Failures,
            ]
            .map(Self::Only),
        );
        all.extend(Self::quick().into_iter().skip(1));
        all
    }

    /// The product and the baselines that cost little.
    pub fn quick() -> Vec<Self> {
        vec![
            Self::Full,
            Self::Literal,
            Self::LiteralMachines,
            Self::Majority,
            Self::Median,
            Self::Alphabetical,
            Self::AllAtOnce,
            Self::Oracle,
        ]
    }

    pub fn name(self) -> String {
        match self {
            Self::Full => "**full method**".into(),
            Self::Without(part) => format!("without {}", part.word()),
            Self::Only(part) => format!("{} only", part.word()),
            Self::Literal => "reference, literal".into(),
            Self::LiteralMachines => "reference, physical boots".into(),
            Self::Majority => "majority (70 %)".into(),
            Self::Median => "median start order".into(),
            Self::Alphabetical => "alphabetical".into(),
            Self::AllAtOnce => "all at once".into(),
            Self::Oracle => "truth".into(),
        }
    }
}

/// What a method says of a site.
#[derive(Debug, Default)]
pub struct Answer {
    pub edges: Vec<(Pair, f64)>,
    pub services: Option<Vec<Edge>>,
    /// For whom each machine waits.
    pub after: BTreeMap<String, Vec<String>>,
    /// The full edges, where there are any.
    pub explained: Vec<Edge>,
}

/// What is known of a site besides its files, for the baselines.
pub struct Case<'a> {
    pub folders: &'a [MachineFolder],
    pub truth: &'a Truth,
    /// Start of each machine in each boot by its own clock.
    pub starts: &'a BTreeMap<String, Vec<f64>>,
}

/// Asks a method.
pub fn ask(method: Method, case: &Case) -> Answer {
    match method {
        Method::Full => product(case, BTreeSet::new()),
        Method::Without(part) => product(case, BTreeSet::from([part])),
        Method::Only(part) => product(
            case,
            EstimatorName::ALL
                .into_iter()
                .filter(|other| *other != part)
                .collect(),
        ),
        Method::Literal => literal(case, initializations(case.folders)),
        Method::LiteralMachines => literal(case, boots(case)),
        Method::Majority => majority(case),
        Method::Median => chain(by_median(case)),
        Method::Alphabetical => chain(names(case)),
        Method::AllAtOnce => in_order(&names(case), Vec::new()),
        Method::Oracle => oracle(case),
    }
}

fn names(case: &Case) -> Vec<String> {
    let mut names: Vec<String> = case
        .folders
        .iter()
        .map(|folder| folder.name.clone())
        .collect();
    names.sort();
    names
}

fn product(case: &Case, without: BTreeSet<EstimatorName>) -> Answer {
    let options = Options {
        without,
        ..Options::default()
    };
    let found = order(case.folders, &[], &options);
    let edges = found
        .edges
        .iter()
        .map(|e| ((e.before.clone(), e.after.clone()), e.confidence));
    Answer {
        edges: edges.collect(),
        services: Some(found.services.edges),
        after: found
            .plan
            .into_iter()
            .map(|entry| (entry.machine, entry.after))
            .collect(),
        explained: found.edges,
    }
}

/// The physical boots of the machines in place of the starts of services.
fn boots(case: &Case) -> Vec<Initialization> {
    let all = case
        .starts
        .iter()
        .flat_map(|(name, times)| times.iter().map(move |time| (name, time)));
    all.map(|(name, time)| Initialization {
        service: name.clone(),
        machine: name.clone(),
        time_s: *time,
        failed: false,
    })
    .collect()
}

fn literal(case: &Case, starts: Vec<Initialization>) -> Answer {
    let found = reference_method(&starts, &Options::default());
    let machines: BTreeSet<&str> = case
        .folders
        .iter()
        .map(|folder| folder.name.as_str())
        .collect();
    let hosts: BTreeMap<&str, &str> = starts
        .iter()
        .map(|i| (i.service.as_str(), i.machine.as_str()))
        .collect();
    let host = |name: &str| -> Option<String> {
        let head = name.split(':').next().unwrap_or(name);
        let known = machines.get(name).or_else(|| machines.get(head)).copied();
        known
            .or_else(|| hosts.get(name).copied())
            .map(str::to_owned)
    };
    let mut edges: BTreeMap<Pair, f64> = BTreeMap::new();
    for dependency in &found.dependencies {
        if let (Some(before), Some(after)) = (host(&dependency.before), host(&dependency.after))
            && before != after
        {
            let weight = edges.entry((before, after)).or_insert(0.0);
            *weight = weight.max(dependency.correlation);
        }
    }
    in_order(&found.machines, edges.into_iter().collect())
}

/// A plan from edges: only those count that lead forward in the given order.
fn in_order(order: &[String], edges: Vec<(Pair, f64)>) -> Answer {
    let place = |name: &String| {
        order
            .iter()
            .position(|other| other == name)
            .unwrap_or(usize::MAX)
    };
    let mut after: BTreeMap<String, Vec<String>> = order
        .iter()
        .map(|name| (name.clone(), Vec::new()))
        .collect();
    for ((before, later), _) in &edges {
        if place(before) < place(later) {
            after.entry(later.clone()).or_default().push(before.clone());
        }
    }
    Answer {
        edges,
        after,
        ..Answer::default()
    }
}

/// One machine after the other.
fn chain(order: Vec<String>) -> Answer {
    let edges = order.windows(2).filter_map(|pair| match pair {
        [before, after] => Some(((before.clone(), after.clone()), 1.0)),
        _ => None,
    });
    let edges = edges.collect();
    in_order(&order, edges)
}

/// The machine that came first in at least 70 % of the boots is needed.
fn majority(case: &Case) -> Answer {
    let mut edges = Vec::new();
    let mut wins: BTreeMap<&String, usize> = BTreeMap::new();
    for (one, first) in case.starts {
        for (other, second) in case.starts.iter().filter(|(other, _)| *other != one) {
            let pairs: Vec<bool> = first.iter().zip(second).map(|(a, b)| a < b).collect();
            let earlier = pairs.iter().filter(|earlier| **earlier).count();
            if !pairs.is_empty() && earlier as f64 >= 0.7 * pairs.len() as f64 {
                *wins.entry(one).or_default() += 1;
                edges.push((
                    (one.clone(), other.clone()),
                    earlier as f64 / pairs.len() as f64,
                ));
            }
        }
    }
    let mut order = names(case);
    order.sort_by_key(|name| std::cmp::Reverse(wins.get(name).copied().unwrap_or(0)));
    in_order(&order, edges)
}

/// By the median place that a machine had in the boots.
fn by_median(case: &Case) -> Vec<String> {
    let boots = case.starts.values().map(Vec::len).max().unwrap_or(0);
    let mut places: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for boot in 0..boots {
        let mut started: Vec<(&String, f64)> = case
            .starts
            .iter()
            .filter_map(|(name, times)| Some((name, *times.get(boot)?)))
            .collect();
        started.sort_by(|a, b| a.1.total_cmp(&b.1));
        for (place, (name, _)) in started.into_iter().enumerate() {
            places.entry(name.clone()).or_default().push(place);
        }
    }
    let mut order = names(case);
    order.sort_by_key(|name| {
        let mut of = places.get(name).cloned().unwrap_or_default();
        of.sort_unstable();
        of.get(of.len() / 2).copied().unwrap_or(usize::MAX)
    });
    order
}

fn oracle(case: &Case) -> Answer {
    let mut after: BTreeMap<String, Vec<String>> = names(case)
        .into_iter()
        .map(|name| (name, Vec::new()))
        .collect();
    let edges: Vec<(Pair, f64)> = case
        .truth
        .machines
        .keys()
        .map(|pair| (pair.clone(), 1.0))
        .collect();
    for ((before, later), _) in &edges {
        after.entry(later.clone()).or_default().push(before.clone());
    }
    Answer {
        edges,
        after,
        ..Answer::default()
    }
}
