//! One host of a bed.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use super::{Bed, Damage, Slowed, expect_success};

/// A host, named by its place. The place stays when a switch-over changes the host's own name.
#[derive(Debug, Clone)]
pub struct Host<'a> {
    bed: &'a Bed,
    place: String,
}

/// What a command in a host said.
#[derive(Debug)]
pub struct Said {
    /// How it ended.
    pub status: ExitStatus,
    /// Standard output, without the last line's end.
    pub stdout: String,
    /// Standard error, the same.
    pub stderr: String,
}

impl<'a> Host<'a> {
    pub(super) fn new(bed: &'a Bed, place: &str) -> Self {
        Self {
            bed,
            place: place.to_owned(),
        }
    }

    /// Its place.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Its address.
    #[track_caller]
    pub fn address(&self) -> String {
        let output = expect_success(self.script().arg("address"));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// A command that runs in it, with its root, processes and network.
    #[track_caller]
    pub fn command<W: AsRef<std::ffi::OsStr>>(&self, words: &[W]) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["--target", &self.init().to_string()])
            .args([
                "--mount", "--uts", "--ipc", "--net", "--pid", "--root", "--wd",
            ])
            .args(["--", "/usr/bin/env", "-i", "HOME=/root", "LANG=C.UTF-8"])
            .arg("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .args(words)
            .stdin(Stdio::null());
        command
    }

    /// Runs a command to its end, whatever that is.
    #[track_caller]
    pub fn ask<W: AsRef<std::ffi::OsStr>>(&self, words: &[W]) -> Said {
        let mut command = self.command(words);
        let output = command
            .output()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
        Said {
            status: output.status,
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }

    /// Runs a command that must succeed; what it said on standard output.
    #[track_caller]
    pub fn run<W: AsRef<std::ffi::OsStr>>(&self, words: &[W]) -> String {
        let said = self.ask(words);
        let words: Vec<_> = words.iter().map(AsRef::as_ref).collect();
        assert!(
            said.status.success(),
            "{}: {words:?}: {}\n{}\n{}",
            self.place,
            said.status,
            said.stdout,
            said.stderr
        );
        said.stdout
    }

    /// Runs lines of shell, which end at the first that fails.
    #[track_caller]
    pub fn shell(&self, lines: &str) -> String {
        self.run(&["sh", "-euc", lines])
    }

    /// One word to one of its services: `start`, `stop`, `status`, `enable`, `disable`.
    pub fn service(&self, name: &str, word: &str) -> Said {
        self.ask(&["svc", name, word])
    }

    /// Copies a program of this machine into it; it survives the host's restarts.
    #[track_caller]
    pub fn install(&self, from: &Path, to: &str) {
        std::fs::copy(from, self.path(to))
            .unwrap_or_else(|error| panic!("{} into {}: {error}", from.display(), self.place));
    }

    /// Writes a file in it.
    #[track_caller]
    pub fn write(&self, path: &str, text: &str) {
        std::fs::write(self.path(path), text)
            .unwrap_or_else(|error| panic!("{path} in {}: {error}", self.place));
    }

    /// Reads a file in it.
    #[track_caller]
    pub fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.path(path))
            .unwrap_or_else(|error| panic!("{path} in {}: {error}", self.place))
    }

    /// A path in it as this machine sees it; links in it must be relative ones.
    #[track_caller]
    pub fn path(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.init()))
    }

    /// Whether its first process runs.
    pub fn is_up(&self) -> bool {
        let output = self.script().arg("init").output();
        output.is_ok_and(|output| output.status.success())
    }

    /// Switches it on and waits until it has started its services.
    #[track_caller]
    pub fn start(&self) {
        self.word("start");
    }

    /// Switches it off at once; its store is unmounted in order by the kernel.
    #[track_caller]
    pub fn kill(&self) {
        self.word("kill");
    }

    /// A power cut: what its store has not written is lost.
    #[track_caller]
    pub fn cut_power(&self) {
        self.word("cut");
    }

    /// `reboot(2)` from inside; waits until it is there again.
    #[track_caller]
    pub fn reboot(&self) {
        self.word("reboot");
    }

    /// Stops all its processes where they stand, as a paused virtual machine.
    #[track_caller]
    pub fn pause(&self) {
        self.run(&["sh", "-c", "kill -STOP -1"]);
    }

    /// Lets them go on.
    #[track_caller]
    pub fn resume(&self) {
        self.run(&["sh", "-c", "kill -CONT -1"]);
    }

    /// Makes it slow, by pausing it for this share (0 to 1) of the time, until the answer drops.
    pub fn slow(&self, share: f64) -> Slowed {
        Slowed::new(self, share)
    }

    /// Pulls its network cable.
    #[track_caller]
    pub fn unplug(&self) {
        self.word("unplug");
    }

    /// And plugs it in again.
    #[track_caller]
    pub fn plug(&self) {
        self.word("plug");
    }

    /// Damages its store; see [`Damage`] for whether it must be mounted.
    #[track_caller]
    pub fn damage(&self, damage: Damage) {
        expect_success(self.script().args(["damage", damage.word()]));
    }

    /// The memory of its processes, each shared page divided among those who share it, in KiB.
    #[track_caller]
    pub fn memory_kib(&self) -> u64 {
        let name = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
        let own = name(&self.init().to_string());
        let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        processes
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|pid| name(pid).is_some_and(|it| Some(&it) == own.as_ref()))
            .filter_map(|pid| proportional_kib(&pid))
            .sum()
    }

    /// The first process of its namespace, as this machine numbers it.
    #[track_caller]
    pub fn init(&self) -> i32 {
        let path = self.bed.folder().join("hosts").join(&self.place);
        let text = std::fs::read_to_string(path.join("init")).unwrap_or_default();
        text.split(' ')
            .next()
            .and_then(|pid| pid.parse().ok())
            .unwrap_or_else(|| panic!("host `{}` is not running", self.place))
    }

    pub(super) fn script(&self) -> Command {
        let mut command = self.bed.script("host");
        command.arg(&self.place);
        command
    }

    #[track_caller]
    fn word(&self, word: &str) {
        expect_success(self.script().arg(word));
    }
}

fn proportional_kib(pid: &str) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = text.lines().find(|line| line.starts_with("Pss:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}
