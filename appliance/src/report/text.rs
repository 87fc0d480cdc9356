//! The report as a table for people.

use std::fmt::Write;

use super::{MachineReport, Outcome, Report};

/// Text from a guest as it may be shown on a terminal: control characters are
/// replaced, so that no escape sequence reaches it.
pub fn printable(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_control() && c != '\t' {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect()
}

/// The lines of a serial console as they may be shown: without the sequences by
/// which boot menus draw, and without empty lines.
pub fn console_lines(bytes: &[u8]) -> Vec<String> {
    let plain = strip_ansi_escapes::strip(bytes);
    let text = String::from_utf8_lossy(&plain);
    let lines = text.lines().map(|line| printable(line.trim_end()));
    lines.filter(|line| !line.trim().is_empty()).collect()
}

/// The whole report.
pub fn to_text(report: &Report) -> String {
    let mut out = String::new();
    header(&mut out, report);
    machines(&mut out, report);
    plan(&mut out, report);
    network(&mut out, report);
    for problem in &report.problems {
        line(&mut out, &format!("PROBLEM  {}", printable(problem)));
    }
    for warning in &report.warnings {
        line(&mut out, &format!("warning  {}", printable(warning)));
    }
    line(&mut out, &format!("files    {}", report.folder.display()));
    out
}

fn line(out: &mut String, text: &str) {
    out.push_str(text.trim_end());
    out.push('\n');
}

fn header(out: &mut String, report: &Report) {
    let verdict = if report.ok { "OK" } else { "NOT OK" };
    line(
        out,
        &format!(
            "{verdict}  site {}  {}  session {}",
            report.site,
            report.mode.word(),
            report.session
        ),
    );
    line(
        out,
        &format!(
            "accelerator  {} ({})",
            report.accelerator.word(),
            report.accelerator_reason
        ),
    );
    if let Some(note) = &report.isolation_note {
        line(out, &format!("             {note}"));
    }
    line(
        out,
        &format!(
            "RTA {:.1} s   critical path {:.1} s ({})   ratio {:.3}",
            report.rta_s,
            report.critical_path_s,
            report.limiting_machines.join(" -> "),
            report.rta_over_critical_path
        ),
    );
    out.push('\n');
}

fn machines(out: &mut String, report: &Report) {
    line(
        out,
        &format!(
            "{:<16} {:<11} {:>9} {:>9} {:>9}  gates",
            "machine", "outcome", "inject s", "start s", "ready s"
        ),
    );
    for machine in &report.machines {
        line(
            out,
            &format!(
                "{:<16} {:<11} {:>9.1} {:>9} {:>9}  {}",
                machine.name,
                outcome(machine.outcome),
                machine.inject_s,
                seconds(machine.started_s),
                seconds(machine.ready_s),
                gates(machine)
            ),
        );
        if let Some(warning) = machine.hardware.warning() {
            line(out, &format!("    {}", printable(&warning)));
        }
        failure(out, machine);
    }
    out.push('\n');
}

fn failure(out: &mut String, machine: &MachineReport) {
    if let Some(reason) = &machine.reason {
        line(out, &format!("    {}", printable(reason)));
    }
    for console in &machine.console_tail {
        line(out, &format!("    | {}", printable(console)));
    }
}

fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Ready => "ready",
        Outcome::Failed => "FAILED",
        Outcome::Blocked => "BLOCKED",
        Outcome::NotStarted => "not started",
    }
}

fn seconds(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |s| format!("{s:.1}"))
}

fn gates(machine: &MachineReport) -> String {
    let mut words = Vec::new();
    for gate in &machine.gates {
        let port = gate.port.map(|port| format!(" {port}")).unwrap_or_default();
        let text = gate
            .expect
            .as_ref()
            .map(|text| format!(" \"{}\"", printable(text)))
            .unwrap_or_default();
        let mark = if gate.ready_s.is_some() { "+" } else { "-" };
        let learned = if gate.learned { " (learned)" } else { "" };
        words.push(format!("{mark}{}{port}{text}{learned}", gate.kind));
    }
    words.join(", ")
}

fn plan(out: &mut String, report: &Report) {
    line(out, "plan");
    for entry in &report.plan {
        let after = if entry.after.is_empty() {
            "first".to_owned()
        } else {
            format!("after {}", entry.after.join(", "))
        };
        line(out, &format!("  {:<14} {after}", entry.machine));
        for evidence in &entry.evidence {
            line(out, &format!("      {}", printable(evidence)));
        }
    }
    out.push('\n');
}

fn network(out: &mut String, report: &Report) {
    let network = &report.network;
    let isolation = &network.isolation;
    line(
        out,
        &format!(
            "network  {} frames, {} dropped, {} on an uplink",
            network.frames, network.dropped, network.uplink_frames
        ),
    );
    let control = if isolation.control_seen {
        "seen"
    } else {
        "NOT SEEN: the check proves nothing"
    };
    line(
        out,
        &format!(
            "isolation  {} host interfaces, {} canaries sent, {} escaped, control frame {control}",
            isolation.host_interfaces, isolation.canaries_sent, isolation.canaries_escaped
        ),
    );
    for asked in &network.unanswered {
        let port = asked
            .port
            .map(|port| format!(" port {port}"))
            .unwrap_or_default();
        line(
            out,
            &format!(
                "unanswered  {} asked for {} {}{port}, {} times",
                asked.from, asked.to, asked.protocol, asked.count
            ),
        );
    }
    let sources = if report.sources_unchanged {
        "unchanged"
    } else {
        "CHANGED"
    };
    let _ = writeln!(out, "captured volumes  {sources}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boot_menus_leave_only_their_words() {
        let console = b"\x1b[2J\x1b[4;2H+----+\r\n\x1b[0m\r\n  Loading Linux \x07...\r\n";
        assert_eq!(console_lines(console), ["+----+", "  Loading Linux ..."]);
    }

    #[test]
    fn escape_sequences_of_a_guest_do_not_reach_the_terminal() {
        assert_eq!(
            printable("a\x1b[2Jb\r\n\tc"),
            "a\u{fffd}[2Jb\u{fffd}\u{fffd}\tc"
        );
    }
}
