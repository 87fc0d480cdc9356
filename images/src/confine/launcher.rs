//! The parent's side.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::{Answer, Attempts, Limits, Proof, Question, Step, Task, wire};
use crate::error::ImageError;
use crate::printable::printable_bytes;

/// The program that parses images.
const READER: &str = "lifeboat-image-reader";
const LONGEST_COMPLAINT: usize = 64 * 1024;

/// Called with every step of a conversion, and without one now and then.
pub(crate) type Watch<'a> = dyn FnMut(Option<Step>) -> ControlFlow<()> + 'a;

/// Starts confined children: which program, with which words before the question. Every question
/// blocks its thread, and its child dies with that thread.
#[derive(Debug, Clone)]
pub struct Confined {
    program: PathBuf,
    words: Vec<OsString>,
    limits: Limits,
}

impl Confined {
    /// `program`, started with `words`, must call `confined_main` (feature `reader`) with the rest of
    /// its arguments.
    pub fn new(
        program: impl Into<PathBuf>,
        words: impl IntoIterator<Item = impl AsRef<OsStr>>,
    ) -> Self {
        let words = words.into_iter().map(|word| word.as_ref().to_owned());
        Self {
            program: program.into(),
            words: words.collect(),
            limits: Limits::default(),
        }
    }

    /// The program `lifeboat-image-reader` in the folder of the running program.
    pub fn beside_this_program() -> Self {
        // Without `/proc` nothing is found; a bare name would be looked up in `PATH`.
        let running = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("/"));
        let folder = running.parent().unwrap_or(Path::new("/"));
        Self::new(folder.join(READER), [""; 0])
    }

    /// The running program itself, for programs that contain the reader.
    pub fn this_program(words: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        Self::new("/proc/self/exe", words)
    }

    /// With other limits.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// The limits of every child.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Lets a child try what it must not be able to do: read `read`, write `write`, connect to
    /// `connect`. For `lifeboat check` and for tests, with targets that exist.
    pub fn prove(
        &self,
        read: &Path,
        write: &Path,
        connect: SocketAddr,
    ) -> Result<Proof, ImageError> {
        let image = File::open(read).map_err(ImageError::io("open", read))?;
        let attempts = Attempts {
            read: read.to_owned(),
            write: write.to_owned(),
            connect,
        };
        let question = Question {
            task: Task::Prove(attempts),
            layers: Vec::new(),
            with_qemu: false,
            limits: self.limits.clone(),
        };
        match self.ask(read, &[&image], &question)? {
            Answer::Proof(proof) => Ok(proof),
            _ => Err(died(read, "gave an answer to another question".to_owned())),
        }
    }

    /// Asks about `files`, which are open; `path` is the one to name in messages.
    pub(crate) fn ask(
        &self,
        path: &Path,
        files: &[&File],
        question: &Question,
    ) -> Result<Answer, ImageError> {
        self.ask_and_watch(path, files, question, &mut |_| ControlFlow::Continue(()))
    }

    /// [`Confined::ask`], with a look at every step of a conversion, after which it may end.
    pub(crate) fn ask_and_watch(
        &self,
        path: &Path,
        files: &[&File],
        question: &Question,
        watch: &mut Watch<'_>,
    ) -> Result<Answer, ImageError> {
        let failed = |error: io::Error| confinement(path, error.to_string());
        let text = serde_json::to_string(question)
            .map_err(|error| confinement(path, error.to_string()))?;
        let (ours, theirs) = wire::pair().map_err(failed)?;
        let mut group = ProcessGroup(self.start(path, theirs)?);
        match wire::send(ours, files, &text) {
            // How it ended says more.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            sent => sent.map_err(failed)?,
        }
        let heard = self
            .listen(&mut group.0, &question.limits, watch)
            .map_err(failed)?;
        let status = group.end().map_err(failed)?;
        if heard.stopped {
            return Err(ImageError::Stopped);
        }
        match judge(path, heard, status, &question.limits)? {
            Answer::Refused(refusal) => Err(ImageError::refused(path, refusal)),
            Answer::NoWalls(reason) => Err(confinement(path, reason)),
            answer => Ok(answer),
        }
    }

    fn start(&self, path: &Path, stdin: OwnedFd) -> Result<Child, ImageError> {
        Command::new(&self.program)
            .args(&self.words)
            .env_clear()
            .env(
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            )
            .env("LC_ALL", "C")
            .current_dir("/")
            .stdin(Stdio::from(stdin))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(|error| confinement(path, self.not_started(&error)))
    }

    fn not_started(&self, error: &io::Error) -> String {
        let program = self.program.display();
        if error.kind() == io::ErrorKind::NotFound {
            return format!("the program `{program}` is missing; build it with `./setup`");
        }
        format!("the program `{program}` cannot be run ({error})")
    }

    /// Reads both pipes until they close, the time is over, the answer is too long or the watcher
    /// has seen enough. Every step that leads further than those before starts the time anew.
    fn listen(
        &self,
        child: &mut Child,
        limits: &Limits,
        watch: &mut Watch<'_>,
    ) -> io::Result<Heard> {
        let patience = Duration::from_secs(limits.wall_seconds);
        let mut deadline = Instant::now() + patience;
        let mut heard = Heard::default();
        let mut furthest = None;
        let (mut stdout, mut stderr) = (child.stdout.take(), child.stderr.take());
        while stdout.is_some() || stderr.is_some() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                heard.late = Some(processor_time(child.id()));
                break;
            }
            wait_for(&stdout, &stderr, left)?;
            drain(&mut stdout, &mut heard.answer, limits.answer + 1)?;
            drain(&mut stderr, &mut heard.complaint, LONGEST_COMPLAINT)?;
            let step = heard.newest_step();
            let done = step.map(|step| step.done);
            if done > furthest {
                furthest = done;
                deadline = Instant::now() + patience;
            }
            heard.stopped = watch(step).is_break();
            if heard.stopped || heard.answer.len() > limits.answer {
                break;
            }
        }
        Ok(heard)
    }
}

#[derive(Default)]
struct Heard {
    answer: Vec<u8>,
    complaint: Vec<u8>,
    /// The processor time of a child whose time on the clock was over.
    late: Option<Duration>,
    stopped: bool,
}

impl Heard {
    /// Takes whole lines of progress out of what was heard, and gives the last of them. Other lines
    /// stay and make an answer that nobody can read.
    fn newest_step(&mut self) -> Option<Step> {
        let end = self.answer.iter().rposition(|byte| *byte == b'\n')?;
        let last = self.answer[..end].rsplit(|byte| *byte == b'\n').next()?;
        let Ok(Answer::Converting(step)) = serde_json::from_slice(last) else {
            return None;
        };
        self.answer.drain(..=end);
        Some(step)
    }
}

/// Waits until a pipe has something, and says nothing: [`drain`] asks each pipe again.
fn wait_for(
    stdout: &Option<impl AsFd>,
    stderr: &Option<impl AsFd>,
    left: Duration,
) -> io::Result<()> {
    let mut watched = Vec::new();
    watched.extend(
        stdout
            .as_ref()
            .map(|pipe| PollFd::new(pipe.as_fd(), PollFlags::POLLIN)),
    );
    watched.extend(
        stderr
            .as_ref()
            .map(|pipe| PollFd::new(pipe.as_fd(), PollFlags::POLLIN)),
    );
    // Short, so that a watcher may end what says nothing.
    let left = left.min(Duration::from_millis(500)) + Duration::from_millis(1);
    let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
    match poll(&mut watched, timeout) {
        Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Reads once if the pipe is ready; forgets it at its end; keeps at most `bound` bytes.
fn drain<P: Read + AsFd>(pipe: &mut Option<P>, into: &mut Vec<u8>, bound: usize) -> io::Result<()> {
    let Some(open) = pipe else {
        return Ok(());
    };
    let mut ready = [PollFd::new(open.as_fd(), PollFlags::POLLIN)];
    if !matches!(poll(&mut ready, PollTimeout::ZERO), Ok(1..)) {
        return Ok(());
    }
    let mut buffer = [0; 16 * 1024];
    let count = open.read(&mut buffer)?;
    let room = bound.saturating_sub(into.len()).min(count);
    into.extend_from_slice(&buffer[..room]);
    if count == 0 {
        *pipe = None;
    }
    Ok(())
}

/// What a group of processes used up so far, of those that are still there.
fn processor_time(group: u32) -> Duration {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let ticks = entries.filter_map(|entry| {
        entry.file_name().to_str()?.parse::<u32>().ok()?;
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        // The name of the program may hold anything, so what counts comes after its end.
        let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
        let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
        (number(2)? == u64::from(group)).then(|| Some(number(11)? + number(12)?))?
    });
    let ticks = ticks.sum::<u64>();
    let a_second = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK);
    let a_second = a_second
        .ok()
        .flatten()
        .and_then(|ticks| u64::try_from(ticks).ok());
    Duration::from_millis(ticks * 1000 / a_second.unwrap_or(100).max(1))
}

/// A child and all that it started; gone when this is dropped.
struct ProcessGroup(Child);

impl ProcessGroup {
    /// Kills what is left and gives how the child ended. A child that closed its pipes by ending
    /// has its exit status already, the signal does not change it.
    fn end(&mut self) -> io::Result<ExitStatus> {
        self.kill();
        self.0.wait()
    }

    fn kill(&self) {
        if let Ok(group) = i32::try_from(self.0.id()) {
            // ESRCH only says that all of them are gone.
            let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
        }
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            self.kill();
            let _ = self.0.wait();
        }
    }
}

/// `limits` are those of the question.
fn judge(
    path: &Path,
    heard: Heard,
    status: ExitStatus,
    limits: &Limits,
) -> Result<Answer, ImageError> {
    if heard.answer.len() > limits.answer {
        return Err(died(path, "talked without end".to_owned()));
    }
    if let Some(processor) = heard.late {
        return Err(ImageError::NotDone {
            path: path.to_owned(),
            seconds: limits.wall_seconds,
            processor: processor.as_secs(),
        });
    }
    if !status.success() {
        tracing::debug!(
            path = %path.display(),
            complaint = printable_bytes(&heard.complaint),
            "confined reader died"
        );
        return Err(died(path, last_words(status)));
    }
    serde_json::from_slice(&heard.answer)
        .map_err(|_| died(path, "gave no readable answer".to_owned()))
}

fn last_words(status: ExitStatus) -> String {
    match (
        status.code(),
        status
            .signal()
            .and_then(|number| Signal::try_from(number).ok()),
    ) {
        (_, Some(Signal::SIGXCPU)) => "used up its processor time".to_owned(),
        (_, Some(Signal::SIGKILL)) => "used up its processor time or memory".to_owned(),
        (_, Some(signal)) => format!("crashed ({signal})"),
        (Some(code), None) => format!("gave up (exit code {code})"),
        (None, None) => "ended strangely".to_owned(),
    }
}

fn died(path: &Path, how: String) -> ImageError {
    ImageError::ReaderDied {
        path: path.to_owned(),
        how,
    }
}

fn confinement(path: &Path, reason: String) -> ImageError {
    ImageError::Confinement {
        path: path.to_owned(),
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask_shell(script: &str, wall_seconds: u64, steps: &mut u32) -> String {
        let reader = Confined::new("/bin/sh", ["-c", script]);
        let question = Question {
            task: Task::Inspect,
            layers: Vec::new(),
            with_qemu: false,
            limits: Limits {
                wall_seconds,
                ..Limits::default()
            },
        };
        let mut watch = |step: Option<Step>| {
            *steps += u32::from(step.is_some());
            ControlFlow::Continue(())
        };
        let answer = reader.ask_and_watch(Path::new("/x"), &[], &question, &mut watch);
        answer.unwrap_err().to_string()
    }

    #[test]
    fn what_only_takes_long_is_no_word_against_the_image() {
        let error = ask_shell("exec sleep 1000", 1, &mut 0);
        let whole = "not done with `/x` after 1 s (0 s of processor time): \
                     try again when the host is less busy";
        assert_eq!(error, whole);
    }

    #[test]
    fn the_processor_time_is_that_of_the_whole_group() {
        let own = processor_time(nix::unistd::getpgrp().as_raw().unsigned_abs());
        let began = Instant::now();
        while processor_time(nix::unistd::getpgrp().as_raw().unsigned_abs()) == own {
            assert!(began.elapsed() < Duration::from_secs(60));
        }
    }

    #[test]
    fn a_step_that_leads_nowhere_buys_no_time() {
        let line = serde_json::to_string(&Answer::Converting(Step {
            done: 1,
            total: 2,
            written: crate::conversion::Checkpoint::default(),
            synced: false,
        }));
        let line = line.unwrap();
        let script = format!("for i in $(seq 100); do echo '{line}'; sleep 0.2; done");
        let mut steps = 0;
        let error = ask_shell(&script, 5, &mut steps);
        assert!(error.contains("after 5 s"), "{error}");
        assert!(steps > 1, "it said it only once");
    }

    #[test]
    fn a_missing_reader_is_named_with_what_to_do() {
        let image = tempfile::NamedTempFile::new().unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], 9));
        // Tests lie in a folder of their own, where no reader is.
        let reader = Confined::beside_this_program();
        let error = reader
            .prove(image.path(), image.path(), address)
            .unwrap_err();
        assert!(matches!(error, ImageError::Confinement { .. }), "{error}");
        let folder = std::env::current_exe().unwrap().with_file_name(READER);
        for words in [&*folder.to_string_lossy(), "./setup"] {
            assert!(error.to_string().contains(words), "{error}");
        }
    }
}
