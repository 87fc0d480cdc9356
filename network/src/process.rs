//! The switch process as the daemon holds it: started, watched, restarted, ended.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use crate::client::{ClientError, SwitchClient};
use crate::config::{ConfigError, SwitchConfig};

const START: Duration = Duration::from_secs(15);
const STOP: Duration = Duration::from_secs(5);

/// A running switch. Dropping it leaves the process alone: guests outlive the daemon.
#[derive(Debug)]
pub struct SwitchProcess {
    binary: PathBuf,
    file: PathBuf,
    config: SwitchConfig,
    pid: u32,
    child: Option<Child>,
}

/// Why a switch process could not be started or ended.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// Its configuration is wrong.
    #[error("failed to use the switch's configuration")]
    Config(#[source] ConfigError),
    /// The program could not be run.
    #[error("failed to run `{}`", binary.display())]
    Run {
        /// The program.
        binary: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It ended, or said nothing, before it was ready.
    #[error("the switch did not become ready: {said}")]
    NotReady {
        /// What it said instead.
        said: String,
    },
    /// It does not answer.
    #[error("failed to reach the running switch")]
    Reach(#[source] ClientError),
    /// It could not be ended.
    #[error("failed to end the switch, process {pid}")]
    End {
        /// The process.
        pid: u32,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl SwitchProcess {
    /// Starts a switch and waits until all its sockets listen. Give the configuration a `log`:
    /// without one, what the switch says after its start is lost.
    pub async fn start(binary: &Path, config_file: &Path) -> Result<Self, ProcessError> {
        let config = SwitchConfig::load(config_file).map_err(ProcessError::Config)?;
        config.validate().map_err(ProcessError::Config)?;
        let child = spawn(binary, config_file).await?;
        let pid = child.id().unwrap_or_default();
        Ok(Self {
            binary: binary.into(),
            file: config_file.into(),
            config,
            pid,
            child: Some(child),
        })
    }

    /// Takes over a switch that an earlier daemon started.
    pub async fn adopt(binary: &Path, config_file: &Path) -> Result<Self, ProcessError> {
        let config = SwitchConfig::load(config_file).map_err(ProcessError::Config)?;
        let status = SwitchClient::new(&config.control_socket)
            .status()
            .await
            .map_err(ProcessError::Reach)?;
        Ok(Self {
            binary: binary.into(),
            file: config_file.into(),
            config,
            pid: status.pid,
            child: None,
        })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// What it was started with.
    #[must_use]
    pub fn config(&self) -> &SwitchConfig {
        &self.config
    }

    /// A client for its control socket.
    #[must_use]
    pub fn client(&self) -> SwitchClient {
        SwitchClient::new(&self.config.control_socket)
    }

    /// Whether the process is there.
    pub fn is_running(&mut self) -> bool {
        match self.child.as_mut() {
            Some(child) => matches!(child.try_wait(), Ok(None)),
            None => exists(self.pid),
        }
    }

    /// Returns when the process has ended.
    pub async fn ended(&mut self) {
        match self.child.as_mut() {
            Some(child) => drop(child.wait().await),
            None => {
                while exists(self.pid) {
                    sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    /// Ends whatever is left of the process and starts it again; QEMU reconnects by itself.
    pub async fn restart(&mut self) -> Result<(), ProcessError> {
        self.kill().await?;
        let child = spawn(&self.binary, &self.file).await?;
        self.pid = child.id().unwrap_or_default();
        self.child = Some(child);
        Ok(())
    }

    /// Ends the switch, politely first, and removes its sockets.
    pub async fn stop(mut self) -> Result<(), ProcessError> {
        if self.is_running() && self.client().shutdown().await.is_ok() {
            // A switch that does not keep its promise is killed below.
            let _ = timeout(STOP, self.ended()).await;
        }
        self.kill().await?;
        for socket in self
            .config
            .ports
            .iter()
            .map(|port| &port.socket)
            .chain([&self.config.control_socket])
        {
            // Gone already, or in the session's directory, which is removed as a whole.
            let _ = tokio::fs::remove_file(socket).await;
        }
        Ok(())
    }

    async fn kill(&mut self) -> Result<(), ProcessError> {
        if !self.is_running() {
            return Ok(());
        }
        let end = |source: io::Error| ProcessError::End {
            pid: self.pid,
            source,
        };
        let pid = i32::try_from(self.pid).map_err(|_| end(io::ErrorKind::InvalidInput.into()))?;
        kill(Pid::from_raw(pid), Signal::SIGKILL).map_err(|error| end(error.into()))?;
        let ended = timeout(STOP, self.ended()).await;
        let pid = self.pid;
        ended.map_err(|_| ProcessError::End {
            pid,
            source: io::ErrorKind::TimedOut.into(),
        })
    }
}

fn exists(pid: u32) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
}

async fn spawn(binary: &Path, config_file: &Path) -> Result<Child, ProcessError> {
    let mut command = Command::new(binary);
    // Its own process group: an interrupt meant for the daemon must not cut the guests' network.
    command
        .arg("--config")
        .arg(config_file)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command.process_group(0);
    let run = |source| ProcessError::Run {
        binary: binary.into(),
        source,
    };
    let mut child = command.spawn().map_err(run)?;
    match timeout(START, ready(&mut child)).await {
        Ok(Ok(())) => Ok(child),
        outcome => {
            let said = match outcome {
                Ok(Err(said)) => said,
                _ => format!("nothing within {} s", START.as_secs()),
            };
            // It may have ended by itself.
            let _ = child.kill().await;
            Err(ProcessError::NotReady { said })
        }
    }
}

async fn ready(child: &mut Child) -> Result<(), String> {
    let Some(stdout) = child.stdout.take() else {
        return Err("its output is not connected".to_owned());
    };
    let mut line = String::new();
    // An unreadable line is as good as none.
    let _ = BufReader::new(stdout.take(1024)).read_line(&mut line).await;
    if line.trim_end() == "ready" {
        return Ok(());
    }
    let mut said = String::new();
    if let Some(stderr) = child.stderr.take() {
        let _ = stderr.take(8192).read_to_string(&mut said).await;
    }
    Err(if said.trim().is_empty() {
        format!("it said `{}`", line.trim_end())
    } else {
        said.trim().to_owned()
    })
}
