//! The watchdog: a small process of its own that stops the application when the lease ends,
//! whatever became of the agent.
//!
//! The agent says `arm NANOSECONDS` (on `CLOCK_BOOTTIME`) after every renewal and is answered
//! `ok`. When that moment passes without a later one, commands of the agent that
//! still run are killed and the fence commands are run until they succeed. What it needs for that it read at the
//! start and holds in locked memory; it allocates nothing that grows.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lifeboat_failover::lease::Moment;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::mman::{MlockAllFlags, mlockall};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::clock;
use super::config::Places;
use super::keep::{self, KeepError};
use crate::profile::Fence;

/// The longest that it sleeps while armed: a host that slept itself wakes it no earlier.
const LOOK: Duration = Duration::from_millis(250);
const CLIENTS: usize = 4;

/// Why there is no watchdog.
#[derive(Debug, thiserror::Error)]
pub enum WatchdogError {
    /// What it should do.
    #[error("failed to read what the watchdog has to do")]
    Fence(#[source] KeepError),
    /// Nobody wrote that down.
    #[error("nothing says what the watchdog has to do: the agent starts it by itself")]
    NoFence,
    /// Its socket.
    #[error("failed to listen at {}", .path.display())]
    Listen {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Waiting.
    #[error("failed to wait for events")]
    Wait(#[source] io::Error),
    /// It could not be started.
    #[error("failed to start the watchdog")]
    Start(#[source] io::Error),
    /// It does not answer.
    #[error("the watchdog does not answer")]
    Silent(#[source] io::Error),
}

/// For what the watchdog is armed, for an agent that starts again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Armed {
    pub(crate) boot: String,
    pub(crate) until: Moment,
}

/// The watchdog process. Returns when it is told to quit.
pub fn watchdog(places: &Places) -> Result<(), WatchdogError> {
    let fence = read_fence(places)?;
    let listener = listen(&places.socket())?;
    hold_on();
    let hardware = fence.hardware.as_ref().and_then(|path| {
        let opened = std::fs::OpenOptions::new().write(true).open(path);
        opened
            .inspect_err(|error| tracing::error!(path, %error, "no hardware watchdog"))
            .ok()
    });
    let mut dog = Dog {
        places: places.clone(),
        fence,
        armed: Moment::ZERO,
        hardware,
        boot: clock::boot_id(),
    };
    let mut clients = Vec::new();
    loop {
        dog.look();
        wait(&listener, &clients, dog.sleep())?;
        accept(&listener, &mut clients);
        let mut quit = false;
        clients.retain_mut(|client| match dog.serve(client) {
            Served::Stays => true,
            Served::Left => false,
            Served::Quit => {
                quit = true;
                false
            }
        });
        if quit {
            return Ok(());
        }
    }
}

fn read_fence(places: &Places) -> Result<Fence, WatchdogError> {
    keep::read(&places.fence())
        .map_err(WatchdogError::Fence)?
        .ok_or(WatchdogError::NoFence)
}

fn listen(path: &Path) -> Result<UnixListener, WatchdogError> {
    let error = |source| WatchdogError::Listen {
        path: path.to_owned(),
        source,
    };
    // Left behind by an earlier one: the agent asked it first and got no answer.
    let _ = std::fs::remove_file(path);
    let listener = UnixListener::bind(path).map_err(error)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(error)?;
    listener.set_nonblocking(true).map_err(error)?;
    Ok(listener)
}

/// Nothing else on the host may keep it from its work: not memory pressure, not load.
fn hold_on() {
    if let Err(error) = mlockall(MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE) {
        tracing::warn!(%error, "the watchdog's memory cannot be locked");
    }
    let own = std::process::id().to_string();
    let asked = Command::new("/usr/bin/chrt")
        .args(["--fifo", "--reset-on-fork", "--pid", "10", &own])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if !asked.is_ok_and(|status| status.success()) {
        tracing::warn!("the watchdog has no real-time priority");
    }
}

fn wait(
    listener: &UnixListener,
    clients: &[BufReader<UnixStream>],
    longest: Option<Duration>,
) -> Result<(), WatchdogError> {
    let mut descriptors = vec![PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
    for client in clients {
        descriptors.push(PollFd::new(client.get_ref().as_fd(), PollFlags::POLLIN));
    }
    let timeout = match longest {
        // Up to the next millisecond, so that it does not wake just before the moment.
        Some(time) => {
            u16::try_from(time.as_millis() + 1).map_or(PollTimeout::MAX, PollTimeout::from)
        }
        None => PollTimeout::NONE,
    };
    match poll(&mut descriptors, timeout) {
        Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
        Err(error) => Err(WatchdogError::Wait(error.into())),
    }
}

fn accept(listener: &UnixListener, clients: &mut Vec<BufReader<UnixStream>>) {
    while let Ok((stream, _)) = listener.accept() {
        if clients.len() == CLIENTS {
            clients.remove(0);
        }
        if stream.set_nonblocking(true).is_ok() {
            clients.push(BufReader::with_capacity(512, stream));
        }
    }
}

enum Served {
    Stays,
    Left,
    Quit,
}

struct Dog {
    places: Places,
    fence: Fence,
    armed: Moment,
    hardware: Option<std::fs::File>,
    boot: String,
}

impl Dog {
    fn sleep(&self) -> Option<Duration> {
        let armed =
            (self.armed > Moment::ZERO).then(|| self.armed.saturating_sub(clock::now()).min(LOOK));
        match self.hardware {
            Some(_) => Some(armed.unwrap_or(LOOK)),
            None => armed,
        }
    }

    /// The moment has passed: stop the application, whatever it takes.
    fn look(&mut self) {
        self.pat();
        if self.armed == Moment::ZERO || clock::now() < self.armed {
            return;
        }
        tracing::error!("the lease ended and nobody renewed it: stopping the application");
        kill_marked(&self.places.groups());
        let mut attempts = 0;
        while !run_fence(&self.fence) {
            attempts += 1;
            if attempts >= self.fence.attempts && self.fence.restart_host {
                restart_host();
            }
            // A hardware watchdog is not patted here: a host that cannot stop is restarted by it.
            std::thread::sleep(Duration::from_secs(1));
        }
        self.arm(Moment::ZERO);
    }

    fn pat(&mut self) {
        if let Some(hardware) = &mut self.hardware {
            // What cannot be patted bites; that is its purpose.
            let _ = hardware.write_all(b"1");
        }
    }

    fn arm(&mut self, until: Moment) {
        let armed = Armed {
            boot: self.boot.clone(),
            until,
        };
        let write = serde_json::to_vec(&armed).map(|bytes| {
            let path = self.places.armed();
            let beside = path.with_extension("new");
            // In memory: an agent that starts again reads it, a reboot clears it.
            std::fs::write(&beside, bytes).and_then(|()| std::fs::rename(&beside, &path))
        });
        if !matches!(write, Ok(Ok(()))) {
            tracing::warn!("an agent that starts again will not know of this lease");
        }
        self.armed = until;
    }

    fn serve(&mut self, client: &mut BufReader<UnixStream>) -> Served {
        let mut line = String::new();
        match client.by_ref().take(256).read_line(&mut line) {
            Ok(0) => return Served::Left,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && line.is_empty() => {
                return Served::Stays;
            }
            Err(_) => return Served::Left,
            Ok(_) => {}
        }
        let mut words = line.split_whitespace();
        let (verb, object) = (words.next(), words.next());
        let number = object.and_then(|object| object.parse::<u64>().ok());
        match (verb, number) {
            (Some("arm"), Some(nanoseconds)) => self.arm(Duration::from_nanos(nanoseconds)),
            (Some("reload"), None) => match read_fence(&self.places) {
                Ok(fence) => self.fence = fence,
                Err(_) => return Served::Left,
            },
            (Some("quit"), None) => {
                // Without the letter a hardware watchdog would restart the host now.
                let _ = self
                    .hardware
                    .as_mut()
                    .map(|hardware| hardware.write_all(b"V"));
                return Served::Quit;
            }
            _ => return Served::Left,
        }
        match client.get_mut().write_all(b"ok\n") {
            Ok(()) => Served::Stays,
            Err(_) => Served::Left,
        }
    }
}

/// Commands of the agent that still run could start what is being stopped.
pub(crate) fn kill_marked(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let group = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<i32>().ok());
        if let Some(group) = group.filter(|group| *group > 1) {
            // It may have ended by itself.
            let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
        }
    }
}

/// Runs every fence command, and says whether all of them succeeded.
pub(crate) fn run_fence(fence: &Fence) -> bool {
    let limit = Duration::from_secs(fence.within_s.into());
    let mut ok = true;
    for argv in &fence.commands {
        if let Err(reason) = run_command(argv, limit) {
            tracing::error!(program = argv.first(), %reason, "a fence command failed");
            ok = false;
        }
    }
    ok
}

fn run_command(argv: &[String], limit: Duration) -> Result<(), String> {
    let (program, arguments) = argv.split_first().ok_or("no program")?;
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .env("PATH", super::command::PATH)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .map_err(|error| format!("it cannot be started: {error}"))?;
    let end = Instant::now() + limit;
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(()),
            Ok(Some(status)) => return Err(status.to_string()),
            Ok(None) if Instant::now() < end => std::thread::sleep(Duration::from_millis(5)),
            _ => {
                kill_group(&mut child);
                return Err(format!("it did not end within {} s", limit.as_secs()));
            }
        }
    }
}

fn kill_group(child: &mut Child) {
    if let Ok(group) = i32::try_from(child.id()) {
        // It may be gone already.
        let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
    }
    let _ = child.wait();
}

/// Restarts the host without asking any service: they had their chance.
pub(crate) fn restart_host() {
    tracing::error!("the application cannot be stopped: restarting the host");
    for key in [b"s", b"b"] {
        let _ = std::fs::write("/proc/sysrq-trigger", key);
    }
    let _ = nix::sys::reboot::reboot(nix::sys::reboot::RebootMode::RB_AUTOBOOT);
}

/// The agent's end.
#[derive(Debug)]
pub(crate) struct Leash {
    places: Places,
    program: PathBuf,
    stream: Option<BufReader<UnixStream>>,
}

/// Local and tiny: whoever takes longer is stopped or gone.
const ANSWER: Duration = Duration::from_millis(500);

impl Leash {
    /// Nothing is started yet.
    pub(crate) fn new(places: &Places, program: PathBuf) -> Self {
        Self {
            places: places.clone(),
            program,
            stream: None,
        }
    }

    /// Writes down what the watchdog has to do, and sees that one runs that knows it.
    pub(crate) fn prepare(&mut self, fence: &Fence) -> Result<(), WatchdogError> {
        keep::write(&self.places.fence(), fence).map_err(WatchdogError::Fence)?;
        self.say("reload")
    }

    /// Arms it; zero disarms. When this returns it is armed.
    pub(crate) fn arm(&mut self, until: Moment) -> Result<(), WatchdogError> {
        let nanoseconds = u64::try_from(until.as_nanos()).unwrap_or(u64::MAX);
        self.say(&format!("arm {nanoseconds}"))
    }

    fn say(&mut self, line: &str) -> Result<(), WatchdogError> {
        match self.try_say(line) {
            Ok(()) => return Ok(()),
            Err(_) => self.stream = None,
        }
        // The connection broke, or nobody is there.
        if self.connect().is_err() {
            self.start()?;
        }
        self.try_say(line).map_err(WatchdogError::Silent)
    }

    fn try_say(&mut self, line: &str) -> io::Result<()> {
        let stream = self.stream.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        stream.get_mut().write_all(format!("{line}\n").as_bytes())?;
        let mut answer = String::new();
        stream.by_ref().take(16).read_line(&mut answer)?;
        match answer.as_str() {
            "ok\n" => Ok(()),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    fn connect(&mut self) -> io::Result<()> {
        let stream = UnixStream::connect(self.places.socket())?;
        stream.set_read_timeout(Some(ANSWER))?;
        stream.set_write_timeout(Some(ANSWER))?;
        self.stream = Some(BufReader::with_capacity(64, stream));
        Ok(())
    }

    /// In a session of its own: it outlives the agent.
    fn start(&mut self) -> Result<(), WatchdogError> {
        let mut child = Command::new(&self.program)
            .arg("watchdog")
            .arg("--state-dir")
            .arg(&self.places.state)
            .arg("--run-dir")
            .arg(&self.places.run)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(WatchdogError::Start)?;
        let end = Instant::now() + Duration::from_secs(5);
        loop {
            match self.connect() {
                Ok(()) => break,
                Err(error) if Instant::now() > end => return Err(WatchdogError::Silent(error)),
                Err(_) if matches!(child.try_wait(), Ok(Some(_))) => {
                    return Err(WatchdogError::Start(io::ErrorKind::Interrupted.into()));
                }
                Err(_) => std::thread::sleep(Duration::from_millis(5)),
            }
        }
        // Nobody waits for it: reaped when it ends.
        std::thread::Builder::new()
            .stack_size(64 * 1024)
            .spawn(move || child.wait())
            .map(drop)
            .map_err(WatchdogError::Start)
    }
}

/// For what the watchdog is armed in this boot of the host; zero when it is not.
pub(crate) fn armed_until(places: &Places) -> Moment {
    match keep::read::<Armed>(&places.armed()) {
        Ok(Some(armed)) if armed.boot == clock::boot_id() => armed.until,
        _ => Moment::ZERO,
    }
}
