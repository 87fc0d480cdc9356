//! Which names and addresses lead to which machine.
//!
//! A machine's own word comes first, then zones and reservations of the site's servers, then
//! hosts files. What leads to several machines leads to none, and a warning says so.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::LazyLock;

use regex::Regex;

use crate::classify::What;
use crate::event::printable;
use crate::facts::Reference;
use crate::folder::ConfigFiles;
use crate::leases::reservations;
use crate::machine::Machine;
use crate::zones::read_zones;

const MAX_WARNINGS: usize = 50;
const MAX_LOGGED: usize = 20_000;
/// A full name, or one in quotes, and right after it an address in brackets.
static RESOLVED: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let full = r"([A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)+)";
    let quoted = r#""([A-Za-z0-9_-]+)""#;
    let address = r" ?[\[(](\d{1,3}(?:\.\d{1,3}){3})[\])]";
    Regex::new(&format!(r#"(?:{full}"?|{quoted}){address}"#)).ok()
});
const DIRECTORY: &[&str] = &["directory", "kerberos"];

type Owners<K> = BTreeMap<K, Option<usize>>;

/// Names and addresses of a site.
#[derive(Debug, Default)]
pub(crate) struct Names {
    own: Owners<String>,
    /// Given by others to an address of the machine.
    aliases: Owners<String>,
    /// Host parts of aliases in the domains of the site.
    short: Owners<String>,
    by_address: Owners<IpAddr>,
    domains: BTreeSet<String>,
    /// Who holds the directory of a domain.
    controllers: Owners<String>,
}

/// The first machines of which something holds, for a warning.
fn holders(machines: &[Machine], holds: impl Fn(&Machine) -> bool) -> String {
    let mut found = machines.iter().filter(|machine| holds(machine));
    let named: Vec<&str> = found.by_ref().take(5).map(|m| m.name.as_str()).collect();
    let more = if found.next().is_some() { ", ..." } else { "" };
    format!("{}{more}", named.join(", "))
}

impl Names {
    pub fn learn(machines: &[Machine], warnings: &mut Vec<String>) -> Self {
        let mut names = Self::default();
        let mut doubts = Vec::new();
        names.learn_own(machines, &mut doubts);
        let zones: Vec<_> = machines.iter().map(|m| read_zones(&m.config)).collect();
        for (machine, (_, domains)) in machines.iter().zip(&zones) {
            names.domains.extend(domains.iter().cloned());
            names.domains.extend(search_domains(&machine.config));
            names
                .domains
                .extend(machine.registry.domains.iter().cloned());
        }
        names.learn_reservations(machines);
        let records = zones.into_iter().flat_map(|(records, _)| records);
        names.learn_records(machines, records.collect(), "a zone", &mut doubts);
        for machine in machines {
            let hosts = machine.config.hosts().map(hosts_entries);
            let source = format!("etc/hosts of {}", machine.name);
            names.learn_records(machines, hosts.unwrap_or_default(), &source, &mut doubts);
        }
        names.learn_records(machines, logged_records(machines), "the logs", &mut doubts);
        names.learn_controllers(machines);
        names.shorten();
        doubts.sort();
        doubts.dedup();
        warnings.extend(doubts.into_iter().take(MAX_WARNINGS));
        names
    }

    /// The machine behind a host name or address.
    pub fn resolve(&self, target: &str) -> Option<usize> {
        let target = target.trim_matches(['[', ']', '\\']);
        if let Ok(address) = target.parse::<IpAddr>() {
            return self.by_address.get(&address).copied().flatten();
        }
        // The account of a Windows machine is its name with a dollar sign.
        let name = target.trim_end_matches(['.', '$']).to_ascii_lowercase();
        if let Some(found) = self.own.get(&name).or_else(|| self.aliases.get(&name)) {
            return *found;
        }
        match name.split_once('.') {
            Some((host, domain)) if self.domains.contains(domain) => {
                self.own.get(host).copied().flatten()
            }
            Some(_) => None,
            None => self.short.get(&name).copied().flatten(),
        }
    }

    /// Whether a full name lies in a domain of the site, or below one.
    pub fn is_own_domain(&self, name: &str) -> bool {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let mut parents = name.match_indices('.').map(|(at, _)| &name[at + 1..]);
        let direct = parents
            .next()
            .is_some_and(|domain| self.domains.contains(domain));
        // Above the direct parent a single label ("com") is nobody's own.
        direct || parents.any(|domain| domain.contains('.') && self.domains.contains(domain))
    }

    fn learn_own(&mut self, machines: &[Machine], doubts: &mut Vec<String>) {
        for (index, machine) in machines.iter().enumerate() {
            for address in &machine.addresses {
                claim(&mut self.by_address, *address, index);
            }
            for name in &machine.names {
                self.add_domain_of(name);
                claim(&mut self.own, name.clone(), index);
            }
        }
        // Logs of others may lie on a machine that collects them: their names are not its own.
        let mut logged = BTreeMap::new();
        for (index, machine) in machines.iter().enumerate() {
            for name in machine
                .logged_names
                .iter()
                .filter(|name| !self.own.contains_key(*name))
            {
                claim(&mut logged, name.clone(), index);
            }
        }
        for (name, owner) in logged {
            self.add_domain_of(&name);
            self.own.insert(name, owner);
        }
        doubts.extend(doubtful(&self.own).map(|name| {
            let who = holders(machines, |m| {
                m.names.contains(name) || m.logged_names.iter().any(|logged| logged == name)
            });
            let name = printable(name);
            format!("the name {name} belongs to several machines ({who}); it was not used")
        }));
        doubts.extend(doubtful(&self.by_address).map(|address| {
            let who = holders(machines, |m| m.addresses.contains(address));
            format!("the address {address} belongs to several machines ({who}); it was not used")
        }));
    }

    /// A reservation gives an address to a machine that is known by its name or card.
    fn learn_reservations(&mut self, machines: &[Machine]) {
        let all = machines
            .iter()
            .flat_map(|machine| reservations(&machine.config));
        for entry in all {
            let by_card = entry.mac.as_ref().and_then(|mac| {
                machines
                    .iter()
                    .position(|machine| machine.macs.contains(mac))
            });
            let name = entry.name.map(|name| name.to_ascii_lowercase());
            let by_name = || self.own.get(name.as_ref()?).copied().flatten();
            let Some(index) = by_card.or_else(by_name) else {
                continue;
            };
            if let Some(address) = entry
                .address
                .filter(|_| machines[index].addresses.is_empty())
            {
                claim(&mut self.by_address, address, index);
            }
            if let Some(name) = name.filter(|name| !self.own.contains_key(name)) {
                claim(&mut self.aliases, name, index);
            }
        }
    }

    /// Names with addresses, from one source; what an earlier source said stays.
    fn learn_records(
        &mut self,
        machines: &[Machine],
        records: Vec<(String, IpAddr)>,
        source: &str,
        doubts: &mut Vec<String>,
    ) {
        let mut found: BTreeMap<String, BTreeSet<usize>> = BTreeMap::new();
        let addressed: BTreeSet<usize> = self.by_address.values().copied().flatten().collect();
        for (name, address) in records {
            let owner = self.by_address.get(&address).copied();
            let named = self.own.get(&name).copied().flatten().or_else(|| {
                let (host, domain) = name.split_once('.')?;
                self.own
                    .get(host)
                    .copied()
                    .flatten()
                    .filter(|_| self.domains.contains(domain))
            });
            match (named, owner) {
                (Some(machine), Some(Some(other))) if machine != other => doubts.push(format!(
                    "{source} gives {} the address {address}, which is another machine's; the machine's own word was used",
                    printable(&name)
                )),
                // The address of a machine that has none of its own there.
                (Some(machine), None)
                    if !addressed.contains(&machine) || machines[machine].may_be_given(address) =>
                {
                    claim(&mut self.by_address, address, machine);
                }
                (None, Some(Some(machine))) => {
                    found.entry(name).or_default().insert(machine);
                }
                _ => {}
            }
        }
        for (name, machines) in found {
            self.add_domain_of(&name);
            let only = (machines.len() == 1)
                .then(|| machines.first().copied())
                .flatten();
            match self.aliases.get(&name).copied() {
                None => {
                    self.aliases.insert(name, only);
                }
                Some(known) if known.is_some() && known != only => doubts.push(format!(
                    "{source} leads {} to another machine than the rest of the site; that was not used",
                    printable(&name)
                )),
                Some(_) => {}
            }
        }
    }

    fn shorten(&mut self) {
        for (name, owner) in &self.aliases {
            if let (Some((host, domain)), Some(owner)) = (name.split_once('.'), owner)
                && self.domains.contains(domain)
            {
                claim(&mut self.short, host.to_owned(), *owner);
            }
        }
    }

    fn learn_controllers(&mut self, machines: &[Machine]) {
        for (index, machine) in machines.iter().enumerate() {
            let holds = DIRECTORY
                .iter()
                .any(|role| machine.roles.contains_key(*role));
            if !holds && !machine.registry.is_domain_controller {
                continue;
            }
            let own = machine.registry.domains.first();
            let of_names = machine.names.iter().filter_map(|name| name.split_once('.'));
            let domains: BTreeSet<&str> = of_names
                .map(|(_, domain)| domain)
                .chain(own.map(String::as_str))
                .collect();
            for domain in domains {
                claim(&mut self.controllers, domain.to_owned(), index);
            }
        }
    }

    /// What each reference of one machine leads to: its hosts file counts for it, and a domain
    /// means the machine that holds its directory. `None` leaves the target as it is written.
    pub fn settle(&self, machine: &Machine) -> Vec<Option<usize>> {
        let hosts: BTreeMap<String, IpAddr> = machine
            .config
            .hosts()
            .map(hosts_entries)
            .unwrap_or_default()
            .into_iter()
            .rev()
            .collect();
        let references = machine.references.iter();
        references
            .map(|reference| self.settle_one(reference, &hosts))
            .collect()
    }

    fn settle_one(&self, reference: &Reference, hosts: &BTreeMap<String, IpAddr>) -> Option<usize> {
        let name = reference.target.trim_end_matches('.').to_ascii_lowercase();
        if name.parse::<IpAddr>().is_ok() || self.own.contains_key(&name) {
            return None;
        }
        if let Some(address) = hosts.get(&name) {
            return self.by_address.get(address).copied().flatten();
        }
        let service = reference.service.as_deref();
        let is_directory = service.is_some_and(|service| DIRECTORY.contains(&service));
        let controller = self.controllers.get(&name).copied().flatten();
        controller.filter(|_| is_directory)
    }

    fn add_domain_of(&mut self, name: &str) {
        if let Some((_, domain)) = name.split_once('.')
            && domain.contains(char::is_alphabetic)
        {
            self.domains.insert(domain.to_owned());
        }
    }
}

/// Names with the addresses that programs found for them: `"db.example" (10.0.0.5)`,
/// `mail.example[10.0.0.7]:25`.
fn logged_records(machines: &[Machine]) -> Vec<(String, IpAddr)> {
    let boots = machines.iter().flat_map(|machine| &machine.history.boots);
    let failures = boots
        .flat_map(|boot| &boot.events)
        .filter(|event| matches!(event.what, What::Failure(_)));
    let mut found: BTreeSet<(String, IpAddr)> = BTreeSet::new();
    for event in failures {
        let Some(captures) = RESOLVED.as_ref().and_then(|r| r.captures(&event.message)) else {
            continue;
        };
        let name = captures.get(1).map_or("", |name| name.as_str());
        let address = captures
            .get(2)
            .and_then(|address| address.as_str().parse().ok());
        if let Some(address) = address.filter(|_| found.len() < MAX_LOGGED) {
            found.insert((name.trim_end_matches('.').to_ascii_lowercase(), address));
        }
    }
    found.into_iter().collect()
}

fn doubtful<K>(owners: &Owners<K>) -> impl Iterator<Item = &K> {
    owners
        .iter()
        .filter(|(_, owner)| owner.is_none())
        .map(|(key, _)| key)
}

fn claim<K: Ord>(owners: &mut Owners<K>, key: K, index: usize) {
    owners
        .entry(key)
        .and_modify(|owner| {
            if *owner != Some(index) {
                *owner = None;
            }
        })
        .or_insert(Some(index));
}

fn hosts_entries(text: &str) -> Vec<(String, IpAddr)> {
    let mut entries = Vec::new();
    for line in text.lines().take(10_000) {
        let line = line.split('#').next().unwrap_or("");
        let mut words = line.split_whitespace();
        let Some(address) = words.next().and_then(|word| word.parse::<IpAddr>().ok()) else {
            continue;
        };
        if !address.is_loopback() {
            entries.extend(words.map(|name| (name.to_ascii_lowercase(), address)));
        }
    }
    entries
}

fn search_domains(config: &ConfigFiles) -> Vec<String> {
    let text = config.get("etc/resolv.conf").unwrap_or("");
    let lines = text
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    let mut found = Vec::new();
    for words in lines {
        if let ["search" | "domain", domains @ ..] = words.as_slice() {
            found.extend(domains.iter().map(|d| d.to_ascii_lowercase()));
        }
    }
    for (file, text) in config.below("etc/") {
        let fits = file.starts_with("etc/systemd/resolved.conf")
            || (file.starts_with("etc/systemd/network/") && file.ends_with(".network"))
            || file.ends_with(".nmconnection");
        if fits && !crate::facts::is_stale(file) {
            let of_file = crate::identity::pairs(text)
                .filter(|(key, _)| matches!(key.as_str(), "domains" | "dns-search"))
                .flat_map(|(_, value)| value.split([' ', ';']));
            found.extend(of_file.map(|d| d.trim_start_matches('~').to_ascii_lowercase()));
        }
    }
    found.retain(|domain| domain.contains(char::is_alphabetic));
    found
}
