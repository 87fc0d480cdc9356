//! Hosts that configuration names and that are no machine of the site: somebody will miss them.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::event::printable;
use crate::facts::Reference;
use crate::services;
use crate::site::{Machine, Site};

const MOST_A_MACHINE: usize = 10;

/// A warning for each host of the site's own networks or domains that is missing from it.
pub(crate) fn missing_hosts(site: &Site) -> Vec<String> {
    let mut warnings = Vec::new();
    for machine in &site.machines {
        let mut seen = BTreeSet::new();
        let missing = machine
            .references
            .iter()
            .filter(|reference| is_missing(site, machine, reference));
        let first = missing.filter(|r| seen.insert((r.target.clone(), r.service.clone())));
        warnings.extend(first.take(MOST_A_MACHINE).map(|reference| {
            let service = reference.service.as_deref().and_then(services::by_key);
            format!(
                "{}: {} {} names {}{}, which is no machine of this site",
                machine.name,
                printable(&reference.file),
                reference.place(),
                printable(&reference.target),
                service
                    .map(|s| format!(" ({})", s.name))
                    .unwrap_or_default()
            )
        }));
    }
    warnings
}

fn is_missing(site: &Site, machine: &Machine, reference: &Reference) -> bool {
    if site.resolve(&reference.target).is_some() {
        return false;
    }
    match reference.target.parse::<IpAddr>() {
        Ok(address) => {
            let nets = site.machines.iter().flat_map(|machine| &machine.networks);
            let inside = |net: &ipnet::IpNet| {
                net.contains(&address) && net.network() != address && net.broadcast() != address
            };
            let mut nets = nets.filter(|net| net.prefix_len() < net.max_prefix_len());
            !machine.gateways.contains(&address) && nets.any(inside)
        }
        Err(_) => site.is_own_domain(&reference.target),
    }
}
