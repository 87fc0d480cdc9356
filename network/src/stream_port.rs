//! The socket of a port that speaks frames: one listening socket, one connection at a time, for
//! ever. The thread only accepts; the engine reads and writes.

use std::os::unix::net::UnixListener;
use std::sync::mpsc::channel;
use std::{io, thread};

use crate::engine::{Command, EngineHandle};
use crate::stream::Stream;
use crate::vhost_port::PAUSE;

/// Serves a port on a thread of its own until the process ends.
pub fn spawn(
    port: usize,
    id: String,
    listener: UnixListener,
    engine: EngineHandle,
) -> io::Result<()> {
    let serve = move || {
        for connection in 0u64.. {
            match accept(&listener) {
                Ok(stream) => {
                    tracing::info!(port = id, connection, "QEMU connected");
                    hand_over(port, stream, &engine);
                    tracing::info!(port = id, connection, "QEMU disconnected");
                }
                Err(error) => {
                    // Descriptors may be short for a moment; QEMU tries again too.
                    tracing::error!(port = id, %error, "failed to accept a connection");
                    thread::sleep(PAUSE);
                }
            }
        }
    };
    thread::Builder::new()
        .name(format!("port-{port}"))
        .spawn(serve)
        .map(drop)
}

fn accept(listener: &UnixListener) -> io::Result<Stream> {
    Stream::new(listener.accept()?.0)
}

/// Returns when the engine has let go of the connection.
fn hand_over(port: usize, stream: Stream, engine: &EngineHandle) {
    let (held, gone) = channel();
    engine.tell(Command::StreamConnected { port, stream, held });
    // Nothing is ever sent: the engine drops its end with the connection.
    let _ = gone.recv();
}
