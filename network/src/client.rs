//! The daemon's side of the control socket.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::control::{Request, Response};
use crate::probe::{Probe, ProbeResult};
use crate::status::SwitchStatus;
use crate::unanswered::Unanswered;

const MAX_RESPONSE: u64 = 32 << 20;
const PATIENCE: Duration = Duration::from_secs(10);

/// Asks a switch process. Cheap to clone; each request has its own connection, so any number may
/// run at once.
#[derive(Debug, Clone)]
pub struct SwitchClient {
    socket: PathBuf,
}

/// Why a request to the switch failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The switch could not be reached, or the connection broke.
    #[error("failed to talk to the switch at `{}`", socket.display())]
    Talk {
        /// Its socket.
        socket: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The switch answered with something else.
    #[error("the switch at `{}` answered `{answer}`", socket.display())]
    Answer {
        /// Its socket.
        socket: PathBuf,
        /// What it said.
        answer: String,
    },
}

impl SwitchClient {
    /// A client for the switch that listens on this control socket.
    #[must_use]
    pub fn new(socket: &Path) -> Self {
        Self {
            socket: socket.to_owned(),
        }
    }

    /// The state of the switch.
    pub async fn status(&self) -> Result<SwitchStatus, ClientError> {
        match self.ask(&Request::Status, PATIENCE).await? {
            Response::Status { status } => Ok(*status),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Asks a machine, for at most `limit`.
    pub async fn probe(&self, probe: Probe, limit: Duration) -> Result<ProbeResult, ClientError> {
        let timeout_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        match self
            .ask(
                &Request::Probe { probe, timeout_ms },
                limit.saturating_add(PATIENCE),
            )
            .await?
        {
            Response::Probe { result } => Ok(result),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Whom the machines asked for in vain.
    pub async fn unanswered(&self) -> Result<Vec<Unanswered>, ClientError> {
        match self.ask(&Request::Unanswered, PATIENCE).await? {
            Response::Unanswered { unanswered } => Ok(unanswered),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Lets the switch try to get frames with `token` out; returns how many it sent.
    pub async fn canary(&self, token: &str) -> Result<u64, ClientError> {
        match self
            .ask(
                &Request::Canary {
                    token: token.to_owned(),
                },
                PATIENCE,
            )
            .await?
        {
            Response::Canary { sent } => Ok(sent),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Ends the switch.
    pub async fn shutdown(&self) -> Result<(), ClientError> {
        match self.ask(&Request::Shutdown, PATIENCE).await? {
            Response::Stopping => Ok(()),
            other => Err(self.unexpected(&other)),
        }
    }

    async fn ask(&self, request: &Request, limit: Duration) -> Result<Response, ClientError> {
        let exchange = timeout(limit, self.exchange(request)).await;
        let late = || io::Error::new(io::ErrorKind::TimedOut, "no answer in time");
        let result = exchange.unwrap_or_else(|_| Err(late()));
        result.map_err(|source| ClientError::Talk {
            socket: self.socket.clone(),
            source,
        })
    }

    async fn exchange(&self, request: &Request) -> io::Result<Response> {
        let mut stream = UnixStream::connect(&self.socket).await?;
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        stream.write_all(&line).await?;
        let mut answer = Vec::new();
        BufReader::new(stream.take(MAX_RESPONSE))
            .read_until(b'\n', &mut answer)
            .await?;
        if answer.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(serde_json::from_slice(&answer)?)
    }

    fn unexpected(&self, response: &Response) -> ClientError {
        let answer = match response {
            Response::Error { message } => message.clone(),
            other => format!("{other:?}").chars().take(200).collect(),
        };
        ClientError::Answer {
            socket: self.socket.clone(),
            answer,
        }
    }
}
