//! Configuration that names another machine of the site.

use super::{Claim, Estimator, Node};
use crate::facts::{Reference, Weight, names_database};
use crate::model::Feature;
use crate::options::{EstimatorName, Options};
use crate::order::{Kind, Source};
use crate::services::{self, Service};
use crate::site::{Machine, Site};

/// Roles that are reached as pages, whatever program serves them.
const PAGES: &[&str] = &[
    "web",
    "java",
    "python",
    "ruby",
    "node",
    "php",
    "dotnet",
    "wiki",
    "ci",
    "git",
    "registry",
    "webcache",
    "objectstore",
    "chat",
    "erp",
    "cloud",
    "groupware",
    "monitoring",
    "lists",
];
pub(super) struct Configuration;

impl Estimator for Configuration {
    fn claims(&self, site: &Site, _: &Options) -> Vec<Claim> {
        let mut claims = Vec::new();
        for (index, machine) in site.machines.iter().enumerate() {
            for reference in &machine.references {
                let target = site
                    .resolve(&reference.target)
                    .or_else(|| site.resolve(balancer_name(reference)?))
                    .filter(|target| *target != index);
                if let Some(target) = target {
                    claims.push(claim(site, index, target, reference));
                }
            }
        }
        claims
    }
}

fn claim(site: &Site, index: usize, target: usize, reference: &Reference) -> Claim {
    let wanted = reference.service.as_deref().and_then(services::by_key);
    let (mut feature, mut remark) = judge(&site.machines[target], wanted, reference);
    if is_dormant(&site.machines[index], &reference.file) {
        feature = Feature::ConfigurationDormant;
        remark.push_str(", but nothing that this machine starts reads the file");
    }
    let weak = reference.weight == Weight::Weak && !wanted.is_some_and(services::keeps_data);
    Claim {
        before: Node {
            machine: target,
            service: reference.service.clone(),
        },
        after: Node {
            machine: index,
            service: user_of(&site.machines[index], &reference.file),
        },
        kind: reference
            .kind
            .or(wanted.map(|service| service.needed))
            .unwrap_or(Kind::Soft),
        feature: if weak {
            Feature::ConfigurationWeak
        } else {
            feature
        },
        amount: 1.0,
        source: Source::Configuration,
        estimator: EstimatorName::Configuration,
        boot: String::new(),
        evidence: vec![site.file_evidence(index, reference, &remark)],
    }
}

/// Load balancers have a name of their own for each server, as a rule that of the machine; it
/// helps where the address leads nowhere.
fn balancer_name(reference: &Reference) -> Option<&str> {
    let mut words = reference.text.split_whitespace();
    let is_server = words.next() == Some("server");
    let name = words.next().filter(|_| is_server)?;
    let address = words.next()?;
    address
        .starts_with(reference.target.as_str())
        .then_some(name)
}

/// How much a reference is worth, by what the other machine was seen to offer.
fn judge(other: &Machine, wanted: Option<&Service>, reference: &Reference) -> (Feature, String) {
    let Some(service) = wanted else {
        let remark = format!("{} is {}", reference.target, other.name);
        let feature = match names_database(&reference.text) {
            true if offers_data(other) => Feature::ConfigurationServed,
            true if !other.roles.is_empty() => Feature::ConfigurationNotServed,
            _ => Feature::ConfigurationUnknown,
        };
        return (feature, remark);
    };
    let (name, machine) = (&service.name, &other.name);
    if other.plays(service) {
        (Feature::ConfigurationServed, format!("{name} on {machine}"))
    } else if other.roles.is_empty() {
        (
            Feature::ConfigurationUnknown,
            format!("{name} on {machine}, whose services are not known"),
        )
    } else {
        let feature = if is_distinct(service) {
            Feature::ConfigurationNotServed
        } else {
            Feature::ConfigurationUnknown
        };
        (feature, format!("{name} on {machine}, where none was seen"))
    }
}

/// Whether nobody else could answer in place of this service. Anything may serve pages, and a
/// resolver that does not resolve would have been noticed.
fn is_distinct(service: &Service) -> bool {
    !PAGES.contains(&service.key.as_str()) && service.key != "dns"
}

/// Whether a machine offers any database.
fn offers_data(machine: &Machine) -> bool {
    let roles = machine.roles.keys().filter_map(|key| services::by_key(key));
    roles.into_iter().any(services::keeps_data)
}

/// Whether a file can only matter through a program that this machine does not start.
fn is_dormant(machine: &Machine, file: &str) -> bool {
    let Some(program) = program_of(file) else {
        return false;
    };
    let started = &machine.started;
    !started.is_empty() && !started.iter().any(|unit| is_of_program(unit, program))
}

/// The program that a file of settings is named after.
fn program_of(file: &str) -> Option<&str> {
    if let Some(unit) = file.strip_prefix("etc/systemd/system/") {
        let unit = unit.split('/').next()?;
        return unit.split_once(".service").map(|(name, _)| name);
    }
    let settings = file
        .strip_prefix("etc/default/")
        .or_else(|| file.strip_prefix("etc/sysconfig/"));
    settings.filter(|name| !name.contains('/'))
}

/// "postgresql" and "postgresql@15-main", "isc-dhcp-server" and "isc-dhcp-server6".
fn is_of_program(unit: &str, program: &str) -> bool {
    let stem = unit.split(['@', '.']).next().unwrap_or(unit);
    stem.eq_ignore_ascii_case(program.split('@').next().unwrap_or(program))
        || stem.starts_with(program)
        || (stem.len() > 2 && program.starts_with(stem))
}

/// The service that a configuration file belongs to, by its folder, if the machine runs it.
pub(super) fn user_of(machine: &Machine, file: &str) -> Option<String> {
    if file.starts_with("var/www/") || file.starts_with("srv/www/") {
        return machine.roles.contains_key("web").then(|| "web".to_owned());
    }
    let folder = file.strip_prefix("etc/")?.split('/').next()?;
    let service =
        services::by_unit(folder).or_else(|| services::by_word(&folder.to_ascii_lowercase()))?;
    machine.plays(service).then(|| service.key.clone())
}
