//! Dependencies between the services of one machine, as it declares them itself.

use super::{Claim, Estimator, Node};
use crate::graph::Need;
use crate::model::Feature;
use crate::options::{EstimatorName, Options};
use crate::order::{Evidence, Source};
use crate::site::{Machine, Site};

/// What each unit between the two takes away.
const STEP: f64 = 0.1;
const LEAST: f64 = 0.5;

pub(super) struct Declared;

impl Estimator for Declared {
    fn claims(&self, site: &Site, _: &Options) -> Vec<Claim> {
        let mut claims = Vec::new();
        for (index, machine) in site.machines.iter().enumerate() {
            for need in machine.declared.needs() {
                let runs = |key: &str| machine.roles.contains_key(key);
                if runs(need.before) && runs(need.after) {
                    claims.push(claim(index, machine, &need));
                }
            }
        }
        claims
    }
}

fn claim(index: usize, machine: &Machine, need: &Need<'_>) -> Claim {
    let node = |key: &str| Node {
        machine: index,
        service: Some(key.to_owned()),
    };
    let evidence = need.way.iter().map(|declaration| Evidence {
        machine: machine.name.clone(),
        file: declaration.file.clone(),
        record: declaration.place.clone(),
        time: None,
        text: declaration.text.clone(),
    });
    Claim {
        before: node(need.before),
        after: node(need.after),
        kind: need.kind,
        feature: Feature::Declared,
        amount: (1.0 - STEP * (need.way.len() - 1) as f64).max(LEAST),
        source: Source::Declared,
        estimator: EstimatorName::Declared,
        boot: String::new(),
        evidence: evidence.collect(),
    }
}
