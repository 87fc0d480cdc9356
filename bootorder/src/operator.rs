//! The operator's word: pins and rejections.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::event::printable;
use crate::plan::{Link, break_cycles};

/// What the operator says about one pair of machines.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema,
)]
pub struct OperatorWord {
    /// The machine that must be ready first, or would be.
    pub before: String,
    /// The machine that waits, or would.
    pub after: String,
    /// Whether the dependency exists.
    pub verdict: Verdict,
}

/// Yes or no. Pins are applied before rejections.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
#[schema(as = OperatorVerdict)]
pub enum Verdict {
    /// The dependency exists and is hard.
    Pin,
    /// There is no such dependency.
    Reject,
}

impl fmt::Display for OperatorWord {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.verdict {
            Verdict::Pin => "pinned",
            Verdict::Reject => "rejected",
        };
        let (before, after) = (printable(&self.before), printable(&self.after));
        write!(out, "{before} before {after}: {word}")
    }
}

/// Why the operator's words cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum OperatorError {
    /// A machine that is not in the site.
    #[error("dependency names `{0}`, which is no machine of the site")]
    UnknownMachine(String),
    /// A machine before itself.
    #[error("dependency of `{0}` on itself")]
    OnItself(String),
    /// Yes and no about the same pair.
    #[error("dependency `{before}` before `{after}` is pinned and rejected")]
    PinnedAndRejected {
        /// Earlier machine.
        before: String,
        /// Later machine.
        after: String,
    },
    /// Pins that wait for each other.
    #[error(
        "dependency `{before}` before `{after}` contradicts the other pinned dependencies: they form a circle"
    )]
    Circle {
        /// Earlier machine.
        before: String,
        /// Later machine.
        after: String,
    },
}

/// Checks the operator's words before anything is done with them.
pub fn validate(machines: &[String], words: &[OperatorWord]) -> Result<(), OperatorError> {
    for word in words {
        for name in [&word.before, &word.after] {
            if !machines.contains(name) {
                return Err(OperatorError::UnknownMachine(name.clone()));
            }
        }
        if word.before == word.after {
            return Err(OperatorError::OnItself(word.before.clone()));
        }
        let opposite = |other: &&OperatorWord| {
            other.before == word.before
                && other.after == word.after
                && other.verdict != word.verdict
        };
        if words.iter().any(|other| opposite(&other)) {
            return Err(OperatorError::PinnedAndRejected {
                before: word.before.clone(),
                after: word.after.clone(),
            });
        }
    }
    no_circle(machines, words)
}

fn no_circle(machines: &[String], words: &[OperatorWord]) -> Result<(), OperatorError> {
    let index = |name: &String| machines.iter().position(|machine| machine == name);
    let pins = words.iter().filter(|word| word.verdict == Verdict::Pin);
    let pins: Vec<(&OperatorWord, Link)> = pins
        .filter_map(|word| {
            let link = Link {
                before: index(&word.before)?,
                after: index(&word.after)?,
                strength: (0, 0.0),
            };
            Some((word, link))
        })
        .collect();
    let links: Vec<Link> = pins.iter().map(|(_, link)| *link).collect();
    let keep = break_cycles(machines.len(), &links);
    match pins.iter().zip(keep).find(|(_, keep)| !keep) {
        Some(((word, _), _)) => Err(OperatorError::Circle {
            before: word.before.clone(),
            after: word.after.clone(),
        }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(words: &[(&str, &str, Verdict)], expected: &str) {
        let words: Vec<OperatorWord> = words
            .iter()
            .map(|(b, a, verdict)| OperatorWord {
                before: (*b).into(),
                after: (*a).into(),
                verdict: *verdict,
            })
            .collect();
        let machines = ["a", "b", "c"].map(str::to_owned);
        let message = validate(&machines, &words)
            .err()
            .map(|e| e.to_string())
            .unwrap_or_default();
        assert_eq!(message, expected);
    }

    #[test]
    fn contradictions_are_named() {
        use Verdict::{Pin, Reject};
        check(&[("a", "b", Pin), ("b", "c", Pin), ("c", "a", Reject)], "");
        check(
            &[("a", "x", Pin)],
            "dependency names `x`, which is no machine of the site",
        );
        check(&[("a", "a", Pin)], "dependency of `a` on itself");
        check(
            &[("a", "b", Pin), ("a", "b", Reject)],
            "dependency `a` before `b` is pinned and rejected",
        );
        check(
            &[("a", "b", Pin), ("b", "a", Pin)],
            "dependency `b` before `a` contradicts the other pinned dependencies: they form a circle",
        );
    }
}
