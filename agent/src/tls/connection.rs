//! Frames over a connection.

use std::io;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};

use crate::wire::{Decoder, FrameError, encode};

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// It broke.
    #[error("the connection broke")]
    Broken(#[source] io::Error),
    /// The other end closed it.
    #[error("the other end closed the connection")]
    Closed,
    /// The other end was silent for too long, or took nothing in.
    #[error("nothing came through for {} s", .0.as_secs_f32())]
    Silent(Duration),
    /// What arrived, or should be sent, is not a frame.
    #[error("what came over the connection cannot be understood")]
    Frame(#[source] FrameError),
}

/// The end that sends.
#[derive(Debug)]
pub struct Sender<S> {
    stream: WriteHalf<S>,
}

/// The end that receives.
#[derive(Debug)]
pub struct Receiver<S> {
    stream: ReadHalf<S>,
    decoder: Decoder,
    buffer: Vec<u8>,
}

/// Both ends of a connection, to be used by different tasks.
pub fn split<S: AsyncRead + AsyncWrite>(stream: S) -> (Sender<S>, Receiver<S>) {
    let (read, write) = tokio::io::split(stream);
    let receiver = Receiver {
        stream: read,
        decoder: Decoder::default(),
        buffer: vec![0; 8 * 1024],
    };
    (Sender { stream: write }, receiver)
}

impl<S: AsyncRead + AsyncWrite> Sender<S> {
    /// Sends a message; the other end has to take it in within `limit`.
    pub async fn send<T: Serialize>(
        &mut self,
        message: &T,
        limit: Duration,
    ) -> Result<(), ConnectionError> {
        let frame = encode(message).map_err(ConnectionError::Frame)?;
        let write = async {
            self.stream.write_all(&frame).await?;
            self.stream.flush().await
        };
        tokio::time::timeout(limit, write)
            .await
            .map_err(|_| ConnectionError::Silent(limit))?
            .map_err(ConnectionError::Broken)
    }

    /// Says goodbye.
    pub async fn close(&mut self) {
        // The connection is given up in any case.
        let _ = tokio::time::timeout(Duration::from_secs(1), self.stream.shutdown()).await;
    }
}

impl<S: AsyncRead> Receiver<S> {
    /// The next message, which has to be complete within `limit`. May be cancelled without loss.
    pub async fn receive<T: DeserializeOwned>(
        &mut self,
        limit: Duration,
    ) -> Result<T, ConnectionError> {
        tokio::time::timeout(limit, self.whole())
            .await
            .map_err(|_| ConnectionError::Silent(limit))?
    }

    async fn whole<T: DeserializeOwned>(&mut self) -> Result<T, ConnectionError> {
        loop {
            if let Some(message) = self.decoder.take().map_err(ConnectionError::Frame)? {
                return Ok(message);
            }
            let read = self.stream.read(&mut self.buffer).await;
            match read.map_err(ConnectionError::Broken)? {
                0 => return Err(ConnectionError::Closed),
                count => self.decoder.push(&self.buffer[..count]),
            }
        }
    }
}
