//! From claims to edges: one confidence, one kind, all evidence; the operator's word above all.

use std::collections::BTreeMap;

use crate::estimators::{Claim, Doubt, Node, doubts};
use crate::model::{self, Feature, Features};
use crate::operator::{OperatorWord, Verdict};
use crate::options::Options;
use crate::order::{Edge, Evidence, Kind, Source};
use crate::services;
use crate::site::Site;

type Grouped<'a> = BTreeMap<(Node, Node), Vec<&'a Claim>>;

/// All that is said about each pair of machines.
pub(crate) struct Pairs<'a> {
    site: &'a Site,
    options: &'a Options,
    claims: Grouped<'a>,
    timing: Grouped<'a>,
}

impl<'a> Pairs<'a> {
    pub fn new(
        site: &'a Site,
        claims: &'a [Claim],
        hints: &'a [Claim],
        options: &'a Options,
    ) -> Self {
        let machine = |node: &Node| machine_node(node.machine);
        let mut grouped = group(claims, machine);
        grouped.retain(|(before, after), _| before.machine != after.machine);
        Self {
            site,
            options,
            claims: grouped,
            timing: group(hints, machine),
        }
    }

    /// Pairs that more than start times speak for.
    pub fn claimed(&self) -> impl Iterator<Item = (usize, usize)> {
        self.claims
            .keys()
            .map(|(before, after)| (before.machine, after.machine))
    }

    /// What was found about a pair.
    pub fn features(&self, (before, after): (usize, usize)) -> Features {
        let doubts = doubts(self.site, before, after, self.options);
        self.weigh((before, after), doubts.len())
    }

    fn weigh(&self, (before, after): (usize, usize), doubts: usize) -> Features {
        let turned = self.timing_of((after, before)).iter();
        let against = turned
            .filter(|claim| claim.feature == Feature::TimingFirst)
            .map(|claim| claim.amount)
            .fold(0.0, f64::max);
        model::features(&self.about((before, after)), doubts, against)
    }

    fn timing_of(&self, (before, after): (usize, usize)) -> &[&'a Claim] {
        let pair = (machine_node(before), machine_node(after));
        self.timing.get(&pair).map_or(&[], Vec::as_slice)
    }

    fn about(&self, (before, after): (usize, usize)) -> Vec<&'a Claim> {
        let pair = (machine_node(before), machine_node(after));
        let claims = self.claims.get(&pair).into_iter().flatten();
        claims
            .chain(self.timing_of((before, after)))
            .copied()
            .collect()
    }

    /// The edge that all facts about a pair make together, however unsure.
    pub fn edge(&self, (before, after): (usize, usize)) -> Edge {
        let names = [before, after].map(|at| self.site.machines[at].name.clone());
        let [first, second] = names;
        let doubts = doubts(self.site, before, after, self.options);
        let features = self.weigh((before, after), doubts.len());
        let claims = self.about((before, after));
        let mut edge = edge(&claims, (first, second), &features, self.options);
        show_doubts(&doubts, &mut edge, self.options);
        edge
    }
}

fn machine_node(machine: usize) -> Node {
    Node {
        machine,
        service: None,
    }
}

/// Edges between machines, before cycles are broken.
pub(crate) fn machine_edges(
    site: &Site,
    claims: &[Claim],
    hints: &[Claim],
    options: &Options,
) -> Vec<Edge> {
    let pairs = Pairs::new(site, claims, hints, options);
    let edges = pairs.claimed().map(|pair| pairs.edge(pair));
    edges
        .filter(|edge| edge.confidence >= model::least())
        .collect()
}

/// Edges between services; a claim without a service stands for the whole machine.
pub(crate) fn service_edges(site: &Site, claims: &[Claim], options: &Options) -> Vec<Edge> {
    let grouped = group(claims, Node::clone);
    let edges = grouped.into_iter().map(|((before, after), claims)| {
        edge(
            &claims,
            (name(site, &before), name(site, &after)),
            &model::features(&claims, 0, 0.0),
            options,
        )
    });
    edges
        .filter(|edge| edge.before != edge.after && edge.confidence >= model::least())
        .collect()
}

/// Timing hints that no edge took up.
pub(crate) fn hint_edges(
    site: &Site,
    hints: &[Claim],
    edges: &[Edge],
    options: &Options,
) -> Vec<Edge> {
    let grouped = group(hints, Node::clone);
    let hints = grouped.into_iter().map(|((before, after), claims)| {
        edge(
            &claims,
            (name(site, &before), name(site, &after)),
            &model::features(&claims, 0, 0.0),
            options,
        )
    });
    let known: std::collections::BTreeSet<(&str, &str)> = edges
        .iter()
        .map(|e| (e.before.as_str(), e.after.as_str()))
        .collect();
    hints
        .filter(|hint| !known.contains(&(hint.before.as_str(), hint.after.as_str())))
        .collect()
}

fn group(claims: &[Claim], by: impl Fn(&Node) -> Node) -> Grouped<'_> {
    let mut grouped: Grouped<'_> = BTreeMap::new();
    for claim in claims {
        grouped
            .entry((by(&claim.before), by(&claim.after)))
            .or_default()
            .push(claim);
    }
    grouped
}

fn name(site: &Site, node: &Node) -> String {
    let machine = &site.machines[node.machine].name;
    match node.service.as_deref().and_then(services::by_key) {
        Some(service) => format!("{machine}: {}", service.name),
        None => machine.clone(),
    }
}

fn edge(
    claims: &[&Claim],
    (before, after): (String, String),
    features: &Features,
    options: &Options,
) -> Edge {
    Edge {
        before,
        after,
        kind: kind(claims),
        confidence: model::confidence(features),
        source: claims
            .iter()
            .map(|claim| claim.source)
            .max()
            .unwrap_or(Source::Timing),
        evidence: evidence(claims, options.evidence_per_edge),
    }
}

/// The worst that any service means; for each, what the logs show outranks what is usual.
fn kind(claims: &[&Claim]) -> Kind {
    let mut services: BTreeMap<Option<&String>, Vec<&Claim>> = BTreeMap::new();
    for claim in claims {
        services
            .entry(claim.before.service.as_ref())
            .or_default()
            .push(claim);
    }
    let of_service = |claims: Vec<&Claim>| {
        let seen = claims
            .iter()
            .filter(|claim| claim.source == Source::Logs)
            .map(|claim| claim.kind)
            .max();
        seen.or_else(|| claims.iter().map(|claim| claim.kind).max())
    };
    services
        .into_values()
        .filter_map(of_service)
        .max()
        .unwrap_or(Kind::Soft)
}

/// The strongest facts first, each family represented, without repetitions.
fn evidence(claims: &[&Claim], limit: usize) -> Vec<Evidence> {
    let mut sorted: Vec<&&Claim> = claims.iter().collect();
    sorted.sort_by(|a, b| {
        b.source
            .cmp(&a.source)
            .then(b.confidence().total_cmp(&a.confidence()))
            .then_with(|| a.evidence.cmp(&b.evidence))
    });
    let mut taken: Vec<Evidence> = Vec::new();
    let firsts = {
        let mut seen = std::collections::BTreeSet::new();
        sorted
            .iter()
            .filter(move |claim| seen.insert(claim.source))
            .copied()
            .collect::<Vec<_>>()
    };
    for claim in firsts.into_iter().chain(sorted) {
        for fact in &claim.evidence {
            if taken.len() < limit && !taken.contains(fact) {
                taken.push(fact.clone());
            }
        }
    }
    taken
}

fn show_doubts(doubts: &[Doubt], edge: &mut Edge, options: &Options) {
    let Some(first) = doubts.first() else { return };
    edge.kind = Kind::Soft;
    if edge.evidence.len() >= options.evidence_per_edge {
        edge.evidence.pop();
    }
    edge.evidence.push(first.evidence.clone());
}

/// Applies pins and rejections; says in the warnings what was overruled.
pub(crate) fn apply_operator(
    site: &Site,
    edges: &mut Vec<Edge>,
    words: &[OperatorWord],
    warnings: &mut Vec<String>,
) {
    let mut words: Vec<&OperatorWord> = words.iter().collect();
    words.sort();
    words.dedup();
    for word in words {
        let known = site.index(&word.before).is_some() && site.index(&word.after).is_some();
        if !known || word.before == word.after {
            warnings.push(format!(
                "the operator's word on {} before {} names no two machines of the site",
                word.before, word.after
            ));
            continue;
        }
        let at = edges
            .iter()
            .position(|e| e.before == word.before && e.after == word.after);
        match (word.verdict, at) {
            (Verdict::Pin, Some(at)) => pin(&mut edges[at]),
            (Verdict::Pin, None) => {
                let mut edge = Edge {
                    before: word.before.clone(),
                    after: word.after.clone(),
                    kind: Kind::Hard,
                    confidence: 1.0,
                    source: Source::Operator,
                    evidence: Vec::new(),
                };
                pin(&mut edge);
                edges.push(edge);
            }
            (Verdict::Reject, Some(at)) if edges[at].source != Source::Operator => {
                let edge = edges.remove(at);
                warnings.push(format!(
                    "{} before {} was rejected by the operator against {} ({:.2})",
                    edge.before,
                    edge.after,
                    edge.source.word(),
                    edge.confidence
                ));
            }
            (Verdict::Reject, Some(_)) => {
                warnings.push(format!(
                    "{} before {} is pinned and rejected; the pin wins",
                    word.before, word.after
                ));
            }
            (Verdict::Reject, None) => {}
        }
    }
    edges.sort_by(|a, b| (&a.before, &a.after).cmp(&(&b.before, &b.after)));
}

fn pin(edge: &mut Edge) {
    edge.kind = Kind::Hard;
    edge.confidence = 1.0;
    edge.source = Source::Operator;
    edge.evidence.insert(
        0,
        Evidence {
            machine: edge.after.clone(),
            file: String::new(),
            record: String::new(),
            time: None,
            text: "the operator's word".to_owned(),
        },
    );
}
