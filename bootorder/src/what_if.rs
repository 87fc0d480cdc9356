//! What-if: the same site without a machine, or only as much of it as one machine needs.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::order::{Edge, Kind, Order};
use crate::prediction::{HostBudget, Prediction};
use crate::schedule::{Budget, Standing};
use crate::simulate::simulate;

/// What the lack of a machine means for another one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Consequence {
    /// The other machine.
    pub machine: String,
    /// From the missing machine to it, along the dependencies that do it.
    pub chain: Vec<String>,
    /// How sure the weakest of those dependencies is.
    pub confidence: f64,
    /// The sentence of the last of them.
    pub reason: String,
}

/// The site without one machine.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct WhatIf {
    /// The missing machine.
    pub without: String,
    /// Machines that would not start or not work.
    pub fails: Vec<Consequence>,
    /// Machines that start, but miss it: they retry until they give up or it comes.
    pub waits: Vec<Consequence>,
    /// Services that nobody offers to those who used them.
    pub missing: Vec<String>,
    /// Machines of its own role that are still there.
    pub partners: Vec<String>,
    /// Machines that notice nothing.
    pub unaffected: Vec<String>,
    /// How long the rest takes.
    pub prediction: Prediction,
}

impl Order {
    /// What would happen without `machine`; `None` when there is no such machine.
    pub fn without(&self, machine: &str, host: &HostBudget) -> Option<WhatIf> {
        let at = self.machines.iter().position(|name| name == machine)?;
        let mut nodes = self.nodes(&HostBudget::default());
        nodes[at].standing = Standing::Failed;
        let delays = vec![1.0; nodes.len()];
        let run = simulate(&nodes, Budget::UNLIMITED, &delays);
        let is_lost = |name: &str| {
            let at = self.machines.iter().position(|other| other == name);
            at.is_some_and(|at| matches!(run.standing[at], Standing::Failed | Standing::Blocked))
        };
        let lost: BTreeSet<&str> = self
            .machines
            .iter()
            .map(String::as_str)
            .filter(|name| is_lost(name))
            .collect();
        let (fails, waits) = self.consequences(machine, &lost);
        let touched: BTreeSet<&str> = fails
            .iter()
            .chain(&waits)
            .map(|one| one.machine.as_str())
            .chain([machine])
            .collect();
        let others = self
            .machines
            .iter()
            .filter(|name| !touched.contains(name.as_str()));
        let unaffected = others.cloned().collect();
        let kept = |name: &String| !lost.contains(name.as_str());
        let rest: BTreeSet<&str> = self
            .machines
            .iter()
            .filter(|n| kept(n))
            .map(String::as_str)
            .collect();
        Some(WhatIf {
            without: machine.to_owned(),
            missing: self.missing_services(machine),
            partners: self.partners(machine),
            unaffected,
            prediction: self.restricted(&rest).predict(host),
            fails,
            waits,
        })
    }

    /// In the order of the plan, so that each chain is known before it is prolonged.
    fn consequences(
        &self,
        machine: &str,
        lost: &BTreeSet<&str>,
    ) -> (Vec<Consequence>, Vec<Consequence>) {
        let mut chains: BTreeMap<&str, (Vec<String>, f64)> = BTreeMap::new();
        chains.insert(machine, (vec![machine.to_owned()], 1.0));
        let (mut fails, mut waits) = (Vec::new(), Vec::new());
        for entry in self.plan.iter().filter(|entry| entry.machine != machine) {
            let name = entry.machine.as_str();
            let fatal = lost.contains(name);
            let mut causes: Vec<&Edge> = self
                .edges
                .iter()
                .filter(|edge| edge.after == name && lost.contains(edge.before.as_str()))
                .filter(|edge| !fatal || edge.kind == Kind::Hard)
                .collect();
            causes.sort_by(|a, b| b.confidence.total_cmp(&a.confidence));
            let Some(cause) = causes.first() else {
                continue;
            };
            let Some((chain, sure)) = chains.get(cause.before.as_str()) else {
                continue;
            };
            let mut chain = chain.clone();
            chain.push(name.to_owned());
            let confidence = sure.min(cause.confidence);
            let reason = self.reason_of(cause);
            if fatal {
                chains.insert(name, (chain.clone(), confidence));
            }
            let of = if fatal { &mut fails } else { &mut waits };
            of.push(Consequence {
                machine: name.to_owned(),
                chain,
                confidence,
                reason,
            });
        }
        (fails, waits)
    }

    /// The sentence of an edge, from the plan.
    pub(crate) fn reason_of(&self, edge: &Edge) -> String {
        let lead = format!("after {}: ", crate::event::printable(&edge.before));
        let entry = self.plan.iter().find(|entry| entry.machine == edge.after);
        entry
            .and_then(|entry| {
                entry
                    .reasons
                    .iter()
                    .find_map(|reason| reason.strip_prefix(&lead))
            })
            .map_or_else(|| format!("found by {}", edge.source.word()), str::to_owned)
    }

    fn missing_services(&self, machine: &str) -> Vec<String> {
        let lead = format!("{machine}: ");
        let mut users: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for edge in &self.services.edges {
            let own = edge.after == machine || edge.after.starts_with(&lead);
            if let Some(service) = edge.before.strip_prefix(&lead).filter(|_| !own) {
                let user = edge.after.split(": ").next().unwrap_or(&edge.after);
                users.entry(service).or_default().insert(user);
            }
        }
        let line = |(service, users): (&str, BTreeSet<&str>)| {
            let users: Vec<&str> = users.into_iter().collect();
            format!("{service}, used by {}", users.join(", "))
        };
        users.into_iter().map(line).collect()
    }

    fn partners(&self, machine: &str) -> Vec<String> {
        let members = self
            .group_of(machine)
            .map_or(&[][..], |group| &group.members);
        members
            .iter()
            .filter(|name| *name != machine)
            .cloned()
            .collect()
    }

    /// Only `machine` and what it needs, directly or not; `None` when there is no such machine.
    pub fn only(&self, machine: &str, host: &HostBudget) -> Option<Self> {
        self.machines.iter().find(|name| *name == machine)?;
        let mut wanted: BTreeSet<&str> = BTreeSet::new();
        let mut waiting: Vec<&str> = vec![machine];
        let mut before: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        // What gave way in a circle is needed none the less, only not first.
        let groups = self.groups.iter().flat_map(|group| &group.edges);
        for edge in self.edges.iter().chain(&self.given_up).chain(groups) {
            before.entry(&edge.after).or_default().push(&edge.before);
        }
        while let Some(name) = waiting.pop() {
            if wanted.insert(name) {
                waiting.extend(before.get(name).into_iter().flatten());
            }
        }
        let mut order = self.restricted(&wanted);
        order.prediction = order.predict(host);
        Some(order)
    }

    fn restricted(&self, wanted: &BTreeSet<&str>) -> Self {
        let mut order = self.clone();
        let keep = |name: &str| wanted.contains(name.split(": ").next().unwrap_or(name));
        let inside = |edge: &Edge| keep(&edge.before) && keep(&edge.after);
        order.machines.retain(|name| wanted.contains(name.as_str()));
        order
            .plan
            .retain(|entry| wanted.contains(entry.machine.as_str()));
        for entry in &mut order.plan {
            entry.after.retain(|name| wanted.contains(name.as_str()));
        }
        for edges in [
            &mut order.edges,
            &mut order.given_up,
            &mut order.hints,
            &mut order.services.edges,
        ] {
            edges.retain(inside);
        }
        for group in &mut order.groups {
            group.members.retain(|name| wanted.contains(name.as_str()));
            group.edges.retain(inside);
        }
        order.groups.retain(|group| group.members.len() > 1);
        order
            .operator
            .retain(|word| keep(&word.before) && keep(&word.after));
        order.gates.retain(|name, _| wanted.contains(name.as_str()));
        order.ready.retain(|name, _| wanted.contains(name.as_str()));
        order
            .ready_delays_s
            .retain(|name, _| wanted.contains(name.as_str()));
        order.boots.retain(|name, _| wanted.contains(name.as_str()));
        order
    }
}
