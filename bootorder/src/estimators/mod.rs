//! Estimators: each looks at the site in its own way and makes claims with evidence.
//!
//! A new way of looking is one file here and one line in `CLAIMING`. Claims are combined in
//! `combine`; an estimator never decides alone.

mod configuration;
mod declared;
mod failures;
mod negative;
pub(crate) mod reference;
mod role_table;
mod timing;

pub(crate) use negative::doubts;
pub(crate) use timing::hints;

use crate::options::Options;
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
    pub confidence: f64,
    pub source: Source,
    pub evidence: Vec<Evidence>,
}

/// One way of finding dependencies.
pub(crate) trait Estimator {
    /// All claims, in an order that depends on the site alone.
    fn claims(&self, site: &Site, options: &Options) -> Vec<Claim>;
}

const CLAIMING: &[&dyn Estimator] = &[
    &failures::Failures,
    &configuration::Configuration,
    &declared::Declared,
    &role_table::RoleTable,
];

/// The claims of every estimator that may make edges.
pub(crate) fn claims(site: &Site, options: &Options) -> Vec<Claim> {
    CLAIMING
        .iter()
        .flat_map(|estimator| estimator.claims(site, options))
        .collect()
}
