//! Machines of the same role that name each other: replicas, two name servers, two domain
//! controllers. Neither can wait for the other, so they start together.

use std::collections::{BTreeMap, BTreeSet};

use crate::estimators::Claim;
use crate::order::{Edge, Group, Source};
use crate::services;
use crate::site::Site;

/// Roles whose servers replicate each other and come up alone.
const REPLICATING: &[&str] = &[
    "dhcp",
    "dns",
    "time",
    "directory",
    "kerberos",
    "nis",
    "radius",
    "ceph",
    "gluster",
    "postgresql",
    "mysql",
    "mongodb",
    "oracle",
    "mssql",
    "redis",
    "memcached",
    "elasticsearch",
    "amqp",
    "kafka",
    "zookeeper",
    "etcd",
    "consul",
    "vault",
];

/// Finds the groups among the edges and takes their inner edges out of `edges`.
pub(crate) fn take_groups(site: &Site, claims: &[Claim], edges: &mut Vec<Edge>) -> Vec<Group> {
    let mutual = mutual_pairs(site, claims, edges);
    let mut sets = Sets((0..site.machines.len()).collect());
    for (one, other) in mutual.keys() {
        sets.join(*one, *other);
    }
    let mut members: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
    for machine in mutual.keys().flat_map(|(one, other)| [*one, *other]) {
        members.entry(sets.of(machine)).or_default().insert(machine);
    }
    members
        .into_values()
        .filter_map(|members| group(site, &members, &mutual, edges))
        .collect()
}

type Mutual = BTreeMap<(usize, usize), &'static str>;

/// Pairs with edges both ways over the same role, which both play.
fn mutual_pairs(site: &Site, claims: &[Claim], edges: &[Edge]) -> Mutual {
    let ends = |edge: &Edge| Some((site.index(&edge.before)?, site.index(&edge.after)?));
    let present: BTreeSet<(usize, usize)> = edges
        .iter()
        .filter(|edge| edge.source != Source::Operator)
        .filter_map(ends)
        .collect();
    let mut roles: BTreeMap<(usize, usize), BTreeSet<&str>> = BTreeMap::new();
    for claim in claims {
        let pair = (claim.before.machine, claim.after.machine);
        if let Some(key) = claim.before.service.as_deref()
            && present.contains(&pair)
            && present.contains(&(pair.1, pair.0))
        {
            roles.entry(pair).or_default().insert(key);
        }
    }
    let mut mutual = Mutual::new();
    for ((one, other), keys) in &roles {
        let back = roles.get(&(*other, *one));
        let plays = |key: &str| {
            let both = [*one, *other].map(|at| site.machines[at].roles.contains_key(key));
            both == [true, true]
        };
        let shared = REPLICATING.iter().find(|key| {
            keys.contains(**key) && back.is_some_and(|back| back.contains(**key)) && plays(key)
        });
        if let Some(key) = shared.filter(|_| one < other) {
            mutual.insert((*one, *other), key);
        }
    }
    mutual
}

fn group(
    site: &Site,
    members: &BTreeSet<usize>,
    mutual: &Mutual,
    edges: &mut Vec<Edge>,
) -> Option<Group> {
    let names: BTreeSet<&str> = members
        .iter()
        .map(|at| site.machines[*at].name.as_str())
        .collect();
    let inside =
        |edge: &Edge| names.contains(edge.before.as_str()) && names.contains(edge.after.as_str());
    // The operator's word inside orders them after all.
    if edges
        .iter()
        .any(|edge| inside(edge) && edge.source == Source::Operator)
    {
        return None;
    }
    let (inner, outer): (Vec<Edge>, Vec<Edge>) = edges.drain(..).partition(inside);
    *edges = outer;
    let roles: BTreeSet<&str> = mutual
        .iter()
        .filter(|((one, _), _)| members.contains(one))
        .filter_map(|(_, key)| services::by_key(key))
        .map(|service| service.name.as_str())
        .collect();
    Some(Group {
        members: names.into_iter().map(str::to_owned).collect(),
        role: roles.into_iter().collect::<Vec<_>>().join(", "),
        edges: inner,
    })
}

/// Disjoint sets of machines.
struct Sets(Vec<usize>);

impl Sets {
    fn of(&self, mut machine: usize) -> usize {
        while self.0[machine] != machine {
            machine = self.0[machine];
        }
        machine
    }

    fn join(&mut self, one: usize, other: usize) {
        let (one, other) = (self.of(one), self.of(other));
        self.0[one.max(other)] = one.min(other);
    }
}
