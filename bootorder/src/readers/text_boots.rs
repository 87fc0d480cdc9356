//! Boots of a machine whose logs know no boot id.
//!
//! A boot begins where the kernel, the service manager or the log daemon introduces itself. These
//! marks stand close together, so the first begins the boot and the others join it. What the
//! clock was set by is taken out of the times; the kernel's own time tells that, where it is logged.

use crate::clock::{is_first_synchronization, step_in_text};
use crate::event::{Position, Record};

/// The marks of one start stand close together.
const BETWEEN_MARKS_US: u64 = 600_000_000;
const RESTART_US: u64 = 5_000_000;
const BACK_US: u64 = 5_000_000;
/// Stamps may be so much late against the kernel's time.
const AHEAD_US: i64 = 30_000_000;
const LONG_GAP_US: i64 = 60_000_000;
const REEXECUTION_US: u64 = 10_000_000;

/// One line with its time, as the reader found it.
pub(super) struct Told<'a> {
    pub us: u64,
    pub has_zone: bool,
    pub has_fraction: bool,
    pub number: u64,
    pub host: &'a str,
    pub identifier: &'a str,
    pub process: &'a str,
    pub message: &'a str,
    pub uptime_us: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    Kernel = 1,
    Manager = 2,
    Daemon = 4,
}

/// Tells the boots of one merged stream of lines apart.
pub(super) struct Boots {
    host: String,
    sequence: u64,
    boot: Option<Boot>,
    /// When the log daemon ended last, and the manager began to restart itself.
    daemon_ended_us: Option<u64>,
    reexecuted_us: Option<u64>,
}

#[derive(Default)]
struct Boot {
    id: String,
    begins: bool,
    marks: u8,
    stopping: bool,
    start_us: u64,
    last_us: u64,
    steps_us: i64,
    last_uptime_us: Option<u64>,
    /// The least difference between stamps and the kernel's time.
    lead_us: Option<i64>,
}

impl Boots {
    pub fn new(host: String) -> Self {
        Self {
            host,
            sequence: 0,
            boot: None,
            daemon_ended_us: None,
            reexecuted_us: None,
        }
    }

    pub fn deliver(&mut self, line: &Told<'_>, sink: &mut dyn FnMut(Record<'_>)) {
        self.sequence += 1;
        let mark = self.mark(line);
        if self.begins(line, mark) {
            self.boot = Some(Boot {
                id: format!("line {} at {}", self.sequence, line.us),
                start_us: line.us,
                last_us: line.us,
                ..Boot::default()
            });
        }
        let Some(boot) = &mut self.boot else { return };
        boot.marks |= mark.map_or(0, |mark| mark as u8);
        boot.begins |= mark.is_some();
        boot.stopping |= is_stopping(line);
        let monotonic_us = boot.advance(line);
        let of_user = line.identifier == "systemd" && !is_manager(line);
        sink(Record {
            boot: &boot.id,
            begins: boot.begins,
            monotonic_us,
            realtime_us: line.us,
            uptime_us: line.uptime_us.filter(|_| line.identifier == "kernel"),
            position: Position::Line(line.number),
            sequence: self.sequence,
            logger_unit: if of_user { "user@" } else { "" },
            identifier: line.identifier,
            message: line.message,
            host: &self.host,
            is_local_time: !line.has_zone,
            is_whole_seconds: !line.has_fraction,
            ..Record::default()
        });
        self.remember(line);
    }

    /// What a line introduces; a daemon or manager that only restarts introduces nothing.
    fn mark(&self, line: &Told<'_>) -> Option<Mark> {
        let recently =
            |at: Option<u64>, span: u64| at.is_some_and(|at| line.us.abs_diff(at) <= span);
        let text = line.message;
        match line.identifier {
            "kernel" if text.contains("Linux version ") => Some(Mark::Kernel),
            "systemd" if is_manager(line) => {
                let introduces = text.contains("running in system mode")
                    || text.starts_with("Detected ")
                    || text.starts_with("Set hostname to ");
                let reexecuted = recently(self.reexecuted_us, REEXECUTION_US);
                (introduces && !reexecuted).then_some(Mark::Manager)
            }
            "kernel"
                if text.starts_with("Command line: ")
                    || text.starts_with("Kernel command line: ") =>
            {
                Some(Mark::Manager)
            }
            "rsyslogd" | "syslogd" | "syslog-ng" | "rsyslog" => {
                let starts = text.ends_with("] start")
                    || text.ends_with(": restart.")
                    || text.contains("starting up")
                    || text.ends_with(" restart.");
                let restarts = recently(self.daemon_ended_us, RESTART_US);
                (starts && !restarts).then_some(Mark::Daemon)
            }
            _ => None,
        }
    }

    fn begins(&self, line: &Told<'_>, mark: Option<Mark>) -> bool {
        let Some(boot) = &self.boot else { return true };
        let Some(mark) = mark else {
            return boot.kernel_began_anew(line);
        };
        let late = line.us.abs_diff(boot.start_us) > BETWEEN_MARKS_US;
        let repeated = mark == Mark::Kernel && boot.marks & mark as u8 != 0;
        repeated || boot.stopping || late || boot.marks == 0
    }

    fn remember(&mut self, line: &Told<'_>) {
        let text = line.message;
        match line.identifier {
            "rsyslogd" | "syslogd" | "syslog-ng" | "rsyslog"
                if text.contains("exiting on signal") || text.contains("shutting down") =>
            {
                self.daemon_ended_us = Some(line.us);
            }
            "systemd" if text.starts_with("Reexecuting") || text.starts_with("Reloading") => {
                self.reexecuted_us = Some(line.us);
            }
            _ => {}
        }
    }
}

impl Boot {
    /// The kernel's time went back although nobody introduced himself: the beginning is missing.
    fn kernel_began_anew(&self, line: &Told<'_>) -> bool {
        let uptime = line.uptime_us.filter(|_| line.identifier == "kernel");
        let back = |(now, last): (u64, u64)| now.saturating_add(BACK_US) < last;
        uptime.zip(self.last_uptime_us).is_some_and(back)
    }

    /// Time since the start of the boot.
    fn advance(&mut self, line: &Told<'_>) -> u64 {
        let uptime = line.uptime_us.filter(|_| line.identifier == "kernel");
        let gap_us = line.us as i64 - self.last_us as i64;
        // While a machine starts, lines follow each other closely: a gap here is the step.
        let silent =
            is_first_synchronization(line.identifier, line.message) && gap_us > LONG_GAP_US;
        let told = step_in_text(line.identifier, line.message).or(silent.then_some(gap_us));
        if gap_us < -(BACK_US as i64) {
            self.steps_us = self.steps_us.saturating_add(gap_us);
        } else if let Some(step) =
            told.filter(|step| *step > 0 && *step <= gap_us.saturating_mul(2))
        {
            self.steps_us = self.steps_us.saturating_add(step.min(gap_us));
        }
        let mut since = self.since(line.us);
        if let Some(uptime) = uptime {
            self.last_uptime_us = Some(uptime.max(self.last_uptime_us.unwrap_or(0)));
            let ahead = since.saturating_sub(uptime as i64);
            let lead = self.lead_us.map_or(ahead, |lead| lead.min(ahead));
            self.lead_us = Some(lead);
            if line.message.starts_with("PM: suspend exit") {
                self.lead_us = Some(ahead);
            } else if ahead.saturating_sub(lead) > AHEAD_US {
                self.steps_us = self.steps_us.saturating_add(ahead - lead);
                since = self.since(line.us);
            }
        }
        self.last_us = line.us;
        u64::try_from(since).unwrap_or(0)
    }

    fn since(&self, us: u64) -> i64 {
        (us as i64)
            .saturating_sub(self.start_us as i64)
            .saturating_sub(self.steps_us)
    }
}

fn is_manager(line: &Told<'_>) -> bool {
    line.process == "1" || line.process.is_empty()
}

/// Whether the machine goes down.
fn is_stopping(line: &Told<'_>) -> bool {
    let text = line.message;
    match line.identifier {
        "systemd" if is_manager(line) => {
            let target = text.strip_prefix("Reached target ").unwrap_or("");
            let target = target.to_ascii_lowercase();
            let words = [
                "shutdown",
                "reboot",
                "power-off",
                "power off",
                "system shutdown",
                "system reboot",
                "system power off",
                "halt",
                "final",
            ];
            text == "Shutting down." || words.iter().any(|word| target.starts_with(word))
        }
        "systemd-shutdown" | "shutdown" => true,
        "kernel" => text.starts_with("reboot: "),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000;

    /// Boots by number and seconds since their start, of "second identifier[process]: message".
    fn boots(lines: &[(u64, &str, &str)]) -> Vec<(usize, u64)> {
        let mut ids: Vec<String> = Vec::new();
        let mut out = Vec::new();
        let mut boots = Boots::new(String::new());
        for (number, (second, identifier, message)) in lines.iter().enumerate() {
            let (uptime_us, message) = match message.split_once("] ") {
                Some((time, rest)) if *identifier == "kernel" => {
                    let seconds: u64 = time[1..].trim().parse().expect("a time");
                    (Some(seconds * S), rest)
                }
                _ => (None, *message),
            };
            let line = Told {
                us: second * S,
                has_zone: false,
                has_fraction: false,
                number: number as u64,
                host: "h",
                identifier,
                process: "1",
                message,
                uptime_us,
            };
            boots.deliver(&line, &mut |record| {
                if !ids.iter().any(|id| id == record.boot) {
                    ids.push(record.boot.to_owned());
                }
                out.push((ids.len() - 1, record.monotonic_us / S));
            });
        }
        out
    }

    #[test]
    fn the_marks_of_one_start_make_one_boot() {
        let found = boots(&[
            (100, "app", "late"),
            (200, "rsyslogd", "[origin software=\"rsyslogd\"] start"),
            (200, "kernel", "[0] Linux version 6.1"),
            (200, "kernel", "[0] Command line: ro"),
            (200, "systemd", "systemd 252 running in system mode (+PAM)"),
            (203, "systemd", "Detected virtualization kvm."),
            (260, "app", "x"),
            (900, "kernel", "[700] x"),
            (1000, "kernel", "[0] Linux version 6.1"),
        ]);
        let numbers: Vec<usize> = found.iter().map(|(boot, _)| *boot).collect();
        assert_eq!(numbers, [0, 1, 1, 1, 1, 1, 1, 1, 2]);
        assert_eq!(found[7].1, 700);
    }

    #[test]
    fn boots_without_the_kernels_first_line_are_found() {
        let found = boots(&[
            (0, "kernel", "[5000] x"),
            (10, "kernel", "[3] y"),
            (3000, "systemd", "Reached target Reboot."),
            (3010, "rsyslogd", "[origin software=\"rsyslogd\"] start"),
            (3020, "systemd", "Detected architecture x86-64."),
            (9000, "systemd", "systemd 252 running in system mode (+PAM)"),
        ]);
        let numbers: Vec<usize> = found.iter().map(|(boot, _)| *boot).collect();
        assert_eq!(numbers, [0, 1, 1, 2, 2, 3]);
    }

    #[test]
    fn a_restarted_daemon_or_manager_is_no_boot() {
        let found = boots(&[
            (0, "kernel", "[0] Linux version 6.1"),
            (5000, "rsyslogd", "[origin] exiting on signal 15."),
            (5001, "rsyslogd", "[origin software=\"rsyslogd\"] start"),
            (6000, "systemd", "Reexecuting."),
            (6001, "systemd", "systemd 252 running in system mode (+PAM)"),
        ]);
        assert!(found.iter().all(|(boot, _)| *boot == 0), "{found:?}");
    }

    #[test]
    fn steps_of_the_clock_are_taken_out() {
        let found = boots(&[
            (10_000, "kernel", "[0] Linux version 6.1"),
            (10_010, "kernel", "[10] x"),
            (
                13_620,
                "chronyd",
                "System clock was stepped by 3600.0 seconds",
            ),
            (13_630, "app", "x"),
            (10_040, "app", "set back"),
            (10_050, "app", "x"),
            (99_060, "kernel", "[60] the clock was set without a word"),
        ]);
        let seconds: Vec<u64> = found.iter().map(|(_, second)| *second).collect();
        assert_eq!(seconds, [0, 10, 20, 30, 30, 40, 60]);
    }
}
