//! Captured volumes are never written: a trace of everything that a command,
//! its daemon and all their children do to them.

use std::path::{Path, PathBuf};
use std::process::Command;

use lifeboat_tests::{Appliance, Outcome, require, run_tool};

use crate::{SITE, raw_disk};

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

struct Traced {
    appliance: Appliance,
}

impl Traced {
    /// Sources in a folder of their own, whose name stands in every line about them.
    fn new() -> Self {
        require(&[("strace", "strace"), ("qemu-img", "qemu-utils")]);
        let appliance = Appliance::new();
        let raw = appliance.write("the-sources/disk.raw", raw_disk());
        let packed = appliance.path("the-sources/disk.vmdk");
        let options = ["-O", "vmdk", "-o", "subformat=streamOptimized"];
        let (raw, packed) = (raw.to_string_lossy(), packed.to_string_lossy());
        run_tool(
            "qemu-img",
            &[&["convert", "-f", "raw"], &options[..], &[&raw, &packed]].concat(),
        );
        let second = SITE.replacen("disk.raw", "the-sources/disk.raw", 1);
        let text = second.replace("\"disk.raw\"", "\"the-sources/disk.vmdk\"");
        appliance.write("site.toml", text);
        Self { appliance }
    }

    fn source(&self, name: &str) -> PathBuf {
        self.appliance.path("the-sources").join(name)
    }

    fn log(&self) -> PathBuf {
        self.appliance.path("trace")
    }

    fn strace(&self) -> Command {
        let calls = format!("trace=%file,{},{}", OPENING.join(","), CHANGING.join(","));
        let mut command = Command::new("strace");
        command.args([
            "-f",
            "-y",
            "-qq",
            "-s",
            "4096",
            "--seccomp-bpf",
            "-e",
            &calls,
            "-o",
        ]);
        command.arg(self.log());
        command
    }

    fn lifeboat(&self, words: &[&str]) -> (Outcome, String) {
        let outcome = self.appliance.lifeboat_traced(self.strace(), words).run();
        (outcome, self.trace())
    }

    fn trace(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.log()).unwrap()).into_owned()
    }
}

/// The system call of a line of the trace.
fn call(line: &str) -> &str {
    let after_pid = line.trim_start_matches(|character: char| character.is_ascii_digit());
    after_pid.trim_start().split('(').next().unwrap_or_default()
}

/// Lines in which a source is changed or opened to be.
fn changes(trace: &str) -> Vec<&str> {
    let is_change = |line: &&str| {
        let opens = OPENING.contains(&call(line)) && WRITING.iter().any(|flag| line.contains(flag));
        line.contains("the-sources") && (opens || CHANGING.contains(&call(line)))
    };
    trace.lines().filter(is_change).collect()
}

fn opened(trace: &str, name: &str) -> bool {
    trace
        .lines()
        .any(|line| OPENING.contains(&call(line)) && line.contains(name))
}

fn state(path: &Path) -> (Vec<u8>, i64, i64, u32) {
    use std::os::unix::fs::MetadataExt;
    let status = path.metadata().unwrap();
    let bytes = std::fs::read(path).unwrap();
    (bytes, status.ctime(), status.ctime_nsec(), status.mode())
}

#[test]
fn no_command_writes_to_a_captured_volume() {
    let traced = Traced::new();
    let (raw, packed) = (traced.source("disk.raw"), traced.source("disk.vmdk"));
    let before = (state(&raw), state(&packed));
    let site = traced
        .appliance
        .path("site.toml")
        .to_string_lossy()
        .into_owned();
    let (raw_word, packed_word) = (raw.to_string_lossy(), packed.to_string_lossy());
    let overlay = traced
        .appliance
        .path("overlay.qcow2")
        .to_string_lossy()
        .into_owned();
    // Neither disk holds a system: preparing goes as far as the micro-VM's
    // refusal, with the overlays and conversions made.
    for (words, code, both) in [
        (vec!["prepare", &site], 1, true),
        (vec!["image", "verify", &site], 0, true),
        (vec!["image", "inspect", &packed_word], 0, false),
        (vec!["inject", &raw_word, "--overlay", &overlay], 1, false),
    ] {
        let (outcome, trace) = traced.lifeboat(&words);
        outcome.expect_code(code);
        assert!(
            !both || (opened(&trace, "disk.raw") && opened(&trace, "disk.vmdk")),
            "{words:?}"
        );
        assert_eq!(changes(&trace), [""; 0], "{words:?}");
    }
    assert!(
        before == (state(&raw), state(&packed)),
        "a source is not what it was"
    );
}

#[test]
fn the_trace_sees_whatever_changes_a_source() {
    let traced = Traced::new();
    let raw = traced.source("disk.raw");
    for (script, seen) in [
        ("exec 3<>\"$0\"", "O_RDWR"),
        (": >> \"$0\"", "O_WRONLY"),
        ("exec 4< \"$0\" && : >> /proc/self/fd/4", "O_WRONLY"),
        ("truncate -s 5M \"$0\"", "ftruncate"),
        ("chmod 600 \"$0\"", "fchmodat"),
        ("chown 1 \"$0\"", "fchownat"),
        ("touch -d yesterday \"$0\"", "utimensat"),
        ("mv \"$0\" \"$0.other\" && mv \"$0.other\" \"$0\"", "rename"),
        ("rm \"$0\"", "unlink"),
    ] {
        let done = traced
            .strace()
            .args(["sh", "-c", script])
            .arg(&raw)
            .status();
        assert!(done.unwrap().success(), "{script}");
        let trace = traced.trace();
        let found = changes(&trace);
        assert!(
            found.iter().any(|line| line.contains(seen)),
            "{script}: {found:?}"
        );
    }
}
