//! Graph decisions: which edge gives way in a cycle, and in which order to start.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// An edge between numbered nodes; the strength decides who gives way.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Link {
    pub before: usize,
    pub after: usize,
    /// Class first (operator over hard over soft), then confidence.
    pub strength: (u8, f64),
}

/// Which links to keep so that no cycle remains; in each cycle the weakest gives way.
///
/// Deterministic: equal strengths are told apart by their ends.
pub(crate) fn break_cycles(nodes: usize, links: &[Link]) -> Vec<bool> {
    let component = components(nodes, links);
    let inside = |link: &Link| component[link.before] == component[link.after];
    let mut keep: Vec<bool> = links.iter().map(|link| !inside(link)).collect();
    let mut doubtful: Vec<usize> = (0..links.len()).filter(|at| inside(&links[*at])).collect();
    doubtful.sort_by(|a, b| stronger(&links[*a], &links[*b]));
    let mut walk = Walk::new(nodes);
    for at in doubtful {
        let link = &links[at];
        if !walk.reaches(link.after, link.before) {
            walk.next[link.before].push(link.after);
            keep[at] = true;
        }
    }
    keep
}

fn stronger(a: &Link, b: &Link) -> std::cmp::Ordering {
    b.strength
        .0
        .cmp(&a.strength.0)
        .then(b.strength.1.total_cmp(&a.strength.1))
        .then((a.before, a.after).cmp(&(b.before, b.after)))
}

/// A growing graph that is asked often; the marks of one walk are told from the next by a number.
struct Walk {
    next: Vec<Vec<usize>>,
    seen: Vec<usize>,
    number: usize,
}

impl Walk {
    fn new(nodes: usize) -> Self {
        Self {
            next: vec![Vec::new(); nodes],
            seen: vec![0; nodes],
            number: 0,
        }
    }

    fn reaches(&mut self, from: usize, to: usize) -> bool {
        self.number += 1;
        let mut waiting = vec![from];
        while let Some(node) = waiting.pop() {
            if node == to {
                return true;
            }
            if std::mem::replace(&mut self.seen[node], self.number) != self.number {
                waiting.extend(&self.next[node]);
            }
        }
        false
    }
}

/// Strongly connected components, by a walk forward and a walk backward.
fn components(nodes: usize, links: &[Link]) -> Vec<usize> {
    let mut forward = vec![Vec::new(); nodes];
    let mut backward = vec![Vec::new(); nodes];
    for link in links {
        forward[link.before].push(link.after);
        backward[link.after].push(link.before);
    }
    let mut component = vec![usize::MAX; nodes];
    for (number, root) in finishing_order(&forward).into_iter().rev().enumerate() {
        let mut waiting = vec![root];
        while let Some(node) = waiting.pop() {
            if component[node] == usize::MAX {
                component[node] = number;
                waiting.extend(
                    backward[node]
                        .iter()
                        .filter(|n| component[**n] == usize::MAX),
                );
            }
        }
    }
    component
}

fn finishing_order(forward: &[Vec<usize>]) -> Vec<usize> {
    let mut order = Vec::with_capacity(forward.len());
    let mut seen = vec![false; forward.len()];
    for root in 0..forward.len() {
        if std::mem::replace(&mut seen[root], true) {
            continue;
        }
        let mut stack = vec![(root, 0)];
        while let Some((node, at)) = stack.pop() {
            match forward[node].get(at) {
                Some(next) => {
                    stack.push((node, at + 1));
                    if !std::mem::replace(&mut seen[*next], true) {
                        stack.push((*next, 0));
                    }
                }
                None => order.push(node),
            }
        }
    }
    order
}

/// All nodes in an order that respects acyclic links; among the startable the least priority first.
pub(crate) fn topological<P: Ord + Clone>(links: &[Link], priority: &[P]) -> Vec<usize> {
    let mut missing = vec![0_usize; priority.len()];
    let mut next = vec![Vec::new(); priority.len()];
    for link in links {
        missing[link.after] += 1;
        next[link.before].push(link.after);
    }
    let entry = |node: usize| Reverse((priority[node].clone(), node));
    let mut startable: BinaryHeap<_> = (0..priority.len())
        .filter(|node| missing[*node] == 0)
        .map(entry)
        .collect();
    let mut order = Vec::with_capacity(priority.len());
    while let Some(Reverse((_, node))) = startable.pop() {
        order.push(node);
        for after in &next[node] {
            missing[*after] -= 1;
            if missing[*after] == 0 {
                startable.push(entry(*after));
            }
        }
    }
    order
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn link(before: usize, after: usize, strength: (u8, f64)) -> Link {
        Link {
            before,
            after,
            strength,
        }
    }

    #[test]
    fn the_cheapest_edge_of_a_cycle_gives_way() {
        let links = [
            link(0, 1, (1, 0.9)),
            link(1, 2, (0, 0.2)),
            link(2, 0, (0, 0.8)),
        ];
        assert_eq!(break_cycles(3, &links), [true, false, true]);
        let links = [link(0, 1, (0, 0.9)), link(1, 0, (2, 0.1))];
        assert_eq!(break_cycles(2, &links), [false, true]);
    }

    fn graphs() -> impl Strategy<Value = (usize, Vec<Link>)> {
        (2..12_usize).prop_flat_map(|nodes| {
            let one = (0..nodes, 0..nodes, 0..3_u8, 0.0..1.0_f64)
                .prop_filter("no loops", |(a, b, _, _)| a != b)
                .prop_map(|(a, b, class, confidence)| link(a, b, (class, confidence)));
            (Just(nodes), proptest::collection::vec(one, 0..40))
        })
    }

    proptest! {
        #[test]
        fn every_plan_covers_all_nodes_and_respects_what_was_kept((nodes, links) in graphs()) {
            let keep = break_cycles(nodes, &links);
            let kept: Vec<Link> = links.iter().zip(&keep).filter(|(_, k)| **k).map(|(l, _)| *l).collect();
            let priority: Vec<usize> = (0..nodes).collect();
            let order = topological(&kept, &priority);
            prop_assert_eq!(order.len(), nodes);
            let place: BTreeMap<usize, usize> = order.iter().enumerate().map(|(p, n)| (*n, p)).collect();
            for link in &kept {
                prop_assert!(place[&link.before] < place[&link.after]);
            }
        }

        #[test]
        fn only_edges_that_close_a_cycle_of_stronger_ones_are_dropped((nodes, links) in graphs()) {
            let keep = break_cycles(nodes, &links);
            for (dropped, _) in links.iter().zip(&keep).filter(|(_, k)| !**k) {
                let mut walk = Walk::new(nodes);
                for (link, _) in links.iter().zip(&keep).filter(|(l, k)| **k && stronger(l, dropped).is_lt()) {
                    walk.next[link.before].push(link.after);
                }
                prop_assert!(walk.reaches(dropped.after, dropped.before));
            }
        }
    }
}
