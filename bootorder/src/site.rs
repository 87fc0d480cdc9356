//! The site as the estimators see it: machines with their logs, files and names.

use std::collections::BTreeSet;

use crate::clock;
use crate::event::{Event, format_time, printable};
use crate::facts::Reference;
use crate::facts::without_logged_secrets;
use crate::folder::MachineFolder;
use crate::names::Names;
use crate::order::Evidence;

pub(crate) use crate::machine::Machine;

/// All machines and the names that lead to them.
#[derive(Debug)]
pub(crate) struct Site {
    pub machines: Vec<Machine>,
    names: Names,
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
            machines.push(Machine::read(folder, warnings));
        }
        let histories = machines.iter().map(|m| (m.name.as_str(), &m.history));
        warnings.extend(clock::years_apart(histories));
        let names = Names::learn(&machines, warnings);
        let mut site = Self { machines, names };
        site.settle_references();
        site
    }

    /// Writes the machine in place of names that only the referring machine, or only a directory
    /// client, can resolve.
    fn settle_references(&mut self) {
        for index in 0..self.machines.len() {
            let settled = self.names.settle(&self.machines[index]);
            let settled: Vec<Option<String>> = settled
                .into_iter()
                .map(|found| {
                    let name = &self.machines[found?].name;
                    (self.names.resolve(name) == found).then(|| name.clone())
                })
                .collect();
            let references = &mut self.machines[index].references;
            for (reference, target) in references.iter_mut().zip(settled) {
                if let Some(target) = target {
                    reference.target = target;
                }
            }
        }
    }

    pub fn index(&self, name: &str) -> Option<usize> {
        self.machines
            .binary_search_by(|machine| machine.name.as_str().cmp(name))
            .ok()
    }

    /// The machine behind a host name or address.
    pub fn resolve(&self, target: &str) -> Option<usize> {
        self.names.resolve(target)
    }

    /// Whether two machines may belong to the same domain, as far as their names tell.
    pub fn share_domain(&self, one: usize, other: usize) -> bool {
        let (one, other) = (self.domains_of(one), self.domains_of(other));
        one.is_empty() || other.is_empty() || !one.is_disjoint(&other)
    }

    fn domains_of(&self, index: usize) -> BTreeSet<&str> {
        let machine = &self.machines[index];
        let names = machine.names.iter().chain(&machine.logged_names);
        let domains = names.filter_map(|name| Some(name.split_once('.')?.1));
        let own = machine.registry.domains.iter().map(String::as_str);
        domains.chain(own).collect()
    }

    /// First labels of the domains of a machine, which are their short names as a rule.
    pub fn domain_labels(&self, index: usize) -> BTreeSet<String> {
        let domains = self.domains_of(index).into_iter();
        let first = domains.filter_map(|domain| domain.split('.').next());
        first.map(str::to_ascii_lowercase).collect()
    }

    /// Whether a full name lies in a domain of the site, or below one.
    pub fn is_own_domain(&self, name: &str) -> bool {
        self.names.is_own_domain(name)
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
                &format!(
                    "{}: {}",
                    printable(who),
                    printable(&without_logged_secrets(&event.message))
                ),
                remark,
            ),
        }
    }

    /// The evidence that a line of a file gives.
    pub fn file_evidence(&self, machine: usize, reference: &Reference, remark: &str) -> Evidence {
        Evidence {
            machine: self.machines[machine].name.clone(),
            file: printable(&reference.file),
            record: reference.place(),
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
