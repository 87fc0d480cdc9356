//! Whom a failure talks about: by the names in it, else by what the machine is configured to use.

use std::sync::LazyLock;

use regex::Regex;

use crate::classify::Failure;
use crate::event::Event;
use crate::facts::Reference;
use crate::services;
use crate::site::Site;

/// A machine, and the service that was missed on it where that is known.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Target {
    pub machine: usize,
    pub service: Option<String>,
}

static PORT: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"(?i)\bport[ =:]+(\d{1,5})\b|[\w\])]:(\d{2,5})\b").ok());

/// Every machine that the failure of `machine` points to.
pub(crate) fn targets(site: &Site, machine: usize, failure: Failure, event: &Event) -> Vec<Target> {
    let mut named: Vec<usize> = hosts(site, &event.message);
    named.retain(|target| *target != machine);
    let mut found: Vec<Target> = named
        .iter()
        .map(|target| Target {
            machine: *target,
            service: service_at(site, machine, *target, failure, event),
        })
        .collect();
    let by_role = match failure {
        // A name of the site that could not be resolved accuses the resolver too.
        Failure::Resolution if !named.is_empty() || asks_for_own_domain(site, &event.message) => {
            configured(site, machine, &["dns"])
        }
        Failure::Directory if named.is_empty() => {
            configured(site, machine, &["directory", "kerberos"])
        }
        Failure::Mount if named.is_empty() => {
            configured(site, machine, &["nfs", "smb", "gluster", "ceph"])
        }
        _ => Vec::new(),
    };
    found.extend(by_role);
    found.sort();
    found.dedup();
    found
}

fn asks_for_own_domain(site: &Site, message: &str) -> bool {
    let words = message.split(|c: char| !(c.is_ascii_alphanumeric() || "-_.".contains(c)));
    words
        .take(200)
        .any(|word| word.contains('.') && site.is_own_domain(word))
}

/// Machines of the site whose name or address stands in a message.
fn hosts(site: &Site, message: &str) -> Vec<usize> {
    let separators = |c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':'));
    let mut found = Vec::new();
    let mut at = 0;
    for word in message.split(separators).take(200) {
        let begin = at;
        at += word.len()
            + message[at + word.len()..]
                .chars()
                .next()
                .map_or(0, char::len_utf8);
        let name = word.trim_end_matches([':', '.']);
        let host = match name.parse::<std::net::IpAddr>() {
            Ok(_) => name,
            Err(_) => name.split(':').next().unwrap_or(name),
        };
        let before = &message[..begin];
        if host.len() < 2 || is_client(before) || !is_marked(before, word, host) {
            continue;
        }
        if let Some(machine) = site.resolve(host)
            && !found.contains(&machine)
        {
            found.push(machine);
        }
    }
    found
}

/// A server that complains about its client does not depend on it.
fn is_client(before: &str) -> bool {
    let marks = [
        "from ", "from [", "client ", "client=", "from=", "rip=", "rhost=", "peer ",
    ];
    marks.iter().any(|mark| before.ends_with(mark))
}

/// Machines are often called like ordinary words ("data", "mail"): such a word must be marked as a host.
fn is_marked(before: &str, word: &str, host: &str) -> bool {
    if host.contains(|c: char| c.is_ascii_digit() || c == '.' || c == '-') || word.contains(':') {
        return true;
    }
    let introduced = [
        "host ", "server ", "name ", "to ", "at ", "//", "\"", "'", "@", "host=", "resolve ", "[",
    ];
    introduced.iter().any(|mark| before.ends_with(mark))
}

/// The service meant on a named machine.
fn service_at(
    site: &Site,
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
    let by_text = port_in(&event.message)
        .and_then(services::by_port)
        .or_else(|| {
            services::by_word(
                &format!("{} {}", event.identifier, event.message).to_ascii_lowercase(),
            )
        })
        .or_else(|| {
            event.message.split_once("://").and_then(|(before, _)| {
                services::by_scheme(before.rsplit([' ', '"', '\'', '<', '(']).next()?)
            })
        });
    let by_text = by_text.filter(|service| {
        let roles = &site.machines[target].roles;
        roles.is_empty() || roles.contains_key(&service.key)
    });
    by_text
        .map(|service| service.key.clone())
        .or_else(|| only_reference(site, machine, target))
}

fn mount_service(message: &str) -> &'static str {
    let lower = message.to_ascii_lowercase();
    if lower.contains("cifs") || lower.contains("mount error(") {
        "smb"
    } else {
        "nfs"
    }
}

/// The one service that this machine is configured to use there (names and time aside).
fn only_reference(site: &Site, machine: usize, target: usize) -> Option<String> {
    let mut services: Vec<&String> = references_to(site, machine, target)
        .filter_map(|reference| reference.service.as_ref())
        .filter(|service| !matches!(service.as_str(), "dns" | "time"))
        .collect();
    services.sort();
    services.dedup();
    if let [only] = services.as_slice() {
        Some((*only).clone())
    } else {
        None
    }
}

fn references_to(site: &Site, machine: usize, target: usize) -> impl Iterator<Item = &Reference> {
    site.machines[machine]
        .references
        .iter()
        .filter(move |r| site.resolve(&r.target) == Some(target))
}

/// Machines that this one is configured to use for one of the services; where nothing is
/// configured (addresses by DHCP, say), the only machine of the site that offers one.
fn configured(site: &Site, machine: usize, wanted: &[&str]) -> Vec<Target> {
    let found = referenced(site, machine, wanted);
    if found.is_empty() {
        only_provider(site, machine, wanted)
    } else {
        found
    }
}

fn only_provider(site: &Site, machine: usize, wanted: &[&str]) -> Vec<Target> {
    let offers = |index: usize| {
        if !site.share_domain(machine, index) {
            return None;
        }
        let roles = &site.machines[index].roles;
        let service = wanted.iter().find(|key| roles.contains_key(**key))?;
        Some(Target {
            machine: index,
            service: Some((*service).to_owned()),
        })
    };
    let found: Vec<Target> = (0..site.machines.len()).filter_map(offers).collect();
    let is_other = found.len() == 1 && found.iter().all(|target| target.machine != machine);
    if is_other { found } else { Vec::new() }
}

fn referenced(site: &Site, machine: usize, wanted: &[&str]) -> Vec<Target> {
    let references = site.machines[machine].references.iter();
    references
        .filter(|reference| {
            reference
                .service
                .as_deref()
                .is_some_and(|s| wanted.contains(&s))
        })
        .filter_map(|reference| {
            let target = site
                .resolve(&reference.target)
                .filter(|target| *target != machine)?;
            Some(Target {
                machine: target,
                service: reference.service.clone(),
            })
        })
        .collect()
}

fn port_in(message: &str) -> Option<u16> {
    let captures = PORT.as_ref()?.captures(message)?;
    captures.get(1).or(captures.get(2))?.as_str().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_words_need_a_mark() {
        let message = "the data could not be sent to host data: Connection refused";
        assert!(!is_marked(&message[..4], "data", "data"));
        assert!(is_marked(&message[..35], "data:", "data"));
        assert!(is_client("Connection timed out from "));
    }

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
