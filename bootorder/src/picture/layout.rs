//! A layered layout from left to right: longest-path layers, crossings lessened by barycentres.
//!
//! Machines of a group are one block. An edge over several layers passes through a lane in each
//! layer between, so that it crosses no box.

use std::collections::BTreeMap;

pub(super) const BOX_WIDTH: f64 = 190.0;
pub(super) const BOX_HEIGHT: f64 = 44.0;
const LANE_HEIGHT: f64 = 10.0;
const GAP: f64 = 18.0;
const LAYER_GAP: f64 = 96.0;
const MARGIN: f64 = 28.0;
const SWEEPS: usize = 8;
/// Lanes of long edges are given up beyond this; such a picture is for searching, not for looking.
const MOST_LANES: usize = 20_000;

/// Where everything lies.
pub(super) struct Layout {
    /// Upper left corner of each machine.
    pub boxes: Vec<(f64, f64)>,
    /// Points that each edge passes, from box to box.
    pub lines: Vec<Vec<(f64, f64)>>,
    pub width: f64,
    pub height: f64,
}

/// One block or lane in a layer.
struct Item {
    machines: Vec<usize>,
    layer: usize,
    y: f64,
}

impl Item {
    fn height(&self) -> f64 {
        match self.machines.len() {
            0 => LANE_HEIGHT,
            count => count as f64 * BOX_HEIGHT + (count - 1) as f64 * GAP,
        }
    }
}

struct Graph {
    items: Vec<Item>,
    layers: Vec<Vec<usize>>,
    /// Items that each edge passes.
    paths: Vec<Vec<usize>>,
}

/// Lays out machines; `groups` holds the number of the group of each.
pub(super) fn layout(groups: &[Option<usize>], edges: &[(usize, usize)]) -> Layout {
    let (block_of, blocks) = blocks(groups);
    let between: Vec<(usize, usize)> = edges
        .iter()
        .map(|(b, a)| (block_of[*b], block_of[*a]))
        .collect();
    let layers = layers(blocks.len(), &between);
    let mut graph = Graph::new(blocks, &layers, &between);
    for sweep in 0..SWEEPS {
        graph.sweep(sweep % 2 == 0);
    }
    graph.place();
    graph.finish(groups.len(), edges)
}

/// Machines by block: a group, or one machine alone.
fn blocks(groups: &[Option<usize>]) -> (Vec<usize>, Vec<Vec<usize>>) {
    let mut of_group: BTreeMap<usize, usize> = BTreeMap::new();
    let mut blocks: Vec<Vec<usize>> = Vec::new();
    let mut block_of = Vec::with_capacity(groups.len());
    for (machine, group) in groups.iter().enumerate() {
        let fresh = blocks.len();
        let block = group.map_or(fresh, |group| *of_group.entry(group).or_insert(fresh));
        if block == fresh {
            blocks.push(Vec::new());
        }
        blocks[block].push(machine);
        block_of.push(block);
    }
    (block_of, blocks)
}

/// Longest path from the left; edges that close a circle are not followed.
fn layers(count: usize, edges: &[(usize, usize)]) -> Vec<usize> {
    let mut missing = vec![0_usize; count];
    let mut next = vec![Vec::new(); count];
    for (before, after) in edges.iter().filter(|(b, a)| b != a) {
        missing[*after] += 1;
        next[*before].push(*after);
    }
    let mut layer = vec![0; count];
    let mut waiting: Vec<usize> = (0..count).filter(|at| missing[*at] == 0).collect();
    while let Some(block) = waiting.pop() {
        for after in &next[block] {
            layer[*after] = layer[*after].max(layer[block] + 1);
            missing[*after] -= 1;
            if missing[*after] == 0 {
                waiting.push(*after);
            }
        }
    }
    layer
}

impl Graph {
    fn new(blocks: Vec<Vec<usize>>, layer: &[usize], edges: &[(usize, usize)]) -> Self {
        let count = layer.iter().max().map_or(0, |last| last + 1);
        let mut graph = Self {
            items: Vec::new(),
            layers: vec![Vec::new(); count],
            paths: Vec::new(),
        };
        for (machines, layer) in blocks.into_iter().zip(layer) {
            graph.add(machines, *layer);
        }
        let mut lanes = 0;
        for (before, after) in edges {
            let mut path = vec![*before];
            let between = layer[*before] + 1..layer[*after];
            lanes += between.len();
            if lanes <= MOST_LANES {
                path.extend(between.map(|layer| graph.add(Vec::new(), layer)));
            }
            path.push(*after);
            graph.paths.push(path);
        }
        graph
    }

    fn add(&mut self, machines: Vec<usize>, layer: usize) -> usize {
        self.items.push(Item {
            machines,
            layer,
            y: 0.0,
        });
        self.layers[layer].push(self.items.len() - 1);
        self.items.len() - 1
    }

    /// Orders each layer by the mean place of its neighbours on one side.
    fn sweep(&mut self, to_the_right: bool) {
        let mut place = vec![0.0_f64; self.items.len()];
        for layer in &self.layers {
            layer
                .iter()
                .enumerate()
                .for_each(|(at, item)| place[*item] = at as f64);
        }
        let mut neighbours = vec![Vec::new(); self.items.len()];
        for pair in self.paths.iter().flat_map(|path| path.windows(2)) {
            let (from, to) = if to_the_right {
                (pair[0], pair[1])
            } else {
                (pair[1], pair[0])
            };
            neighbours[to].push(from);
        }
        let count = self.layers.len();
        let order: Vec<usize> = if to_the_right {
            (0..count).collect()
        } else {
            (0..count).rev().collect()
        };
        for layer in order {
            let mean = |item: usize| {
                let of: &Vec<usize> = &neighbours[item];
                let sum: f64 = of.iter().map(|other| place[*other]).sum();
                if of.is_empty() {
                    place[item]
                } else {
                    sum / of.len() as f64
                }
            };
            let mut keyed: Vec<(f64, usize)> = self.layers[layer]
                .iter()
                .map(|item| (mean(*item), *item))
                .collect();
            keyed.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            for (at, (_, item)) in keyed.iter().enumerate() {
                place[*item] = at as f64;
            }
            self.layers[layer] = keyed.into_iter().map(|(_, item)| item).collect();
        }
    }

    /// Stacks each layer and centres it.
    fn place(&mut self) {
        let height = |graph: &Self, layer: &[usize]| {
            let sum: f64 = layer
                .iter()
                .map(|item| graph.items[*item].height() + GAP)
                .sum();
            (sum - GAP).max(0.0)
        };
        let tallest = self
            .layers
            .iter()
            .map(|layer| height(self, layer))
            .fold(0.0, f64::max);
        for layer in &self.layers {
            let mut y = MARGIN + (tallest - height(self, layer)) / 2.0;
            for item in layer {
                self.items[*item].y = y;
                y += self.items[*item].height() + GAP;
            }
        }
    }

    fn finish(self, machines: usize, edges: &[(usize, usize)]) -> Layout {
        let x = |layer: usize| MARGIN + layer as f64 * (BOX_WIDTH + LAYER_GAP);
        let mut boxes = vec![(0.0, 0.0); machines];
        let mut bottom: f64 = MARGIN;
        for item in &self.items {
            for (at, machine) in item.machines.iter().enumerate() {
                boxes[*machine] = (x(item.layer), item.y + at as f64 * (BOX_HEIGHT + GAP));
            }
            bottom = bottom.max(item.y + item.height());
        }
        let line = |(path, (before, after)): (&Vec<usize>, &(usize, usize))| {
            let middle = |at: usize| boxes[at].1 + BOX_HEIGHT / 2.0;
            let mut points = vec![(boxes[*before].0 + BOX_WIDTH, middle(*before))];
            for lane in path
                .iter()
                .filter(|item| self.items[**item].machines.is_empty())
            {
                let (left, y) = (
                    x(self.items[*lane].layer),
                    self.items[*lane].y + LANE_HEIGHT / 2.0,
                );
                points.extend([(left, y), (left + BOX_WIDTH, y)]);
            }
            points.push((boxes[*after].0, middle(*after)));
            points
        };
        let lines = self.paths.iter().zip(edges).map(line).collect();
        let layers = self.layers.len().max(1);
        Layout {
            lines,
            width: x(layers - 1) + BOX_WIDTH + MARGIN,
            height: bottom + MARGIN,
            boxes,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn boxes_never_overlap_and_edges_go_to_the_right(
            count in 1..30_usize,
            raw in proptest::collection::vec((0..30_usize, 0..30_usize), 0..60),
        ) {
            let edges: Vec<(usize, usize)> =
                raw.into_iter().map(|(a, b)| (a.min(b), a.max(b))).filter(|(a, b)| a != b && *b < count).collect();
            let groups: Vec<Option<usize>> = (0..count).map(|_| None).collect();
            let found = layout(&groups, &edges);
            for (at, one) in found.boxes.iter().enumerate() {
                prop_assert!(one.0 + BOX_WIDTH <= found.width && one.1 + BOX_HEIGHT <= found.height);
                for other in &found.boxes[at + 1..] {
                    let apart = (one.0 - other.0).abs() >= BOX_WIDTH || (one.1 - other.1).abs() >= BOX_HEIGHT;
                    prop_assert!(apart, "{:?} {:?}", one, other);
                }
            }
            for line in &found.lines {
                prop_assert!(line.windows(2).all(|pair| pair[0].0 < pair[1].0), "{:?}", line);
            }
        }

        #[test]
        fn circles_and_groups_are_laid_out_too(
            groups in proptest::collection::vec(proptest::option::of(0..3_usize), 1..12),
            raw in proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 0..30),
        ) {
            let edges: Vec<(usize, usize)> =
                raw.iter().map(|(a, b)| (a.index(groups.len()), b.index(groups.len()))).collect();
            let found = layout(&groups, &edges);
            prop_assert_eq!((found.boxes.len(), found.lines.len()), (groups.len(), edges.len()));
        }
    }
}
