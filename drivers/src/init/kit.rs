//! The kit: programs for storage that are no part of the injector.
//!
//! It lies as a tar archive on a disk of its own and costs nothing until a
//! program is asked for; then what that one needs is unpacked into memory. Each
//! program runs with the kit's own loader and libraries.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, PipeReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::refusal::Refusal;
use crate::{Described, describe};

const DIRECTORY: &str = "/kit";
const LOADER: &str = "lib/ld-linux-x86-64.so.2";
/// Beside the programs: for each the names of its libraries.
const NEEDS: &str = "needs";
/// How much of a program's complaint is passed on.
const LONGEST_COMPLAINT: usize = 300;
/// How much is kept of what a program says.
const MOST_SAID: u64 = 64 << 10;
/// How long a program that is waited for is left alone.
const NAP: Duration = Duration::from_millis(10);

/// The micro-VM's tools.
pub(crate) struct Kit {
    device: Option<PathBuf>,
    /// Programs that are there with all they need.
    unpacked: RefCell<BTreeSet<String>>,
}

/// How a program that had a limit of time ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Its exit status; none when it was killed.
    pub status: Option<i32>,
    /// The beginning of what it said.
    pub said: String,
}

/// Why a tool did not do its work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KitError {
    /// There is no kit.
    #[error("the micro-VM's kernel directory has no kit of storage tools; run ./setup")]
    Missing,
    /// It could not be started.
    #[error(transparent)]
    Host(#[from] Described),
    /// The program failed.
    #[error("{program} failed ({status}): {complaint}")]
    Failed {
        /// Its name.
        program: String,
        /// How it ended.
        status: String,
        /// What it said, in one line.
        complaint: String,
    },
}

impl KitError {
    /// What the operator is told when `partition` needed the tool.
    pub(crate) fn refusal(self, partition: &str, holding: &str) -> Refusal {
        match self {
            Self::Missing => Refusal::NoKit {
                partition: partition.to_owned(),
            },
            other => Refusal::UnsupportedFilesystem {
                partition: partition.to_owned(),
                filesystem: holding.to_owned(),
                detail: crate::cause_chain(&other),
            },
        }
    }
}

impl Kit {
    /// A kit on this device.
    pub(crate) fn on(device: Option<PathBuf>) -> Self {
        Self {
            device,
            unpacked: RefCell::default(),
        }
    }

    /// A program of the kit, ready for arguments.
    pub(crate) fn program(&self, name: &str) -> Result<Command, KitError> {
        self.unpack(name)?;
        let directory = Path::new(DIRECTORY);
        let mut command = Command::new(directory.join(LOADER));
        command
            .arg("--library-path")
            .arg(directory.join("lib"))
            .arg(directory.join("bin").join(name))
            .env_clear()
            .env("LC_ALL", "C")
            .current_dir("/");
        Ok(command)
    }

    /// Runs a program to its end and gives what it wrote; a failure carries
    /// what it complained about.
    pub(crate) fn run(&self, name: &str, arguments: &[&str]) -> Result<String, KitError> {
        let attempted = format!("starting {name}");
        let mut command = self.program(name)?;
        let output = command
            .args(arguments)
            .output()
            .map_err(describe(attempted))?;
        if !output.status.success() {
            return Err(failure(name, &output));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs a program that may take long or find much to say, with a limit.
    pub(crate) fn run_for(
        &self,
        limit: Duration,
        name: &str,
        arguments: &[&str],
    ) -> Result<Ended, KitError> {
        let mut command = self.program(name)?;
        command.args(arguments);
        let ended = bounded(command, limit).map_err(describe(format!("running {name}")))?;
        Ok(ended)
    }

    fn unpack(&self, name: &str) -> Result<(), KitError> {
        let device = self.device.as_ref().ok_or(KitError::Missing)?;
        if self.unpacked.borrow().contains(name) {
            return Ok(());
        }
        unpack(device, Path::new(DIRECTORY), name).map_err(describe(format!(
            "unpacking {name} of the kit of storage tools"
        )))?;
        self.unpacked.borrow_mut().insert(name.to_owned());
        Ok(())
    }
}

/// Unpacks a program, its loader and its libraries; everything where the kit
/// does not tell which these are.
fn unpack(device: &Path, to: &Path, name: &str) -> io::Result<()> {
    let list = format!("{NEEDS}/{name}");
    extract(device, to, |path| path == list)?;
    let Ok(needs) = fs::read_to_string(to.join(&list)) else {
        return extract(device, to, |_| true);
    };
    let libraries = needs.lines().map(|library| format!("lib/{library}"));
    let own = [format!("bin/{name}"), LOADER.to_owned()];
    let wanted: BTreeSet<String> = libraries.chain(own).collect();
    extract(device, to, |path| {
        wanted.contains(path) && !to.join(path).exists()
    })
}

fn extract(device: &Path, to: &Path, wanted: impl Fn(&str) -> bool) -> io::Result<()> {
    fs::create_dir_all(to)?;
    let mut archive = tar::Archive::new(File::open(device)?);
    for entry in archive.entries_with_seek()? {
        let mut entry = entry?;
        let path = entry.path()?.to_string_lossy().into_owned();
        if wanted(path.trim_start_matches("./")) {
            entry.unpack_in(to)?;
        }
    }
    Ok(())
}

fn bounded(mut command: Command, limit: Duration) -> io::Result<Ended> {
    let end = Instant::now() + limit;
    let (reader, writer) = io::pipe()?;
    command
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer);
    let mut child = command.spawn()?;
    // The other ends of the pipe: reading would never come to an end.
    drop(command);
    // What takes too much memory goes first.
    let _ = fs::write(format!("/proc/{}/oom_score_adj", child.id()), "1000");
    let saying = thread::spawn(move || beginning(reader));
    let status = wait_until(&mut child, end)?;
    let said = saying.join().unwrap_or_default();
    Ok(Ended { status, said })
}

/// The exit status, or nothing after the end of patience.
fn wait_until(child: &mut Child, end: Instant) -> io::Result<Option<i32>> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status.code());
        }
        if Instant::now() >= end {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(NAP);
    }
}

/// The rest is read, too, so that nobody waits for it to be.
fn beginning(mut reader: PipeReader) -> String {
    let mut kept = Vec::new();
    let _ = reader.by_ref().take(MOST_SAID).read_to_end(&mut kept);
    let _ = io::copy(&mut reader, &mut io::sink());
    String::from_utf8_lossy(&kept).into_owned()
}

fn failure(name: &str, output: &Output) -> KitError {
    let said = String::from_utf8_lossy(&output.stderr);
    let words: Vec<&str> = said.split_whitespace().collect();
    KitError::Failed {
        program: name.to_owned(),
        status: output.status.to_string(),
        complaint: words.join(" ").chars().take(LONGEST_COMPLAINT).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_kit_one_sentence_says_so() {
        let kit = Kit::on(None);
        let error = kit.run("lvm", &["version"]).unwrap_err();
        let refusal = error.refusal("partition 1 of disk 0", "lvm2");
        assert!(matches!(refusal, Refusal::NoKit { .. }), "{refusal}");
        assert!(refusal.to_string().contains("./setup"), "{refusal}");
    }

    fn kit_of(files: &[(&str, &str)]) -> tempfile::NamedTempFile {
        let mut archive = tar::Builder::new(tempfile::NamedTempFile::new().unwrap());
        for (path, content) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o755);
            let path = format!("./{path}");
            archive
                .append_data(&mut header, path, content.as_bytes())
                .unwrap();
        }
        archive.into_inner().unwrap()
    }

    fn names_below(directory: &Path) -> Vec<String> {
        let folders = ["bin", "lib"].iter().map(|name| directory.join(name));
        let entries = folders.filter_map(|path| fs::read_dir(path).ok()).flatten();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn only_what_a_program_needs_is_unpacked() {
        let with = |needs: &[(&str, &str)]| {
            let content = [
                ("bin/lvm", "lvm"),
                ("bin/mdadm", "mdadm"),
                (LOADER, "loader"),
                ("lib/liba", "a"),
                ("lib/libb", "b"),
            ];
            kit_of(&[&content, needs].concat())
        };
        let to = tempfile::tempdir().unwrap();
        let kit = with(&[("needs/lvm", "liba\n"), ("needs/mdadm", "libb\n")]);
        unpack(kit.path(), to.path(), "lvm").unwrap();
        assert_eq!(
            names_below(to.path()),
            ["ld-linux-x86-64.so.2", "liba", "lvm"]
        );
        unpack(kit.path(), to.path(), "mdadm").unwrap();
        assert_eq!(names_below(to.path()).len(), 5);
        // A kit of an earlier version does not say it.
        let to = tempfile::tempdir().unwrap();
        unpack(with(&[]).path(), to.path(), "lvm").unwrap();
        assert_eq!(names_below(to.path()).len(), 5);
    }

    #[test]
    fn a_program_has_no_more_than_its_time() {
        let shell = |script: &str| {
            let mut command = Command::new("/bin/sh");
            command.args(["-c", script]);
            command
        };
        let long = Duration::from_secs(60);
        let ended = bounded(shell("echo said; echo complained >&2; exit 4"), long).unwrap();
        assert_eq!(
            (ended.status, ended.said.as_str()),
            (Some(4), "said\ncomplained\n")
        );
        let begin = Instant::now();
        let ended = bounded(shell("exec yes"), Duration::from_millis(300)).unwrap();
        assert_eq!(ended.status, None);
        assert_eq!(ended.said.len() as u64, MOST_SAID);
        assert!(begin.elapsed() < long);
    }

    #[test]
    fn a_complaint_is_one_bounded_line() {
        let output = Command::new("/bin/sh")
            .args(["-c", "yes bad | head -n 1000 >&2; exit 5"])
            .output()
            .unwrap();
        let text = failure("mdadm", &output).to_string();
        assert!(text.starts_with("mdadm failed (exit status: 5): bad bad"));
        assert!(text.len() < 400 && !text.contains('\n'), "{text}");
    }
}
