//! Timing: the reference correlation and the majority order. Hints only, never edges.

use std::collections::{BTreeMap, BTreeSet};

use super::reference::{Initialization, correlation, reference_method};
use super::{Claim, Node};
use crate::classify::What;
use crate::model::Feature;
use crate::options::{EstimatorName, Options, Unit};
use crate::order::{Evidence, Kind, Source};
use crate::services;
use crate::site::{Machine, Site};

/// Boots of two machines belong together when they began within this time.
const TOGETHER_S: f64 = 3600.0;
/// Up to so many machines every pair is looked at.
const MAX_ALL_PAIRS: usize = 150;
const MAX_HINTS: usize = 2_000;
/// Pairs grow with the square; beyond this the machines stand for their services.
const MAX_SERVICES: usize = 300;

/// What start times suggest, the strongest first; bounded.
///
/// All pairs of a large site would be too many: there only pairs are looked at that something
/// else speaks for.
pub(super) fn hints(site: &Site, claims: &[Claim], options: &Options) -> Vec<Claim> {
    let pairs = pairs(site, claims);
    let mut hints = majority(site, &pairs, options);
    hints.extend(correlated(site, &pairs, options));
    hints.sort_by(|a, b| {
        b.confidence()
            .total_cmp(&a.confidence())
            .then_with(|| (&a.before, &a.after).cmp(&(&b.before, &b.after)))
    });
    hints.truncate(MAX_HINTS.max(pairs.len()));
    hints
}

/// Pairs to look at, the lower number first.
fn pairs(site: &Site, claims: &[Claim]) -> BTreeSet<(usize, usize)> {
    let count = site.machines.len();
    if count <= MAX_ALL_PAIRS {
        return (0..count)
            .flat_map(|a| (a + 1..count).map(move |b| (a, b)))
            .collect();
    }
    let ends = claims
        .iter()
        .map(|claim| (claim.before.machine, claim.after.machine));
    ends.filter(|(a, b)| a != b)
        .map(|(a, b)| (a.min(b), a.max(b)))
        .collect()
}

/// How often each machine of a pair started first when they started together.
fn majority(site: &Site, pairs: &BTreeSet<(usize, usize)>, options: &Options) -> Vec<Claim> {
    let of_machine = |machine: &Machine| {
        let boots = machine.history.boots.iter();
        boots
            .map(|boot| (boot.start_s(), boot.uncertainty_s()))
            .collect()
    };
    let starts: Vec<Vec<(f64, f64)>> = site.machines.iter().map(of_machine).collect();
    let mut claims = Vec::new();
    for (a, b) in pairs {
        let gaps = shared_gaps(&starts[*a], &starts[*b]);
        let first = gaps.iter().filter(|gap| **gap > 0.0).count();
        let second = gaps.iter().filter(|gap| **gap < 0.0).count();
        for (before, after, wins) in [(*a, *b, first), (*b, *a, second)] {
            let share = wins as f64 / gaps.len().max(1) as f64;
            if wins > 0 && share >= options.majority_share {
                claims.push(majority_claim(site, (before, after), wins, gaps.len()));
            }
        }
    }
    claims
}

/// Start of the second minus start of the first, for each pair of boots that belong together;
/// zero where the clocks are too unsure to tell. Both are in time order, with uncertainties.
fn shared_gaps(first: &[(f64, f64)], second: &[(f64, f64)]) -> Vec<f64> {
    let nearest = |(start, unsure): &(f64, f64)| {
        let at = second.partition_point(|(other, _)| other < start);
        let neighbours = [
            at.checked_sub(1).and_then(|at| second.get(at)),
            second.get(at),
        ];
        let (gap, unsure) = neighbours
            .into_iter()
            .flatten()
            .map(|(other, its)| (other - start, unsure + its))
            .min_by(|x, y| x.0.abs().total_cmp(&y.0.abs()))?;
        let known = if gap.abs() > unsure { gap } else { 0.0 };
        (gap.abs() <= TOGETHER_S).then_some(known)
    };
    first.iter().filter_map(nearest).collect()
}

fn majority_claim(
    site: &Site,
    (before, after): (usize, usize),
    wins: usize,
    boots: usize,
) -> Claim {
    let share = wins as f64 / boots as f64;
    let text = format!(
        "{} started before {} in {wins} of {boots} shared boots",
        site.machines[before].name, site.machines[after].name
    );
    hint(
        site,
        (before, after),
        (
            Feature::TimingFirst,
            share * boots as f64 / (boots as f64 + 2.0),
        ),
        text,
    )
}

fn hint(
    site: &Site,
    (before, after): (usize, usize),
    (feature, amount): (Feature, f64),
    text: String,
) -> Claim {
    Claim {
        before: Node {
            machine: before,
            service: None,
        },
        after: Node {
            machine: after,
            service: None,
        },
        kind: Kind::Soft,
        feature,
        amount,
        source: Source::Timing,
        estimator: EstimatorName::Timing,
        boot: String::new(),
        evidence: vec![Evidence {
            machine: site.machines[after].name.clone(),
            file: String::new(),
            record: String::new(),
            time: None,
            text,
        }],
    }
}

fn correlated(site: &Site, pairs: &BTreeSet<(usize, usize)>, options: &Options) -> Vec<Claim> {
    if site.machines.len() > MAX_ALL_PAIRS {
        return pairs
            .iter()
            .flat_map(|(a, b)| {
                [
                    correlated_pair(site, *a, *b, options),
                    correlated_pair(site, *b, *a, options),
                ]
            })
            .flatten()
            .collect();
    }
    let mut options = options.clone();
    let services: usize = site.machines.iter().map(|m| m.roles.len()).sum();
    if services > MAX_SERVICES {
        options.unit = Unit::Machine;
    }
    let found = reference_method(&initializations(site), &options);
    let machine_of = |name: &str| site.index(name.split(": ").next().unwrap_or(name));
    let mut best: BTreeMap<(usize, usize), (f64, String)> = BTreeMap::new();
    for d in found.dependencies {
        let (Some(before), Some(after)) = (machine_of(&d.before), machine_of(&d.after)) else {
            continue;
        };
        if before == after {
            continue;
        }
        let text = format!(
            "{} after {}: correlation {:.2}",
            d.after, d.before, d.correlation
        );
        let entry = best.entry((before, after)).or_insert((0.0, String::new()));
        if d.correlation > entry.0 {
            *entry = (d.correlation, text);
        }
    }
    best.into_iter()
        .map(|((before, after), (value, text))| {
            hint(
                site,
                (before, after),
                (Feature::TimingCorrelated, value),
                text,
            )
        })
        .collect()
}

/// The same for the boots of one pair.
fn correlated_pair(site: &Site, before: usize, after: usize, options: &Options) -> Option<Claim> {
    let boots = |index: usize| -> Vec<(f64, f64)> {
        let boots = site.machines[index].history.boots.iter();
        boots.map(|boot| (boot.start_s(), 1.0)).collect()
    };
    let (value, samples) = correlation(&boots(after), &boots(before), options);
    let names = [after, before].map(|index| &site.machines[index].name);
    (value >= options.threshold.at(samples)).then(|| {
        let text = format!("{} after {}: correlation {value:.2}", names[0], names[1]);
        hint(
            site,
            (before, after),
            (Feature::TimingCorrelated, value),
            text,
        )
    })
}

/// Every start of a well-known service; machines without any are left to the majority.
pub(crate) fn initializations(site: &Site) -> Vec<Initialization> {
    site.machines.iter().flat_map(of_machine).collect()
}

fn of_machine(machine: &Machine) -> Vec<Initialization> {
    let mut found = Vec::new();
    for boot in &machine.history.boots {
        let failed = boot
            .events
            .iter()
            .any(|e| e.what == What::UnitFailed && services::by_unit(&e.unit).is_some());
        for event in boot
            .events
            .iter()
            .filter(|event| event.what == What::Started)
        {
            if let Some(service) = services::by_unit(&event.unit) {
                found.push(Initialization {
                    service: format!("{}: {}", machine.name, service.name),
                    machine: machine.name.clone(),
                    time_s: boot.wall_s(event.monotonic_us),
                    failed,
                });
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boots_are_paired_with_their_nearest_partner() {
        let first = [(0.0, 0.5), (10_000.0, 0.5), (50_000.0, 0.5)];
        let second = [(30.0, 0.5), (9_990.0, 0.5)];
        assert_eq!(shared_gaps(&first, &second), [30.0, -10.0]);
        assert_eq!(shared_gaps(&[(0.0, 0.5)], &[]), [0.0; 0]);
    }

    #[test]
    fn unsure_clocks_tell_no_order() {
        assert_eq!(shared_gaps(&[(0.0, 20.0)], &[(30.0, 20.0)]), [0.0]);
        assert_eq!(shared_gaps(&[(0.0, 5.0)], &[(30.0, 20.0)]), [30.0]);
    }
}
