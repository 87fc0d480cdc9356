//! Who truly needs whom.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::model::{Handling, Kind, Link, Site};
use crate::programs::service_words;

/// (before, after) by machine name.
pub type Pair = (String, String);

/// A dependency between services of two machines.
#[derive(Debug, Clone, Serialize)]
pub struct ServiceEdge {
    pub before: String,
    pub after: String,
    /// What is needed.
    pub service: String,
    /// What needs it; nothing when the machine as a whole does.
    pub client: Option<String>,
    pub how: String,
    #[serde(skip)]
    pub kinds: (Kind, Kind),
}

impl ServiceEdge {
    /// Whether two labels of services mean this edge.
    pub fn is_meant(&self, before: &str, after: &str) -> bool {
        let says = |label: &str, kind: Kind| {
            let label = label.to_lowercase();
            let words = service_words(kind);
            words.is_empty() || words.iter().any(|word| label.contains(word))
        };
        // That the machine as a whole needs it is less, but not wrong.
        says(before, self.kinds.0) && (after.is_empty() || says(after, self.kinds.1))
    }
}

/// The truth about a site.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Truth {
    /// Machine edges and whether any of their needs is hard.
    #[serde(serialize_with = "as_list")]
    pub machines: BTreeMap<Pair, bool>,
    /// Pairs of peers: neither right nor wrong.
    pub neutral: BTreeSet<Pair>,
    pub services: Vec<ServiceEdge>,
}

fn as_list<S: serde::Serializer>(map: &BTreeMap<Pair, bool>, out: S) -> Result<S::Ok, S::Error> {
    out.collect_seq(map.iter().map(|((before, after), hard)| {
        BTreeMap::from([
            ("before", before.as_str()),
            ("after", after.as_str()),
            ("kind", if *hard { "hard" } else { "soft" }),
        ])
    }))
}

impl Truth {
    pub fn of(site: &Site) -> Self {
        let mut truth = Self::default();
        for need in &site.needs {
            let name = |machine: usize| site.machines[machine].name.clone();
            let pair = (name(need.server.0), name(need.client.0));
            if need.peer {
                truth.neutral.insert((pair.1.clone(), pair.0.clone()));
                truth.neutral.insert(pair);
                continue;
            }
            let (server, client) = (site.program(need.server), site.program(need.client));
            truth.services.push(ServiceEdge {
                before: pair.0.clone(),
                after: pair.1.clone(),
                service: format!("{:?}", server.kind),
                client: (client.kind != Kind::System).then(|| {
                    format!("{:?} {}", client.kind, client.label)
                        .trim()
                        .to_owned()
                }),
                how: format!("{:?} {:?}", need.link, need.handling),
                kinds: (served_kind(server.kind, need.link), client.kind),
            });
            *truth.machines.entry(pair).or_insert(false) |= need.handling == Handling::StaysDown;
        }
        let true_pairs: Vec<Pair> = truth.machines.keys().cloned().collect();
        for pair in true_pairs {
            truth.neutral.remove(&pair);
        }
        truth
    }
}

/// A controller is several services; which one is needed follows from the use.
fn served_kind(kind: Kind, link: Link) -> Kind {
    match (kind, link) {
        (Kind::SambaDc | Kind::Dnsmasq, Link::Resolver) => Kind::Bind,
        (Kind::Dnsmasq, Link::Lease) => Kind::Dhcpd,
        _ => kind,
    }
}
