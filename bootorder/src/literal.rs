//! The reference method's own result, to be held against ours.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::analysis::Analysis;
use crate::estimators::initializations;
use crate::estimators::reference::{Dependency, Initialization, Reference, reference_method};
use crate::event::printable;
use crate::options::{Options, Recency};
use crate::order::Order;

const MOST_DEPENDENCIES: usize = 40;

/// For which moment an order is wanted; initialisations near it count more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Moment {
    /// For none: all count alike.
    #[default]
    Any,
    /// The beginning of the logs.
    Past,
    /// The end of the logs: the capture.
    Present,
    /// After the end of the logs. What is scheduled is not in them, so that it weighs like the
    /// present.
    Future,
    /// Seconds since the epoch.
    At(f64),
}

/// How the reference method is to be run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Literal {
    /// Its knobs.
    pub options: Options,
    /// The moment of interest.
    pub moment: Moment,
    /// Distance from it at which an initialisation counts half, seconds.
    pub half_life_s: f64,
}

impl Analysis {
    /// What the reference method alone finds.
    pub fn literal(&self, literal: &Literal) -> Reference {
        let seen = initializations(&self.site);
        let mut options = literal.options.clone();
        options.recency = recency(literal, &seen);
        reference_method(&seen, &options)
    }
}

fn recency(literal: &Literal, seen: &[Initialization]) -> Option<Recency> {
    let point_of_interest_s = match literal.moment {
        Moment::Any => return literal.options.recency.clone(),
        Moment::Past => Some(
            seen.iter()
                .map(|one| one.time_s)
                .fold(f64::INFINITY, f64::min),
        ),
        Moment::Present | Moment::Future => None,
        Moment::At(seconds) => Some(seconds),
    };
    Some(Recency {
        point_of_interest_s,
        half_life_s: literal.half_life_s,
    })
}

impl Order {
    /// Both results side by side, for a terminal.
    pub fn beside(&self, literal: &Reference) -> String {
        let mut out = String::from("The reference method, literally, beside this order\n\n");
        let names =
            |all: &[String]| -> Vec<String> { all.iter().map(|name| printable(name)).collect() };
        let ours: Vec<String> = self
            .plan
            .iter()
            .map(|entry| printable(&entry.machine))
            .collect();
        let theirs = names(&literal.machines);
        let _ = writeln!(out, "     {:<28} literal", "this order");
        for at in 0..ours.len().max(theirs.len()) {
            let cell = |all: &[String]| all.get(at).cloned().unwrap_or_else(|| "-".to_owned());
            let _ = writeln!(out, "{:>3}. {:<28} {}", at + 1, cell(&ours), cell(&theirs));
        }
        self.compare(&mut out, &literal.dependencies);
        out
    }

    fn compare(&self, out: &mut String, dependencies: &[Dependency]) {
        let machine = |name: &str| name.split(": ").next().unwrap_or(name).to_owned();
        let theirs: BTreeSet<(String, String)> = dependencies
            .iter()
            .map(|d| (machine(&d.before), machine(&d.after)))
            .filter(|(before, after)| before != after)
            .collect();
        let ours: BTreeSet<(String, String)> = self
            .edges
            .iter()
            .map(|edge| (edge.before.clone(), edge.after.clone()))
            .collect();
        let _ = writeln!(
            out,
            "\nDependencies between machines: {} here, {} literally, {} in both\n\nLiteral dependencies, with their correlation",
            ours.len(),
            theirs.len(),
            ours.intersection(&theirs).count()
        );
        if dependencies.is_empty() {
            out.push_str("  none: no correlation reaches the threshold\n");
        }
        for one in dependencies.iter().take(MOST_DEPENDENCIES) {
            let _ = writeln!(
                out,
                "  {} after {}  {:.2}",
                printable(&one.after),
                printable(&one.before),
                one.correlation
            );
        }
        let more = dependencies.len().saturating_sub(MOST_DEPENDENCIES);
        if more > 0 {
            let _ = writeln!(out, "  and {more} more (`--format json` shows them)");
        }
    }
}
