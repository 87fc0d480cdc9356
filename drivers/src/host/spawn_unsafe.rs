//! Starting QEMU confined: the one place that runs code between fork and exec.
#![expect(
    unsafe_code,
    reason = "Command::pre_exec is the only way to confine a child before exec"
)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::{set_no_new_privs, set_pdeathsig};
use nix::sys::signal::Signal;
use nix::unistd::{Gid, Uid, getppid, setgroups, setresgid, setresuid};

/// Arranges that the child dies with this thread, has no network, keeps the
/// given descriptors and is nobody special.
pub(super) fn confine(command: &mut Command, keep: &[BorrowedFd], run_as: Option<(u32, u32)>) {
    let keep: Vec<RawFd> = keep.iter().map(AsRawFd::as_raw_fd).collect();
    let parent = nix::unistd::getpid();
    let prepare = move || -> io::Result<()> {
        // Where unprivileged, QEMU has no network device all the same.
        let isolated = unshare(CloneFlags::CLONE_NEWNET);
        if run_as.is_some() {
            isolated?;
        }
        if let Some((user, group)) = run_as {
            let (user, group) = (Uid::from_raw(user), Gid::from_raw(group));
            setgroups(&[])?;
            setresgid(group, group, group)?;
            setresuid(user, user, user)?;
        }
        set_no_new_privs()?;
        // After the change of user, which clears it.
        set_pdeathsig(Signal::SIGKILL)?;
        if getppid() != parent {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        for fd in &keep {
            // SAFETY: the parent holds these descriptors open until exec.
            let fd = unsafe { BorrowedFd::borrow_raw(*fd) };
            fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty()))?;
        }
        Ok(())
    };
    // SAFETY: the closure makes system calls only: no allocation, no lock.
    unsafe { command.pre_exec(prepare) };
}
