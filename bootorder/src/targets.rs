//! Whom a failure talks about: by the names in it, else by what the machine is configured to use.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use regex::Regex;

use crate::classify::Failure;
use crate::event::Event;
use crate::facts::Reference;
use crate::marks;
use crate::services::{self, Service};
use crate::site::{Machine, Site};

/// A machine, and the service that was missed on it where that is known.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Target {
    pub machine: usize,
    pub service: Option<String>,
    /// The failure itself names it, rather than the configuration.
    pub named: bool,
}

/// The host in the name of a Kerberos service: "cifs/FILES1", "ldap/dc1.example".
static PRINCIPAL: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"(?i)\b(?:cifs|ldap|host|dns|http)/([a-z0-9._-]+)").ok());

/// What comes before this and after that was another time of the machine.
const A_DAY_S: f64 = 86_400.0;
/// Ends of words that look like host names and are units or files.
const FILES: &[&str] = &[
    "service", "mount", "socket", "target", "timer", "conf", "cfg", "php", "py", "log", "so",
    "xml", "ini", "json", "yaml", "yml", "java", "js", "sh", "pl", "rb", "db", "sock", "pid",
];

static PORT: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"(?i)\bport[ =:]+(\d{1,5})\b|[\w\])]:(\d{2,5})\b").ok());

/// What the site knows about who is meant, looked up once: failures are many.
pub(crate) struct Targets<'a> {
    site: &'a Site,
    /// The machine behind each reference of each machine.
    resolved: Vec<Vec<Option<usize>>>,
    /// Machines that offer a service, by its key.
    providers: BTreeMap<&'a str, Vec<usize>>,
}

impl<'a> Targets<'a> {
    pub fn new(site: &'a Site) -> Self {
        let resolve = |machine: &'a Machine| {
            let references = machine.references.iter();
            references.map(|r| site.resolve(&r.target)).collect()
        };
        let mut providers: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (index, machine) in site.machines.iter().enumerate() {
            for key in machine.roles.keys() {
                providers.entry(key).or_default().push(index);
            }
        }
        Self {
            site,
            resolved: site.machines.iter().map(resolve).collect(),
            providers,
        }
    }

    /// Every machine that the failure of `machine` points to.
    pub fn of(&self, machine: usize, failure: Failure, event: &Event) -> Vec<Target> {
        let mut named: Vec<usize> = hosts(self.site, &event.message);
        named.retain(|target| *target != machine);
        let at = |target: &usize| Target {
            machine: *target,
            service: self.service_at(machine, *target, failure, event),
            named: true,
        };
        let mut found: Vec<Target> = named.iter().map(at).collect();
        found.extend(self.by_role(machine, failure, event, named.is_empty()));
        found.sort();
        found.dedup();
        found
    }

    fn by_role(
        &self,
        machine: usize,
        failure: Failure,
        event: &Event,
        nobody_named: bool,
    ) -> Vec<Target> {
        match failure {
            // A name of the site that could not be resolved accuses the resolver too.
            Failure::Resolution
                if !nobody_named || asks_for_own_domain(self.site, &event.message) =>
            {
                self.configured(machine, &["dns"], event)
            }
            Failure::Directory if nobody_named => {
                self.configured(machine, &["directory", "kerberos"], event)
            }
            Failure::Mount if nobody_named => {
                self.configured(machine, &["nfs", "smb", "gluster", "ceph"], event)
            }
            _ => Vec::new(),
        }
    }

    /// The service meant on a named machine.
    fn service_at(
        &self,
        machine: usize,
        target: usize,
        failure: Failure,
        event: &Event,
    ) -> Option<String> {
        match failure {
            Failure::Directory => return Some("directory".to_owned()),
            Failure::Mount => return Some(mount_service(&event.message).to_owned()),
            Failure::Resolution | Failure::Refused | Failure::Unreachable => {}
        }
        let roles = &self.site.machines[target].roles;
        service_in(event)
            .filter(|service| roles.is_empty() || roles.contains_key(&service.key))
            .map(|service| service.key.clone())
            .or_else(|| self.only_reference(machine, target))
    }

    /// The one service that this machine is configured to use there (names and time aside).
    fn only_reference(&self, machine: usize, target: usize) -> Option<String> {
        let references = self.references(machine);
        let mut services: Vec<&String> = references
            .filter(|(_, to)| *to == Some(target))
            .filter_map(|(reference, _)| reference.service.as_ref())
            .filter(|service| !matches!(service.as_str(), "dns" | "time"))
            .collect();
        services.sort();
        services.dedup();
        match services.as_slice() {
            [only] => Some((*only).clone()),
            _ => None,
        }
    }

    fn references(&self, machine: usize) -> impl Iterator<Item = (&Reference, Option<usize>)> {
        let references = self.site.machines[machine].references.iter();
        references.zip(self.resolved[machine].iter().copied())
    }

    /// Machines that this one is configured to use for one of the services; where nothing is
    /// configured (addresses by DHCP, say), the only machine of the site that offers one.
    fn configured(&self, machine: usize, wanted: &[&str], event: &Event) -> Vec<Target> {
        let found = self.referenced(machine, wanted);
        if found.is_empty() {
            let only = self.only_provider(machine, wanted);
            let fits = |target: &Target| self.was_there(target.machine, event);
            only.into_iter().filter(fits).collect()
        } else {
            found
        }
    }

    fn referenced(&self, machine: usize, wanted: &[&str]) -> Vec<Target> {
        let is_wanted = |reference: &Reference| {
            let service = reference.service.as_deref();
            service.is_some_and(|service| wanted.contains(&service))
        };
        let references = self.references(machine).filter(|(r, _)| is_wanted(r));
        references
            .filter_map(|(reference, to)| {
                Some(Target {
                    machine: to.filter(|to| *to != machine)?,
                    service: reference.service.clone(),
                    named: false,
                })
            })
            .collect()
    }

    /// Whether a machine that nothing names existed at the time, as far as its logs tell, and
    /// whether the failure asks for no other domain than its own.
    fn was_there(&self, machine: usize, event: &Event) -> bool {
        let at = event.realtime_us as f64 / 1e6;
        let boots = &self.site.machines[machine].history.boots;
        let spans = boots.first().zip(boots.last());
        let in_time = spans.is_none_or(|(first, last)| {
            first.start_s() - A_DAY_S <= at && at <= last.end_s() + A_DAY_S
        });
        in_time && !self.names_stranger(&event.message) && self.may_be_domain_of(machine, event)
    }

    /// NETLOGON names the domain whose controller it missed, by its short name.
    fn may_be_domain_of(&self, machine: usize, event: &Event) -> bool {
        let labels = self.site.domain_labels(machine);
        let mut words = event.message.split(|c: char| !c.is_ascii_alphanumeric());
        event.identifier != "NETLOGON"
            || labels.is_empty()
            || words.any(|word| labels.contains(&word.to_ascii_lowercase()))
    }

    fn names_stranger(&self, message: &str) -> bool {
        let words = message.split(|c: char| !(c.is_ascii_alphanumeric() || "-_.".contains(c)));
        let mut hosts = words.take(200).filter(|word| is_full_name(word));
        let service = PRINCIPAL.as_ref().and_then(|found| found.captures(message));
        let asked = service.and_then(|found| found.get(1));
        hosts.any(|host| !self.site.is_own_domain(host))
            || asked.is_some_and(|host| self.site.resolve(host.as_str()).is_none())
    }

    fn only_provider(&self, machine: usize, wanted: &[&str]) -> Option<Target> {
        let mut found: BTreeMap<usize, &str> = BTreeMap::new();
        for key in wanted.iter().rev() {
            for index in self.providers.get(key).into_iter().flatten() {
                if self.site.share_domain(machine, *index) {
                    found.insert(*index, key);
                }
            }
        }
        let (index, service) = found.first_key_value()?;
        (found.len() == 1 && *index != machine).then(|| Target {
            machine: *index,
            service: Some((*service).to_owned()),
            named: false,
        })
    }
}

/// "dc1.example.com": labels, and a last one of letters only.
fn is_full_name(word: &str) -> bool {
    let word = word.trim_matches('.');
    let last = word.rsplit_once('.').map_or("", |(_, last)| last);
    let labels = word.split('.').all(|label| !label.is_empty());
    labels
        && last.len() > 1
        && last.chars().all(|c| c.is_ascii_alphabetic())
        && !FILES.contains(&last)
}

/// The service that the words of a failure tell of: port, name, scheme.
fn service_in(event: &Event) -> Option<&'static Service> {
    let by_word = || {
        let words = format!("{} {}", event.identifier, event.message).to_ascii_lowercase();
        services::by_word(&words)
    };
    let by_scheme = || {
        let (before, _) = event.message.split_once("://")?;
        services::by_scheme(before.rsplit([' ', '"', '\'', '<', '(']).next()?)
    };
    port_in(&event.message)
        .and_then(services::by_port)
        .or_else(by_word)
        .or_else(by_scheme)
}

fn asks_for_own_domain(site: &Site, message: &str) -> bool {
    let words = message.split(|c: char| !(c.is_ascii_alphanumeric() || "-_.".contains(c)));
    words
        .take(200)
        .any(|word| word.contains('.') && site.is_own_domain(word))
}

/// Machines of the site whose name or address stands in a message as the other party.
fn hosts(site: &Site, message: &str) -> Vec<usize> {
    let mut found = Vec::new();
    for host in marks::other_parties(message) {
        if let Some(machine) = site.resolve(host)
            && !found.contains(&machine)
        {
            found.push(machine);
        }
    }
    found
}

fn mount_service(message: &str) -> &'static str {
    let lower = message.to_ascii_lowercase();
    if lower.contains("cifs") || lower.contains("mount error(") {
        "smb"
    } else {
        "nfs"
    }
}

fn port_in(message: &str) -> Option<u16> {
    let captures = PORT.as_ref()?.captures(message)?;
    captures.get(1).or(captures.get(2))?.as_str().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_in_messages() {
        assert_eq!(
            port_in("connection to server at \"data1\" (10.0.0.2), port 5432 failed"),
            Some(5432)
        );
        assert_eq!(
            port_in("dial tcp 10.0.0.2:6379: connection refused"),
            Some(6379)
        );
        assert_eq!(port_in("no port"), None);
    }
}
