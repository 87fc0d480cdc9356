//! The report of a session: the JSON of the contract, and the same for people.

mod page;
mod text;
mod timeline;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::hardware::Hardware;

pub use page::{POLICY, Pictures, page};
pub use text::{console_lines, printable, to_text};

/// What a session under TCG says of itself.
pub const NO_ISOLATION: &str =
    "no isolation: emulated guests are not separated from the host by hardware";

/// What a session is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = SessionMode)]
pub enum Mode {
    /// Isolated and thrown away.
    Test,
    /// Kept.
    Recovery,
}

impl Mode {
    /// The stored word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Test => "test",
            Self::Recovery => "recovery",
        }
    }

    /// From the stored word; anything unknown is a test, which is torn down.
    pub fn from_word(word: &str) -> Self {
        if word == "recovery" {
            Self::Recovery
        } else {
            Self::Test
        }
    }
}

/// The report. Times are seconds since the start of the session.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Report {
    /// Name of the site.
    pub site: String,
    /// Id of the session.
    pub session: String,
    /// Test or recovery.
    pub mode: Mode,
    /// `kvm` or `tcg`.
    pub accelerator: crate::accelerator::Accelerator,
    /// Why this accelerator.
    pub accelerator_reason: String,
    /// Under TCG: that guests are not isolated from the host by hardware.
    pub isolation_note: Option<String>,
    /// Every machine is ready, the sources are unchanged and nothing escaped.
    pub ok: bool,
    /// What kept it from being ok, a sentence each.
    pub problems: Vec<String>,
    /// Start of the session to the last gate; absent machines do not count.
    pub rta_s: f64,
    /// Longest chain of measured boot-to-ready times along the enforced dependencies.
    pub critical_path_s: f64,
    /// `rta_s / critical_path_s`.
    pub rta_over_critical_path: f64,
    /// The machines of that chain.
    pub limiting_machines: Vec<String>,
    /// The plan with its evidence.
    pub plan: Vec<PlanLine>,
    /// What happened to each machine.
    pub machines: Vec<MachineReport>,
    /// What the switch saw.
    pub network: NetworkReport,
    /// Whether every captured volume still has the hash recorded at import.
    pub sources_unchanged: bool,
    /// Warnings of preparation and ordering.
    pub warnings: Vec<String>,
    /// Folder with consoles, screenshots and this report.
    #[schema(value_type = String)]
    pub folder: PathBuf,
}

/// One machine of the plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PlanLine {
    /// The machine.
    pub machine: String,
    /// Machines that must be ready before.
    pub after: Vec<String>,
    /// Why, a line each.
    pub evidence: Vec<String>,
    /// The same for people, a sentence for each machine that it waits for.
    #[serde(default)]
    pub reasons: Vec<String>,
}

/// How a machine ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = MachineOutcome)]
pub enum Outcome {
    /// All gates opened.
    Ready,
    /// A gate stayed closed, or the machine ended.
    Failed,
    /// A machine that it needs failed.
    Blocked,
    /// The session was stopped before.
    #[default]
    NotStarted,
}

/// What happened to one machine.
#[derive(Debug, Clone, Default, Serialize, Deserialize, utoipa::ToSchema)]
pub struct MachineReport {
    /// Its name.
    pub name: String,
    /// All gates opened.
    pub ok: bool,
    /// How it ended.
    pub outcome: Outcome,
    /// Why it is not ready.
    pub reason: Option<String>,
    /// A prepared image exists.
    pub prepared: bool,
    /// Seconds that its preparation took, when it was made.
    pub inject_s: f64,
    /// When its domain was started.
    pub started_s: Option<f64>,
    /// When its last gate opened.
    pub ready_s: Option<f64>,
    /// The hardware it boots on, and why when that is not what was wanted.
    #[serde(default)]
    pub hardware: Hardware,
    /// Its gates.
    pub gates: Vec<GateReport>,
    /// File name of the screenshot in the report's folder.
    pub screenshot: Option<String>,
    /// File name of the console log in the report's folder.
    pub console: Option<String>,
    /// The console's last lines, for a machine that failed.
    pub console_tail: Vec<String>,
}

/// What happened to one gate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct GateReport {
    /// `icmp`, `tcp`, `http` or `running`.
    pub kind: String,
    /// The port, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Path and expected text of a page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expect: Option<String>,
    /// Given in the site file, or learned from logs and configuration.
    pub learned: bool,
    /// When it opened.
    pub ready_s: Option<f64>,
    /// The last answer, or why there was none.
    pub detail: String,
}

/// What the switch saw.
#[derive(Debug, Clone, Default, Serialize, Deserialize, utoipa::ToSchema)]
pub struct NetworkReport {
    /// Frames that guests sent.
    pub frames: u64,
    /// Frames dropped.
    pub dropped: u64,
    /// Frames on an uplink: there is none in a test.
    pub uplink_frames: u64,
    /// Destinations outside the set, and who asked.
    pub unanswered: Vec<UnansweredLine>,
    /// The proof of isolation.
    pub isolation: IsolationLine,
}

/// A destination that nobody of the site answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct UnansweredLine {
    /// Who asked.
    pub from: String,
    /// For what address.
    pub to: String,
    /// `tcp`, `udp`, `icmp` or a protocol number.
    pub protocol: String,
    /// For what port.
    pub port: Option<u16>,
    /// How often.
    pub count: u64,
}

/// The proof of isolation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct IsolationLine {
    /// Interfaces other than loopback in the switch's namespace.
    pub host_interfaces: u64,
    /// Marked frames sent inside.
    pub canaries_sent: u64,
    /// Marked frames seen on an interface of the host.
    pub canaries_escaped: u64,
    /// The watcher saw the frame that it was meant to see.
    pub control_seen: bool,
}
