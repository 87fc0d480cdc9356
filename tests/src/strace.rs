//! What a program and all its children do to files, seen by the kernel.

use std::path::PathBuf;
use std::process::Command;

/// Calls that change a file or its name whatever their flags are.
const CHANGING: [&str; 21] = [
    "truncate",
    "ftruncate",
    "fallocate",
    "chmod",
    "fchmod",
    "fchmodat",
    "chown",
    "lchown",
    "fchown",
    "fchownat",
    "utime",
    "utimes",
    "utimensat",
    "rename",
    "renameat",
    "renameat2",
    "unlink",
    "unlinkat",
    "setxattr",
    "lsetxattr",
    "fsetxattr",
];
const OPENING: [&str; 3] = ["open", "openat", "openat2"];
const WRITING: [&str; 4] = ["O_WRONLY", "O_RDWR", "O_TRUNC", "O_CREAT"];

/// A tracer that writes to a file.
#[derive(Debug)]
pub struct Strace {
    log: PathBuf,
}

impl Strace {
    /// Writes to this file.
    pub fn to(log: PathBuf) -> Self {
        Self { log }
    }

    /// The tracer, to which the program is appended.
    pub fn command(&self) -> Command {
        let calls = format!("trace=%file,{},{}", OPENING.join(","), CHANGING.join(","));
        let mut command = Command::new("strace");
        command.args(["-f", "-y", "-qq", "-s", "4096", "--seccomp-bpf"]);
        command.args(["-e", &calls, "-o"]).arg(&self.log);
        command
    }

    /// What it wrote.
    #[track_caller]
    pub fn trace(&self) -> Trace {
        let bytes = std::fs::read(&self.log)
            .unwrap_or_else(|error| panic!("failed to read `{}`: {error}", self.log.display()));
        Trace(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// The lines of a tracer.
#[derive(Debug)]
pub struct Trace(String);

impl Trace {
    /// Lines in which a file at this place is changed or opened to be.
    pub fn changes(&self, place: &str) -> Vec<&str> {
        let is_change = |line: &&str| {
            let writes = WRITING.iter().any(|flag| line.contains(flag));
            let opens = OPENING.contains(&call(line)) && writes;
            line.contains(place) && (opens || CHANGING.contains(&call(line)))
        };
        self.0.lines().filter(is_change).collect()
    }

    /// Whether a file of this name was opened.
    pub fn opened(&self, name: &str) -> bool {
        let mut lines = self.0.lines();
        lines.any(|line| OPENING.contains(&call(line)) && line.contains(name))
    }
}

/// The system call of a line of the trace.
fn call(line: &str) -> &str {
    let after_pid = line.trim_start_matches(|character: char| character.is_ascii_digit());
    after_pid.trim_start().split('(').next().unwrap_or_default()
}
