//! The order as text for a person at a terminal.

use std::fmt::Write as _;

use crate::event::printable;
use crate::order::{Edge, Kind, Order, PlanEntry, Readiness};
use crate::prediction::Prediction;
use crate::what_if::{Consequence, WhatIf};

/// Facts shown for each edge; JSON has all that were kept.
const MOST_FACTS: usize = 3;
const MOST_NAMES: usize = 12;
const INDENT: &str = "      ";

impl Order {
    /// The order, how sure it is, its evidence and what is not known.
    pub fn to_text(&self) -> String {
        let mut out = self.heading();
        for (position, entry) in self.plan.iter().enumerate() {
            self.step(&mut out, position + 1, entry);
        }
        out.push('\n');
        out.push_str(&self.prediction.to_text());
        self.evidence(&mut out);
        self.together(&mut out);
        self.gave_way(&mut out);
        let words = self.operator.iter().map(ToString::to_string);
        list(&mut out, "The operator's word", words);
        list(
            &mut out,
            "Warnings",
            self.warnings.iter().map(|w| printable(w)),
        );
        list(&mut out, "What is not known", self.unknown().into_iter());
        out
    }

    fn heading(&self) -> String {
        let boots: usize = self.machines.iter().filter_map(|m| self.boots.get(m)).sum();
        format!(
            "Boot order of {}, from {} in their logs\n\n",
            count(self.machines.len(), "machine"),
            count(boots, "boot")
        )
    }

    fn step(&self, out: &mut String, position: usize, entry: &PlanEntry) {
        let reason = entry.reasons.first().map_or(
            "needs no other machine, as far as its logs and configuration tell",
            String::as_str,
        );
        let _ = writeln!(out, "{position:>3}. {} {reason}", printable(&entry.machine));
        if entry.reasons.len() > 1 {
            let rest = entry.reasons.iter().skip(1);
            let names: Vec<&str> = rest
                .map(|reason| reason.split(':').next().unwrap_or(reason))
                .collect();
            let _ = writeln!(out, "{INDENT}also {}", shortened(&names));
        }
        if let Some(sure) = self.how_sure(entry) {
            let _ = writeln!(out, "{INDENT}{sure}");
        }
        if let Some(ready) = self.ready.get(&entry.machine) {
            let _ = writeln!(out, "{INDENT}{}", self.readiness(&entry.machine, ready));
        }
    }

    /// Of the dependency whose reason is shown, and of the least sure one.
    fn how_sure(&self, entry: &PlanEntry) -> Option<String> {
        let own: Vec<&Edge> = self
            .edges
            .iter()
            .filter(|edge| edge.after == entry.machine)
            .collect();
        let sure = own.iter().max_by(|a, b| {
            let rank = |edge: &Edge| (edge.source, edge.kind);
            rank(a)
                .cmp(&rank(b))
                .then(a.confidence.total_cmp(&b.confidence))
        })?;
        let least = own
            .iter()
            .map(|edge| edge.confidence)
            .fold(sure.confidence, f64::min);
        let others = match least < sure.confidence {
            true => format!("; least sure of the others: {least:.2}"),
            false => String::new(),
        };
        let boots = self.boots.get(&entry.machine).copied().unwrap_or(0);
        let basis = match boots {
            0 => "no boot is in its logs".to_owned(),
            boots => format!(
                "from {} of {}",
                count(boots, "boot"),
                printable(&entry.machine)
            ),
        };
        Some(format!(
            "sure: {} ({:.2}), {basis}{others}",
            grade(sure.confidence),
            sure.confidence
        ))
    }

    fn readiness(&self, machine: &str, ready: &Readiness) -> String {
        let range = if ready.boots > 1 {
            format!(
                " ({:.0} to {:.0} s in {})",
                ready.fastest_s,
                ready.slowest_s,
                count(ready.boots, "boot")
            )
        } else {
            " (1 boot)".to_owned()
        };
        let ports: Vec<String> = self
            .gates
            .get(machine)
            .into_iter()
            .flatten()
            .map(|gate| gate.port.to_string())
            .collect();
        let gates = match ports.is_empty() {
            true => "its gate gets".to_owned(),
            false => format!("its gates (tcp {}) get", ports.join(", ")),
        };
        format!(
            "ready {:.0} s after its start{range}; {gates} {} s",
            ready.median_s, ready.timeout_s
        )
    }

    fn evidence(&self, out: &mut String) {
        if self.edges.is_empty() {
            out.push_str("\nNo dependency between machines was found.\n");
            return;
        }
        out.push_str("\nEvidence\n");
        for entry in &self.plan {
            for edge in self.edges.iter().filter(|edge| edge.after == entry.machine) {
                edge_lines(out, edge);
            }
        }
    }

    fn together(&self, out: &mut String) {
        let line = |group: &crate::order::Group| {
            let names: Vec<String> = group.members.iter().map(|m| printable(m)).collect();
            format!(
                "{} start together: each is a {} and names the other",
                names.join(", "),
                group.role
            )
        };
        list(out, "Groups", self.groups.iter().map(line));
    }

    fn gave_way(&self, out: &mut String) {
        let line = |edge: &Edge| {
            format!(
                "{} before {} ({}, {:.2}, {}): it closes a circle and is its weakest link",
                printable(&edge.before),
                printable(&edge.after),
                edge.kind.word(),
                edge.confidence,
                edge.source.word()
            )
        };
        list(out, "Given up", self.given_up.iter().map(line));
    }

    fn unknown(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let without_boots: Vec<&str> =
            self.names(|name| self.boots.get(name).is_none_or(|b| *b == 0));
        if !without_boots.is_empty() {
            lines.push(format!(
                "no boot is in the logs of {}",
                shortened(&without_boots)
            ));
        }
        let without_delay: Vec<&str> = self.names(|name| !self.ready.contains_key(name));
        if !without_delay.is_empty() {
            lines.push(format!(
                "how long it takes from boot to ready: {}",
                shortened(&without_delay)
            ));
        }
        let without_gate: Vec<&str> = self.names(|name| !self.gates.contains_key(name));
        if !without_gate.is_empty() {
            lines.push(format!(
                "which services others reach, so that no gate is learned: {}",
                shortened(&without_gate)
            ));
        }
        lines
    }

    fn names(&self, wanted: impl Fn(&String) -> bool) -> Vec<&str> {
        self.machines
            .iter()
            .filter(|name| wanted(name))
            .map(String::as_str)
            .collect()
    }
}

fn edge_lines(out: &mut String, edge: &Edge) {
    let _ = writeln!(
        out,
        "  {} after {}: {}, {}, {:.2}, {}",
        printable(&edge.after),
        printable(&edge.before),
        kind_sentence(edge.kind),
        grade(edge.confidence),
        edge.confidence,
        edge.source.word()
    );
    for fact in edge.evidence.iter().take(MOST_FACTS) {
        let _ = writeln!(out, "    {}", fact.line());
    }
    let more = edge.evidence.len().saturating_sub(MOST_FACTS);
    if more > 0 {
        let _ = writeln!(out, "    and {more} more (`--format json` shows them)");
    }
}

fn kind_sentence(kind: Kind) -> &'static str {
    match kind {
        Kind::Hard => "hard (it fails without)",
        Kind::Soft => "soft (it retries)",
    }
}

fn grade(confidence: f64) -> &'static str {
    match confidence {
        c if c >= 0.8 => "high",
        c if c >= 0.5 => "medium",
        _ => "low",
    }
}

impl Prediction {
    /// One or two lines.
    pub fn to_text(&self) -> String {
        let mut out = match (self.rta_s, self.low_s, self.high_s) {
            (Some(rta), Some(low), Some(high)) => format!(
                "Predicted time until all are ready: {} ({} to {}, nine in ten), from {}, on a host as quick as theirs were\n",
                duration(rta), duration(low), duration(high), count(self.boots_used, "boot")
            ),
            _ if self.never_started.is_empty() => {
                "Predicted time until all are ready: unknown; no log tells how long a machine takes from boot to ready\n".to_owned()
            }
            _ => "Predicted time until all are ready: never on this host\n".to_owned(),
        };
        if !self.never_started.is_empty() {
            let names: Vec<&str> = self.never_started.iter().map(String::as_str).collect();
            let _ = writeln!(out, "  no room for {}", shortened(&names));
        }
        if self.critical_path.len() > 1 {
            let names: Vec<String> = self
                .critical_path
                .iter()
                .map(|name| printable(name))
                .collect();
            let _ = writeln!(out, "  the end waits for {}", names.join(" -> "));
        }
        if self.rta_s.is_some() && !self.assumed.is_empty() {
            let names: Vec<&str> = self.assumed.iter().map(String::as_str).collect();
            let _ = writeln!(
                out,
                "  taken to be as quick as the others: {}",
                shortened(&names)
            );
        }
        out
    }
}

impl WhatIf {
    /// For a terminal.
    pub fn to_text(&self) -> String {
        let without = printable(&self.without);
        let mut out = format!("Without {without}\n");
        if self.fails.is_empty() && self.waits.is_empty() {
            out.push_str("  no other machine is known to need it\n");
        }
        let line = |one: &Consequence| {
            let chain: Vec<String> = one.chain.iter().map(|name| printable(name)).collect();
            format!(
                "{} ({}, {:.2}): {}",
                printable(&one.machine),
                chain.join(" -> "),
                one.confidence,
                one.reason
            )
        };
        list(&mut out, "Fails", self.fails.iter().map(line));
        list(
            &mut out,
            "Starts, but waits for it or works without it",
            self.waits.iter().map(line),
        );
        list(
            &mut out,
            "Missing",
            self.missing.iter().map(|one| printable(one)),
        );
        let partners = self.partners.iter().map(|one| printable(one));
        list(&mut out, "Still there in the same role", partners);
        list(
            &mut out,
            "Notices nothing",
            self.unaffected.iter().map(|one| printable(one)),
        );
        out.push('\n');
        out.push_str(&self.prediction.to_text());
        out
    }
}

fn list(out: &mut String, title: &str, lines: impl Iterator<Item = String>) {
    let mut lines = lines.peekable();
    if lines.peek().is_some() {
        let _ = writeln!(out, "\n{title}");
    }
    for line in lines {
        let _ = writeln!(out, "  {line}");
    }
}

fn count(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

fn shortened(names: &[&str]) -> String {
    let shown: Vec<String> = names
        .iter()
        .take(MOST_NAMES)
        .map(|name| printable(name))
        .collect();
    match names.len().saturating_sub(MOST_NAMES) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// "85 s", "3 min 12 s", "1 h 4 min".
pub(crate) fn duration(seconds: f64) -> String {
    let seconds = seconds.round().max(0.0) as u64;
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}
