//! How a switch process leaves everything behind before it serves.
//!
//! Order matters and is the caller's: bind sockets, [`enter_empty_namespaces`], [`forget_files`],
//! [`drop_privileges`], and only then the first thread.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::{Gid, Uid, chdir, geteuid, pivot_root, setgroups, setresgid, setresuid};

use crate::config::Owner;

/// Who serves when the configuration names nobody.
const NOBODY: Owner = Owner {
    uid: 65_534,
    gid: 65_534,
};

/// Why the process could not leave everything behind.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// A socket could not be made.
    #[error("failed to listen on `{}`", path.display())]
    Listen {
        /// The socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A step of the isolation failed; the switch does not serve without it.
    #[error("failed to {step}")]
    Step {
        /// What was attempted.
        step: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
}

fn step<T>(step: &'static str, result: nix::Result<T>) -> Result<T, SandboxError> {
    result.map_err(|error| SandboxError::Step {
        step,
        source: error.into(),
    })
}

/// Listens on `path`, in place of a stale socket, for its owner only.
pub fn listen(path: &Path, owner: Option<Owner>) -> Result<UnixListener, SandboxError> {
    let attempt = || {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        if let Some(owner) = owner {
            chown(path, Some(owner.uid), Some(owner.gid))?;
        }
        Ok(listener)
    };
    attempt().map_err(|source| SandboxError::Listen {
        path: path.into(),
        source,
    })
}

/// Moves the process into a network namespace without interfaces, and returns the open list of
/// that namespace's interfaces as evidence.
pub fn enter_empty_namespaces() -> Result<File, SandboxError> {
    let mut flags = CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWCGROUP;
    if !geteuid().is_root() {
        flags |= CloneFlags::CLONE_NEWUSER;
    }
    step(
        "enter an empty network namespace (needs root or user namespaces)",
        unshare(flags),
    )?;
    let open = File::open("/proc/self/net/dev");
    open.map_err(|source| SandboxError::Step {
        step: "open the list of its own interfaces",
        source,
    })
}

/// Replaces the root directory with an empty one that cannot be written. `place` is any directory.
pub fn forget_files(place: &Path) -> Result<(), SandboxError> {
    let nothing: Option<&str> = None;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    step(
        "make its mounts private",
        mount(nothing, "/", nothing, private, nothing),
    )?;
    let empty = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    step(
        "mount an empty root",
        mount(
            Some("tmpfs"),
            place,
            Some("tmpfs"),
            empty,
            Some("size=4k,nr_inodes=4"),
        ),
    )?;
    step("enter the empty root", chdir(place))?;
    step("make the empty root its own", pivot_root(".", "."))?;
    step("leave the old root", umount2(".", MntFlags::MNT_DETACH))?;
    step("enter the empty root", chdir("/"))
}

/// Gives up all rights; a process that was not root has none to give up but for good.
pub fn drop_privileges(run_as: Option<Owner>) -> Result<(), SandboxError> {
    step("forbid core dumps", setrlimit(Resource::RLIMIT_CORE, 0, 0))?;
    let (_, most) = step(
        "read its limit of descriptors",
        getrlimit(Resource::RLIMIT_NOFILE),
    )?;
    step(
        "raise its limit of descriptors",
        setrlimit(Resource::RLIMIT_NOFILE, most, most),
    )?;
    if run_as.is_some() || nix::unistd::getuid().is_root() {
        become_user(run_as.unwrap_or(NOBODY))?;
    }
    step("give up new privileges", prctl::set_no_new_privs())
}

fn become_user(owner: Owner) -> Result<(), SandboxError> {
    let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
    step("leave its groups", setgroups(&[]))?;
    step("change its group", setresgid(gid, gid, gid))?;
    step("change its user", setresuid(uid, uid, uid))
}
