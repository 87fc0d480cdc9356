//! Order by role alone, for machines of which only logs exist.
//!
//! Where configuration was readable it says better whom a machine needs, so this stays silent.

use super::{Claim, Estimator, Node};
use crate::model::Feature;
use crate::options::{EstimatorName, Options};
use crate::order::{Evidence, Kind, Source};
use crate::services::{self, Service};
use crate::site::Site;

/// Roles that nearly everybody else leans on.
const FOUNDATIONS: &[&str] = &["dhcp", "dns", "directory", "kerberos"];

pub(super) struct RoleTable;

impl Estimator for RoleTable {
    fn claims(&self, site: &Site, _: &Options) -> Vec<Claim> {
        let mut claims = Vec::new();
        for (after, machine) in site.machines.iter().enumerate() {
            if !machine.config.is_empty() || machine.roles.is_empty() {
                continue;
            }
            let lowest = machine
                .roles
                .keys()
                .filter_map(|key| services::by_key(key))
                .map(|s| s.rank)
                .min();
            for before in 0..site.machines.len() {
                let Some(service) = foundation(site, before, lowest) else {
                    continue;
                };
                if before != after {
                    claims.push(claim(site, before, after, service));
                }
            }
        }
        claims
    }
}

fn foundation(site: &Site, machine: usize, lowest: Option<u32>) -> Option<&'static Service> {
    let services = FOUNDATIONS.iter().filter_map(|key| services::by_key(key));
    services
        .filter(|s| site.machines[machine].plays(s))
        .find(|s| lowest.is_some_and(|rank| s.rank < rank))
}

fn claim(site: &Site, before: usize, after: usize, service: &Service) -> Claim {
    let mut evidence: Vec<Evidence> = site.machines[before]
        .roles
        .get(&service.key)
        .map(|r| r.evidence.clone())
        .into_iter()
        .collect();
    for fact in &mut evidence {
        fact.text = format!("{} [others usually need a {}]", fact.text, service.name);
    }
    Claim {
        before: Node {
            machine: before,
            service: Some(service.key.clone()),
        },
        after: Node {
            machine: after,
            service: None,
        },
        kind: Kind::Soft,
        feature: Feature::Table,
        amount: 1.0,
        source: Source::Table,
        estimator: EstimatorName::RoleTable,
        boot: String::new(),
        evidence,
    }
}
