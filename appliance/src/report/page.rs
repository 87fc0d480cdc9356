//! The report as one page that can be printed, kept and sent: timeline and pictures
//! are in it, nothing is fetched, no script runs.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest, Sha256};

use super::timeline::timeline;
use super::{GateReport, MachineReport, Mode, Outcome, Report, printable};

const STYLE: &str = include_str!("page.css");

/// What the page may do: show its own style and pictures.
pub static POLICY: LazyLock<String> = LazyLock::new(|| {
    let style = STANDARD.encode(Sha256::digest(STYLE.as_bytes()));
    format!(
        "default-src 'none'; style-src 'sha256-{style}'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
});

/// Pictures of machines as PNG files, by machine.
pub type Pictures = BTreeMap<String, Vec<u8>>;

/// Writes the page. `began` is the time of the session's start, for people.
pub fn page(report: &Report, began: &str, pictures: &Pictures) -> String {
    let title = format!(
        "{}: {} of {began}",
        printable(&report.site),
        word(report.mode)
    );
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                (verdict(report, &title))
                section { h2 { "Timeline" } (timeline(report)) }
                (machines(report))
                (network(report))
                (plan(report))
                (remarks(report))
                (screens(report, pictures))
                footer { "Session " (printable(&report.session)) ", written by Lifeboat " (env!("CARGO_PKG_VERSION")) }
            }
        }
    };
    page.into_string()
}

fn word(mode: Mode) -> &'static str {
    match mode {
        Mode::Test => "recovery test",
        Mode::Recovery => "recovery",
    }
}

fn verdict(report: &Report, title: &str) -> Markup {
    let fact = |name: &str, value: String| html! { div { dt { (name) } dd { (value) } } };
    let limiting: Vec<_> = report
        .limiting_machines
        .iter()
        .map(|name| printable(name))
        .collect();
    html! {
        header {
            h1 { (title) }
            p class=(if report.ok { "verdict ok" } else { "verdict bad" }) {
                @if report.ok { "All machines are ready." } @else { "Not all is well." }
            }
            dl {
                (fact("Recovery time actual", seconds(report.rta_s)))
                (fact("Critical path", format!("{} ({})", seconds(report.critical_path_s), limiting.join(", then "))))
                (fact("Ratio", format!("{:.2}", report.rta_over_critical_path)))
                (fact("Machines", format!("{} of {} ready", ready(report), report.machines.len())))
                (fact("Accelerator", format!("{}: {}", report.accelerator.word(), printable(&report.accelerator_reason))))
                (fact("Captured volumes", if report.sources_unchanged { "unchanged".into() } else { "NOT proven unchanged".into() }))
            }
            @if let Some(note) = &report.isolation_note { p class="note" { (printable(note)) } }
            @if !report.problems.is_empty() {
                ul class="problems" { @for problem in &report.problems { li { (printable(problem)) } } }
            }
        }
    }
}

fn ready(report: &Report) -> usize {
    let is_ready = |machine: &&MachineReport| machine.outcome == Outcome::Ready;
    report.machines.iter().filter(is_ready).count()
}

fn seconds(value: f64) -> String {
    let whole = value.max(0.0).round() as u64;
    match whole {
        0..120 => format!("{value:.1} s"),
        _ => format!("{} min {:02} s", whole / 60, whole % 60),
    }
}

fn at(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), seconds)
}

fn machines(report: &Report) -> Markup {
    html! {
        section {
            h2 { "Machines" }
            table {
                thead { tr { th { "Machine" } th { "Outcome" } th { "Started" } th { "Ready" } th { "Gates" } } }
                tbody { @for machine in &report.machines { (machine_row(machine)) } }
            }
        }
    }
}

fn machine_row(machine: &MachineReport) -> Markup {
    let (outcome, class) = match machine.outcome {
        Outcome::Ready => ("ready", "ok"),
        Outcome::Failed => ("failed", "bad"),
        Outcome::Blocked => ("blocked", "bad"),
        Outcome::NotStarted => ("not started", "bad"),
    };
    html! {
        tr {
            td { (printable(&machine.name)) }
            td class=(class) {
                (outcome)
                @if let Some(reason) = &machine.reason { br; small { (printable(reason)) } }
            }
            td class="number" { (at(machine.started_s)) }
            td class="number" { (at(machine.ready_s)) }
            td { ul { @for gate in &machine.gates { (gate_line(gate)) } } }
        }
    }
}

fn gate_line(gate: &GateReport) -> Markup {
    html! {
        li class=(if gate.ready_s.is_some() { "ok" } else { "bad" }) {
            (printable(&gate.kind))
            @if let Some(port) = gate.port { " " (port) }
            @if gate.learned { " (learned)" }
            ": "
            @match gate.ready_s {
                Some(at) => { "open after " (seconds(at)) },
                None => { "closed: " (printable(&gate.detail)) },
            }
        }
    }
}

fn network(report: &Report) -> Markup {
    let network = &report.network;
    let isolation = &network.isolation;
    html! {
        section {
            h2 { "Network and isolation" }
            p {
                (network.frames) " frames of guests, " (network.dropped) " dropped, "
                (network.uplink_frames) " on an uplink. Proof of isolation: "
                (isolation.canaries_sent) " marked frames sent inside, " (isolation.canaries_escaped)
                " seen outside, " (isolation.host_interfaces) " interfaces of the host within reach, control frame "
                @if isolation.control_seen { "seen." } @else { "NOT seen." }
            }
            @if network.unanswered.is_empty() {
                p { "No machine asked for an address outside of the site." }
            } @else {
                table {
                    thead { tr { th { "From" } th { "To" } th { "Protocol" } th { "Port" } th { "Packets" } } }
                    tbody {
                        @for line in &network.unanswered {
                            tr {
                                td { (printable(&line.from)) } td { (printable(&line.to)) }
                                td { (printable(&line.protocol)) }
                                td class="number" { @if let Some(port) = line.port { (port) } }
                                td class="number" { (line.count) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn plan(report: &Report) -> Markup {
    html! {
        section {
            h2 { "Order and its evidence" }
            @for line in &report.plan {
                h3 {
                    (printable(&line.machine))
                    @if !line.after.is_empty() {
                        " after " (line.after.iter().map(|name| printable(name)).collect::<Vec<_>>().join(", "))
                    }
                }
                @if !line.evidence.is_empty() {
                    ul class="evidence" { @for fact in &line.evidence { li { (printable(fact)) } } }
                }
            }
        }
    }
}

fn remarks(report: &Report) -> Markup {
    html! {
        @if !report.warnings.is_empty() {
            section {
                h2 { "Remarks" }
                ul { @for warning in &report.warnings { li { (printable(warning)) } } }
            }
        }
    }
}

fn screens(report: &Report, pictures: &Pictures) -> Markup {
    html! {
        section {
            h2 { "Screens and consoles" }
            @for machine in &report.machines {
                @if pictures.contains_key(&machine.name) || !machine.console_tail.is_empty() {
                    figure {
                        figcaption { (printable(&machine.name)) }
                        @if let Some(png) = pictures.get(&machine.name) {
                            img alt={ "Screen of " (printable(&machine.name)) }
                                src={ "data:image/png;base64," (STANDARD.encode(png)) };
                        }
                        @if !machine.console_tail.is_empty() {
                            pre { @for line in &machine.console_tail { (printable(line)) "\n" } }
                        }
                    }
                }
            }
        }
    }
}
