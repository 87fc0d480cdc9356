//! The control socket: one JSON request a line, one JSON response a line.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::engine::{Command, EngineHandle};
use crate::probe::{Probe, ProbeResult};
use crate::status::SwitchStatus;
use crate::unanswered::Unanswered;

const MAX_REQUEST: u64 = 64 << 10;
const MAX_CONNECTIONS: usize = 512;
const MAX_TIMEOUT: Duration = Duration::from_secs(600);
const MAX_TOKEN: usize = 1024;
/// After a failure to accept, before the next attempt.
const PAUSE: Duration = Duration::from_secs(1);
/// How much longer than the probe its requester waits for the engine.
const GRACE: Duration = Duration::from_secs(5);

/// What can be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Report the state.
    Status,
    /// Ask a machine.
    Probe {
        /// What to ask.
        probe: Probe,
        /// For how long to wait.
        timeout_ms: u64,
    },
    /// Report whom the machines asked for in vain.
    Unanswered,
    /// Try to get frames with this token out of the switch.
    Canary {
        /// The token.
        token: String,
    },
    /// End the process.
    Shutdown,
}

/// What comes back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "response", rename_all = "snake_case")]
pub enum Response {
    /// The state.
    Status {
        /// The state.
        status: Box<SwitchStatus>,
    },
    /// A machine's answer.
    Probe {
        /// The answer.
        result: ProbeResult,
    },
    /// Whom the machines asked for in vain.
    Unanswered {
        /// The list.
        unanswered: Vec<Unanswered>,
    },
    /// Frames with the token were sent.
    Canary {
        /// How many.
        sent: u64,
    },
    /// The process ends.
    Stopping,
    /// The request could not be served.
    Error {
        /// Why.
        message: String,
    },
}

/// Serves the control socket on threads of its own until the process ends.
pub fn spawn(listener: UnixListener, engine: EngineHandle) -> io::Result<()> {
    let open = Arc::new(AtomicUsize::new(0));
    let accept = move || {
        for stream in listener.incoming() {
            match stream {
                Ok(stream) => serve_apart(stream, &engine, &open),
                Err(error) => {
                    // Descriptors may be short for a moment.
                    tracing::error!(%error, "failed to accept a control connection");
                    thread::sleep(PAUSE);
                }
            }
        }
    };
    thread::Builder::new()
        .name("control".into())
        .spawn(accept)
        .map(drop)
}

fn serve_apart(stream: UnixStream, engine: &EngineHandle, open: &Arc<AtomicUsize>) {
    if open.fetch_add(1, Ordering::AcqRel) >= MAX_CONNECTIONS {
        open.fetch_sub(1, Ordering::AcqRel);
        return;
    }
    let (engine, count) = (engine.clone(), open.clone());
    let serve = move || {
        if let Err(error) = serve(&stream, &engine) {
            tracing::debug!(%error, "a control connection broke");
        }
        count.fetch_sub(1, Ordering::AcqRel);
    };
    if let Err(error) = thread::Builder::new()
        .name("request".into())
        .stack_size(256 << 10)
        .spawn(serve)
    {
        open.fetch_sub(1, Ordering::AcqRel);
        tracing::error!(%error, "failed to start a thread for a control connection");
    }
}

fn serve(stream: &UnixStream, engine: &EngineHandle) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = Vec::new();
        if (&mut reader)
            .take(MAX_REQUEST)
            .read_until(b'\n', &mut line)?
            == 0
        {
            return Ok(());
        }
        let response = match serde_json::from_slice(&line) {
            Ok(request) => answer(request, engine),
            Err(error) => Response::Error {
                message: format!("not a request: {error}"),
            },
        };
        let mut bytes = serde_json::to_vec(&response)?;
        bytes.push(b'\n');
        let mut stream = stream;
        stream.write_all(&bytes)?;
        if line.last() != Some(&b'\n') {
            return Ok(());
        }
    }
}

fn answer(request: Request, engine: &EngineHandle) -> Response {
    let answered = match request {
        Request::Status => engine.ask(Command::Status).map(|status| Response::Status {
            status: Box::new(status),
        }),
        Request::Unanswered => engine
            .ask(Command::Unanswered)
            .map(|unanswered| Response::Unanswered { unanswered }),
        Request::Probe { probe, timeout_ms } => {
            let timeout = Duration::from_millis(timeout_ms).min(MAX_TIMEOUT);
            let ask = |reply| Command::Probe {
                probe,
                timeout,
                reply,
            };
            engine
                .ask_within(timeout + GRACE, ask)
                .map(|result| Response::Probe { result })
        }
        Request::Canary { token } if token.is_empty() || token.len() > MAX_TOKEN => {
            Some(Response::Error {
                message: format!("a canary's token has 1 to {MAX_TOKEN} bytes"),
            })
        }
        Request::Canary { token } => {
            let ask = |reply| Command::Canary {
                token: token.into_bytes(),
                reply,
            };
            engine.ask(ask).map(|sent| Response::Canary { sent })
        }
        Request::Shutdown => {
            engine.tell(Command::Stop);
            Some(Response::Stopping)
        }
    };
    answered.unwrap_or_else(|| Response::Error {
        message: "the switch does not answer".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_protocol_reads_as_documented() {
        let text = r#"{"request":"probe","probe":{"kind":"tcp","address":"10.0.0.1","port":80},"timeout_ms":5}"#;
        let request: Request = serde_json::from_str(text).unwrap();
        assert!(matches!(request, Request::Probe { timeout_ms: 5, .. }));
        assert_eq!(
            serde_json::to_string(&Response::Stopping).unwrap(),
            r#"{"response":"stopping"}"#
        );
        assert!(serde_json::from_str::<Request>(&text.replace("80}", "80,\"x\":1}")).is_err());
    }
}
