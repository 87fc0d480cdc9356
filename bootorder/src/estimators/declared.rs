//! Dependencies between the services of one machine, as systemd units declare them.

use std::collections::BTreeMap;

use super::{Claim, Estimator, Node};
use crate::model::Feature;
use crate::options::{EstimatorName, Options};
use crate::order::{Evidence, Kind, Source};
use crate::services;
use crate::site::Site;

pub(super) struct Declared;

impl Estimator for Declared {
    fn claims(&self, site: &Site, _: &Options) -> Vec<Claim> {
        let mut claims = Vec::new();
        for (index, machine) in site.machines.iter().enumerate() {
            for (file, text) in &machine.units {
                let unit = file.rsplit('/').next().unwrap_or(file);
                let Some(after) = services::by_unit(unit).filter(|s| machine.plays(s)) else {
                    continue;
                };
                for (line, before, kind) in declared(text) {
                    let Some(before) = services::by_unit(before) else {
                        continue;
                    };
                    if before.key == after.key || !machine.plays(before) {
                        continue;
                    }
                    claims.push(Claim {
                        before: Node {
                            machine: index,
                            service: Some(before.key.clone()),
                        },
                        after: Node {
                            machine: index,
                            service: Some(after.key.clone()),
                        },
                        kind,
                        feature: Feature::Declared,
                        amount: 1.0,
                        source: Source::Declared,
                        estimator: EstimatorName::Declared,
                        boot: String::new(),
                        evidence: vec![Evidence {
                            machine: machine.name.clone(),
                            file: file.clone(),
                            record: format!("line {line}"),
                            time: None,
                            text: crate::event::printable(text.lines().nth(line - 1).unwrap_or("")),
                        }],
                    });
                }
            }
        }
        claims
    }
}

/// Units that a unit file names in its ordering and requirement lines.
fn declared(text: &str) -> Vec<(usize, &str, Kind)> {
    let mut found: BTreeMap<&str, (usize, Kind)> = BTreeMap::new();
    for (at, line) in text.lines().enumerate() {
        let Some((key, value)) = line.split_once('=') else {
            continue;
        };
        let kind = match key.trim() {
            "Requires" | "BindsTo" | "Requisite" => Kind::Hard,
            "After" | "Wants" => Kind::Soft,
            _ => continue,
        };
        for unit in value
            .split_whitespace()
            .filter(|unit| unit.ends_with(".service"))
        {
            let entry = found.entry(unit).or_insert((at + 1, kind));
            entry.1 = entry.1.max(kind);
        }
    }
    found
        .into_iter()
        .map(|(unit, (line, kind))| (line, unit, kind))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requirements_are_hard_and_ordering_is_soft() {
        let unit = "[Unit]\nAfter=network.target postgresql.service redis.service\nRequires=postgresql.service\n";
        let found = declared(unit);
        assert_eq!(
            found,
            [
                (2, "postgresql.service", Kind::Hard),
                (2, "redis.service", Kind::Soft)
            ]
        );
    }
}
