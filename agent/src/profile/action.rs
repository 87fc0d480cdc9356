//! How an action is carried out.

use serde::{Deserialize, Serialize};

/// The steps of an action, in order. The first that fails ends it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActionSteps {
    /// What is done.
    pub steps: Vec<Step>,
    /// Why there is nothing to do; needed when there are no steps.
    pub because: Option<String>,
}

/// One step. Each looks first whether its effect is there already, and says whether it changed
/// anything.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// A command.
    Run(Run),
    /// Starts a service of the profile, and waits until it runs.
    Start(String),
    /// Stops a service of the profile, and waits until it does not run.
    Stop(String),
    /// Lets systemd start a service at boot.
    Enable(String),
    /// Keeps systemd from starting a service at boot.
    Disable(String),
    /// Mounts a store for reading and writing.
    Mount(String),
    /// Makes a mounted store read-only.
    RemountReadOnly(String),
    /// Unmounts a store, and guards its bare mount point where the profile says so.
    Unmount(String),
    /// Mounts a store, proves it good by reading, and recovers it if need be (344-356).
    EnsureStore(String),
    /// Waits until a command has nothing more to print.
    WaitEmpty(WaitEmpty),
    /// Refuses connections from outside to these TCP ports.
    ClosePorts(Vec<String>),
    /// Accepts them again.
    OpenPorts(Vec<String>),
    /// Sets the host's name, also for later boots.
    RenameHost(String),
    /// Restarts the host; done when the host runs in another boot than when it was asked.
    Reboot(Nothing),
    /// Deletes files that a stopped application left behind (locks).
    DeleteFiles(DeleteFiles),
    /// Puts an image of what `[archive]` names into its repository (616-620).
    TakeImage(Nothing),
    /// Restores the image for trial, and compares it with what it was taken of.
    ProveImage(Nothing),
    /// Puts the image into its levels, and forgets those that grew too old (622-624).
    PlaceImage(Nothing),
    /// Puts the image in the place of what is there now (710-712).
    RestoreImage(Nothing),
}

/// Nothing more to say about a step.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

/// A command: no shell, and `{name}` stands for a parameter inside one argument.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// Program (absolute path) and arguments.
    pub argv: Vec<String>,
    /// Is given to it on its standard input; the only place for a secret.
    pub input: Option<String>,
    /// How long it may take, in seconds; then its process group is killed.
    #[serde(default = "super::minute")]
    pub within_s: u32,
    /// Exit codes that mean that it was so already.
    #[serde(default)]
    pub already: Vec<i32>,
    /// A text in its output that means that it was so already, whatever the exit code.
    pub already_says: Option<String>,
    /// A command that exits with 0 when it is so already; then `argv` is not run.
    pub unless: Option<Vec<String>>,
    /// Whether it only looks and changes nothing.
    #[serde(default)]
    pub only_looks: bool,
}

/// Waits until a command has nothing more to print.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WaitEmpty {
    /// Program (absolute path) and arguments.
    pub argv: Vec<String>,
    /// A text in its output that also means "nothing".
    pub empty_says: Option<String>,
    /// How long to wait, in seconds.
    #[serde(default = "super::minute")]
    pub within_s: u32,
}

/// Deletes files below a folder, on its filesystem only.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeleteFiles {
    /// The folder.
    pub under: String,
    /// What their names end in.
    pub ending: String,
}

/// How the application is stopped when the host must not serve. Run by the watchdog too, also when
/// the agent is dead; has to be quick and must not depend on the network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fence {
    /// Commands, all of them run whatever becomes of the others.
    pub commands: Vec<Vec<String>>,
    /// How long one of them may take, in seconds.
    #[serde(default = "ten")]
    pub within_s: u32,
    /// How often they are tried before the host is restarted at once.
    #[serde(default = "three")]
    pub attempts: u32,
    /// Whether a host that cannot stop the application is restarted at once. Without it the
    /// commands are tried for ever.
    #[serde(default)]
    pub restart_host: bool,
    /// A hardware watchdog that restarts the host when even the watchdog process stops.
    pub hardware: Option<String>,
}

fn ten() -> u32 {
    10
}

fn three() -> u32 {
    3
}
