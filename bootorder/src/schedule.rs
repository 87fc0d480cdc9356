//! Which machine may start now: a pure decision over the state of all.
//!
//! A machine starts the moment everything it needs is ready. Among those that
//! may start, the one at the head of the longest remaining path goes first, so
//! that the critical path never waits for a machine beside it. The members of a
//! group start in one step wherever the host can carry them at once.

use std::collections::{BTreeMap, BTreeSet};

/// How strongly a machine needs another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// It waits until the other has settled, ready or not.
    Soft,
    /// It cannot work without the other.
    Hard,
}

/// Where a machine stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Not started.
    Waiting,
    /// Started, gates not open.
    Booting,
    /// All gates open.
    Ready,
    /// Started, but a gate stayed closed or the domain ended.
    Failed,
    /// Never started, because what it needs failed.
    Blocked,
}

/// One machine as the schedule sees it.
#[derive(Debug, Clone)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Memory of the guest with QEMU's own, MiB.
    pub memory_mib: u64,
    /// Expected seconds from start to ready; only their relation matters.
    pub expected_s: f64,
    /// Indices of the machines it needs.
    pub needs: BTreeMap<usize, Need>,
    /// Number of the group that it starts together with.
    pub group: Option<usize>,
    /// Where it stands.
    pub standing: Standing,
}

/// What the host can carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Memory for all guests together, MiB.
    pub memory_mib: u64,
    /// Machines that may boot at the same time.
    pub booting: usize,
}

impl Budget {
    /// A host that carries everything at once.
    pub const UNLIMITED: Self = Self {
        memory_mib: u64::MAX,
        booting: usize::MAX,
    };
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Start this machine.
    Start(usize),
    /// This machine cannot be started, because of that one.
    Block {
        /// The machine.
        machine: usize,
        /// The one it needs.
        because: usize,
    },
}

/// Decides what may happen now. Applying the actions and asking again reaches
/// the end of every plan without cycles.
pub fn next(nodes: &[Node], budget: Budget) -> Vec<Action> {
    decide(nodes, &remaining_paths(nodes), budget)
}

/// The same with paths that were measured before; they stay the same while machines start.
pub(crate) fn decide(nodes: &[Node], remaining: &[f64], budget: Budget) -> Vec<Action> {
    let mut actions: Vec<_> = (0..nodes.len())
        .filter_map(|index| blocked(nodes, index))
        .collect();
    let mut room = Room::of(nodes, budget);
    for unit in startable_units(nodes, remaining) {
        let taken = room.take(nodes, &unit);
        actions.extend(taken.into_iter().map(Action::Start));
    }
    actions
}

/// Machines that may start, longest remaining path first; the startable members of a group are
/// one unit.
fn startable_units(nodes: &[Node], remaining: &[f64]) -> Vec<Vec<usize>> {
    let mut startable: Vec<_> = (0..nodes.len())
        .filter(|index| may_start(nodes, *index))
        .collect();
    startable.sort_by(|a, b| {
        remaining[*b]
            .total_cmp(&remaining[*a])
            .then_with(|| nodes[*a].name.cmp(&nodes[*b].name))
    });
    let mut units: Vec<Vec<usize>> = Vec::new();
    let mut of_group: BTreeMap<usize, usize> = BTreeMap::new();
    for index in startable {
        match nodes[index].group {
            Some(group) => {
                let unit = *of_group.entry(group).or_insert_with(|| {
                    units.push(Vec::new());
                    units.len() - 1
                });
                units[unit].push(index);
            }
            None => units.push(vec![index]),
        }
    }
    units
}

struct Room {
    memory_mib: u64,
    booting: usize,
    idle: bool,
}

impl Room {
    fn of(nodes: &[Node], budget: Budget) -> Self {
        let running = |node: &&Node| {
            matches!(
                node.standing,
                Standing::Booting | Standing::Ready | Standing::Failed
            )
        };
        let used = nodes
            .iter()
            .filter(running)
            .fold(0_u64, |sum, node| sum.saturating_add(node.memory_mib));
        let booting = nodes
            .iter()
            .filter(|node| node.standing == Standing::Booting)
            .count();
        Self {
            memory_mib: budget.memory_mib.saturating_sub(used),
            booting: budget.booting.saturating_sub(booting),
            idle: booting == 0,
        }
    }

    /// All members of the unit, or none while the host is busy; on an idle host as many as fit,
    /// because waiting would not make more room.
    fn take(&mut self, nodes: &[Node], unit: &[usize]) -> Vec<usize> {
        let memory = unit
            .iter()
            .fold(0_u64, |sum, at| sum.saturating_add(nodes[*at].memory_mib));
        let fits = unit.len() <= self.booting && memory <= self.memory_mib;
        if !fits && !self.idle {
            return Vec::new();
        }
        let taken: Vec<usize> = unit
            .iter()
            .copied()
            .filter(|at| self.take_one(&nodes[*at]))
            .collect();
        self.idle &= taken.is_empty();
        taken
    }

    fn take_one(&mut self, node: &Node) -> bool {
        let fits = self.booting > 0 && node.memory_mib <= self.memory_mib;
        if fits {
            self.booting -= 1;
            self.memory_mib -= node.memory_mib;
        }
        fits
    }
}

fn blocked(nodes: &[Node], index: usize) -> Option<Action> {
    let node = &nodes[index];
    if node.standing != Standing::Waiting {
        return None;
    }
    node.needs
        .iter()
        .find(|(other, need)| **need == Need::Hard && is_lost(nodes[**other].standing))
        .map(|(other, _)| Action::Block {
            machine: index,
            because: *other,
        })
}

fn is_lost(standing: Standing) -> bool {
    matches!(standing, Standing::Failed | Standing::Blocked)
}

fn may_start(nodes: &[Node], index: usize) -> bool {
    let open = |(other, need): (&usize, &Need)| {
        let standing = nodes[*other].standing;
        standing == Standing::Ready || (*need == Need::Soft && is_lost(standing))
    };
    nodes[index].standing == Standing::Waiting && nodes[index].needs.iter().all(open)
}

/// For each machine, the longest expected time from its start to the end of
/// the session along those that need it; members of a group share the longest.
pub(crate) fn remaining_paths(nodes: &[Node]) -> Vec<f64> {
    let mut remaining: Vec<f64> = nodes.iter().map(|node| node.expected_s).collect();
    for index in sequence(nodes).into_iter().rev() {
        for other in nodes[index].needs.keys() {
            let through = nodes[*other].expected_s + remaining[index];
            remaining[*other] = remaining[*other].max(through);
        }
    }
    let mut longest: BTreeMap<usize, f64> = BTreeMap::new();
    for (node, own) in nodes.iter().zip(&remaining) {
        if let Some(group) = node.group {
            let entry = longest.entry(group).or_insert(*own);
            *entry = entry.max(*own);
        }
    }
    for (node, own) in nodes.iter().zip(&mut remaining) {
        *own = node
            .group
            .and_then(|group| longest.get(&group).copied())
            .unwrap_or(*own);
    }
    remaining
}

/// Machines so that each comes after all it needs; those in a circle are left out.
pub(crate) fn sequence(nodes: &[Node]) -> Vec<usize> {
    let mut missing: Vec<usize> = nodes.iter().map(|node| node.needs.len()).collect();
    let mut next = vec![Vec::new(); nodes.len()];
    for (index, node) in nodes.iter().enumerate() {
        for other in node.needs.keys() {
            next[*other].push(index);
        }
    }
    let mut startable: BTreeSet<usize> = (0..nodes.len()).filter(|at| missing[*at] == 0).collect();
    let mut order = Vec::with_capacity(nodes.len());
    while let Some(index) = startable.pop_first() {
        order.push(index);
        for after in &next[index] {
            missing[*after] -= 1;
            if missing[*after] == 0 {
                startable.insert(*after);
            }
        }
    }
    order
}

/// The longest chain of measured boot-to-ready times along the needs: its
/// length in seconds and its machines, first to last.
pub fn critical_path(nodes: &[Node], measured_s: &[Option<f64>]) -> (f64, Vec<usize>) {
    let mut best: Vec<Option<(f64, Option<usize>)>> = vec![None; nodes.len()];
    for index in sequence(nodes) {
        let Some(own) = measured_s[index] else {
            continue;
        };
        let before = nodes[index]
            .needs
            .keys()
            .filter_map(|other| best[*other].map(|(length, _)| (length, *other)))
            .max_by(|a, b| a.0.total_cmp(&b.0));
        best[index] = Some(match before {
            Some((length, other)) => (length + own, Some(other)),
            None => (own, None),
        });
    }
    let last = (0..nodes.len())
        .filter_map(|index| best[index].map(|(length, _)| (length, index)))
        .max_by(|a, b| a.0.total_cmp(&b.0));
    let Some((length, mut at)) = last else {
        return (0.0, Vec::new());
    };
    let mut chain = vec![at];
    while let Some((_, Some(before))) = best[at] {
        at = before;
        chain.push(at);
    }
    chain.reverse();
    (length, chain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn node(name: &str, expected_s: f64, needs: &[(usize, Need)]) -> Node {
        Node {
            name: name.into(),
            memory_mib: 100,
            expected_s,
            needs: needs.iter().copied().collect(),
            group: None,
            standing: Standing::Waiting,
        }
    }

    const WIDE: Budget = Budget {
        memory_mib: 10_000,
        booting: 100,
    };

    #[test]
    fn figure_four_starts_one_after_the_other() {
        let mut nodes = [
            node("dir1", 10.0, &[]),
            node("data1", 10.0, &[(0, Need::Hard)]),
            node("web1", 10.0, &[(1, Need::Hard), (0, Need::Hard)]),
        ];
        for index in 0..3 {
            assert_eq!(next(&nodes, WIDE), [Action::Start(index)]);
            nodes[index].standing = Standing::Booting;
            assert_eq!(next(&nodes, WIDE), []);
            nodes[index].standing = Standing::Ready;
        }
    }

    #[test]
    fn the_longest_remaining_path_goes_first_when_slots_are_few() {
        let nodes = [
            node("a-short", 5.0, &[]),
            node("z-head", 1.0, &[]),
            node("tail", 20.0, &[(1, Need::Hard)]),
        ];
        let one = Budget { booting: 1, ..WIDE };
        assert_eq!(next(&nodes, one), [Action::Start(1)]);
    }

    #[test]
    fn a_failed_machine_blocks_only_those_that_hard_depend() {
        let mut nodes = [
            node("a", 1.0, &[]),
            node("hard", 1.0, &[(0, Need::Hard)]),
            node("soft", 1.0, &[(0, Need::Soft)]),
            node("free", 1.0, &[]),
        ];
        nodes[0].standing = Standing::Failed;
        let block = Action::Block {
            machine: 1,
            because: 0,
        };
        assert_eq!(
            next(&nodes, WIDE),
            [block, Action::Start(3), Action::Start(2)]
        );
    }

    #[test]
    fn memory_is_never_exceeded() {
        let mut nodes = [node("a", 1.0, &[]), node("b", 1.0, &[])];
        let tight = Budget {
            memory_mib: 150,
            booting: 9,
        };
        assert_eq!(next(&nodes, tight), [Action::Start(0)]);
        nodes[0].standing = Standing::Ready;
        assert_eq!(next(&nodes, tight), []);
    }

    #[test]
    fn critical_path_is_the_longest_measured_chain() {
        let nodes = [
            node("a", 0.0, &[]),
            node("b", 0.0, &[(0, Need::Hard)]),
            node("c", 0.0, &[]),
            node("d", 0.0, &[(2, Need::Hard), (1, Need::Soft)]),
        ];
        let (length, chain) = critical_path(&nodes, &[Some(3.0), Some(4.0), Some(5.0), Some(1.0)]);
        assert_eq!((length, chain), (8.0, vec![0, 1, 3]));
        assert_eq!(critical_path(&nodes, &[None; 4]), (0.0, vec![]));
    }

    #[test]
    fn a_group_starts_in_one_step_unless_the_host_is_too_small_for_it() {
        let mut nodes = [
            node("slow", 90.0, &[]),
            node("dc1", 10.0, &[]),
            node("dc2", 10.0, &[]),
        ];
        nodes[1].group = Some(0);
        nodes[2].group = Some(0);
        let two = Budget { booting: 2, ..WIDE };
        assert_eq!(
            next(&nodes, two),
            [Action::Start(0)],
            "one slot is too few for the group"
        );
        nodes[0].standing = Standing::Ready;
        assert_eq!(next(&nodes, two), [Action::Start(1), Action::Start(2)]);
        let one = Budget { booting: 1, ..WIDE };
        assert_eq!(next(&nodes, one), [Action::Start(1)]);
    }

    fn any_plan() -> impl Strategy<Value = Vec<Node>> {
        (1usize..12).prop_flat_map(|count| {
            let needs = proptest::collection::vec(
                proptest::collection::vec((any::<prop::sample::Index>(), any::<bool>()), 0..4),
                count,
            );
            needs.prop_map(|all| {
                all.iter()
                    .enumerate()
                    .map(|(index, raw)| {
                        let needs: Vec<_> = raw
                            .iter()
                            .filter(|_| index > 0)
                            .map(|(other, hard)| {
                                (
                                    other.index(index),
                                    if *hard { Need::Hard } else { Need::Soft },
                                )
                            })
                            .collect();
                        let mut node = node(&format!("m{index}"), 1.0, &needs);
                        // Neighbours without needs among themselves make groups.
                        node.group = (index % 3 != 0 && needs.is_empty()).then_some(index / 3);
                        node
                    })
                    .collect()
            })
        })
    }

    proptest! {
        #[test]
        fn every_plan_settles_and_respects_hard_needs(mut nodes in any_plan(), fails in proptest::collection::vec(any::<bool>(), 12), booting in 1usize..4) {
            let budget = Budget { booting, ..WIDE };
            for _ in 0..1_000 {
                let actions = next(&nodes, budget);
                for action in &actions {
                    match action {
                        Action::Start(index) => {
                            for (other, need) in &nodes[*index].needs {
                                prop_assert!(*need == Need::Soft || nodes[*other].standing == Standing::Ready);
                            }
                            nodes[*index].standing = Standing::Booting;
                        }
                        Action::Block { machine, .. } => nodes[*machine].standing = Standing::Blocked,
                    }
                }
                prop_assert!(nodes.iter().filter(|n| n.standing == Standing::Booting).count() <= booting);
                let settling = nodes.iter().position(|n| n.standing == Standing::Booting);
                match settling {
                    Some(index) => nodes[index].standing = if fails[index] { Standing::Failed } else { Standing::Ready },
                    None if actions.is_empty() => break,
                    None => {}
                }
            }
            prop_assert!(nodes.iter().all(|n| !matches!(n.standing, Standing::Waiting | Standing::Booting)));
        }
    }
}
