//! The kit: programs for storage that are no part of the injector.
//!
//! It lies as a tar archive on a disk of its own and costs nothing until the
//! first program is asked for; then it is unpacked into memory. Each program
//! runs with the kit's own loader and libraries.

use std::cell::Cell;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::refusal::Refusal;
use crate::{Described, describe};

const DIRECTORY: &str = "/kit";
const LOADER: &str = "lib/ld-linux-x86-64.so.2";
/// How much of a program's complaint is passed on.
const LONGEST_COMPLAINT: usize = 300;

/// The micro-VM's tools.
pub(crate) struct Kit {
    device: Option<PathBuf>,
    unpacked: Cell<bool>,
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
            unpacked: Cell::new(false),
        }
    }

    /// A program of the kit, ready for arguments.
    pub(crate) fn program(&self, name: &str) -> Result<Command, KitError> {
        self.unpack()?;
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

    fn unpack(&self) -> Result<(), KitError> {
        let device = self.device.as_ref().ok_or(KitError::Missing)?;
        if self.unpacked.get() {
            return Ok(());
        }
        let file = File::open(device).map_err(describe("opening the kit of storage tools"))?;
        let mut archive = tar::Archive::new(io::BufReader::with_capacity(1 << 20, file));
        archive
            .unpack(DIRECTORY)
            .map_err(describe("unpacking the kit of storage tools"))?;
        self.unpacked.set(true);
        Ok(())
    }
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
