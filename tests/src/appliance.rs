//! One appliance: a state directory, a folder for its sockets, and the calls.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::command::Lifeboat;
use crate::daemon::Daemon;
use crate::host::{Process, processes};
use crate::traces::Traces;
use crate::waiting::soon;

/// How long removing may take after a failure.
const REMOVAL: Duration = Duration::from_secs(30);

/// A fresh appliance; its folders vanish with it.
pub struct Appliance {
    folder: TempDir,
}

impl Appliance {
    /// Makes its folders.
    #[track_caller]
    pub fn new() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("lifeboat-test-")
            .tempdir()
            .unwrap_or_else(|error| panic!("failed to make a scratch folder: {error}"));
        // QEMU's user and the confined reader walk through it.
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(folder.path(), open)
            .unwrap_or_else(|error| panic!("failed to open a scratch folder: {error}"));
        Self { folder }
    }

    /// A file for the test beside the state directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes such a file.
    #[track_caller]
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        let written = path
            .parent()
            .map_or(Ok(()), std::fs::create_dir_all)
            .and_then(|()| std::fs::write(&path, content));
        written.unwrap_or_else(|error| panic!("failed to write `{}`: {error}", path.display()));
        path
    }

    /// The state directory.
    pub fn state(&self) -> PathBuf {
        self.path("state")
    }

    /// The folder of sockets, where sessions have theirs.
    pub fn run_dir(&self) -> PathBuf {
        self.path("run")
    }

    /// Folder of a session.
    pub fn session_folder(&self, session: &str) -> PathBuf {
        self.state().join("sessions").join(session)
    }

    /// A call of `lifeboat` with these words.
    pub fn lifeboat<W: AsRef<std::ffi::OsStr>>(
        &self,
        words: impl IntoIterator<Item = W>,
    ) -> Lifeboat {
        Lifeboat::new(&self.state(), &self.run_dir()).words(words)
    }

    /// The same call through a tracer, which gets the program appended.
    pub fn lifeboat_traced<W: AsRef<std::ffi::OsStr>>(
        &self,
        mut tracer: Command,
        words: impl IntoIterator<Item = W>,
    ) -> Lifeboat {
        tracer.arg(crate::program("lifeboat"));
        Lifeboat::through(tracer, &self.state(), &self.run_dir()).words(words)
    }

    /// The same call in a mount namespace where an empty filesystem of at
    /// most `size` bytes lies over `place`.
    pub fn lifeboat_over<W: AsRef<std::ffi::OsStr>>(
        &self,
        place: &Path,
        size: &str,
        words: impl IntoIterator<Item = W>,
    ) -> Lifeboat {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c"]);
        command.arg("mount -t tmpfs -o \"size=$1\" none \"$0\" && shift && exec \"$@\"");
        command.arg(place).arg(size).arg(crate::program("lifeboat"));
        Lifeboat::through(command, &self.state(), &self.run_dir()).words(words)
    }

    /// Starts its daemon.
    #[track_caller]
    pub fn serve<W: AsRef<std::ffi::OsStr>>(&self, words: impl IntoIterator<Item = W>) -> Daemon {
        let running = self.lifeboat(["serve"]).words(words).start();
        Daemon::new(running, self.state().join("lifeboat.sock"))
    }

    /// What sessions of this appliance have on the host now.
    #[track_caller]
    pub fn traces(&self) -> Traces {
        Traces::of(self)
    }
}

impl Appliance {
    /// Ends and removes everything of it at once, whatever is on its way.
    pub fn remove(&self) {
        let place = self.folder.path().to_string_lossy().into_owned();
        let clean = soon(REMOVAL, || {
            processes(&place).iter().for_each(Process::kill);
            let traces = self.traces();
            traces.remove();
            (traces.is_empty() && processes(&place).is_empty()).then_some(())
        });
        if clean.is_none() {
            eprintln!("not everything could be removed: {}", self.traces());
        }
    }

    /// The same, and its folder too.
    pub fn remove_wholly(&self) {
        self.remove();
        if let Err(error) = std::fs::remove_dir_all(self.folder.path()) {
            eprintln!(
                "failed to remove `{}`: {error}",
                self.folder.path().display()
            );
        }
    }

    /// All processes that have something to do with it.
    pub fn processes(&self) -> Vec<Process> {
        processes(&self.folder.path().to_string_lossy())
    }
}

impl Default for Appliance {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Appliance {
    fn drop(&mut self) {
        self.remove();
    }
}
