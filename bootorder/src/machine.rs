//! One machine as its folder shows it: logs, files, registry, names, roles.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use crate::classify::What;
use crate::event::{History, format_time, printable};
use crate::facts::{Reference, read_references, without_logged_secrets};
use crate::folder::{ConfigFiles, MachineFolder, read_units};
use crate::graph::{Graph, published};
use crate::hive::{Registry, read_registry};
use crate::identity::identity_of;
use crate::leases;
use crate::order::Evidence;
use crate::readers::read_history;
use crate::services::{self, Service};

/// Only this many characters of a name are in NetBIOS.
const NETBIOS: usize = 15;

/// One machine, read.
#[derive(Debug)]
pub(crate) struct Machine {
    pub name: String,
    pub config: ConfigFiles,
    pub history: History,
    pub registry: Registry,
    /// Other machines named by its configuration.
    pub references: Vec<Reference>,
    /// Roles it plays, by key, with the fact that says so.
    pub roles: BTreeMap<String, Role>,
    /// What its units, services and containers say about each other.
    pub declared: Graph,
    /// Networks that it has a static address in.
    pub networks: Vec<IpNet>,
    pub gateways: Vec<IpAddr>,
    /// What it and the site call it, lower case.
    pub names: BTreeSet<String>,
    /// Names in its logs, which may be those of others that log to it.
    pub logged_names: BTreeSet<String>,
    pub addresses: BTreeSet<IpAddr>,
    /// Units that are enabled or were started, as they are called.
    pub started: BTreeSet<String>,
    /// A card gets its address from somebody else.
    pub dynamic: bool,
    /// Hardware addresses of its cards.
    pub macs: BTreeSet<String>,
}

/// A role that a machine plays.
#[derive(Debug, Clone)]
pub(crate) struct Role {
    /// How many boots with records ago it was started last; 0 is the last one.
    pub boots_ago: usize,
    pub evidence: Evidence,
}

impl Machine {
    /// Reads a machine; what cannot be read becomes a warning.
    pub fn read(folder: &MachineFolder, warnings: &mut Vec<String>) -> Self {
        let config = ConfigFiles::read(&folder.name, &folder.folder, warnings);
        let units = read_units(&folder.folder);
        let history = read_history(&folder.name, &folder.folder, &units, warnings);
        warn_of_clock(&folder.name, &history, warnings);
        let mut registry = read_registry(&folder.name, &folder.folder, warnings);
        let mut identity = identity_of(&config);
        identity.interfaces.extend(registry.interfaces.clone());
        let mut macs: BTreeSet<String> = identity
            .interfaces
            .iter()
            .filter_map(|i| i.mac.clone())
            .collect();
        macs.extend(crate::identity::cards(&history.card_lines).into_values());
        let nets = identity.interfaces.iter().flat_map(|i| &i.addresses);
        let mut addresses: BTreeSet<IpAddr> = folder.addresses.iter().copied().collect();
        addresses.extend(nets.clone().map(IpNet::addr));
        let dynamic = identity
            .interfaces
            .iter()
            .any(|card| card.addresses.is_empty() && card.name != "lo");
        if dynamic || addresses.iter().all(IpAddr::is_loopback) {
            addresses.extend(&registry.leased);
            addresses.extend(leases::of_files(&config));
        }
        if dynamic || addresses.is_empty() {
            addresses.extend(history.leases.values());
        }
        addresses.retain(|address| !address.is_loopback() && !address.is_unspecified());
        let mut names = own_names(folder, &config, &identity.hostname, &registry);
        let mut logged_names = lower(&history.hosts);
        widen(&mut names);
        widen(&mut logged_names);
        let mut references = read_references(&config);
        references.append(&mut registry.references);
        let started = started(&config, &history);
        let roles = roles_of(&folder.name, &config, &history, &registry);
        Self {
            name: folder.name.clone(),
            networks: nets.copied().collect(),
            gateways: identity
                .interfaces
                .iter()
                .filter_map(|i| i.gateway)
                .collect(),
            declared: Graph::read(&units, &config, &registry),
            config,
            history,
            registry,
            references,
            roles,
            names,
            logged_names,
            addresses,
            started,
            dynamic,
            macs,
        }
    }

    /// Whether an address that others know could be one that this machine does not state itself.
    pub fn may_be_given(&self, address: IpAddr) -> bool {
        self.dynamic && !self.networks.iter().any(|net| net.contains(&address))
    }

    pub fn plays(&self, service: &Service) -> bool {
        self.roles.contains_key(&service.key)
    }
}

fn lower(names: &[String]) -> BTreeSet<String> {
    let names = names.iter().map(|name| name.trim_end_matches('.'));
    names.map(str::to_ascii_lowercase).collect()
}

fn own_names(
    folder: &MachineFolder,
    config: &ConfigFiles,
    hostname: &Option<String>,
    registry: &Registry,
) -> BTreeSet<String> {
    let mut names = lower(&folder.names);
    names.insert(folder.name.to_ascii_lowercase());
    names.extend(hostname.clone());
    names.extend(registry.names.iter().cloned());
    let netbios = config.get("etc/samba/smb.conf").and_then(|text| {
        let found = crate::identity::pairs(text).find(|(key, _)| key == "netbios name");
        found.map(|(_, name)| name.to_ascii_lowercase())
    });
    names.extend(netbios);
    names.extend(beside_own_name(config, &names));
    names
}

/// Adds the short forms: the host part of full names, and what NetBIOS leaves of long ones.
fn widen(names: &mut BTreeSet<String>) {
    names.retain(|name| !name.starts_with("localhost") && !name.is_empty());
    let short = names
        .iter()
        .filter_map(|n| Some(n.split_once('.')?.0.to_owned()));
    let short: Vec<String> = short.filter(|n| n.contains(char::is_alphabetic)).collect();
    names.extend(short);
    let cut = names
        .iter()
        .filter(|name| !name.contains('.'))
        .filter_map(|name| {
            Some(
                name.get(..NETBIOS)
                    .filter(|_| name.len() > NETBIOS)?
                    .to_owned(),
            )
        });
    let cut: Vec<String> = cut.collect();
    names.extend(cut);
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
        let unsure = history.boots.iter().map(|boot| boot.uncertainty_s());
        let unsure = unsure.fold(0.0, f64::max);
        warnings.push(format!(
            "{machine}: the clock was set during {} of {} boots, by up to {largest:.0} s; times against other machines are uncertain by up to {unsure:.0} s",
            steps.len(),
            history.boots.len()
        ));
    }
}

/// Names beside the machine's own one in its hosts file ("127.0.1.1 web1.site web1").
fn beside_own_name(config: &ConfigFiles, names: &BTreeSet<String>) -> Vec<String> {
    let Some(text) = config.hosts() else {
        return Vec::new();
    };
    let own_line = |line: &&str| {
        let mut words = line.split_whitespace();
        let loopback = words.next().is_some_and(|a| a.starts_with("127.0.1."));
        loopback || words.any(|word| names.contains(&word.to_ascii_lowercase()))
    };
    let lines = text
        .lines()
        .map(|line| line.split('#').next().unwrap_or(""))
        .filter(own_line);
    lines
        .flat_map(|line| line.split_whitespace().skip(1))
        .map(str::to_ascii_lowercase)
        .collect()
}

/// Roles by services that were started, are enabled, or start with the machine.
/// Units that are enabled or were started; empty where neither is known.
fn started(config: &ConfigFiles, history: &History) -> BTreeSet<String> {
    let enabled = config
        .links
        .iter()
        .filter_map(|link| link.rsplit('/').next());
    let events = history.boots.iter().flat_map(|boot| &boot.events);
    let seen = events
        .filter(|event| event.what == crate::classify::What::Started)
        .map(|event| event.unit.as_str());
    let named = enabled.chain(seen).filter(|unit| !unit.is_empty());
    named.map(str::to_owned).collect()
}

fn roles_of(
    machine: &str,
    config: &ConfigFiles,
    history: &History,
    registry: &Registry,
) -> BTreeMap<String, Role> {
    let mut roles = BTreeMap::new();
    for link in &config.links {
        let unit = link.rsplit('/').next().unwrap_or(link);
        let text = format!("{} is enabled", printable(unit));
        let evidence = fact(machine, link, "", text);
        add_role(&mut roles, services::by_unit(unit), 0, evidence);
    }
    for (key, file, line) in published(config) {
        let text = "a container with a published port".to_owned();
        let evidence = fact(machine, &file, &format!("line {line}"), text);
        add_role(&mut roles, services::by_key(key), 0, evidence);
    }
    for (key, place) in &registry.roles {
        let text = format!("{} starts with the machine", printable(place));
        let evidence = fact(machine, &registry.file, &format!("key {place}"), text);
        add_role(&mut roles, services::by_key(key), 0, evidence);
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
            .filter(|e| matches!(e.what, What::Started | What::Ready))
        {
            let service = services::by_unit(&event.unit).or_else(|| {
                let speaks = event.what == What::Ready;
                services::by_unit(&event.identifier).filter(|_| speaks)
            });
            let evidence = Evidence {
                time: Some(format_time(event.realtime_us)),
                ..fact(
                    machine,
                    &event.file,
                    &event.record,
                    printable(&without_logged_secrets(&event.message)),
                )
            };
            add_role(&mut roles, service, boots_ago, evidence);
        }
    }
    roles
}

fn fact(machine: &str, file: &str, record: &str, text: String) -> Evidence {
    Evidence {
        machine: machine.to_owned(),
        file: printable(file),
        record: printable(record),
        time: None,
        text,
    }
}

fn add_role(
    roles: &mut BTreeMap<String, Role>,
    service: Option<&Service>,
    boots_ago: usize,
    evidence: Evidence,
) {
    let Some(service) = service else { return };
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
