//! A port as the engine sees it: coming, going, kicks.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::sync::mpsc::Sender;
use std::time::Duration;

use nix::sys::epoll::{EpollEvent, EpollFlags};

use super::Engine;
use crate::frame::Offload;
use crate::ring::Delivery;
use crate::status::Counters;
use crate::stream::Stream;
use crate::vhost_port::Link;

pub(super) const RECEIVE: usize = 0;
pub(super) const TRANSMIT: usize = 1;

/// The engine's state of a port.
#[derive(Default)]
pub(super) struct PortState {
    pub connected: bool,
    pub connections: u64,
    pub link: Option<Link>,
    /// Of a port that speaks frames; the sender tells its thread that it is gone.
    pub stream: Option<(Stream, Sender<()>)>,
    pub kicks: [Option<File>; 2],
    pub counters: Counters,
    /// In the queue of ports that have something to send.
    pub is_ready: bool,
    /// Held because a receiver is full.
    pub blocked: Option<Blocked>,
    /// Ports that are held because this one is full.
    pub waiters: Vec<usize>,
    /// Took nothing for a whole deadline: nobody waits for it until it shows life.
    pub stalled: bool,
    /// Frames that nobody can hold back: floods and what the switch itself sends.
    pub backlog: VecDeque<(Offload, Vec<u8>)>,
    pub backlog_bytes: usize,
    /// Has used entries the guest must be told about.
    pub touched: bool,
}

impl PortState {
    /// Hands frames to whoever is plugged in, all or none.
    pub fn deliver(&mut self, offload: &Offload, frames: &[&[u8]]) -> Delivery {
        match (&self.link, &mut self.stream) {
            (Some(link), _) => link
                .receive
                .deliver(link.features.layout(), offload, frames),
            (None, Some((stream, _))) => stream.deliver(frames),
            (None, None) => Delivery::Down,
        }
    }
}

/// Why and how long a port is held.
#[derive(Debug, Clone, Copy)]
pub(super) struct Blocked {
    pub destination: usize,
    pub deadline: Duration,
}

impl Engine {
    pub(super) fn connected(&mut self, port: usize) {
        self.ports[port].connected = true;
        self.ports[port].connections += 1;
    }

    pub(super) fn stream_connected(&mut self, port: usize, stream: Stream, held: Sender<()>) {
        let (input, output) = match stream
            .watched()
            .and_then(|input| Ok((input, stream.watched()?)))
        {
            Ok((input, output)) => (OwnedFd::from(input), OwnedFd::from(output)),
            Err(error) => {
                tracing::error!(port, %error, "failed to copy a connection's descriptor");
                return;
            }
        };
        self.connected(port);
        self.ports[port].stream = Some((stream, held));
        // Each edge is told once: the engine reads and writes until it would block.
        let edge = EpollFlags::EPOLLET;
        self.watch(port, TRANSMIT, input.into(), EpollFlags::EPOLLIN | edge);
        self.watch(port, RECEIVE, output.into(), EpollFlags::EPOLLOUT | edge);
    }

    pub(super) fn ring_started(&mut self, port: usize, ring: usize, link: Link) {
        if ring > TRANSMIT {
            return;
        }
        self.forget_kick(port, ring);
        match (if ring == RECEIVE {
            &link.receive
        } else {
            &link.transmit
        })
        .kick()
        {
            Ok(Some(kick)) => self.watch(port, ring, kick, EpollFlags::EPOLLIN),
            Ok(None) => {}
            Err(error) => tracing::error!(port, ring, %error, "failed to copy a kick descriptor"),
        }
        tracing::debug!(
            port,
            ring,
            features = format!("{:#x}", link.features.0),
            "ring started"
        );
        self.ports[port].link = Some(link);
        match ring {
            RECEIVE => self.has_room(port),
            _ => self.make_ready(port),
        }
    }

    pub(super) fn ring_stopped(&mut self, port: usize, ring: usize) {
        if ring > TRANSMIT {
            return;
        }
        self.forget_kick(port, ring);
        match ring {
            // Whoever waits for this guest goes on, and finds it gone.
            RECEIVE => self.has_room(port),
            _ => self.ports[port].blocked = None,
        }
    }

    pub(super) fn disconnected(&mut self, port: usize) {
        self.ring_stopped(port, RECEIVE);
        self.ring_stopped(port, TRANSMIT);
        let state = &mut self.ports[port];
        state.link = None;
        state.stream = None;
        state.connected = false;
        state.backlog.clear();
        state.backlog_bytes = 0;
    }

    /// A guest kicked one of its rings.
    pub(super) fn kicked(&mut self, port: usize, ring: usize) {
        let Some(state) = self.ports.get(port) else {
            return;
        };
        let Some(mut kick) = state.kicks[ring].as_ref() else {
            return;
        };
        if state.stream.is_none() {
            // Read only to reset the counter; an empty one was read by somebody else.
            let _ = kick.read(&mut [0; 8]);
        }
        match ring {
            RECEIVE => self.has_room(port),
            _ if state.blocked.is_some() => {}
            _ => self.make_ready(port),
        }
    }

    /// A guest has (or may have) new receive buffers.
    pub(super) fn has_room(&mut self, port: usize) {
        self.ports[port].stalled = false;
        if let Some((stream, _)) = &mut self.ports[port].stream {
            stream.has_room();
        }
        self.flush_backlog(port);
        for waiter in std::mem::take(&mut self.ports[port].waiters) {
            self.make_ready(waiter);
        }
    }

    pub(super) fn make_ready(&mut self, port: usize) {
        if !std::mem::replace(&mut self.ports[port].is_ready, true) {
            self.ready.push_back(port);
        }
    }

    fn watch(&mut self, port: usize, ring: usize, kick: File, flags: EpollFlags) {
        let key = (port * 2 + ring) as u64;
        match self.epoll.add(&kick, EpollEvent::new(flags, key)) {
            Ok(()) => self.ports[port].kicks[ring] = Some(kick),
            Err(error) => tracing::error!(port, ring, %error, "failed to watch a ring"),
        }
    }

    /// QEMU holds the same descriptor, so closing ours would not end the watch.
    fn forget_kick(&mut self, port: usize, ring: usize) {
        if let Some(kick) = self.ports[port].kicks[ring].take()
            && let Err(error) = self.epoll.delete(&kick)
        {
            tracing::error!(port, ring, %error, "failed to stop watching a ring");
        }
    }
}
