//! The host as its own tools show it.

use std::path::Path;
use std::process::{Command, Output};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// One running process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Process id.
    pub pid: i32,
    /// Its command line, words joined by blanks.
    pub command: String,
}

impl Process {
    /// Ends it at once, as a crash would.
    pub fn kill(&self) {
        // It may have ended by itself meanwhile.
        let _ = kill(Pid::from_raw(self.pid), Signal::SIGKILL);
    }

    /// Name of its program, without the folder.
    pub fn program(&self) -> &str {
        let program = self.command.split(' ').next().unwrap_or_default();
        program.rsplit('/').next().unwrap_or_default()
    }
}

/// All processes whose command line holds `word`; zombies have none.
pub fn processes(word: &str) -> Vec<Process> {
    let own = std::process::id().to_string();
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let pid = name.parse().ok().filter(|_| name != own)?;
            let bytes = std::fs::read(entry.path().join("cmdline")).ok()?;
            let command = String::from_utf8_lossy(&bytes).replace('\0', " ");
            command.contains(word).then_some(Process { pid, command })
        })
        .collect()
}

/// Names of all domains that libvirt knows, running or not.
#[track_caller]
pub fn domains() -> Vec<String> {
    try_domains().unwrap_or_else(|said| panic!("virsh does not list domains: {said}"))
}

pub(crate) fn try_domains() -> Result<Vec<String>, String> {
    let words = ["-q", "-c", "qemu:///system", "list", "--all", "--name"];
    let output = Command::new("virsh")
        .args(words)
        .output()
        .map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text
        .lines()
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect())
}

/// Lines of this process's mount table that hold `word`.
pub(crate) fn mounts(word: &str) -> Vec<String> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    table
        .lines()
        .filter(|line| line.contains(word))
        .map(str::to_owned)
        .collect()
}

/// Runs a tool that must succeed.
#[track_caller]
pub fn run_tool(tool: &str, words: &[&str]) -> Output {
    let output = Command::new(tool)
        .args(words)
        .output()
        .unwrap_or_else(|error| panic!("this test needs `{tool}`: {error}"));
    assert!(
        output.status.success(),
        "{tool} {words:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// The SHA-256 of a file, by coreutils.
#[track_caller]
pub fn sha256(path: &Path) -> String {
    let output = run_tool("sha256sum", &["--", &path.to_string_lossy()]);
    String::from_utf8_lossy(&output.stdout)
        .chars()
        .take(64)
        .collect()
}

/// So many seconds, on an idle host; more where others compete for its
/// processors, as emulated guests feel it at once.
pub fn seconds_on_this_host(idle: u64) -> u64 {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().and_then(|one| one.parse().ok());
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let crowd = load.unwrap_or(1.0) / processors as f64;
    (idle as f64 * crowd.clamp(1.0, 6.0)) as u64
}
