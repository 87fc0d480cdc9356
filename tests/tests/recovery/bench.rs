//! What the tests share: one appliance, the example site, a check at the end
//! of each test.

use std::path::PathBuf;
use std::time::Duration;

use libtest_mimic::Failed;
use lifeboat_tests::{
    Appliance, Figure4, Lifeboat, Process, SiteFile, Traces, missing_for_guests, processes, soon,
};
use serde_json::Value;

/// What a machine may take to boot on a busy host without KVM.
pub const BOOT: Duration = Duration::from_secs(420);
/// What is to happen promptly.
pub const PROMPT: Duration = Duration::from_secs(60);

pub struct Bench {
    pub appliance: Appliance,
    pub figure4: Figure4,
}

impl Bench {
    pub fn new() -> Result<Self, Failed> {
        let missing = missing_for_guests();
        if !missing.is_empty() {
            return Err(format!("this test needs {}", missing.join("; ")).into());
        }
        Ok(Self {
            appliance: Appliance::new(),
            figure4: Figure4::find()?,
        })
    }

    pub fn lifeboat(&self, words: &[&str]) -> Lifeboat {
        self.appliance.lifeboat(words)
    }

    /// A session of a site, in `mode` `test` or `recover`.
    pub fn session(&self, mode: &str, site: &SiteFile) -> Lifeboat {
        self.lifeboat(&[mode]).words([self.write(site)])
    }

    /// Writes a site file.
    pub fn write(&self, site: &SiteFile) -> PathBuf {
        self.appliance
            .write(&format!("sites/{}.toml", site.name()), site.text())
    }

    /// The example's `dir1` alone.
    pub fn dir1(&self, name: &str) -> SiteFile {
        self.figure4.site().named(name).only(&["dir1"])
    }

    /// Prepares the machines of a site, so that a session of it starts at once.
    pub fn prepare(&self, site: &SiteFile) {
        let prepared = self.lifeboat(&["prepare"]).words([self.write(site)]).run();
        prepared.expect_code(0);
    }

    /// A session as `session list` shows it.
    pub fn listed(&self, session: &str) -> Value {
        let outcome = self.lifeboat(&["session", "list"]).json().run();
        let sessions = outcome.json();
        let found = sessions
            .as_array()
            .into_iter()
            .flatten()
            .find(|listed| listed["id"] == session);
        found
            .cloned()
            .unwrap_or_else(|| panic!("no session {session} in {sessions:#}"))
    }

    pub fn guard(&self) -> Guard<'_> {
        Guard { bench: self }
    }
}

/// Around one test.
pub struct Guard<'a> {
    bench: &'a Bench,
}

impl Guard<'_> {
    #[track_caller]
    pub fn expect_nothing_left(&self) {
        let traces = self.bench.appliance.traces();
        traces.expect_none();
        assert_eq!(self.bench.appliance.processes(), [], "processes are left");
        let domains = lifeboat_tests::domains();
        eprintln!("    nothing left ({} domains of others)", domains.len());
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.bench.appliance.remove();
        }
    }
}

/// Waits until the session's things are seen on the host, which is the control
/// of every check that they are gone.
#[track_caller]
pub fn wait_running(bench: &Bench) -> Traces {
    let seen = soon(PROMPT, || {
        let traces = bench.appliance.traces();
        (!traces.domains.is_empty() && !traces.guests.is_empty()).then_some(traces)
    });
    let traces = seen.unwrap_or_else(|| bench.appliance.traces());
    traces.expect_running();
    traces
}

/// A machine of a report.
#[track_caller]
pub fn machine<'r>(report: &'r Value, name: &str) -> &'r Value {
    let found = report["machines"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|machine| machine["name"] == name);
    found.unwrap_or_else(|| panic!("no machine `{name}` in {report:#}"))
}

/// The words of an array of a report.
pub fn words(array: &Value) -> Vec<&str> {
    array
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

/// Its child processes, but for the switch, which outlives its daemon by design
/// until the next one comes.
pub fn children_of(pid: u32) -> Vec<Process> {
    let parent = |process: &Process| {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.pid)).ok()?;
        stat.rsplit_once(')')?
            .1
            .split_whitespace()
            .nth(1)?
            .parse::<u32>()
            .ok()
    };
    let mut children = processes("");
    children
        .retain(|process| parent(process) == Some(pid) && process.program() != "lifeboat-switch");
    children
}

/// Whether it still runs.
pub fn is_there(process: &Process) -> bool {
    processes(&process.command).contains(process)
}
