//! The one thread that owns the switch's state and moves every frame.
//!
//! It waits in one epoll for kicks of all guests and for commands. Port threads and the control
//! socket only send commands; the engine waits for nobody, so no lock order exists to get wrong.
//! The only locks it takes are those of single rings, shared with the vhost-user request loop.

mod delivery;
mod port;

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::config::Topology;
use crate::endpoint::Endpoint;
use crate::forwarding::Forwarding;
use crate::frame::{ETHERTYPE_EXPERIMENTAL, ETHERTYPE_IPV4, Offload, PROTOCOL_UDP, ethernet, ipv4};
use crate::mac::MacAddr;
use crate::probe::{Probe, ProbeResult, milliseconds};
use crate::router::{Ingress, Output, Router};
use crate::status::{NetworkStatus, PortStatus, SwitchStatus, interfaces};
use crate::stream::Stream;
use crate::unanswered::Unanswered;
use crate::vhost_port::Link;
use port::PortState;

const WAKE: u64 = u64::MAX;
/// How long another thread waits for the engine before it goes on without an answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Where canaries try to get out: the documentation networks, a multicast group, everybody.
const OUTSIDE: [[u8; 4]; 5] = [
    [192, 0, 2, 1],
    [198, 51, 100, 1],
    [203, 0, 113, 1],
    [239, 255, 255, 250],
    [255, 255, 255, 255],
];

/// What other threads ask of the engine.
pub enum Command {
    /// QEMU connected to a port.
    Connected {
        /// The port.
        port: usize,
    },
    /// QEMU connected to a port that speaks frames.
    StreamConnected {
        /// The port.
        port: usize,
        /// The connection.
        stream: Stream,
        /// Dropped when the connection is over.
        held: Sender<()>,
    },
    /// A guest's driver started a ring.
    RingStarted {
        /// The port.
        port: usize,
        /// 0 towards the guest, 1 from it.
        ring: usize,
        /// Both rings.
        link: Link,
    },
    /// A guest's driver stopped a ring.
    RingStopped {
        /// The port.
        port: usize,
        /// 0 towards the guest, 1 from it.
        ring: usize,
        /// Told when the engine has let go.
        done: Sender<()>,
    },
    /// QEMU went away.
    Disconnected {
        /// The port.
        port: usize,
        /// Told when the engine has let go.
        done: Sender<()>,
    },
    /// Report the state.
    Status(Sender<SwitchStatus>),
    /// Report whom the machines asked for in vain.
    Unanswered(Sender<Vec<Unanswered>>),
    /// Ask a machine.
    Probe {
        /// What to ask.
        probe: Probe,
        /// For how long to wait.
        timeout: Duration,
        /// Where the result goes.
        reply: Sender<ProbeResult>,
    },
    /// Try to get frames with this token out of the switch.
    Canary {
        /// The token.
        token: Vec<u8>,
        /// Told how many were sent.
        reply: Sender<u64>,
    },
    /// End.
    Stop,
}

/// A way to send commands to the engine.
#[derive(Clone)]
pub struct EngineHandle {
    commands: Sender<Command>,
    wake: Arc<EventFd>,
}

impl EngineHandle {
    /// Sends a command.
    pub fn tell(&self, command: Command) {
        // A closed channel or a full counter: the engine has ended, or is awake already.
        let _ = self.commands.send(command);
        let _ = self.wake.write(1);
    }

    /// Sends a command and waits for its answer; `None` when the engine has ended.
    pub fn ask<T>(&self, command: impl FnOnce(Sender<T>) -> Command) -> Option<T> {
        self.ask_within(PATIENCE, command)
    }

    /// Like [`Self::ask`], with another limit.
    pub fn ask_within<T>(
        &self,
        limit: Duration,
        command: impl FnOnce(Sender<T>) -> Command,
    ) -> Option<T> {
        let (sender, receiver) = channel();
        self.tell(command(sender));
        receiver.recv_timeout(limit).ok()
    }
}

/// The engine.
pub struct Engine {
    session: String,
    topology: Topology,
    started: Instant,
    commands: Receiver<Command>,
    wake: Arc<EventFd>,
    epoll: Epoll,
    interfaces: Option<File>,
    forwarding: Forwarding,
    router: Router,
    endpoint: Endpoint,
    ports: Vec<PortState>,
    ready: VecDeque<usize>,
    buffer: Vec<u8>,
    outputs: Vec<Output>,
}

impl Engine {
    /// An engine for a site; `interfaces` is an open `/proc/self/net/dev` of the right namespace.
    pub fn new(
        session: &str,
        topology: Topology,
        interfaces: Option<File>,
    ) -> io::Result<(Self, EngineHandle)> {
        let wake = Arc::new(EventFd::from_flags(
            EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC,
        )?);
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(&*wake, EpollEvent::new(EpollFlags::EPOLLIN, WAKE))?;
        let (sender, commands) = channel();
        let handle = EngineHandle {
            commands: sender,
            wake: wake.clone(),
        };
        let engine = Self {
            session: session.to_owned(),
            started: Instant::now(),
            commands,
            wake,
            epoll,
            interfaces,
            forwarding: Forwarding::new(&topology),
            router: Router::new(&topology),
            endpoint: Endpoint::new(&topology, seed()),
            ports: topology
                .ports
                .iter()
                .map(|_| PortState::default())
                .collect(),
            ready: VecDeque::new(),
            buffer: Vec::new(),
            outputs: Vec::new(),
            topology,
        };
        Ok((engine, handle))
    }

    /// Serves until told to stop.
    pub fn run(mut self) -> io::Result<()> {
        loop {
            self.wait()?;
            while let Ok(command) = self.commands.try_recv() {
                if matches!(command, Command::Stop) {
                    return Ok(());
                }
                self.apply(command);
            }
            for _ in 0..self.ready.len() {
                self.forward_next();
            }
            self.tick();
        }
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn wait(&mut self) -> io::Result<()> {
        let mut events = [EpollEvent::empty(); 64];
        let timeout = self.timeout();
        let count = match self.epoll.wait(&mut events, timeout) {
            Ok(count) => count,
            Err(Errno::EINTR) => 0,
            Err(error) => return Err(error.into()),
        };
        for event in &events[..count] {
            match event.data() {
                WAKE => drop(self.wake.read()),
                key => self.kicked((key / 2) as usize, (key % 2) as usize),
            }
        }
        Ok(())
    }

    fn timeout(&mut self) -> EpollTimeout {
        if !self.ready.is_empty() {
            return EpollTimeout::ZERO;
        }
        let now = self.now();
        let blocked = self
            .ports
            .iter()
            .filter_map(|port| port.blocked.map(|blocked| blocked.deadline))
            .min();
        let next = [
            blocked,
            self.router.next_tick(),
            self.endpoint.next_poll(now),
        ]
        .into_iter()
        .flatten()
        .min();
        let Some(next) = next else {
            return EpollTimeout::NONE;
        };
        let left = next.saturating_sub(now);
        let milliseconds = if left.is_zero() {
            0
        } else {
            left.as_millis().saturating_add(1)
        };
        EpollTimeout::try_from(milliseconds).unwrap_or(EpollTimeout::MAX)
    }

    fn tick(&mut self) {
        let now = self.now();
        for port in 0..self.ports.len() {
            if self.ports[port]
                .blocked
                .is_some_and(|blocked| blocked.deadline <= now)
            {
                self.make_ready(port);
            }
        }
        self.router.tick(now, &mut self.outputs);
        self.send_outputs();
        let mut packets = Vec::new();
        let router = &self.router;
        self.endpoint.poll(
            now,
            |network, address| router.is_known(network, address),
            &mut packets,
        );
        for (network, packet) in packets {
            self.router
                .send_local(now, network, &packet, &mut self.outputs);
        }
        self.send_outputs();
        self.signal();
    }

    fn apply(&mut self, command: Command) {
        // A requester that has gone away does not want its answer.
        match command {
            Command::Connected { port } => self.connected(port),
            Command::StreamConnected { port, stream, held } => {
                self.stream_connected(port, stream, held);
            }
            Command::RingStarted { port, ring, link } => self.ring_started(port, ring, link),
            Command::RingStopped { port, ring, done } => {
                self.ring_stopped(port, ring);
                let _ = done.send(());
            }
            Command::Disconnected { port, done } => {
                self.disconnected(port);
                let _ = done.send(());
            }
            Command::Status(reply) => {
                let _ = reply.send(self.status());
            }
            Command::Unanswered(reply) => {
                let _ = reply.send(self.router.unanswered().list());
            }
            Command::Probe {
                probe,
                timeout,
                reply,
            } => self.endpoint.probe(self.now(), probe, timeout, reply),
            Command::Canary { token, reply } => {
                let _ = reply.send(self.canary(&token));
            }
            Command::Stop => {}
        }
    }

    /// Floods the token into every network, and sends it to outside addresses by way of the router.
    fn canary(&mut self, token: &[u8]) -> u64 {
        let mut sent = 0;
        for network in 0..self.topology.networks.len() {
            let (mac, address) = (
                self.topology.networks[network].mac,
                self.topology.networks[network].endpoint,
            );
            let flood = ethernet(MacAddr::BROADCAST, mac, ETHERTYPE_EXPERIMENTAL, token);
            self.outputs.push(Output::Frame {
                network,
                offload: Offload::default(),
                frame: flood,
            });
            sent += 1;
            for to in OUTSIDE {
                let packet = ipv4(address, to.into(), PROTOCOL_UDP, &discard_datagram(token));
                let mut frame = ethernet(mac, mac, ETHERTYPE_IPV4, &packet);
                let at = Ingress {
                    network,
                    port: None,
                };
                self.router.route(
                    self.now(),
                    at,
                    &Offload::default(),
                    &mut frame,
                    &mut self.outputs,
                );
                let flood = ethernet(MacAddr::BROADCAST, mac, ETHERTYPE_IPV4, &packet);
                self.outputs.push(Output::Frame {
                    network,
                    offload: Offload::default(),
                    frame: flood,
                });
                sent += 2;
            }
        }
        self.send_outputs();
        self.signal();
        sent
    }

    fn status(&mut self) -> SwitchStatus {
        let ports: Vec<PortStatus> = (0..self.ports.len())
            .map(|port| self.port_status(port))
            .collect();
        let total = |field: fn(&PortStatus) -> u64| ports.iter().map(field).sum();
        SwitchStatus {
            session: self.session.clone(),
            pid: std::process::id(),
            uptime_ms: milliseconds(self.now()),
            frames: total(|port| port.counters.frames_in),
            bytes: total(|port| port.counters.bytes_in),
            dropped: total(|port| port.counters.dropped),
            unanswered_overflow: self.router.unanswered().overflow(),
            host_interfaces: self.host_interfaces(),
            networks: self.topology.networks.iter().map(network_status).collect(),
            ports,
        }
    }

    fn port_status(&self, port: usize) -> PortStatus {
        let (configured, state) = (&self.topology.ports[port], &self.ports[port]);
        PortStatus {
            id: configured.id.clone(),
            machine: configured.machine.clone(),
            network: self.topology.networks[configured.network].name.clone(),
            mac: configured.mac,
            connected: state.connected,
            link_up: state.stream.is_some()
                || state.link.as_ref().is_some_and(|link| link.receive.is_up()),
            connections: state.connections,
            counters: state.counters,
            learned: self.forwarding.learned(port),
        }
    }

    /// Not being able to look is reported as an interface: silence must not count as isolation.
    fn host_interfaces(&mut self) -> Vec<String> {
        let mut text = String::new();
        let read = self
            .interfaces
            .as_mut()
            .map(|file| file.rewind().and_then(|()| file.read_to_string(&mut text)));
        match read {
            Some(Ok(length)) if length > 0 => interfaces(&text),
            _ => vec!["unknown: /proc/self/net/dev could not be read".to_owned()],
        }
    }
}

fn network_status(network: &crate::config::Network) -> NetworkStatus {
    NetworkStatus {
        name: network.name.clone(),
        cidr: network.cidr,
        endpoint: network.endpoint,
        endpoint_mac: network.mac,
        is_gateway: network.routed,
    }
}

/// A UDP datagram to the discard port around the token; without checksum, which IPv4 allows.
fn discard_datagram(token: &[u8]) -> Vec<u8> {
    let length = u16::try_from(8 + token.len()).unwrap_or(u16::MAX);
    let mut datagram = vec![0, 9, 0, 9];
    datagram.extend_from_slice(&length.to_be_bytes());
    datagram.extend_from_slice(&[0, 0]);
    datagram.extend_from_slice(token);
    datagram
}

/// Different for each start, so that connections of a killed switch are not mistaken for new ones.
fn seed() -> u64 {
    let time = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    time.as_nanos() as u64 ^ u64::from(std::process::id()).rotate_left(32)
}

#[cfg(test)]
mod tests;
