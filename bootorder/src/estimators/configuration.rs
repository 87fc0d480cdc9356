//! Configuration that names another machine of the site.

use super::{Claim, Estimator, Node};
use crate::facts::Reference;
use crate::options::{EstimatorName, Options};
use crate::order::{Kind, Source};
use crate::services;
use crate::site::{Machine, Site};

const SERVED: f64 = 0.8;
const UNKNOWN_SERVICE: f64 = 0.5;
/// The logs of the other machine show no such service: perhaps the file is stale.
const NOT_SERVED: f64 = 0.4;

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
    let (confidence, remark) = match wanted {
        None => (
            UNKNOWN_SERVICE,
            format!("{} is {}", reference.target, other.name),
        ),
        Some(service) if other.plays(service) => {
            (SERVED, format!("{} on {}", service.name, other.name))
        }
        Some(service) if other.roles.is_empty() => (
            UNKNOWN_SERVICE,
            format!(
                "{} on {}, whose services are not known",
                service.name, other.name
            ),
        ),
        Some(service) => (
            NOT_SERVED,
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
        confidence,
        source: Source::Configuration,
        estimator: EstimatorName::Configuration,
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
