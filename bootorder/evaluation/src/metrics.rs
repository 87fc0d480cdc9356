//! How right an answer is.

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;
use lifeboat_bootorder::Kind;

use crate::methods::Answer;
use crate::truth::{Pair, Truth};

/// Counts of one kind of edges.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Counts {
    pub right: usize,
    pub wrong: usize,
    pub missed: usize,
}

impl Counts {
    fn of(found: &BTreeSet<Pair>, truth: &BTreeSet<Pair>) -> Self {
        let right = found.intersection(truth).count();
        Self {
            right,
            wrong: found.len() - right,
            missed: truth.len() - right,
        }
    }

    pub fn precision(self) -> f64 {
        share(self.right, self.right + self.wrong)
    }

    pub fn recall(self) -> f64 {
        share(self.right, self.right + self.missed)
    }

    pub fn f1(self) -> f64 {
        share(2 * self.right, 2 * self.right + self.wrong + self.missed)
    }

    pub fn add(&mut self, other: Self) {
        self.right += other.right;
        self.wrong += other.wrong;
        self.missed += other.missed;
    }
}

/// One when there is nothing to get wrong.
fn share(part: usize, whole: usize) -> f64 {
    match whole {
        0 => 1.0,
        _ => part as f64 / whole as f64,
    }
}

/// The score of one answer, or the sum over sites.
#[derive(Debug, Clone, Default)]
pub struct Score {
    pub direct: Counts,
    pub closure: Counts,
    pub services: Counts,
    pub has_services: bool,
    /// True pairs found in either direction, and of those in the right one.
    pub pairs_found: usize,
    pub pairs_right: usize,
    /// True edges that the plan enforces.
    pub enforced: usize,
    pub true_edges: usize,
    /// Confidence and whether the edge is true.
    pub calibration: Vec<(f64, bool)>,
    /// Found true edges, and of those with the right kind.
    pub kinds_found: usize,
    pub kinds_right: usize,
    /// Programs that an operator must restart in a recovery by the plan.
    pub fallen: usize,
    /// Makespan over that of the truth; one a site.
    pub makespans: Vec<f64>,
}

impl Score {
    pub fn add(&mut self, other: &Self) {
        self.direct.add(other.direct);
        self.closure.add(other.closure);
        self.services.add(other.services);
        self.has_services |= other.has_services;
        self.pairs_found += other.pairs_found;
        self.pairs_right += other.pairs_right;
        self.enforced += other.enforced;
        self.true_edges += other.true_edges;
        self.kinds_found += other.kinds_found;
        self.kinds_right += other.kinds_right;
        self.fallen += other.fallen;
        self.calibration.extend(&other.calibration);
        self.makespans.extend(&other.makespans);
    }

    pub fn direction(&self) -> f64 {
        share(self.pairs_right, self.pairs_found)
    }

    pub fn validity(&self) -> f64 {
        share(self.enforced, self.true_edges)
    }

    /// Share of the found edges that are rightly called hard or soft.
    pub fn kind(&self) -> Option<f64> {
        (self.kinds_found > 0).then(|| share(self.kinds_right, self.kinds_found))
    }

    pub fn makespan(&self) -> f64 {
        self.makespans.iter().sum::<f64>() / self.makespans.len().max(1) as f64
    }
}

/// Compares an answer with the truth.
pub fn score(answer: &Answer, truth: &Truth) -> Score {
    let known = |pair: &Pair| !truth.neutral.contains(pair);
    let truth_pairs: BTreeSet<Pair> = truth.machines.keys().cloned().collect();
    let found: BTreeSet<Pair> = answer
        .edges
        .iter()
        .map(|(pair, _)| pair.clone())
        .filter(known)
        .collect();
    let turned = |pair: &Pair| (pair.1.clone(), pair.0.clone());
    let closed = |pairs: &BTreeSet<Pair>| -> BTreeSet<Pair> {
        closure(pairs).into_iter().filter(known).collect()
    };
    let either = truth_pairs
        .iter()
        .filter(|pair| found.contains(*pair) || found.contains(&turned(pair)));
    let right = truth_pairs
        .iter()
        .filter(|pair| found.contains(*pair) && !found.contains(&turned(pair)));
    let waits = closure(&planned(answer));
    let kinds: Vec<bool> = answer
        .explained
        .iter()
        .filter_map(|edge| {
            let hard = truth
                .machines
                .get(&(edge.before.clone(), edge.after.clone()))?;
            Some(*hard == (edge.kind == Kind::Hard))
        })
        .collect();
    Score {
        direct: Counts::of(&found, &truth_pairs),
        closure: Counts::of(&closed(&found), &closed(&truth_pairs)),
        services: services(answer, truth),
        has_services: answer.services.is_some(),
        pairs_found: either.count(),
        pairs_right: right.count(),
        enforced: truth_pairs
            .iter()
            .filter(|pair| waits.contains(*pair))
            .count(),
        true_edges: truth_pairs.len(),
        calibration: answer
            .edges
            .iter()
            .filter(|(pair, _)| known(pair))
            .map(|(pair, confidence)| (*confidence, truth_pairs.contains(pair)))
            .collect(),
        kinds_found: kinds.len(),
        kinds_right: kinds.into_iter().filter(|right| *right).count(),
        fallen: 0,
        makespans: Vec::new(),
    }
}

/// The edges that the plan waits for.
pub fn planned(answer: &Answer) -> BTreeSet<Pair> {
    let waits = answer.after.iter();
    waits
        .flat_map(|(later, after)| {
            after
                .iter()
                .map(move |before| (before.clone(), later.clone()))
        })
        .collect()
}

/// All pairs connected by a path.
pub fn closure(pairs: &BTreeSet<Pair>) -> BTreeSet<Pair> {
    let mut next: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (before, after) in pairs {
        next.entry(before).or_default().push(after);
    }
    let mut all = BTreeSet::new();
    for start in next.keys() {
        let mut waiting = next[start].clone();
        let mut seen = BTreeSet::new();
        while let Some(node) = waiting.pop() {
            if node != *start && seen.insert(node) {
                all.insert(((*start).to_owned(), node.to_owned()));
                waiting.extend(next.get(node).into_iter().flatten());
            }
        }
    }
    all
}

fn services(answer: &Answer, truth: &Truth) -> Counts {
    let mut counts = Counts::default();
    let mut met = vec![false; truth.services.len()];
    for edge in answer.services.iter().flatten() {
        let (before, needed) = split(&edge.before);
        let (after, needing) = split(&edge.after);
        if before == after
            || truth
                .neutral
                .contains(&(before.to_owned(), after.to_owned()))
        {
            continue;
        }
        let mut hit = false;
        for (number, real) in truth.services.iter().enumerate() {
            if real.before == before && real.after == after && real.is_meant(needed, needing) {
                hit = true;
                met[number] = true;
            }
        }
        match hit {
            true => counts.right += 1,
            false => counts.wrong += 1,
        }
    }
    counts.missed = met.iter().filter(|met| !**met).count();
    counts
}

/// "dir1: DNS server" in its two parts.
pub fn split(label: &str) -> (&str, &str) {
    label.split_once(": ").unwrap_or((label, ""))
}

/// One bin of the reliability table.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bin {
    pub edges: usize,
    pub confidence: f64,
    pub right: f64,
}

/// Ten bins, and the expected calibration error over them.
pub fn reliability(calibration: &[(f64, bool)]) -> (Vec<Bin>, f64) {
    let mut bins = vec![Bin::default(); 10];
    for (confidence, right) in calibration {
        let bin = &mut bins[((confidence * 10.0) as usize).min(9)];
        bin.edges += 1;
        bin.confidence += confidence;
        bin.right += f64::from(u8::from(*right));
    }
    let mut error = 0.0;
    for bin in bins.iter_mut().filter(|bin| bin.edges > 0) {
        error += (bin.confidence - bin.right).abs() / calibration.len() as f64;
        bin.confidence /= bin.edges as f64;
        bin.right /= bin.edges as f64;
    }
    (bins, error)
}

/// The 95 % interval of a statistic when the sites are drawn anew.
pub fn interval(sites: &[Score], statistic: impl Fn(&Score) -> f64) -> (f64, f64) {
    let mut rng = Rng::with_seed(42);
    let mut values: Vec<f64> = (0..1000)
        .map(|_| {
            let mut sum = Score::default();
            for _ in sites {
                sum.add_counts(&sites[rng.usize(..sites.len())]);
            }
            statistic(&sum)
        })
        .collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => (0.0, 0.0),
        many => (values[many * 25 / 1000], values[many * 975 / 1000]),
    }
}

impl Score {
    /// As `add`, without the lists.
    fn add_counts(&mut self, other: &Self) {
        self.direct.add(other.direct);
        self.closure.add(other.closure);
        self.services.add(other.services);
        self.enforced += other.enforced;
        self.true_edges += other.true_edges;
        self.pairs_found += other.pairs_found;
        self.pairs_right += other.pairs_right;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(before: &str, after: &str) -> Pair {
        (before.to_owned(), after.to_owned())
    }

    fn answer(edges: &[(&str, &str)]) -> Answer {
        let mut answer = Answer::default();
        for (before, after) in edges {
            answer.edges.push((pair(before, after), 0.9));
            answer
                .after
                .entry((*after).to_owned())
                .or_default()
                .push((*before).to_owned());
        }
        answer
    }

    fn truth(edges: &[(&str, &str)]) -> Truth {
        let machines = edges
            .iter()
            .map(|(before, after)| (pair(before, after), true))
            .collect();
        Truth {
            machines,
            ..Truth::default()
        }
    }

    #[test]
    fn a_turned_edge_is_found_in_the_wrong_direction() {
        let score = score(&answer(&[("b", "a")]), &truth(&[("a", "b")]));
        assert_eq!(
            (score.direct.right, score.direct.wrong, score.direct.missed),
            (0, 1, 1)
        );
        assert_eq!((score.pairs_found, score.direction()), (1, 0.0));
    }

    #[test]
    fn what_a_path_enforces_is_enforced() {
        let score = score(&answer(&[("a", "b"), ("b", "c")]), &truth(&[("a", "c")]));
        assert_eq!((score.validity(), score.direct.recall()), (1.0, 0.0));
        assert_eq!(
            score.closure,
            Counts {
                right: 1,
                wrong: 2,
                missed: 0
            }
        );
    }

    #[test]
    fn earlier_in_the_list_is_not_enforced() {
        let mut answer = answer(&[]);
        answer.after = BTreeMap::from([("a".to_owned(), vec![]), ("b".to_owned(), vec![])]);
        assert_eq!(score(&answer, &truth(&[("a", "b")])).validity(), 0.0);
    }

    #[test]
    fn peers_count_neither_way() {
        let mut truth = truth(&[]);
        truth.neutral.insert(pair("a", "b"));
        assert_eq!(
            score(&answer(&[("a", "b")]), &truth).direct,
            Counts::default()
        );
    }

    #[test]
    fn calibration_compares_confidence_with_truth() {
        let (bins, error) = reliability(&[(0.95, true), (0.95, false)]);
        assert_eq!(bins[9].edges, 2);
        assert!((error - 0.45).abs() < 1e-9, "{error}");
        assert_eq!(reliability(&[]).1, 0.0);
    }
}
