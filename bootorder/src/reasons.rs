//! Why a machine waits, in one sentence for a person.

use crate::estimators::{Claim, Node};
use crate::event::printable;
use crate::order::{Edge, Evidence, Kind, Source};
use crate::services::{self, Service};
use crate::site::Site;

const LONGEST_PROGRAM: usize = 24;

/// The sentence behind "after `before`: ", from the strongest claim about the pair.
pub(crate) fn reason(site: &Site, edge: &Edge, claims: &[&Claim]) -> String {
    if edge.source == Source::Operator {
        return "the operator said so".to_owned();
    }
    let strongest = claims.iter().max_by(|a, b| {
        let rank = |claim: &Claim| {
            let worst = claim.kind == edge.kind;
            (claim.source, worst, claim.before.service.is_some())
        };
        rank(a)
            .cmp(&rank(b))
            .then(a.confidence().total_cmp(&b.confidence()))
            .then_with(|| b.evidence.cmp(&a.evidence))
    });
    match strongest {
        Some(claim) => sentence(site, edge, claim),
        None => format!("found by {}", edge.source.word()),
    }
}

fn sentence(site: &Site, edge: &Edge, claim: &Claim) -> String {
    let whom = provider(site, &claim.before);
    let first = claim.evidence.first();
    match claim.source {
        Source::Logs => failure(site, edge, claim, &whom),
        Source::Configuration => format!(
            "{} uses {whom}{}",
            subject(site, &claim.after, None),
            first.map(place).unwrap_or_default()
        ),
        Source::Declared => format!(
            "{} is declared to start after {whom}{}",
            subject(site, &claim.after, None),
            first.map(place).unwrap_or_default()
        ),
        Source::Table => format!("machines of its kind usually need {whom}"),
        Source::Timing => "it started later in the logs".to_owned(),
        Source::Operator => "the operator said so".to_owned(),
    }
}

/// "PostgreSQL could not reach the Directory server (dir1:389) at boot on ..., worked once ...".
fn failure(site: &Site, edge: &Edge, claim: &Claim, whom: &str) -> String {
    let first = claim.evidence.first();
    let when = first
        .and_then(|fact| fact.time.as_deref())
        .map(|time| format!(" on {}", minute(time)))
        .unwrap_or_default();
    let of = |machine: &str| {
        claim
            .evidence
            .iter()
            .skip(1)
            .any(|fact| fact.machine == machine)
    };
    let end = match (claim.kind, of(&edge.before), of(&edge.after)) {
        (Kind::Soft, true, _) => format!(", worked once {} was up", printable(&edge.before)),
        (Kind::Soft, false, true) => ", worked later".to_owned(),
        (Kind::Soft, false, false) => ", went on later".to_owned(),
        (Kind::Hard, _, false) => " and did not come back by itself".to_owned(),
        (Kind::Hard, true, true) => {
            format!(", came back only once {} was up", printable(&edge.before))
        }
        (Kind::Hard, false, true) => ", came back only later".to_owned(),
    };
    format!(
        "{} could not reach {whom} at boot{when}{end}",
        subject(site, &claim.after, first)
    )
}

/// "2026-11-20 14:03" of an RFC 3339 time.
pub(crate) fn minute(time: &str) -> String {
    time.get(..16).unwrap_or(time).replace('T', " ")
}

fn place(fact: &Evidence) -> String {
    match (fact.file.is_empty(), fact.record.is_empty()) {
        (true, _) => String::new(),
        (false, true) => format!(" ({})", printable(&fact.file)),
        (false, false) => format!(" ({} {})", printable(&fact.file), printable(&fact.record)),
    }
}

/// "the Directory server (dir1:389)", or the machine alone.
fn provider(site: &Site, node: &Node) -> String {
    let machine = printable(&site.machines[node.machine].name);
    match service(node) {
        Some(service) => {
            let article = if service.name.ends_with("server") {
                "the "
            } else {
                ""
            };
            let port = service.ports.first().map(|port| format!(":{port}"));
            format!(
                "{article}{} ({machine}{})",
                service.name,
                port.unwrap_or_default()
            )
        }
        None => machine,
    }
}

fn subject(site: &Site, node: &Node, fact: Option<&Evidence>) -> String {
    let program = || {
        let (program, _) = fact?.text.split_once(": ")?;
        let short = !program.is_empty() && program.len() <= LONGEST_PROGRAM;
        short.then(|| program.to_owned())
    };
    match service(node) {
        Some(service) => service.name.clone(),
        None => program().unwrap_or_else(|| printable(&site.machines[node.machine].name)),
    }
}

fn service(node: &Node) -> Option<&'static Service> {
    node.service.as_deref().and_then(services::by_key)
}
