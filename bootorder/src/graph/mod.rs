//! What is declared to depend on what inside one machine: units, Windows services, containers.
//!
//! The sources give a graph of their own names; what the rest of the crate needs is the part of
//! it between well-known services, also where others stand between them.

mod compose;
mod units;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

pub(crate) use compose::{inner_names, published};
pub(crate) use units::is_unit_file;

use crate::event::printable;
use crate::folder::ConfigFiles;
use crate::hive::{Registry, needs};
use crate::order::Kind;
use crate::services;

const MAX_EDGES: usize = 50_000;
/// Chains longer than this say little.
const MAX_STEPS: usize = 6;

/// "`after` needs `before`", with the line that says so.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Declaration {
    pub before: String,
    pub after: String,
    pub kind: Kind,
    pub file: String,
    /// "line 3", or the registry key.
    pub place: String,
    pub text: String,
}

/// Declarations of one machine, and which well-known service each name is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Graph {
    pub declarations: Vec<Declaration>,
    keys: BTreeMap<String, String>,
}

/// A well-known service that needs another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Need<'a> {
    /// Keys of the table.
    pub before: &'a str,
    pub after: &'a str,
    pub kind: Kind,
    /// The declarations on the way from the later to the earlier one.
    pub way: Vec<&'a Declaration>,
}

impl Graph {
    /// Everything that a machine declares.
    pub fn read(
        unit_files: &BTreeMap<String, String>,
        config: &ConfigFiles,
        registry: &Registry,
    ) -> Self {
        let mut graph = Self::default();
        units::read(unit_files, &config.links, &mut graph);
        compose::read(config, &mut graph);
        graph.windows(registry);
        graph.declarations.sort();
        graph.declarations.dedup();
        graph
    }

    fn add(&mut self, declaration: Declaration) {
        if self.declarations.len() < MAX_EDGES && declaration.before != declaration.after {
            self.declarations.push(declaration);
        }
    }

    fn name(&mut self, name: &str, key: Option<&str>) {
        if let Some(key) = key {
            self.keys
                .entry(name.to_owned())
                .or_insert_with(|| key.to_owned());
        }
    }

    fn windows(&mut self, registry: &Registry) {
        for service in &registry.services {
            let known =
                services::by_unit(&service.name).or_else(|| services::by_unit(&service.display));
            self.name(&service.name, known.map(|s| s.key.as_str()));
            for (before, value) in needs(&registry.services, service) {
                self.add(Declaration {
                    before: before.to_owned(),
                    after: service.name.clone(),
                    // The service control manager starts nothing whose need is missing.
                    kind: Kind::Hard,
                    file: registry.file.clone(),
                    place: format!("key Services\\{}", printable(&service.name)),
                    text: format!("{value} = {}", printable(before)),
                });
            }
        }
    }

    /// Well-known services that need each other, the shortest way for each pair.
    pub fn needs(&self) -> Vec<Need<'_>> {
        let mut below: BTreeMap<&str, Vec<&Declaration>> = BTreeMap::new();
        for declaration in &self.declarations {
            below
                .entry(&declaration.after)
                .or_default()
                .push(declaration);
        }
        // The stronger of two lines about the same pair counts.
        for steps in below.values_mut() {
            steps.sort_by_key(|declaration| std::cmp::Reverse(declaration.kind));
        }
        let mut found: BTreeMap<(&str, &str), Need<'_>> = BTreeMap::new();
        for (name, key) in &self.keys {
            for need in self.from(name, key, &below) {
                let pair = (need.before, need.after);
                let rank = |need: &Need<'_>| (need.way.len(), std::cmp::Reverse(need.kind));
                match found.get(&pair) {
                    Some(known) if rank(known) <= rank(&need) => {}
                    _ => {
                        found.insert(pair, need);
                    }
                }
            }
        }
        found.into_values().collect()
    }

    /// The nearest well-known services below one; the search does not go on behind them.
    fn from<'a>(
        &'a self,
        name: &'a str,
        key: &'a str,
        below: &BTreeMap<&str, Vec<&'a Declaration>>,
    ) -> Vec<Need<'a>> {
        let mut found = Vec::new();
        let mut seen = BTreeSet::from([name]);
        let mut waiting: VecDeque<(&str, Vec<&'a Declaration>)> =
            VecDeque::from([(name, Vec::new())]);
        while let Some((at, way)) = waiting.pop_front() {
            let steps = below.get(at).map(Vec::as_slice).unwrap_or_default();
            for step in steps {
                if !seen.insert(&step.before) {
                    continue;
                }
                let mut way = way.clone();
                way.push(step);
                match self.keys.get(&step.before) {
                    Some(before) if before != key => found.push(Need {
                        before,
                        after: key,
                        kind: way.iter().map(|d| d.kind).min().unwrap_or(Kind::Soft),
                        way,
                    }),
                    Some(_) => {}
                    None if way.len() < MAX_STEPS => waiting.push_back((&step.before, way)),
                    None => {}
                }
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hive::WindowsService;

    fn pairs(graph: &Graph) -> Vec<(&str, &str, Kind, usize)> {
        let needs = graph.needs().into_iter();
        needs
            .map(|n| (n.before, n.after, n.kind, n.way.len()))
            .collect()
    }

    #[test]
    fn services_between_well_known_ones_are_bridged() {
        let service = |name: &str, depends: &[&str]| WindowsService {
            name: name.to_owned(),
            start: 2,
            depends: depends.iter().map(|d| (*d).to_owned()).collect(),
            ..WindowsService::default()
        };
        let registry = Registry {
            services: vec![
                service("W3SVC", &["Shop"]),
                service("Shop", &["mssqlserver", "W3SVC"]),
                service("MSSQLSERVER", &[]),
            ],
            ..Registry::default()
        };
        let graph = Graph::read(&BTreeMap::new(), &ConfigFiles::default(), &registry);
        assert_eq!(pairs(&graph), [("mssql", "web", Kind::Hard, 2)]);
    }

    #[test]
    fn units_declare_through_targets_and_drop_ins() {
        let files = [
            (
                "usr/lib/systemd/system/nginx.service",
                "[Unit]\nAfter=network-online.target\n",
            ),
            (
                "etc/systemd/system/nginx.service.d/db.conf",
                "[Unit]\nRequires=postgresql.service\nAfter=postgresql.service\n",
            ),
            (
                "lib/systemd/system/postgresql.service",
                "[Unit]\nDescription=x\n",
            ),
            (
                "lib/systemd/system/named.service",
                "[Unit]\nBefore=nss-lookup.target\n",
            ),
            (
                "lib/systemd/system/slapd.service",
                "[Unit]\nWants=nss-lookup.target\nAfter=nss-lookup.target\nPartOf=nginx.service\n",
            ),
        ];
        let files = files.map(|(n, t)| (n.to_owned(), t.to_owned())).into();
        let graph = Graph::read(&files, &ConfigFiles::default(), &Registry::default());
        assert_eq!(
            pairs(&graph),
            [
                ("dns", "directory", Kind::Soft, 2),
                ("postgresql", "web", Kind::Hard, 1)
            ]
        );
    }

    #[test]
    fn containers_declare_too() {
        let text = "services:\n  web:\n    image: nginx:1\n    depends_on:\n      api: {condition: service_started}\n  api:\n    image: example/shop\n    depends_on: [db]\n  db:\n    image: docker.io/library/postgres:15\n";
        let config = ConfigFiles::of(&[("srv/shop/docker-compose.yml", text)]);
        let graph = Graph::read(&BTreeMap::new(), &config, &Registry::default());
        assert_eq!(pairs(&graph), [("postgresql", "web", Kind::Soft, 2)]);
    }
}
