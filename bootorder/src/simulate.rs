//! The schedule played through with given delays: what starts when, and what waits for what.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::schedule::{Action, Budget, Node, Standing, decide, remaining_paths};

/// How a plan went.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Run {
    /// Machines in the order in which they were started.
    pub started: Vec<usize>,
    /// When each was ready; `None` for those that never were.
    pub ready_s: Vec<Option<f64>>,
    /// Where each stands at the end; `Waiting` where the host never had room.
    pub standing: Vec<Standing>,
    /// The chain of machines that the end waited for, first to last.
    pub chain: Vec<usize>,
}

impl Run {
    /// When the last machine was ready.
    pub fn end_s(&self) -> f64 {
        self.ready_s.iter().flatten().copied().fold(0.0, f64::max)
    }
}

/// Plays a plan through. Always ends: each round starts, blocks or finishes a machine.
pub(crate) fn simulate(nodes: &[Node], budget: Budget, delays_s: &[f64]) -> Run {
    let remaining = remaining_paths(nodes);
    let mut play = Play::new(nodes);
    loop {
        let actions = decide(&play.nodes, &remaining, budget);
        for action in &actions {
            play.apply(action, delays_s);
        }
        if actions.is_empty() && !play.advance() {
            return play.end();
        }
    }
}

struct Play {
    nodes: Vec<Node>,
    now_us: u64,
    booting: BinaryHeap<Reverse<(u64, usize)>>,
    started: Vec<usize>,
    ready_s: Vec<Option<f64>>,
    released_by: Vec<Option<usize>>,
    last: Option<usize>,
}

impl Play {
    fn new(nodes: &[Node]) -> Self {
        Self {
            nodes: nodes.to_vec(),
            now_us: 0,
            booting: BinaryHeap::new(),
            started: Vec::with_capacity(nodes.len()),
            ready_s: vec![None; nodes.len()],
            released_by: vec![None; nodes.len()],
            last: None,
        }
    }

    fn apply(&mut self, action: &Action, delays_s: &[f64]) {
        match *action {
            Action::Start(index) => {
                let delay = delays_s.get(index).copied().unwrap_or(0.0).max(0.0);
                let ready = self.now_us.saturating_add((delay * 1e6) as u64);
                self.booting.push(Reverse((ready, index)));
                self.nodes[index].standing = Standing::Booting;
                self.released_by[index] = self.last;
                self.started.push(index);
            }
            Action::Block { machine, .. } => self.nodes[machine].standing = Standing::Blocked,
        }
    }

    /// Goes on to the next moment at which a machine is ready; says whether there is one.
    fn advance(&mut self) -> bool {
        let Some(Reverse((at, _))) = self.booting.peek().copied() else {
            return false;
        };
        self.now_us = at;
        while let Some(Reverse((ready, index))) = self.booting.peek().copied() {
            if ready > at {
                break;
            }
            self.booting.pop();
            self.nodes[index].standing = Standing::Ready;
            self.ready_s[index] = Some(at as f64 / 1e6);
            self.last = Some(index);
        }
        true
    }

    fn end(self) -> Run {
        let mut chain: Vec<usize> = self.last.into_iter().collect();
        while let Some(before) = chain.last().and_then(|at| self.released_by[*at]) {
            chain.push(before);
        }
        chain.reverse();
        Run {
            started: self.started,
            ready_s: self.ready_s,
            standing: self.nodes.iter().map(|node| node.standing).collect(),
            chain,
        }
    }
}

/// When the last machine is ready on a host that carries all at once: the longest path. Equal to
/// the simulation there, and quick enough for many draws.
pub(crate) fn longest_path_s(nodes: &[Node], sequence: &[usize], delays_s: &[f64]) -> f64 {
    let mut ready = vec![0.0_f64; nodes.len()];
    for index in sequence {
        let start = nodes[*index]
            .needs
            .keys()
            .map(|other| ready[*other])
            .fold(0.0, f64::max);
        ready[*index] = start + delays_s[*index];
    }
    ready.into_iter().fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::schedule::{Need, sequence};

    type Raw = (Vec<(prop::sample::Index, bool)>, u8, u64, f64);

    fn plans() -> impl Strategy<Value = (Vec<Node>, Vec<f64>)> {
        let one = (
            proptest::collection::vec((any::<prop::sample::Index>(), any::<bool>()), 0..4),
            0..4_u8,
            1..400_u64,
            0.0..300.0_f64,
        );
        proptest::collection::vec(one, 1..14).prop_map(|raw: Vec<Raw>| {
            let delays = raw.iter().map(|one| one.3).collect();
            let nodes = raw.iter().enumerate().map(node).collect();
            (nodes, delays)
        })
    }

    fn node((index, raw): (usize, &Raw)) -> Node {
        let need = |hard: bool| if hard { Need::Hard } else { Need::Soft };
        let needs: BTreeMap<usize, Need> = raw
            .0
            .iter()
            .filter(|_| index > 0)
            .map(|(other, hard)| (other.index(index), need(*hard)))
            .collect();
        Node {
            name: format!("m{index}"),
            memory_mib: raw.2,
            expected_s: raw.3,
            group: (needs.is_empty() && raw.1 > 1).then_some(usize::from(raw.1)),
            needs,
            standing: Standing::Waiting,
        }
    }

    proptest! {
        #[test]
        fn every_machine_that_fits_becomes_ready_after_all_it_needs(
            (nodes, delays) in plans(),
            booting in 1..5_usize,
            memory_mib in 300..2_000_u64,
        ) {
            let run = simulate(&nodes, Budget { memory_mib, booting }, &delays);
            let used: u64 = run.started.iter().map(|at| nodes[*at].memory_mib).sum();
            prop_assert!(used <= memory_mib);
            let place = |at: usize| run.started.iter().position(|one| *one == at);
            for (index, node) in nodes.iter().enumerate() {
                prop_assert!(!matches!(run.standing[index], Standing::Booting | Standing::Blocked));
                for other in node.needs.keys() {
                    if let Some(own) = run.ready_s[index] {
                        let before = run.ready_s[*other];
                        prop_assert!(before.is_some_and(|before| before <= own + 1e-6));
                        prop_assert!(place(*other) < place(index));
                    }
                }
            }
            let all: u64 = nodes.iter().map(|node| node.memory_mib).sum();
            if all <= memory_mib {
                prop_assert!(run.ready_s.iter().all(Option::is_some), "{:?}", run);
            }
        }

        #[test]
        fn without_limits_the_end_is_the_longest_path((nodes, delays) in plans()) {
            let run = simulate(&nodes, Budget::UNLIMITED, &delays);
            let path = longest_path_s(&nodes, &sequence(&nodes), &delays);
            prop_assert!((run.end_s() - path).abs() < 1e-3, "{} {}", run.end_s(), path);
            let chain: f64 = run.chain.iter().map(|at| delays[*at]).sum();
            prop_assert!((chain - path).abs() < 1e-3, "{} {}", chain, path);
        }

        #[test]
        fn a_smaller_host_never_loses_machines_to_a_circle_of_waiting(
            (nodes, delays) in plans(),
            failed in any::<prop::sample::Index>(),
            booting in 1..3_usize,
        ) {
            let mut nodes = nodes;
            let failed = failed.index(nodes.len());
            nodes[failed].standing = Standing::Failed;
            let run = simulate(&nodes, Budget { memory_mib: u64::MAX, booting }, &delays);
            for (index, standing) in run.standing.iter().enumerate() {
                let settled = matches!(standing, Standing::Ready | Standing::Blocked);
                prop_assert!(settled || index == failed);
            }
        }
    }
}
