//! One launch: start, listen to the console, give up in time.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::memfd::{MFdFlags, memfd_create};

use super::qemu::Machine;
use super::{MicroVmError, host, spawn_unsafe};

/// How much of the console is remembered.
const CONSOLE: usize = 16 << 10;
/// Between two looks at whether the work is still wanted.
const PATIENCE: Duration = Duration::from_millis(250);
/// How many of its lines an error shows.
const LINES: usize = 12;

/// How a launch ended.
pub(super) struct End {
    /// QEMU's exit status.
    pub status: String,
    /// The console's last lines, safe for a terminal.
    pub console: String,
}

/// A file without a name that any user may read through its descriptor.
pub(super) fn in_memory(name: &str, content: &[u8]) -> io::Result<OwnedFd> {
    let fd = memfd_create(name, MFdFlags::MFD_CLOEXEC)?;
    let mut file = File::from(fd);
    file.write_all(content)?;
    Ok(file.into())
}

/// Runs the machine to its end.
pub(super) fn run(machine: &Machine, cancelled: &AtomicBool) -> Result<End, MicroVmError> {
    let (mut console, writer) = io::pipe().map_err(host("making a pipe for the console"))?;
    let errors = writer
        .try_clone()
        .map_err(host("making a pipe for the console"))?;
    let mut command = Command::new(&machine.vm.qemu);
    command
        .args(machine.arguments())
        .stdin(Stdio::null())
        .stdout(writer)
        .stderr(errors);
    command.env_clear().current_dir("/");
    spawn_unsafe::confine(&mut command, &machine.descriptors(), machine.vm.run_as);
    let starting = format!("starting {}", machine.vm.qemu.display());
    let child = command.spawn().map_err(host(starting))?;
    // The command holds the pipe's writing end, and its end is awaited.
    drop(command);
    let mut child = Running(child);
    let timeout = machine.vm.timeout;
    let mut tail = Tail::default();
    let heard = listen(&mut console, Instant::now() + timeout, cancelled, &mut tail);
    match heard.map_err(host("reading the console"))? {
        Heard::Everything => {}
        Heard::Cancelled => return Err(MicroVmError::Cancelled),
        Heard::NoEnd => {
            return Err(MicroVmError::Timeout {
                seconds: timeout.as_secs(),
                console: tail.last_lines(),
            });
        }
    }
    let status = child.0.wait().map_err(host("waiting for QEMU"))?;
    tracing::debug!(%status, console = tail.last_lines(), "injection micro-VM ended");
    Ok(End {
        status: status.to_string(),
        console: tail.last_lines(),
    })
}

/// Kills QEMU on every way out.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}

enum Heard {
    Everything,
    NoEnd,
    Cancelled,
}

/// Reads until QEMU closes its console.
fn listen(
    console: &mut io::PipeReader,
    end: Instant,
    cancelled: &AtomicBool,
    tail: &mut Tail,
) -> io::Result<Heard> {
    let mut buffer = [0; 4096];
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(Heard::NoEnd);
        }
        if cancelled.load(Ordering::Relaxed) {
            return Ok(Heard::Cancelled);
        }
        let mut ready = [PollFd::new(console.as_fd(), PollFlags::POLLIN)];
        let wait = left.min(PATIENCE).as_millis() as i32;
        let timeout = PollTimeout::try_from(wait.max(1)).unwrap_or(PollTimeout::MAX);
        match poll(&mut ready, timeout) {
            Ok(0) | Err(nix::errno::Errno::EINTR) => continue,
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        match console.read(&mut buffer)? {
            0 => return Ok(Heard::Everything),
            count => tail.push(&buffer[..count]),
        }
    }
}

#[derive(Default)]
struct Tail {
    bytes: VecDeque<u8>,
}

impl Tail {
    fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
        let excess = self.bytes.len().saturating_sub(CONSOLE);
        self.bytes.drain(..excess);
    }

    fn last_lines(&self) -> String {
        let bytes: Vec<u8> = self.bytes.iter().copied().collect();
        let text: String = String::from_utf8_lossy(&bytes)
            .chars()
            .filter(|letter| !letter.is_control() || *letter == '\n')
            .collect();
        let lines: Vec<&str> = text
            .lines()
            .filter(|line| !line.trim().is_empty())
            .collect();
        let start = lines.len().saturating_sub(LINES);
        lines[start..].join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_is_bounded_and_harmless() {
        let mut tail = Tail::default();
        for number in 0..5000 {
            tail.push(format!("line {number} \u{1b}[2J\r\n").as_bytes());
        }
        assert!(tail.bytes.len() <= CONSOLE);
        let lines = tail.last_lines();
        assert_eq!(lines.lines().count(), LINES);
        assert!(lines.ends_with("line 4999 [2J"));
    }
}
