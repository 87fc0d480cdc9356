//! Estimators: each looks at the site in its own way and makes claims with evidence.
//!
//! A new way of looking is one file here and one line in `CLAIMING`. Claims are combined in
//! `combine`; an estimator never decides alone.

mod configuration;
mod declared;
mod failures;
mod leases;
mod negative;
pub(crate) mod reference;
mod role_table;
mod timing;

pub(crate) use negative::Doubt;
pub(crate) use timing::initializations;

use crate::model::{self, Feature};
use crate::options::{EstimatorName, Options};
use crate::order::{Evidence, Kind, Source};
use crate::site::Site;

/// A machine, or a service on it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Node {
    pub machine: usize,
    /// Key in the table of services.
    pub service: Option<String>,
}

/// "`after` depends on `before`", as one estimator sees it.
#[derive(Debug, Clone)]
pub(crate) struct Claim {
    pub before: Node,
    pub after: Node,
    pub kind: Kind,
    /// What kind of fact it is: the model knows how much that is worth.
    pub feature: Feature,
    /// How much of it, 0 to 1.
    pub amount: f64,
    pub source: Source,
    pub estimator: EstimatorName,
    /// Tells the boots of the later machine apart; empty where no boot is meant.
    pub boot: String,
    pub evidence: Vec<Evidence>,
}

impl Claim {
    /// How sure this fact makes the dependency alone.
    pub fn confidence(&self) -> f64 {
        model::confidence(&[(self.feature, self.amount)].into())
    }
}

/// One way of finding dependencies.
pub(crate) trait Estimator {
    /// All claims, in an order that depends on the site alone.
    fn claims(&self, site: &Site, options: &Options) -> Vec<Claim>;
}

const CLAIMING: &[(EstimatorName, &dyn Estimator)] = &[
    (EstimatorName::Failures, &failures::Failures),
    (EstimatorName::Configuration, &configuration::Configuration),
    (EstimatorName::Configuration, &leases::Leases),
    (EstimatorName::Declared, &declared::Declared),
    (EstimatorName::RoleTable, &role_table::RoleTable),
];

/// The claims of every estimator that may make edges.
pub(crate) fn claims(site: &Site, options: &Options) -> Vec<Claim> {
    CLAIMING
        .iter()
        .filter(|(name, _)| !options.without.contains(name))
        .flat_map(|(_, estimator)| estimator.claims(site, options))
        .collect()
}

/// What start times suggest; never enough for an edge.
pub(crate) fn hints(site: &Site, claims: &[Claim], options: &Options) -> Vec<Claim> {
    if options.without.contains(&EstimatorName::Timing) {
        return Vec::new();
    }
    timing::hints(site, claims, options)
}

/// Reasons to doubt that `after` fails without `before`.
pub(crate) fn doubts(site: &Site, before: usize, after: usize, options: &Options) -> Vec<Doubt> {
    if options.without.contains(&EstimatorName::Negative) {
        return Vec::new();
    }
    negative::doubts(site, before, after)
}
