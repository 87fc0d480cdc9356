//! Commands: bounded in time and output, and nothing of them is left behind.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

/// The most bytes that are kept of what a command prints.
const OUTPUT: usize = 64 * 1024;

/// Where commands find programs, those of the fence too.
pub(crate) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a command did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Output {
    /// Its exit code; `None` when a signal ended it.
    pub(crate) code: Option<i32>,
    /// What it printed.
    pub(crate) printed: String,
    /// What it complained of.
    pub(crate) complained: String,
}

/// Why a command did nothing useful.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandError {
    #[error("failed to start `{program}`")]
    Start {
        program: String,
        #[source]
        source: io::Error,
    },
    #[error("`{program}` was killed: it did not end within {} s", limit.as_secs())]
    Slow { program: String, limit: Duration },
    #[error("failed to hear `{program}` out")]
    Hear {
        program: String,
        #[source]
        source: io::Error,
    },
}

impl Output {
    /// What it said, on one short line, for evidence.
    pub(crate) fn line(&self) -> String {
        let said = if self.complained.trim().is_empty() {
            &self.printed
        } else {
            &self.complained
        };
        let line = said.split_whitespace().collect::<Vec<_>>().join(" ");
        let line: String = line
            .chars()
            .filter(|one| !one.is_control())
            .take(300)
            .collect();
        match self.code {
            Some(0) => line,
            Some(code) => format!("exit code {code}: {line}"),
            None => format!("ended by a signal: {line}"),
        }
    }
}

/// A process group: killed when it goes out of scope, unless it ended by itself. Marked in a
/// folder, so that the watchdog can kill it too.
struct Group {
    id: Option<Pid>,
    mark: Option<PathBuf>,
}

impl Group {
    fn of(child: &Child, marks: Option<&Path>) -> Self {
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        let mark = id
            .zip(marks)
            .map(|(id, folder)| folder.join(id.to_string()));
        if let Some(mark) = &mark {
            // Without a mark the watchdog cannot kill it; it stops the application all the same.
            let _ = std::fs::write(mark, "");
        }
        Self {
            id: id.map(Pid::from_raw),
            mark,
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.id {
            // It may be gone already.
            let _ = killpg(group, Signal::SIGKILL);
        }
        if let Some(mark) = &self.mark {
            let _ = std::fs::remove_file(mark);
        }
    }
}

/// What a command is given.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Given<'a> {
    /// On its standard input.
    pub(crate) input: Option<&'a str>,
    /// How long it may take.
    pub(crate) limit: Duration,
    /// Where its process group is marked, if it changes anything.
    pub(crate) marks: Option<&'a Path>,
    /// The folder that it runs in.
    pub(crate) folder: &'a Path,
    /// Its environment, beside what every command has.
    pub(crate) environment: &'a [(&'a str, String)],
}

impl<'a> Given<'a> {
    /// A command that only looks.
    pub(crate) fn looks(limit: Duration) -> Self {
        Self::changes(limit, None)
    }

    /// A command that may change something.
    pub(crate) fn changes(limit: Duration, marks: Option<&'a Path>) -> Self {
        Self {
            input: None,
            limit,
            marks,
            folder: Path::new("/"),
            environment: &[],
        }
    }
}

/// Runs a command, no shell. What it started is killed with it at the end of the time; when it
/// ended by itself, what it left behind (a service) goes on.
pub(crate) async fn run(argv: &[String], given: Given<'_>) -> Result<Output, CommandError> {
    let Given {
        input,
        limit,
        marks,
        ..
    } = given;
    let program = argv.first().cloned().unwrap_or_default();
    let mut child = start(argv, given).map_err(|source| CommandError::Start {
        program: program.clone(),
        source,
    })?;
    let mut group = Group::of(&child, marks);
    let heard = tokio::time::timeout(limit, hear(&mut child, input)).await;
    match heard {
        Err(_) => Err(CommandError::Slow { program, limit }),
        Ok(Err(source)) => Err(CommandError::Hear { program, source }),
        Ok(Ok((status, printed, complained))) => {
            group.id = None;
            Ok(Output {
                code: status.code(),
                printed: text(printed),
                complained: text(complained),
            })
        }
    }
}

fn start(argv: &[String], given: Given<'_>) -> io::Result<Child> {
    let (program, arguments) = argv.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    Command::new(program)
        .args(arguments)
        .current_dir(given.folder)
        .env_clear()
        .env("PATH", PATH)
        .env("LC_ALL", "C")
        .envs(given.environment.iter().map(|(name, value)| (name, value)))
        .stdin(if given.input.is_some() {
            Stdio::piped()
        } else {
            Stdio::null()
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
}

async fn hear(
    child: &mut Child,
    input: Option<&str>,
) -> io::Result<(ExitStatus, Vec<u8>, Vec<u8>)> {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let write = async {
        if let (Some(mut stdin), Some(input)) = (stdin, input) {
            // A command may well end before it has read everything.
            let _ = stdin.write_all(input.as_bytes()).await;
        }
        std::future::pending::<()>().await
    };
    let (mut printed, mut complained) = (Vec::new(), Vec::new());
    let listen = async { tokio::join!(keep(stdout, &mut printed), keep(stderr, &mut complained)) };
    let status = tokio::select! {
        status = end(child, listen) => status?,
        () = write => unreachable!("it waits for ever"),
    };
    Ok((status, printed, complained))
}

/// Waits for the end of the command, not for the end of its output: a service that it started may
/// hold that open for ever.
async fn end(child: &mut Child, listen: impl Future) -> io::Result<ExitStatus> {
    tokio::pin!(listen);
    let status = tokio::select! {
        status = child.wait() => status?,
        _ = &mut listen => return child.wait().await,
    };
    // What is in the pipe already.
    let _ = tokio::time::timeout(Duration::from_millis(200), listen).await;
    Ok(status)
}

async fn keep(stream: Option<impl AsyncRead + Unpin>, kept: &mut Vec<u8>) {
    let Some(mut stream) = stream else { return };
    let mut buffer = vec![0; 4096];
    while let Ok(count) = stream.read(&mut buffer).await {
        if count == 0 {
            return;
        }
        let room = OUTPUT.saturating_sub(kept.len()).min(count);
        kept.extend_from_slice(&buffer[..room]);
    }
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8_lossy(&bytes).into_owned()
}
