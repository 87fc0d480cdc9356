//! Machines of the same role that name each other: replicas, two name servers, two domain
//! controllers. Neither can wait for the other, so they start together.

use std::collections::{BTreeMap, BTreeSet};

use crate::estimators::Claim;
use crate::order::{Edge, Group, Source};
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

/// Pairs with edges both ways over roles of one family, which both play.
fn mutual_pairs<'a>(site: &Site, claims: &'a [Claim], edges: &[Edge]) -> Mutual<'a> {
    let needed = needed_both_ways(site, claims, edges);
    let mut mutual = Mutual::new();
    for ((one, other), keys) in needed.iter().filter(|((one, other), _)| one < other) {
        let Some(back) = needed.get(&(*other, *one)) else {
            continue;
        };
        let both_play = |key: &&str| {
            let roles = [*one, *other].map(|at| &site.machines[at].roles);
            roles.iter().all(|roles| roles.contains_key(*key))
        };
        let shared = families().find_map(|family| {
            let within = |keys: &Keys<'a>| -> Keys<'a> {
                let of_family = keys.iter().filter(|key| family.contains(*key));
                of_family.filter(|key| both_play(key)).copied().collect()
            };
            let (there, back) = (within(keys), within(back));
            let found = !there.is_empty() && !back.is_empty();
            found.then(|| there.union(&back).copied().collect())
        });
        if let Some(shared) = shared {
            mutual.insert((*one, *other), shared);
        }
    }
    mutual
}

fn families() -> impl Iterator<Item = &'static [&'static str]> {
    std::iter::once(INFRASTRUCTURE).chain(REPLICATING.chunks(1))
}

/// The services behind each edge that has another one back.
fn needed_both_ways<'a>(site: &Site, claims: &'a [Claim], edges: &[Edge]) -> Mutual<'a> {
    let ends = |edge: &Edge| Some((site.index(&edge.before)?, site.index(&edge.after)?));
    let present: BTreeSet<(usize, usize)> = edges
        .iter()
        .filter(|edge| edge.source != Source::Operator)
        .filter_map(ends)
        .collect();
    let mut needed = Mutual::new();
    for claim in claims {
        let pair = (claim.before.machine, claim.after.machine);
        if let Some(key) = claim.before.service.as_deref()
            && present.contains(&pair)
            && present.contains(&(pair.1, pair.0))
        {
            needed.entry(pair).or_default().insert(key);
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
