//! Configuration that names another machine of the site.

use super::{Claim, Estimator, Node};
use crate::facts::{Reference, Weight};
use crate::model::Feature;
use crate::options::{EstimatorName, Options};
use crate::order::{Kind, Source};
use crate::services;
use crate::site::{Machine, Site};

pub(super) struct Configuration;

impl Estimator for Configuration {
    fn claims(&self, site: &Site, _: &Options) -> Vec<Claim> {
        let mut claims = Vec::new();
        for (index, machine) in site.machines.iter().enumerate() {
            for reference in &machine.references {
                let target = site
                    .resolve(&reference.target)
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
    let other = &site.machines[target];
    let (feature, remark) = match wanted {
        None => (
            Feature::ConfigurationUnknown,
            format!("{} is {}", reference.target, other.name),
        ),
        Some(service) if other.plays(service) => (
            Feature::ConfigurationServed,
            format!("{} on {}", service.name, other.name),
        ),
        Some(service) if other.roles.is_empty() => (
            Feature::ConfigurationUnknown,
            format!(
                "{} on {}, whose services are not known",
                service.name, other.name
            ),
        ),
        Some(service) => (
            Feature::ConfigurationNotServed,
            format!("{} on {}, where none was seen", service.name, other.name),
        ),
    };
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
        feature: match reference.weight {
            Weight::Normal => feature,
            Weight::Weak => Feature::ConfigurationWeak,
        },
        amount: 1.0,
        source: Source::Configuration,
        estimator: EstimatorName::Configuration,
        boot: String::new(),
        evidence: vec![site.file_evidence(index, reference, &remark)],
    }
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
