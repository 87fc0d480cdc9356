//! When each machine was started and ready, as a drawing.

use maud::{Markup, html};

use super::{MachineReport, Outcome, Report, printable};

const NAMES: f64 = 170.0;
const WIDTH: f64 = 960.0;
const ROW: f64 = 22.0;
const HEAD: f64 = 20.0;
/// Names longer than this are cut, so that they do not run into the bars.
const LONGEST: usize = 24;

/// The drawing; the bars of the machines of the critical path are darker.
pub fn timeline(report: &Report) -> Markup {
    let started = |machine: &&MachineReport| machine.started_s.is_some();
    let machines: Vec<_> = report.machines.iter().filter(started).collect();
    let end_s = machines
        .iter()
        .filter_map(|machine| last_s(machine))
        .fold(1.0, f64::max);
    let height = HEAD + ROW * machines.len() as f64 + 4.0;
    html! {
        svg role="img" aria-label="When each machine was started and ready"
            viewBox=(format!("0 0 {WIDTH} {height}")) {
            @for tick in ticks(end_s) {
                line class="grid" x1=(x(tick, end_s)) x2=(x(tick, end_s)) y1=(HEAD - 4.0) y2=(height) {}
                text x=(x(tick, end_s)) y="12" text-anchor="middle" { (tick) " s" }
            }
            @for (row, machine) in machines.iter().enumerate() {
                (bar(report, machine, HEAD + ROW * row as f64, end_s))
            }
        }
    }
}

fn bar(report: &Report, machine: &MachineReport, y: f64, end_s: f64) -> Markup {
    let from = x(machine.started_s.unwrap_or(0.0), end_s);
    let to = x(machine.ready_s.unwrap_or(end_s), end_s);
    let class = match machine.outcome {
        Outcome::Ready if report.limiting_machines.contains(&machine.name) => "bar critical",
        Outcome::Ready => "bar",
        _ => "bar failed",
    };
    let name: String = printable(&machine.name).chars().take(LONGEST).collect();
    html! {
        text x="0" y=(y + 14.0) { (name) }
        rect class=(class) x=(from) y=(y + 4.0) width=((to - from).max(2.0)) height=(ROW - 8.0) {}
        @for gate in machine.gates.iter().filter_map(|gate| gate.ready_s) {
            circle class="gate" cx=(x(gate, end_s)) cy=(y + ROW / 2.0) r="4" {}
        }
    }
}

fn last_s(machine: &MachineReport) -> Option<f64> {
    machine.ready_s.or(machine.started_s)
}

fn x(at_s: f64, end_s: f64) -> f64 {
    let share = (at_s / end_s).clamp(0.0, 1.0);
    ((NAMES + share * (WIDTH - NAMES - 30.0)) * 10.0).round() / 10.0
}

/// Five or so round numbers.
fn ticks(end_s: f64) -> Vec<f64> {
    let rough = end_s / 5.0;
    let magnitude = 10_f64.powf(rough.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * magnitude);
    let step = steps
        .into_iter()
        .find(|step| *step >= rough)
        .unwrap_or(rough);
    (0..=6)
        .map(|number| f64::from(number) * step)
        .filter(|tick| *tick <= end_s)
        .collect()
}
