//! The site as the estimators see it: machines with their logs, files and names.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use crate::event::{Event, History, format_time, printable};
use crate::facts::{Reference, read_references};
use crate::folder::{ConfigFiles, MachineFolder, read_units};
use crate::identity::identity_of;
use crate::order::Evidence;
use crate::readers::read_history;
use crate::services::{self, Service};
use crate::zones::read_zones;

/// One machine, read.
#[derive(Debug)]
pub(crate) struct Machine {
    pub name: String,
    pub config: ConfigFiles,
    pub history: History,
    /// Other machines named by its configuration.
    pub references: Vec<Reference>,
    /// Roles it plays, by key, with the fact that says so.
    pub roles: BTreeMap<String, Role>,
    /// Unit files of well-known services, by relative name.
    pub units: BTreeMap<String, String>,
    /// Networks that it has a static address in.
    pub networks: Vec<IpNet>,
    pub gateways: Vec<IpAddr>,
    names: BTreeSet<String>,
    addresses: BTreeSet<IpAddr>,
}

/// A role that a machine plays.
#[derive(Debug, Clone)]
pub(crate) struct Role {
    /// How many boots with records ago it was started last; 0 is the last one.
    pub boots_ago: usize,
    pub evidence: Evidence,
}

/// All machines and the names that lead to them.
#[derive(Debug)]
pub(crate) struct Site {
    pub machines: Vec<Machine>,
    by_name: BTreeMap<String, Option<usize>>,
    by_address: BTreeMap<IpAddr, Option<usize>>,
    domains: BTreeSet<String>,
}

impl Site {
    /// Reads every machine; what cannot be read becomes a warning.
    pub fn read(folders: &[MachineFolder], warnings: &mut Vec<String>) -> Self {
        let mut sorted: Vec<&MachineFolder> = folders.iter().collect();
        sorted.sort_by(|a, b| (&a.name, &a.folder).cmp(&(&b.name, &b.folder)));
        let mut machines: Vec<Machine> = Vec::new();
        for folder in sorted {
            if machines.last().is_some_and(|last| last.name == folder.name) {
                warnings.push(format!(
                    "{}: there is another machine of this name; {} was left out",
                    folder.name,
                    folder.folder.display()
                ));
                continue;
            }
            machines.push(read_machine(folder, warnings));
        }
        let mut site = Self {
            machines,
            by_name: BTreeMap::new(),
            by_address: BTreeMap::new(),
            domains: BTreeSet::new(),
        };
        site.learn_names(warnings);
        site
    }

    pub fn index(&self, name: &str) -> Option<usize> {
        self.machines
            .binary_search_by(|machine| machine.name.as_str().cmp(name))
            .ok()
    }

    /// The machine behind a host name or address.
    pub fn resolve(&self, target: &str) -> Option<usize> {
        let target = target.trim_matches(['[', ']']);
        if let Ok(address) = target.parse::<IpAddr>() {
            return self.by_address.get(&address).copied().flatten();
        }
        let name = target.trim_end_matches('.').to_ascii_lowercase();
        if let Some(found) = self.by_name.get(&name) {
            return *found;
        }
        let (host, domain) = name.split_once('.')?;
        let known = self.domains.contains(domain);
        if known {
            self.by_name.get(host).copied().flatten()
        } else {
            None
        }
    }

    /// Whether two machines may belong to the same domain, as far as their names tell.
    pub fn share_domain(&self, one: usize, other: usize) -> bool {
        let domains = |index: usize| -> BTreeSet<&str> {
            let names = self.machines[index].names.iter();
            names
                .filter_map(|name| name.split_once('.'))
                .map(|(_, domain)| domain)
                .collect()
        };
        let (one, other) = (domains(one), domains(other));
        one.is_empty() || other.is_empty() || !one.is_disjoint(&other)
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

    fn learn_names(&mut self, warnings: &mut Vec<String>) {
        for index in 0..self.machines.len() {
            let machine = &self.machines[index];
            for address in machine.addresses.clone() {
                claim(&mut self.by_address, address, index);
            }
            for name in machine.names.clone() {
                self.add_domain_of(&name);
                claim(&mut self.by_name, name, index);
            }
        }
        let doubtful = self.by_name.iter().filter(|(_, owner)| owner.is_none());
        warnings.extend(doubtful.map(|(name, _)| {
            format!(
                "the name {} belongs to several machines; it was not used",
                printable(name)
            )
        }));
        let doubtful = self.by_address.iter().filter(|(_, owner)| owner.is_none());
        warnings.extend(doubtful.map(|(address, _)| {
            format!("the address {address} belongs to several machines; it was not used")
        }));
        self.learn_from_files();
    }

    /// Names that hosts files and zones give to known addresses.
    fn learn_from_files(&mut self) {
        let mut found: Vec<(String, usize)> = Vec::new();
        for machine in &self.machines {
            let hosts = machine
                .config
                .get("etc/hosts")
                .map(hosts_entries)
                .unwrap_or_default();
            let (records, domains) = read_zones(&machine.config);
            for (name, address) in hosts.into_iter().chain(records) {
                if let Some(index) = self.by_address.get(&address).copied().flatten() {
                    found.push((name, index));
                }
            }
            self.domains.extend(domains);
            self.domains.extend(search_domains(&machine.config));
        }
        for (name, index) in found {
            self.add_domain_of(&name);
            // A machine's own word about its name outranks what others call its address.
            if self.by_name.get(&name).is_none_or(|owner| owner.is_some()) {
                self.by_name.entry(name).or_insert(Some(index));
            }
        }
    }

    fn add_domain_of(&mut self, name: &str) {
        if let Some((_, domain)) = name.split_once('.')
            && domain.contains(|c: char| c.is_alphabetic())
        {
            self.domains.insert(domain.to_owned());
        }
    }

    /// The evidence that an event of a machine gives.
    pub fn event_evidence(&self, machine: usize, event: &Event, remark: &str) -> Evidence {
        let who = if event.identifier.is_empty() {
            &event.unit
        } else {
            &event.identifier
        };
        Evidence {
            machine: self.machines[machine].name.clone(),
            file: event.file.to_string(),
            record: event.record.clone(),
            time: Some(format_time(event.realtime_us)),
            text: with_remark(
                &format!("{}: {}", printable(who), printable(&event.message)),
                remark,
            ),
        }
    }

    /// The evidence that a line of a file gives.
    pub fn file_evidence(&self, machine: usize, reference: &Reference, remark: &str) -> Evidence {
        Evidence {
            machine: self.machines[machine].name.clone(),
            file: printable(&reference.file),
            record: format!("line {}", reference.line),
            time: None,
            text: with_remark(&reference.text, remark),
        }
    }
}

fn with_remark(text: &str, remark: &str) -> String {
    if remark.is_empty() {
        text.to_owned()
    } else {
        format!("{text} [{remark}]")
    }
}

fn claim<K: Ord>(owners: &mut BTreeMap<K, Option<usize>>, key: K, index: usize) {
    owners
        .entry(key)
        .and_modify(|owner| {
            if *owner != Some(index) {
                *owner = None;
            }
        })
        .or_insert(Some(index));
}

fn read_machine(folder: &MachineFolder, warnings: &mut Vec<String>) -> Machine {
    let config = ConfigFiles::read(&folder.name, &folder.folder, warnings);
    let units = read_units(&folder.folder);
    let history = read_history(&folder.name, &folder.folder, &units, warnings);
    warn_of_clock(&folder.name, &history, warnings);
    let identity = identity_of(&config);
    let networks = identity
        .interfaces
        .iter()
        .flat_map(|i| i.addresses.clone())
        .collect();
    let gateways = identity
        .interfaces
        .iter()
        .filter_map(|i| i.gateway)
        .collect();
    let mut addresses: BTreeSet<IpAddr> = folder.addresses.iter().copied().collect();
    addresses.extend(
        identity
            .interfaces
            .iter()
            .flat_map(|i| i.addresses.iter().map(|a| a.addr())),
    );
    addresses.retain(|address| !address.is_loopback() && !address.is_unspecified());
    let mut names: BTreeSet<String> = folder
        .names
        .iter()
        .map(|n| n.to_ascii_lowercase())
        .collect();
    names.insert(folder.name.to_ascii_lowercase());
    names.extend(identity.hostname);
    names.extend(history.hosts.iter().map(|name| name.to_ascii_lowercase()));
    names.extend(own_names(&config, &names));
    names.retain(|name| !name.starts_with("localhost") && !name.is_empty());
    let short = names
        .iter()
        .filter_map(|n| Some(n.split_once('.')?.0.to_owned()));
    let short: Vec<String> = short
        .filter(|n| n.contains(|c: char| c.is_alphabetic()))
        .collect();
    names.extend(short);
    let references = read_references(&config);
    let roles = roles_of(&folder.name, &config, &history);
    Machine {
        name: folder.name.clone(),
        config,
        history,
        references,
        roles,
        units,
        networks,
        gateways,
        names,
        addresses,
    }
}

/// A clock that was set during a boot makes times against other machines uncertain.
fn warn_of_clock(machine: &str, history: &History, warnings: &mut Vec<String>) {
    let steps = history
        .boots
        .iter()
        .map(|boot| boot.clock_step_s())
        .filter(|step| *step > 60.0);
    let steps: Vec<f64> = steps.collect();
    if let Some(largest) = steps.iter().copied().reduce(f64::max) {
        warnings.push(format!(
            "{machine}: the clock was set during {} of {} boots, by up to {largest:.0} s; times against other machines are uncertain",
            steps.len(),
            history.boots.len()
        ));
    }
}

/// Names beside the machine's own one in its hosts file ("127.0.1.1 web1.site web1").
fn own_names(config: &ConfigFiles, names: &BTreeSet<String>) -> Vec<String> {
    let Some(text) = config.get("etc/hosts") else {
        return Vec::new();
    };
    let own_line = |line: &&str| {
        let mut words = line.split_whitespace();
        let loopback = words.next().is_some_and(|a| a.starts_with("127.0.1."));
        loopback || words.any(|word| names.contains(&word.to_ascii_lowercase()))
    };
    let lines = text
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .filter(own_line);
    lines
        .flat_map(|line| {
            line.split('#')
                .next()
                .unwrap_or("")
                .split_whitespace()
                .skip(1)
        })
        .map(str::to_ascii_lowercase)
        .collect()
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
    lines
        .filter_map(|words| match words.as_slice() {
            ["search" | "domain", domains @ ..] => Some(
                domains
                    .iter()
                    .map(|d| d.to_ascii_lowercase())
                    .collect::<Vec<_>>(),
            ),
            _ => None,
        })
        .flatten()
        .collect()
}

/// Roles by units that were started or are enabled.
fn roles_of(machine: &str, config: &ConfigFiles, history: &History) -> BTreeMap<String, Role> {
    let mut roles = BTreeMap::new();
    for link in &config.links {
        let unit = link.rsplit('/').next().unwrap_or(link);
        let text = format!("{} is enabled", printable(unit));
        let evidence = Evidence {
            machine: machine.to_owned(),
            file: printable(link),
            record: String::new(),
            time: None,
            text,
        };
        add_role(&mut roles, unit, 0, evidence);
    }
    let told = history
        .boots
        .iter()
        .rev()
        .filter(|boot| !boot.events.is_empty());
    for (boots_ago, boot) in told.enumerate() {
        for event in boot
            .events
            .iter()
            .filter(|e| e.what == crate::classify::What::Started)
        {
            let evidence = Evidence {
                machine: machine.to_owned(),
                file: event.file.to_string(),
                record: event.record.clone(),
                time: Some(format_time(event.realtime_us)),
                text: printable(&event.message),
            };
            add_role(&mut roles, &event.unit, boots_ago, evidence);
        }
    }
    roles
}

fn add_role(roles: &mut BTreeMap<String, Role>, unit: &str, boots_ago: usize, evidence: Evidence) {
    let Some(service) = services::by_unit(unit) else {
        return;
    };
    let role = roles.entry(service.key.clone());
    let role = role.or_insert_with(|| Role {
        boots_ago,
        evidence: evidence.clone(),
    });
    // A start in the logs says more than an enabled unit.
    if role.evidence.time.is_none() && evidence.time.is_some() {
        *role = Role {
            boots_ago,
            evidence,
        };
    }
}

impl Machine {
    pub fn plays(&self, service: &Service) -> bool {
        self.roles.contains_key(&service.key)
    }
}
