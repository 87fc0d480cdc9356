//! Machines of the same role that name each other: replicas, two name servers, two domain
//! controllers. Neither can wait for the other, so they start together.

use std::collections::{BTreeMap, BTreeSet};

use crate::estimators::Claim;
use crate::order::{Edge, Group, Kind, Source};
use crate::services;
use crate::site::Site;

/// Roles that one kind of server plays together, so that two of them may name each other in
/// different ones: domain controllers ask one another for names, tickets and the directory.
const INFRASTRUCTURE: &[&str] = &[
    "dhcp",
    "dns",
    "time",
    "directory",
    "kerberos",
    "nis",
    "radius",
];
/// Other roles whose servers replicate each other and come up alone.
const REPLICATING: &[&str] = &[
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

type Keys<'a> = BTreeSet<&'a str>;
type Mutual<'a> = BTreeMap<(usize, usize), Keys<'a>>;
type Needed<'a> = BTreeMap<(usize, usize), Vec<&'a Claim>>;

/// Pairs with edges both ways over roles of one family, which both play.
fn mutual_pairs<'a>(site: &Site, claims: &'a [Claim], edges: &[Edge]) -> Mutual<'a> {
    let needed = needed_both_ways(site, claims, edges);
    let mut mutual = Mutual::new();
    for ((one, other), there) in needed.iter().filter(|((one, other), _)| one < other) {
        let Some(back) = needed.get(&(*other, *one)) else {
            continue;
        };
        let both_play = |key: &str| {
            let roles = [*one, *other].map(|at| &site.machines[at].roles);
            roles.iter().all(|roles| roles.contains_key(key))
        };
        let shared = families().find_map(|family| shared_keys(family, there, back, both_play));
        if let Some(shared) = shared {
            mutual.insert((*one, *other), shared);
        }
    }
    mutual
}

/// The roles of a family that make the two peers. A hard need beside them orders the two after
/// all, and must not be lost in a group.
fn shared_keys<'a>(
    family: &[&str],
    there: &[&'a Claim],
    back: &[&'a Claim],
    both_play: impl Fn(&str) -> bool,
) -> Option<Keys<'a>> {
    let within = |claim: &Claim| {
        let key = claim.before.service.as_deref();
        key.is_some_and(|key| family.contains(&key))
    };
    let other_need = |claim: &&&Claim| claim.kind == Kind::Hard && !within(claim);
    if there.iter().chain(back).any(|claim| other_need(&claim)) {
        return None;
    }
    let keys = |claims: &[&'a Claim]| -> Keys<'a> {
        let of_family = claims.iter().copied().filter(|claim| within(claim));
        let keys = of_family.filter_map(|claim| claim.before.service.as_deref());
        keys.filter(|key| both_play(key)).collect()
    };
    let (there, back) = (keys(there), keys(back));
    let found = !there.is_empty() && !back.is_empty();
    found.then(|| there.union(&back).copied().collect())
}

fn families() -> impl Iterator<Item = &'static [&'static str]> {
    std::iter::once(INFRASTRUCTURE).chain(REPLICATING.chunks(1))
}

/// The claims behind each edge that has another one back.
fn needed_both_ways<'a>(site: &Site, claims: &'a [Claim], edges: &[Edge]) -> Needed<'a> {
    let ends = |edge: &Edge| Some((site.index(&edge.before)?, site.index(&edge.after)?));
    let present: BTreeSet<(usize, usize)> = edges
        .iter()
        .filter(|edge| edge.source != Source::Operator)
        .filter_map(ends)
        .collect();
    let mut needed = Needed::new();
    for claim in claims {
        let (before, after) = (claim.before.machine, claim.after.machine);
        if present.contains(&(before, after)) && present.contains(&(after, before)) {
            needed.entry((before, after)).or_default().push(claim);
        }
    }
    needed
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
    let is_peer = |edge: &Edge| {
        let ends = (site.index(&edge.before), site.index(&edge.after));
        matches!(ends, (Some(one), Some(other)) if mutual.contains_key(&(one.min(other), one.max(other))))
    };
    // The operator's word or a hard need inside orders them after all.
    let orders = |edge: &Edge| {
        edge.source == Source::Operator || (edge.kind == Kind::Hard && !is_peer(edge))
    };
    if edges.iter().any(|edge| inside(edge) && orders(edge)) {
        return None;
    }
    let (inner, outer): (Vec<Edge>, Vec<Edge>) = edges.drain(..).partition(inside);
    *edges = outer;
    let roles: BTreeSet<&str> = mutual
        .iter()
        .filter(|((one, _), _)| members.contains(one))
        .flat_map(|(_, keys)| keys)
        .filter_map(|key| services::by_key(key))
        .map(|service| service.name.as_str())
        .collect();
    Some(Group {
        members: names.into_iter().map(str::to_owned).collect(),
        role: roles.into_iter().collect::<Vec<_>>().join(" and "),
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
