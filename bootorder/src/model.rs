//! How sure a dependency is: a logistic model over kinds of facts, its weights kept as data.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use crate::estimators::Claim;
use crate::options::EstimatorName;

/// Surer than this nothing is but the operator's word.
const SUREST: f64 = 0.99;

/// One kind of fact about a pair of machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Feature {
    /// A file names a service that the other machine was seen to offer.
    ConfigurationServed,
    /// A file names the other machine, whose services are not known or not meant.
    ConfigurationUnknown,
    /// A file names a service that the other machine was never seen to offer: stale, perhaps.
    ConfigurationNotServed,
    /// The file belongs to a program that the machine does not start.
    ConfigurationDormant,
    /// The file belongs to a program that works without: monitoring, backup, log forwarding.
    ConfigurationWeak,
    /// The machine gets its address, or what it is told with it, from the other one.
    Lease,
    /// A failure named the other machine while that was down or not serving yet.
    FailureMissing,
    /// A failure named the other machine and cleared; whether that was up is not known.
    FailureCleared,
    /// A failure named the other machine and did not clear.
    FailureOpen,
    /// A failure named the other machine although that served.
    FailureServing,
    /// A failure named nobody, but the machine is configured to use the other one for that.
    FailureByRole,
    /// The failing program watches, copies or collects: it depends on nobody whom it misses.
    FailureObserver,
    /// A dependency declared inside a machine.
    Declared,
    /// What the role of a machine usually needs.
    Table,
    /// The other machine started first in most boots.
    TimingFirst,
    /// The start times correlate.
    TimingCorrelated,
    /// The other machine started later in most boots.
    TimingAgainst,
    /// Doublings of the boots with failures.
    MoreBoots,
    /// Doublings of the lines in configuration.
    MoreLines,
    /// Boots that went well without the other machine.
    Doubt,
}

/// What was found about one pair: how much of each kind.
pub type Features = BTreeMap<Feature, f64>;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameters {
    bias: f64,
    least: f64,
    weights: BTreeMap<Feature, f64>,
}

// Parsed by a test; were it broken, nothing would be sure, and nothing would panic.
static PARAMETERS: LazyLock<Parameters> =
    LazyLock::new(|| toml::from_str(include_str!("../data/confidence.toml")).unwrap_or_default());

/// Below this a suspicion is not worth waiting for.
pub(crate) fn least() -> f64 {
    PARAMETERS.least
}

/// How sure all facts together make it.
pub(crate) fn confidence(features: &Features) -> f64 {
    let sum: f64 = features
        .iter()
        .map(|(feature, amount)| weight(*feature) * amount)
        .sum();
    let odds = (PARAMETERS.bias + sum).exp();
    ((odds / (1.0 + odds)).min(SUREST) * 1000.0).round() / 1000.0
}

/// The features that the claims about one pair have together; `against` is how regularly the
/// other machine was the later one.
pub(crate) fn features(claims: &[&Claim], doubts: usize, against: f64) -> Features {
    let mut features = strongest(claims);
    let boots = distinct(claims, EstimatorName::Failures, |claim| claim.boot.clone());
    let lines = distinct(claims, EstimatorName::Configuration, |claim| {
        let fact = claim.evidence.first();
        fact.map(|fact| (fact.file.clone(), fact.record.clone()))
    });
    let counted = [
        (Feature::MoreBoots, doublings(boots)),
        (Feature::MoreLines, doublings(lines)),
        (Feature::Doubt, doubts.min(3) as f64),
        (Feature::TimingAgainst, against),
    ];
    features.extend(counted.into_iter().filter(|(_, amount)| *amount > 0.0));
    features
}

/// Of each estimator only the strongest kind counts: ten weak facts do not make a strong one.
fn strongest(claims: &[&Claim]) -> Features {
    let mut best: BTreeMap<EstimatorName, (Feature, f64)> = BTreeMap::new();
    let mut found = Features::new();
    for claim in claims {
        if claim.estimator == EstimatorName::Timing {
            found.insert(claim.feature, claim.amount);
            continue;
        }
        let entry = best.entry(claim.estimator);
        let entry = entry.or_insert((claim.feature, claim.amount));
        if weight(claim.feature) > weight(entry.0) {
            *entry = (claim.feature, claim.amount);
        }
    }
    found.extend(best.into_values());
    found
}

fn weight(feature: Feature) -> f64 {
    PARAMETERS.weights.get(&feature).copied().unwrap_or(0.0)
}

fn distinct<T: Ord>(
    claims: &[&Claim],
    estimator: EstimatorName,
    of: impl Fn(&Claim) -> T,
) -> usize {
    let of_estimator = claims.iter().filter(|claim| claim.estimator == estimator);
    of_estimator
        .map(|claim| of(claim))
        .collect::<BTreeSet<T>>()
        .len()
}

fn doublings(count: usize) -> f64 {
    (count.clamp(1, 16) as f64).log2()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parameters_are_read_and_each_kind_has_a_weight() {
        let parameters: Parameters =
            toml::from_str(include_str!("../data/confidence.toml")).expect("parameters");
        assert!(parameters.least > 0.0 && parameters.bias < 0.0);
        assert_eq!(parameters.weights.len(), 20);
    }

    #[test]
    fn more_facts_make_it_surer_and_doubts_less_sure() {
        let one = Features::from([(Feature::ConfigurationServed, 1.0)]);
        let mut two = one.clone();
        two.insert(Feature::FailureMissing, 1.0);
        let mut doubted = one.clone();
        doubted.insert(Feature::Doubt, 2.0);
        assert!(confidence(&two) > confidence(&one));
        assert!(confidence(&doubted) < confidence(&one));
        assert!(confidence(&two) <= SUREST);
        let times = [
            (Feature::TimingFirst, 1.0),
            (Feature::TimingCorrelated, 1.0),
        ];
        assert!(
            confidence(&times.into()) < least(),
            "no edge of times alone"
        );
    }
}
