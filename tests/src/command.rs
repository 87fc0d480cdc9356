//! `lifeboat` as a user runs it.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::waiting::{eventually, soon};

/// The longest that any command of the tests takes, on a busy machine.
const LIMIT: Duration = Duration::from_secs(900);
/// How long a command may need to end in order.
const ORDERLY: Duration = Duration::from_secs(90);

/// One call of `lifeboat`, or of a program that calls it.
pub struct Lifeboat {
    command: Command,
    limit: Duration,
}

impl Lifeboat {
    /// `lifeboat` on a state directory, with run files of its own.
    pub(crate) fn new(state: &Path, run: &Path) -> Self {
        Self::through(Command::new(crate::program("lifeboat")), state, run)
    }

    /// The same through another program that gets `lifeboat`'s words appended.
    pub(crate) fn through(mut command: Command, state: &Path, run: &Path) -> Self {
        // As a word, so that the process table shows whose process it is.
        command
            .arg("--state-dir")
            .arg(state)
            .env("LIFEBOAT_RUN_DIR", run)
            .env_remove("LIFEBOAT_LOG")
            .stdin(Stdio::null());
        Self {
            command,
            limit: LIMIT,
        }
    }

    /// Adds words of the command line.
    #[must_use]
    pub fn words<W: AsRef<OsStr>>(mut self, words: impl IntoIterator<Item = W>) -> Self {
        self.command.args(words);
        self
    }

    /// Sets a variable of its environment.
    #[must_use]
    pub fn variable(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// What it reads on standard input.
    #[must_use]
    pub fn reads(mut self, file: std::fs::File) -> Self {
        self.command.stdin(file);
        self
    }

    /// Asks for JSON on standard output.
    #[must_use]
    pub fn json(self) -> Self {
        self.words(["--format", "json"])
    }

    /// Ends it, and fails, after this time.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Runs it to its end.
    #[track_caller]
    pub fn run(self) -> Outcome {
        self.start().finish()
    }

    /// Starts it.
    #[track_caller]
    pub fn start(mut self) -> Running {
        let mut child = self
            .command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("failed to start {:?}: {error}", self.command));
        let stdout = child
            .stdout
            .take()
            .map(|pipe| std::thread::spawn(|| all(pipe)));
        let said = Arc::<Mutex<Vec<String>>>::default();
        let lines = said.clone();
        let stderr = child
            .stderr
            .take()
            .map(|pipe| std::thread::spawn(move || collect(pipe, &lines)));
        Running {
            child,
            stdout,
            stderr,
            said,
            limit: self.limit,
        }
    }
}

fn all(mut pipe: impl Read) -> String {
    let mut bytes = Vec::new();
    // What came before a broken pipe is still worth showing.
    let _ = pipe.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

fn collect(pipe: impl Read, lines: &Mutex<Vec<String>>) {
    for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line).into_owned();
        eprintln!("    | {line}");
        lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(line);
    }
}

/// A command on its way. Dropping it asks it to end in order.
pub struct Running {
    child: Child,
    stdout: Option<JoinHandle<String>>,
    stderr: Option<JoinHandle<()>>,
    said: Arc<Mutex<Vec<String>>>,
    limit: Duration,
}

impl Running {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything that it said on standard error so far.
    pub fn said(&self) -> Vec<String> {
        self.said
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Waits for a line on standard error that holds `word`.
    #[track_caller]
    pub fn wait_for(&mut self, word: &str, limit: Duration) -> String {
        eventually(&format!("`{word}` on standard error"), limit, || {
            let line = self.said().into_iter().find(|line| line.contains(word));
            assert!(
                line.is_some() || !self.has_ended(),
                "it ended before it said `{word}`: {:#?}",
                self.said()
            );
            line
        })
    }

    /// Waits until the session that it started has an id.
    #[track_caller]
    pub fn wait_for_session(&mut self, limit: Duration) -> String {
        // A daemon that starts speaks of earlier sessions as `session ID: ...`.
        let id_of = |line: &String| {
            let id = line.strip_prefix("session ")?;
            (!id.contains([':', ' '])).then(|| id.to_owned())
        };
        eventually("the id of a session", limit, || {
            let id = self.said().iter().find_map(id_of);
            let ended = id.is_none() && self.has_ended();
            assert!(!ended, "it ended before its session: {:#?}", self.said());
            id
        })
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        if let Ok(pid) = i32::try_from(self.child.id()) {
            // It may have ended by itself meanwhile.
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }

    /// Whether it ended.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for its end.
    #[track_caller]
    pub fn finish(mut self) -> Outcome {
        let limit = self.limit;
        let status = eventually("the end of a command", limit, || {
            self.child.try_wait().ok().flatten()
        });
        let stdout = self.stdout.take().and_then(|reader| reader.join().ok());
        drop(self.stderr.take().map(JoinHandle::join));
        Outcome {
            status,
            stdout: stdout.unwrap_or_default(),
            stderr: self.said().join("\n"),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        for signal in [Signal::SIGINT, Signal::SIGKILL] {
            if self.has_ended() {
                return;
            }
            self.signal(signal);
            let _ = soon(ORDERLY, || self.has_ended().then_some(()));
        }
    }
}

/// How a command ended and what it said.
#[derive(Debug)]
pub struct Outcome {
    /// How it ended.
    pub status: ExitStatus,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Outcome {
    /// Fails unless it ended with this exit code.
    #[track_caller]
    pub fn expect_code(&self, code: i32) -> &Self {
        assert!(
            self.status.code() == Some(code),
            "exit code {code} was expected, but: {:?}, signal {:?}\n--- stdout\n{}\n--- stderr\n{}",
            self.status.code(),
            self.status.signal(),
            self.stdout,
            self.stderr
        );
        self
    }

    /// Fails unless standard error holds each of these.
    #[track_caller]
    pub fn expect_said(&self, words: &[&str]) -> &Self {
        for word in words {
            assert!(
                self.stderr.contains(word),
                "`{word}` is not on standard error:\n{}",
                self.stderr
            );
        }
        self
    }

    /// Fails unless there is exactly one error and nothing on standard output.
    #[track_caller]
    pub fn expect_one_error(&self) -> &Self {
        let errors = self
            .stderr
            .lines()
            .filter(|line| line.starts_with("error: "));
        assert_eq!(
            errors.count(),
            1,
            "one error was expected:\n{}",
            self.stderr
        );
        assert_eq!(self.stdout, "", "a failed command prints no result");
        for noise in ["panicked", "RUST_BACKTRACE"] {
            assert!(!self.stderr.contains(noise), "{}", self.stderr);
        }
        self
    }

    /// Standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| {
            panic!(
                "standard output is not JSON ({error}):\n{}\n--- stderr\n{}",
                self.stdout, self.stderr
            )
        })
    }
}
