//! What an appliance's sessions leave visible on the host: while they run it
//! must be there, afterwards it must be gone.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Appliance;
use crate::host::{Process, mounts, processes, try_domains};

/// Everything found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Traces {
    /// Domains in libvirt.
    pub domains: Vec<String>,
    /// QEMU processes of domains.
    pub guests: Vec<Process>,
    /// Switch processes.
    pub switches: Vec<Process>,
    /// Daemons that a command started for itself.
    pub private_daemons: Vec<Process>,
    /// Folders of sockets.
    pub socket_folders: Vec<PathBuf>,
    /// Run overlays.
    pub overlays: Vec<PathBuf>,
    /// Mounts.
    pub mounts: Vec<String>,
}

impl Traces {
    #[track_caller]
    pub(crate) fn of(appliance: &Appliance) -> Self {
        let state = appliance.state();
        let sessions = names(&state.join("sessions"));
        let of_session = |name: &str| {
            sessions
                .iter()
                .any(|id| name.contains(&format!("lifeboat-{id}")))
        };
        let state_word = state.to_string_lossy();
        let run_word = appliance.run_dir().to_string_lossy().into_owned();
        let domains = try_domains().unwrap_or_default();
        let programs = |word: &str, program: &str| {
            let mut found = processes(word);
            found.retain(|process| process.program().starts_with(program));
            found
        };
        let mut guests = programs("guest=lifeboat-", "qemu");
        guests.retain(|guest| of_session(&guest.command));
        let mut private_daemons = programs(&state_word, "lifeboat");
        private_daemons.retain(|process| process.command.contains(" --private "));
        Self {
            domains: domains
                .into_iter()
                .filter(|name| of_session(name))
                .collect(),
            guests,
            switches: programs(&run_word, "lifeboat-switch"),
            private_daemons,
            socket_folders: entries(&appliance.run_dir()),
            overlays: sessions
                .iter()
                .flat_map(|id| entries(&state.join("sessions").join(id)))
                .filter(|path| path.extension().is_some_and(|end| end == "qcow2"))
                .collect(),
            mounts: [mounts(&state_word), mounts(&run_word)].concat(),
        }
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Fails if anything is there.
    #[track_caller]
    pub fn expect_none(&self) {
        assert!(self.is_empty(), "left behind: {self}");
    }

    /// The control of [`Self::expect_none`]: fails unless each kind of thing
    /// that a session with running machines has is seen.
    #[track_caller]
    pub fn expect_running(&self) {
        let seen = !self.domains.is_empty()
            && !self.guests.is_empty()
            && !self.switches.is_empty()
            && !self.socket_folders.is_empty()
            && !self.overlays.is_empty();
        assert!(seen, "a running session is not wholly seen: {self}");
    }

    /// Removes all of it, after a test that failed.
    pub fn remove(&self) {
        for process in self.private_daemons.iter().chain(&self.switches) {
            process.kill();
        }
        for domain in &self.domains {
            let words = ["-q", "-c", "qemu:///system", "destroy", domain];
            // It may have ended by itself meanwhile.
            let _ = Command::new("virsh").args(words).output();
        }
        for folder in &self.socket_folders {
            let _ = std::fs::remove_dir_all(folder);
        }
        for overlay in &self.overlays {
            let _ = std::fs::remove_file(overlay);
        }
    }
}

impl fmt::Display for Traces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |processes: &[Process]| -> Vec<String> {
            let one = |process: &Process| {
                let words: String = process.command.chars().take(120).collect();
                format!("{} {words}", process.pid)
            };
            processes.iter().map(one).collect()
        };
        write!(f, "domains {:?}, ", self.domains)?;
        write!(f, "guests {:?}, ", shown(&self.guests))?;
        write!(f, "switches {:?}, ", shown(&self.switches))?;
        write!(f, "private daemons {:?}, ", shown(&self.private_daemons))?;
        write!(f, "socket folders {:?}, ", self.socket_folders)?;
        write!(f, "overlays {:?}, mounts {:?}", self.overlays, self.mounts)
    }
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

fn names(folder: &Path) -> Vec<String> {
    entries(folder)
        .iter()
        .filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()))
        .collect()
}
