//! Names of a machine and of its domain.

use super::{Facts, Key};
use crate::facts::Weight;

pub(super) fn read(set: Key<'_>, facts: &mut Facts<'_>) {
    let computer = set
        .at("Control\\ComputerName\\ComputerName")
        .and_then(|key| key.text("ComputerName"));
    let tcpip = set.at("Services\\Tcpip\\Parameters");
    let value = |names: &[&str]| names.iter().find_map(|name| tcpip?.text(name));
    let host = value(&["NV Hostname", "Hostname"]);
    let domain = value(&["NV Domain", "Domain"]).map(|domain| domain.to_ascii_lowercase());
    let names = &mut facts.registry.names;
    for name in host.into_iter().chain(computer) {
        let name = name.to_ascii_lowercase();
        if let Some(domain) = &domain {
            push(names, format!("{name}.{domain}"));
        }
        push(names, name);
    }
    // Only a domain of its own makes names full; DHCP's word is for searching.
    let searched = value(&["SearchList"]).unwrap_or_default();
    let leased = value(&["DhcpDomain"]);
    for name in domain
        .iter()
        .cloned()
        .chain(searched.split([',', ' ']).map(str::to_owned))
        .chain(leased)
    {
        if !name.is_empty() {
            push(&mut facts.registry.domains, name.to_ascii_lowercase());
        }
    }
    let product = set
        .at("Control\\ProductOptions")
        .and_then(|key| key.text("ProductType"));
    facts.registry.is_domain_controller = product.as_deref() == Some("LanmanNT");
    membership(set, domain.as_deref(), facts);
}

fn push(list: &mut Vec<String>, item: String) {
    if !list.contains(&item) {
        list.push(item);
    }
}

/// A member of a domain needs its directory: the net logon service runs only on members.
fn membership(set: Key<'_>, domain: Option<&str>, facts: &mut Facts<'_>) {
    let is_member = set
        .at("Services\\Netlogon")
        .and_then(|key| key.number("Start"))
        == Some(2);
    if let Some(domain) = domain.filter(|_| is_member && !facts.registry.is_domain_controller) {
        facts.refer(
            "Services\\Tcpip\\Parameters",
            &format!("NV Domain = {domain}, and the Netlogon service starts with the machine"),
            domain,
            "directory",
            Weight::Normal,
        );
    }
    let source = set
        .at("Services\\NTDS\\Parameters")
        .and_then(|key| key.text("Src Root Domain Srv"));
    if let Some(source) = source {
        let text = format!("Src Root Domain Srv = {source}");
        facts.refer(
            "Services\\NTDS\\Parameters",
            &text,
            &source,
            "directory",
            Weight::Weak,
        );
    }
}
