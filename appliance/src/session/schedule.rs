//! Which machine may start now: a pure decision over the state of all.
//!
//! A machine starts the moment everything it needs is ready. Among those that
//! may start, the one at the head of the longest remaining path goes first, so
//! that the critical path never waits for a machine beside it.

use std::collections::BTreeMap;

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
    /// Where it stands.
    pub standing: Standing,
}

/// What the host can carry.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    /// Memory for all guests together, MiB.
    pub memory_mib: u64,
    /// Machines that may boot at the same time.
    pub booting: usize,
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
    let mut actions: Vec<_> = (0..nodes.len())
        .filter_map(|index| blocked(nodes, index))
        .collect();
    let remaining = remaining_paths(nodes);
    let mut startable: Vec<_> = (0..nodes.len())
        .filter(|index| may_start(nodes, *index))
        .collect();
    startable.sort_by(|a, b| {
        remaining[*b]
            .total_cmp(&remaining[*a])
            .then_with(|| nodes[*a].name.cmp(&nodes[*b].name))
    });
    let mut room = Room::of(nodes, budget);
    actions.extend(
        startable
            .into_iter()
            .filter(|index| room.take(&nodes[*index]))
            .map(Action::Start),
    );
    actions
}

struct Room {
    memory_mib: u64,
    booting: usize,
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
            .map(|node| node.memory_mib)
            .sum();
        let booting = nodes
            .iter()
            .filter(|node| node.standing == Standing::Booting)
            .count();
        Self {
            memory_mib: budget.memory_mib.saturating_sub(used),
            booting: budget.booting.saturating_sub(booting),
        }
    }

    fn take(&mut self, node: &Node) -> bool {
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
/// the session along those that need it.
fn remaining_paths(nodes: &[Node]) -> Vec<f64> {
    let mut remaining: Vec<f64> = nodes.iter().map(|node| node.expected_s).collect();
    // One pass a level is enough; a plan has at most as many levels as machines.
    for _ in 0..nodes.len() {
        let mut changed = false;
        for node_index in 0..nodes.len() {
            for other in nodes[node_index].needs.keys() {
                let through = nodes[*other].expected_s + remaining[node_index];
                if through > remaining[*other] {
                    remaining[*other] = through;
                    changed = true;
                }
            }
        }
        if !changed {
            break;
        }
    }
    remaining
}

/// The longest chain of measured boot-to-ready times along the needs: its
/// length in seconds and its machines, first to last.
pub fn critical_path(nodes: &[Node], measured_s: &[Option<f64>]) -> (f64, Vec<usize>) {
    let mut best: Vec<Option<(f64, Option<usize>)>> = vec![None; nodes.len()];
    for _ in 0..nodes.len() {
        for index in 0..nodes.len() {
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
                        node(&format!("m{index}"), 1.0, &needs)
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
