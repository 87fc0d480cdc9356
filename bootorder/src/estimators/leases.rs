//! What machines need that get their address from a DHCP server: that server, and those that its
//! options tell them to use.

use std::sync::LazyLock;

use regex::Regex;

use super::{Claim, Estimator, Node};
use crate::event::printable;
use crate::folder::ConfigFiles;
use crate::model::Feature;
use crate::options::{EstimatorName, Options};
use crate::order::{Evidence, Kind, Source};
use crate::site::{Machine, Site};

const MAX_LINES: usize = 20_000;
const MAX_TARGETS: usize = 10;

/// `option domain-name-servers a, b;`, `dhcp-option=6,a,b`, `"name": "domain-name-servers", "data": "a"`.
static RESOLVERS: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let names = r#"(?:option\s+domain-name-servers\s+|dhcp-option=(?:6|option:dns-server),|"domain-name-servers"[^}]{0,80}"data":\s*")"#;
    Regex::new(&format!(r"{names}\s*([^;\x22\n]+)")).ok()
});

/// One line of a DHCP server's options.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    file: String,
    line: usize,
    text: String,
    target: String,
}

pub(super) struct Leases;

impl Estimator for Leases {
    fn claims(&self, site: &Site, _: &Options) -> Vec<Claim> {
        let machines = site.machines.iter().enumerate();
        let servers: Vec<usize> = machines
            .filter(|(_, machine)| machine.roles.contains_key("dhcp"))
            .map(|(index, _)| index)
            .collect();
        // With several servers nobody tells which one answers whom.
        let [server] = servers.as_slice() else {
            return Vec::new();
        };
        let told = told(&site.machines[*server].config);
        let clients = (0..site.machines.len()).filter(|index| index != server);
        clients
            .filter(|index| site.machines[*index].dynamic)
            .flat_map(|client| claims_of(site, *server, client, &told))
            .collect()
    }
}

fn claims_of(site: &Site, server: usize, client: usize, told: &[Told]) -> Vec<Claim> {
    let mut claims: Vec<Claim> = lease(site, server, client).into_iter().collect();
    if !resolves_by_itself(&site.machines[client]) {
        claims.extend(told.iter().filter_map(|told| {
            let target = site.resolve(&told.target).filter(|to| *to != client)?;
            let evidence = Evidence {
                machine: site.machines[server].name.clone(),
                file: printable(&told.file),
                record: format!("line {}", told.line),
                time: None,
                text: format!("{} [told to every DHCP client]", told.text),
            };
            Some(claim((target, "dns"), client, evidence))
        }));
    }
    claims
}

fn lease(site: &Site, server: usize, client: usize) -> Option<Claim> {
    let mut evidence = site.machines[server].roles.get("dhcp")?.evidence.clone();
    evidence.text = format!(
        "{} [the only DHCP server; {} gets an address by DHCP]",
        evidence.text, site.machines[client].name
    );
    Some(claim((server, "dhcp"), client, evidence))
}

fn resolves_by_itself(machine: &Machine) -> bool {
    let mut references = machine.references.iter();
    references.any(|reference| reference.service.as_deref() == Some("dns"))
}

fn claim((before, service): (usize, &str), after: usize, evidence: Evidence) -> Claim {
    Claim {
        before: Node {
            machine: before,
            service: Some(service.to_owned()),
        },
        after: Node {
            machine: after,
            service: None,
        },
        // A DHCP client asks until it is answered.
        kind: Kind::Soft,
        feature: Feature::Lease,
        amount: 1.0,
        source: Source::Configuration,
        estimator: EstimatorName::Configuration,
        boot: String::new(),
        evidence: vec![evidence],
    }
}

/// The resolvers that a DHCP server's configuration hands out.
fn told(config: &ConfigFiles) -> Vec<Told> {
    let places = ["etc/dhcp/dhcpd", "etc/dhcpd", "etc/dnsmasq", "etc/kea/"];
    let files = places.iter().flat_map(|place| config.below(place));
    let mut found = Vec::new();
    for (file, text) in files.filter(|(file, _)| !crate::facts::is_stale(file)) {
        for (at, line) in text.lines().take(MAX_LINES).enumerate() {
            if !line.trim_start().starts_with(['#', ';']) {
                found.extend(targets(line).map(|target| Told {
                    file: file.to_owned(),
                    line: at + 1,
                    text: printable(line),
                    target,
                }));
            }
        }
    }
    found.truncate(MAX_TARGETS);
    found
}

fn targets(line: &str) -> impl Iterator<Item = String> {
    let captures = RESOLVERS.as_ref().and_then(|found| found.captures(line));
    let list = captures.and_then(|captures| captures.get(1));
    let words = list.map_or("", |list| list.as_str()).split([',', ' ']);
    words
        .map(str::trim)
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_server_says_it_in_its_own_words() {
        for line in [
            "  option domain-name-servers 10.0.0.5, ns.example;",
            "dhcp-option=6,10.0.0.5,ns.example",
            "dhcp-option=option:dns-server,10.0.0.5,ns.example",
            r#"{ "name": "domain-name-servers", "data": "10.0.0.5, ns.example" }"#,
        ] {
            let found: Vec<String> = targets(line).collect();
            assert_eq!(found, ["10.0.0.5", "ns.example"], "{line}");
        }
        assert_eq!(targets("option routers 10.0.0.1;").count(), 0);
    }

    proptest::proptest! {
        #[test]
        fn hostile_lines_never_panic(line in "(option domain-name-servers |dhcp-option=6,|[a-z0-9.,;\" ]|\\PC){0,60}") {
            let _ = targets(&line).count();
        }
    }
}
