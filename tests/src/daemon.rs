//! `lifeboat serve` under the hand of a test.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::command::{Outcome, Running};
use crate::waiting::eventually;

/// A start may tear down what an earlier daemon left.
const START: Duration = Duration::from_secs(90);

/// A running daemon. Dropping it asks it to end in order.
pub struct Daemon {
    running: Running,
    socket: PathBuf,
}

impl Daemon {
    #[track_caller]
    pub(crate) fn new(mut running: Running, socket: PathBuf) -> Self {
        eventually("the daemon's socket", START, || {
            assert!(
                !running.has_ended(),
                "the daemon ended at its start: {:#?}",
                running.said()
            );
            UnixStream::connect(&socket).ok()
        });
        Self { running, socket }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// Its socket.
    pub fn socket(&self) -> &std::path::Path {
        &self.socket
    }

    /// Waits for a line on standard error that holds `word`.
    #[track_caller]
    pub fn wait_for(&mut self, word: &str, limit: Duration) -> String {
        self.running.wait_for(word, limit)
    }

    /// Ends it as a crash would.
    #[track_caller]
    pub fn crash(self) -> Outcome {
        self.running.signal(Signal::SIGKILL);
        self.running.finish()
    }

    /// Ends it in order.
    #[track_caller]
    pub fn stop(self) -> Outcome {
        self.running.signal(Signal::SIGTERM);
        self.running.finish()
    }
}
