//! The command line's side of the API, over the daemon's UNIX socket.

use std::path::{Path, PathBuf};

use anyhow::Context;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use super::WrongUse;
use super::api::ApiError;
use crate::events::Event;

/// An answer larger than this is refused.
const ANSWER_LIMIT: usize = 256 << 20;

/// Talks to one daemon; every request has its own connection.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    /// A client of the daemon that listens on `socket`.
    pub fn new(socket: &Path) -> Self {
        Self {
            socket: socket.to_path_buf(),
        }
    }

    /// Whether a daemon answers there.
    pub async fn is_served(&self) -> bool {
        UnixStream::connect(&self.socket).await.is_ok()
    }

    /// A request with one answer.
    pub async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> anyhow::Result<T> {
        let response = self.request(method, path, body).await?;
        let status = response.status();
        let answer = http_body_util::Limited::new(response.into_body(), ANSWER_LIMIT)
            .collect()
            .await;
        let bytes = answer
            .map_err(|error| anyhow::anyhow!("the daemon's answer broke off: {error}"))?
            .to_bytes();
        if status.is_success() {
            return serde_json::from_slice(&bytes).context("the daemon's answer is not understood");
        }
        match serde_json::from_slice::<ApiError>(&bytes) {
            Ok(error) => Err(failure(error.chain, error.wrong_use)),
            Err(_) => anyhow::bail!(
                "the daemon answered {status}: {}",
                String::from_utf8_lossy(&bytes)
            ),
        }
    }

    /// A request whose answer is a stream of events; returns the result.
    pub async fn watch(
        &self,
        path: &str,
        body: &impl Serialize,
        mut show: impl FnMut(&Event),
    ) -> anyhow::Result<serde_json::Value> {
        let response = self.request(Method::POST, path, body).await?;
        let mut body = response.into_body();
        let mut pending = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.context("the daemon ended in the middle of its work; start it again, or run any command, and it will tear down what it left")?;
            pending.extend_from_slice(frame.data_ref().map_or(&[][..], |bytes| bytes));
            while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
                let line: Vec<_> = pending.drain(..=end).collect();
                match serde_json::from_slice(&line)
                    .context("an event of the daemon is not understood")?
                {
                    Event::Result { value } => return Ok(value),
                    Event::Failed { chain, wrong_use } => return Err(failure(chain, wrong_use)),
                    event => show(&event),
                }
            }
        }
        anyhow::bail!(
            "the daemon ended in the middle of its work; start it again, or run any command, and it will tear down what it left"
        )
    }

    /// A request whose answer has no end.
    pub async fn open(&self, path: &str) -> anyhow::Result<Incoming> {
        let response = self.request(Method::GET, path, &()).await?;
        let status = response.status();
        anyhow::ensure!(status.is_success(), "the daemon answered {status}");
        Ok(response.into_body())
    }

    async fn request(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> anyhow::Result<Response<Incoming>> {
        let stream = UnixStream::connect(&self.socket).await.with_context(|| {
            format!("failed to reach the daemon at `{}`", self.socket.display())
        })?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(format!("/api/v1{path}"))
            .header(hyper::header::HOST, "lifeboat")
            .header(hyper::header::CONTENT_TYPE, "application/json")
            .header(lifeboat_centre::api::OPERATOR, operator())
            .body(Full::new(Bytes::from(serde_json::to_vec(body)?)))?;
        Ok(sender.send_request(request).await?)
    }
}

/// Who uses the command line, for the audit trail.
fn operator() -> String {
    let name = ["SUDO_USER", "USER", "LOGNAME"]
        .into_iter()
        .find_map(|name| std::env::var(name).ok());
    let plain =
        |name: &String| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic());
    name.filter(plain).unwrap_or_else(|| "root".to_owned())
}

/// The daemon's chain of causes as an error of this process.
fn failure(chain: Vec<String>, wrong_use: bool) -> anyhow::Error {
    let mut causes = chain.into_iter().rev();
    let innermost = causes
        .next()
        .unwrap_or_else(|| "the daemon gave no reason".into());
    let root: anyhow::Error = if wrong_use {
        WrongUse(innermost).into()
    } else {
        anyhow::Error::msg(innermost)
    };
    causes.fold(root, anyhow::Error::context)
}
