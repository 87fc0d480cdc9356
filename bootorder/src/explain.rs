//! Every fact for and against one dependency, and what was made of it.

use serde::{Deserialize, Serialize};

use crate::analysis::Analysis;
use crate::combine::Pairs;
use crate::estimators::{Claim, doubts};
use crate::event::printable;
use crate::operator::{OperatorError, OperatorWord, Verdict};
use crate::options::EstimatorName;
use crate::order::{Edge, Evidence, Kind, Source};
use crate::services;

const MOST_NAMES: usize = 20;

/// One fact about a pair, as one estimator sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Fact {
    /// The estimator.
    pub estimator: EstimatorName,
    /// Family of the estimator.
    pub source: Source,
    /// What it alone would make of the pair.
    pub kind: Kind,
    /// How sure it is alone.
    pub confidence: f64,
    /// The service that is needed, where it is known.
    pub needed: Option<String>,
    /// The service that needs it, where it is known.
    pub by: Option<String>,
    /// Where it can be looked up.
    pub evidence: Vec<Evidence>,
}

/// What became of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// An edge of the plan.
    Edge,
    /// Both start together.
    Group,
    /// It gave way because it closed a circle.
    GivenUp,
    /// The operator rejected it.
    Rejected,
    /// Too little speaks for it.
    BelowThreshold,
    /// Only start times suggest it.
    HintOnly,
    /// Nothing speaks for it.
    NoFact,
}

/// Why one machine waits for another, or why not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Explanation {
    /// The machine that would be ready first.
    pub before: String,
    /// The machine that would wait.
    pub after: String,
    /// What became of it.
    pub fate: Fate,
    /// The same in one sentence.
    pub verdict: String,
    /// The edge that the facts make, before the operator and the circles have their say.
    pub combined: Option<Edge>,
    /// The edge of the plan.
    pub edge: Option<Edge>,
    /// Facts that speak for it, the surest first.
    pub facts: Vec<Fact>,
    /// Facts that speak against it.
    pub doubts: Vec<Evidence>,
    /// What start times suggest; never enough alone.
    pub hints: Vec<Fact>,
    /// The operator's words on the pair, either way round.
    pub operator: Vec<OperatorWord>,
    /// The path along which it waits anyway.
    pub path: Vec<String>,
    /// The dependency the other way round, where there is one.
    pub reverse: Option<String>,
    /// Names in the files of the later machine that belong to no machine of the site.
    pub nobody: Vec<String>,
}

impl Analysis {
    /// Explains "`before` must be ready before `after`".
    pub fn explain(&self, before: &str, after: &str) -> Result<Explanation, OperatorError> {
        let pair = (self.machine(before)?, self.machine(after)?);
        if pair.0 == pair.1 {
            return Err(OperatorError::OnItself(before.to_owned()));
        }
        let facts: Vec<&Claim> = of_pair(&self.claims, pair);
        let hints: Vec<&Claim> = of_pair(&self.timing, pair);
        let doubts = doubts(&self.site, pair.0, pair.1, &self.options);
        let pairs = Pairs::new(&self.site, &self.claims, &self.timing, &self.options);
        let combined = (!facts.is_empty()).then(|| pairs.edge(pair));
        let mut explanation = Explanation {
            before: before.to_owned(),
            after: after.to_owned(),
            fate: Fate::NoFact,
            verdict: String::new(),
            edge: self.find(&self.order().edges, before, after),
            facts: sorted(&facts),
            doubts: doubts.into_iter().map(|doubt| doubt.evidence).collect(),
            hints: sorted(&hints),
            operator: self.words_on(before, after),
            path: self.path(before, after),
            reverse: self
                .find(&self.order().edges, after, before)
                .map(|edge| sentence(&edge)),
            nobody: self.nobody(pair.1),
            combined,
        };
        explanation.fate = self.fate(&explanation);
        explanation.verdict = self.verdict(&explanation);
        Ok(explanation)
    }

    fn machine(&self, name: &str) -> Result<usize, OperatorError> {
        let unknown = || OperatorError::UnknownMachine(name.to_owned());
        self.site.index(name).ok_or_else(unknown)
    }

    fn find(&self, edges: &[Edge], before: &str, after: &str) -> Option<Edge> {
        let mut edges = edges.iter();
        edges
            .find(|e| e.before == before && e.after == after)
            .cloned()
    }

    fn words_on(&self, before: &str, after: &str) -> Vec<OperatorWord> {
        let either = |word: &&OperatorWord| {
            let ends = (word.before.as_str(), word.after.as_str());
            ends == (before, after) || ends == (after, before)
        };
        self.words.iter().filter(either).cloned().collect()
    }

    fn fate(&self, found: &Explanation) -> Fate {
        let (before, after) = (found.before.as_str(), found.after.as_str());
        let order = self.order();
        let grouped = order
            .group_of(before)
            .is_some_and(|g| g.members.iter().any(|m| m == after));
        let rejected = found
            .operator
            .iter()
            .any(|word| word.verdict == Verdict::Reject && word.before == before);
        if found.edge.is_some() {
            Fate::Edge
        } else if grouped {
            Fate::Group
        } else if self.find(&order.given_up, before, after).is_some() {
            Fate::GivenUp
        } else if rejected {
            Fate::Rejected
        } else if !found.facts.is_empty() {
            Fate::BelowThreshold
        } else if !found.hints.is_empty() {
            Fate::HintOnly
        } else {
            Fate::NoFact
        }
    }

    fn verdict(&self, found: &Explanation) -> String {
        let (before, after) = (printable(&found.before), printable(&found.after));
        let combined = found.combined.as_ref().map_or(0.0, |edge| edge.confidence);
        match found.fate {
            Fate::Edge => found.edge.as_ref().map(sentence).unwrap_or_default(),
            Fate::Group => format!(
                "{before} and {after} name each other in the same role and start together; neither waits"
            ),
            Fate::GivenUp => format!(
                "{after} would wait for {before} ({combined:.2} sure), but that closes a circle{}; it gave way as the weakest link of it",
                circle(&self.path(&found.after, &found.before))
            ),
            Fate::Rejected => format!(
                "{after} does not wait for {before}: the operator rejected it{}",
                if found.facts.is_empty() {
                    String::new()
                } else {
                    format!(" against facts that make it {combined:.2} sure")
                }
            ),
            Fate::BelowThreshold => format!(
                "{after} does not wait for {before}: the facts make it only {combined:.2} sure; {:.2} is needed",
                crate::model::least()
            ),
            Fate::HintOnly => format!(
                "{after} does not wait for {before}: only start times suggest it, and they never make a dependency alone"
            ),
            Fate::NoFact => format!(
                "{after} does not wait for {before}: nothing in the logs or configuration of {after} points to {before}"
            ),
        }
    }

    /// The shortest path of edges from one machine to another.
    fn path(&self, from: &str, to: &str) -> Vec<String> {
        let mut paths = vec![vec![from.to_owned()]];
        let mut seen = std::collections::BTreeSet::from([from]);
        let mut at = 0;
        while at < paths.len() {
            let end = paths[at].last().cloned().unwrap_or_default();
            if end == to {
                return paths.swap_remove(at);
            }
            for edge in self.order().edges.iter().filter(|edge| edge.before == end) {
                if seen.insert(&edge.after) {
                    let mut path = paths[at].clone();
                    path.push(edge.after.clone());
                    paths.push(path);
                }
            }
            at += 1;
        }
        Vec::new()
    }

    fn nobody(&self, after: usize) -> Vec<String> {
        let machine = &self.site.machines[after];
        let lost = machine
            .references
            .iter()
            .filter(|r| self.site.resolve(&r.target).is_none());
        let line = |r: &crate::facts::Reference| {
            let name = printable(&r.target);
            format!("{} ({} line {})", name, printable(&r.file), r.line)
        };
        let mut names: Vec<String> = lost.map(line).collect();
        names.dedup();
        names.truncate(MOST_NAMES);
        names
    }
}

fn sentence(edge: &Edge) -> String {
    format!(
        "{} waits for {}: {}, {:.2} sure, mainly by {}",
        printable(&edge.after),
        printable(&edge.before),
        edge.kind.word(),
        edge.confidence,
        edge.source.word()
    )
}

fn circle(path: &[String]) -> String {
    if path.is_empty() {
        return String::new();
    }
    let names: Vec<String> = path.iter().map(|name| printable(name)).collect();
    format!(" with {}", names.join(" -> "))
}

fn of_pair(claims: &[Claim], (before, after): (usize, usize)) -> Vec<&Claim> {
    let of_pair = |claim: &&Claim| claim.before.machine == before && claim.after.machine == after;
    claims.iter().filter(of_pair).collect()
}

fn sorted(claims: &[&Claim]) -> Vec<Fact> {
    let mut claims = claims.to_vec();
    claims.sort_by(|a, b| {
        b.source
            .cmp(&a.source)
            .then(b.confidence().total_cmp(&a.confidence()))
            .then_with(|| a.evidence.cmp(&b.evidence))
    });
    claims.into_iter().map(fact).collect()
}

fn fact(claim: &Claim) -> Fact {
    let name = |key: &Option<String>| {
        let service = key.as_deref().and_then(services::by_key)?;
        Some(service.name.clone())
    };
    Fact {
        estimator: claim.estimator,
        source: claim.source,
        kind: claim.kind,
        confidence: claim.confidence(),
        needed: name(&claim.before.service),
        by: name(&claim.after.service),
        evidence: claim.evidence.clone(),
    }
}

impl Explanation {
    /// For a terminal.
    pub fn to_text(&self) -> String {
        let mut out = format!("{}\n", self.verdict);
        if let Some(reverse) = &self.reverse {
            out.push_str(&format!("It is the other way round: {reverse}\n"));
        }
        if self.path.len() > 2 {
            let names: Vec<String> = self.path.iter().map(|name| printable(name)).collect();
            out.push_str(&format!(
                "It waits through others: {}\n",
                names.join(" -> ")
            ));
        }
        section(&mut out, "Speaks for it", &self.facts);
        if !self.doubts.is_empty() {
            out.push_str(&format!("\nSpeaks against it ({})\n", self.doubts.len()));
            self.doubts
                .iter()
                .for_each(|fact| out.push_str(&format!("  {}\n", fact.line())));
        }
        section(&mut out, "Suggested by start times", &self.hints);
        if !self.operator.is_empty() {
            out.push_str("\nThe operator's word\n");
            self.operator
                .iter()
                .for_each(|word| out.push_str(&format!("  {word}\n")));
        }
        if let Some(edge) = &self.combined {
            out.push_str(&format!(
                "\nTogether: {}, {:.2} ({:.2} is needed)\n",
                edge.kind.word(),
                edge.confidence,
                crate::model::least()
            ));
        }
        if self.facts.is_empty() && !self.nobody.is_empty() {
            let after = printable(&self.after);
            out.push_str(&format!(
                "\nNames in the files of {after} that belong to no machine of the site\n"
            ));
            self.nobody
                .iter()
                .for_each(|name| out.push_str(&format!("  {name}\n")));
        }
        out
    }
}

fn section(out: &mut String, title: &str, facts: &[Fact]) {
    if facts.is_empty() {
        return;
    }
    out.push_str(&format!("\n{title} ({})\n", facts.len()));
    for fact in facts {
        let services = match (&fact.by, &fact.needed) {
            (Some(by), Some(needed)) => format!(": {by} needs {needed}"),
            (None, Some(needed)) => format!(": {needed} is needed"),
            (Some(by), None) => format!(": for {by}"),
            (None, None) => String::new(),
        };
        let (word, kind) = (fact.estimator.word(), fact.kind.word());
        out.push_str(&format!(
            "  {word}, {kind}, {:.2}{services}\n",
            fact.confidence
        ));
        fact.evidence
            .iter()
            .for_each(|fact| out.push_str(&format!("    {}\n", fact.line())));
    }
}
