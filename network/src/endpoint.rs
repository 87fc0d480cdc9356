//! The switch's own host in each network: asks the machines whether they are ready.
//!
//! TCP is smoltcp's, one interface for each network on the IP layer; the router finds the
//! Ethernet addresses. Pings are the router's packets with a table of who waits.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::sync::mpsc::Sender;
use std::time::Duration;

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{
    Checksum, ChecksumCapabilities, Device, DeviceCapabilities, Medium, RxToken, TxToken,
};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::time::Instant;
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr};

use crate::config::Topology;
use crate::frame::Ipv4;
use crate::http::{self, Progress};
use crate::probe::{Probe, ProbeResult};
use crate::router::{FIRST_PROBE_PORT, echo_request, parse_echo_reply};

const MAX_PROBES: usize = 256;
const RECEIVE_BUFFER: usize = 64 << 10;
const SEND_BUFFER: usize = 4 << 10;
/// A ping may get lost while a machine's card comes up.
const PING_AGAIN: Duration = Duration::from_millis(500);
/// How long a finished connection may take to close politely.
const FAREWELL: Duration = Duration::from_secs(2);

/// An IP packet that the endpoint sends into a network.
pub type Outgoing = (usize, Vec<u8>);

/// The switch's own host.
pub struct Endpoint {
    networks: Vec<Stack>,
    pings: Vec<Ping>,
    next_port: u16,
    next_identifier: u16,
}

struct Stack {
    cidr: ipnet::Ipv4Net,
    address: Ipv4Addr,
    interface: Interface,
    wire: Wire,
    sockets: SocketSet<'static>,
    connections: Vec<Connection>,
}

struct Waiter {
    started: Duration,
    deadline: Duration,
    reply: Sender<ProbeResult>,
}

struct Ping {
    network: usize,
    address: Ipv4Addr,
    identifier: u16,
    sequence: u16,
    next: Duration,
    waiter: Waiter,
}

struct Connection {
    handle: SocketHandle,
    address: Ipv4Addr,
    phase: Phase,
}

enum Phase {
    Connecting {
        waiter: Waiter,
        page: Option<Page>,
    },
    Reading {
        waiter: Waiter,
        page: Page,
        answer: Vec<u8>,
    },
    Leaving {
        until: Duration,
    },
}

struct Page {
    request: Vec<u8>,
    expect: Option<String>,
}

impl Endpoint {
    /// A host in every network of the site.
    #[must_use]
    pub fn new(topology: &Topology, seed: u64) -> Self {
        let networks = topology.networks.iter();
        let networks = networks
            .map(|network| Stack::new(network.cidr, network.endpoint, seed))
            .collect();
        let span = u64::from(u16::MAX - FIRST_PROBE_PORT);
        let next_port = FIRST_PROBE_PORT + u16::try_from(seed % span).unwrap_or_default();
        Self {
            networks,
            pings: Vec::new(),
            next_port,
            next_identifier: (seed >> 16) as u16,
        }
    }

    /// Starts a probe; the result goes to `reply`.
    pub fn probe(
        &mut self,
        now: Duration,
        probe: Probe,
        timeout: Duration,
        reply: Sender<ProbeResult>,
    ) {
        let waiter = Waiter {
            started: now,
            deadline: now + timeout,
            reply,
        };
        let address = probe.address();
        let Some(network) = self
            .networks
            .iter()
            .position(|stack| stack.cidr.contains(&address))
        else {
            return waiter.fail(now, format!("no network of the site contains {address}"));
        };
        let busy: usize = self
            .networks
            .iter()
            .map(|stack| stack.connections.len())
            .sum();
        if busy + self.pings.len() >= MAX_PROBES {
            return waiter.fail(now, format!("more than {MAX_PROBES} probes at once"));
        }
        match probe {
            Probe::Icmp { address } => self.ping(now, network, address, waiter),
            Probe::Tcp { port, .. } => self.connect(now, network, (address, port), None, waiter),
            Probe::Http {
                port,
                host,
                path,
                expect,
                ..
            } => match http::request(&host, &path) {
                Ok(request) => self.connect(
                    now,
                    network,
                    (address, port),
                    Some(Page { request, expect }),
                    waiter,
                ),
                Err(problem) => waiter.fail(now, problem),
            },
        }
    }

    fn ping(&mut self, now: Duration, network: usize, address: Ipv4Addr, waiter: Waiter) {
        self.next_identifier = self.next_identifier.wrapping_add(1);
        self.pings.push(Ping {
            network,
            address,
            identifier: self.next_identifier,
            sequence: 0,
            next: now,
            waiter,
        });
    }

    fn connect(
        &mut self,
        now: Duration,
        network: usize,
        to: (Ipv4Addr, u16),
        page: Option<Page>,
        waiter: Waiter,
    ) {
        let local = self.next_port;
        self.next_port = local.checked_add(1).unwrap_or(FIRST_PROBE_PORT);
        let stack = &mut self.networks[network];
        let buffer = |size: usize| SocketBuffer::new(vec![0; size]);
        let handle = stack
            .sockets
            .add(Socket::new(buffer(RECEIVE_BUFFER), buffer(SEND_BUFFER)));
        let from = (IpAddress::from(stack.address), local);
        let socket = stack.sockets.get_mut::<Socket<'_>>(handle);
        match socket.connect(
            stack.interface.context(),
            (IpAddress::from(to.0), to.1),
            from,
        ) {
            Ok(()) => {
                let phase = Phase::Connecting { waiter, page };
                stack.connections.push(Connection {
                    handle,
                    address: to.0,
                    phase,
                });
            }
            Err(error) => {
                stack.sockets.remove(handle);
                waiter.fail(now, format!("cannot connect: {error:?}"));
            }
        }
    }

    /// Takes an IP packet for the endpoint's address in `network`.
    pub fn receive(&mut self, now: Duration, network: usize, packet: Vec<u8>) {
        if let Some(view) = Ipv4::parse(&packet)
            && let Some((identifier, _)) = parse_echo_reply(&view)
        {
            let from = view.source();
            let found = self
                .pings
                .iter()
                .position(|ping| ping.identifier == identifier && ping.address == from);
            if let Some(index) = found {
                self.pings
                    .swap_remove(index)
                    .waiter
                    .succeed(now, "answered a ping");
            }
            return;
        }
        self.networks[network].wire.arrived.push_back(packet);
    }

    /// Moves everything on; `heard` says whether a machine has ever answered ARP.
    pub fn poll(
        &mut self,
        now: Duration,
        heard: impl Fn(usize, Ipv4Addr) -> bool,
        out: &mut Vec<Outgoing>,
    ) {
        self.poll_pings(now, &heard, out);
        for (index, stack) in self.networks.iter_mut().enumerate() {
            stack.poll(now, |address| heard(index, address));
            out.extend(stack.wire.departing.drain(..).map(|packet| (index, packet)));
        }
    }

    fn poll_pings(
        &mut self,
        now: Duration,
        heard: &impl Fn(usize, Ipv4Addr) -> bool,
        out: &mut Vec<Outgoing>,
    ) {
        let (late, waiting) = std::mem::take(&mut self.pings)
            .into_iter()
            .partition(|ping| ping.waiter.deadline <= now);
        self.pings = waiting;
        for ping in late {
            let late: Ping = ping;
            late.waiter.fail(
                now,
                silence(heard(late.network, late.address), "no answer to a ping"),
            );
        }
        for ping in self.pings.iter_mut().filter(|ping| ping.next <= now) {
            let from = self.networks[ping.network].address;
            out.push((
                ping.network,
                echo_request(from, ping.address, ping.identifier, ping.sequence),
            ));
            ping.sequence = ping.sequence.wrapping_add(1);
            ping.next = now + PING_AGAIN;
        }
    }

    /// When to poll again at the latest.
    #[must_use]
    pub fn next_poll(&mut self, now: Duration) -> Option<Duration> {
        let pings = self
            .pings
            .iter()
            .map(|ping| ping.next.min(ping.waiter.deadline))
            .min();
        let stacks = self
            .networks
            .iter_mut()
            .filter_map(|stack| stack.next_poll(now))
            .min();
        [pings, stacks].into_iter().flatten().min()
    }
}

impl Waiter {
    // A requester that has gone away does not want its result.
    fn fail(self, now: Duration, detail: impl Into<String>) {
        let _ = self.reply.send(ProbeResult::failed(
            now.saturating_sub(self.started),
            detail,
        ));
    }

    fn succeed(self, now: Duration, detail: &str) {
        let _ = self.reply.send(ProbeResult::succeeded(
            now.saturating_sub(self.started),
            detail,
        ));
    }
}

fn silence(heard: bool, otherwise: &str) -> String {
    if heard {
        otherwise.to_owned()
    } else {
        "nobody has announced this address (no ARP answer)".to_owned()
    }
}

impl Stack {
    fn new(cidr: ipnet::Ipv4Net, address: Ipv4Addr, seed: u64) -> Self {
        let mut wire = Wire::default();
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = seed ^ u64::from(u32::from(address));
        let mut interface = Interface::new(config, &mut wire, Instant::ZERO);
        interface.update_ip_addrs(|addresses| {
            // The list has room for two and is empty.
            let _ = addresses.push(IpCidr::new(IpAddress::from(address), cidr.prefix_len()));
        });
        Self {
            cidr,
            address,
            interface,
            wire,
            sockets: SocketSet::new(Vec::new()),
            connections: Vec::new(),
        }
    }

    fn poll(&mut self, now: Duration, heard: impl Fn(Ipv4Addr) -> bool) {
        if self.connections.is_empty() && self.wire.arrived.is_empty() {
            return;
        }
        self.interface
            .poll(instant(now), &mut self.wire, &mut self.sockets);
        for connection in std::mem::take(&mut self.connections) {
            let socket = self.sockets.get_mut::<Socket<'_>>(connection.handle);
            match advance(now, connection.phase, socket, || heard(connection.address)) {
                Some(phase) => self.connections.push(Connection {
                    phase,
                    ..connection
                }),
                None => drop(self.sockets.remove(connection.handle)),
            }
        }
        self.interface
            .poll(instant(now), &mut self.wire, &mut self.sockets);
    }

    fn next_poll(&mut self, now: Duration) -> Option<Duration> {
        if !self.wire.arrived.is_empty() {
            return Some(now);
        }
        let stack = self
            .interface
            .poll_delay(instant(now), &self.sockets)
            .map(|delay| now + delay.into());
        let deadlines = self
            .connections
            .iter()
            .map(|connection| match &connection.phase {
                Phase::Connecting { waiter, .. } | Phase::Reading { waiter, .. } => waiter.deadline,
                Phase::Leaving { until } => *until,
            });
        deadlines.chain(stack).min()
    }
}

/// One step of a connection; `None` when it can be forgotten.
fn advance(
    now: Duration,
    phase: Phase,
    socket: &mut Socket<'_>,
    heard: impl Fn() -> bool,
) -> Option<Phase> {
    match phase {
        Phase::Connecting { waiter, page } => connecting(now, waiter, page, socket, heard),
        Phase::Reading {
            waiter,
            page,
            answer,
        } => reading(now, waiter, page, answer, socket),
        Phase::Leaving { until } => {
            let gone = matches!(socket.state(), State::Closed | State::TimeWait);
            (!gone && now < until).then_some(Phase::Leaving { until })
        }
    }
}

fn connecting(
    now: Duration,
    waiter: Waiter,
    page: Option<Page>,
    socket: &mut Socket<'_>,
    heard: impl Fn() -> bool,
) -> Option<Phase> {
    match socket.state() {
        State::Closed => {
            waiter.fail(now, "the connection was refused");
            None
        }
        State::SynSent | State::SynReceived if now >= waiter.deadline => {
            socket.abort();
            waiter.fail(now, silence(heard(), "no answer to the connection attempt"));
            None
        }
        State::SynSent | State::SynReceived => Some(Phase::Connecting { waiter, page }),
        _ => match page {
            None => {
                waiter.succeed(now, "accepted a connection");
                Some(leave(now, socket))
            }
            Some(page) => {
                // The request fits into the send buffer by construction.
                let _ = socket.send_slice(&page.request);
                Some(Phase::Reading {
                    waiter,
                    page,
                    answer: Vec::new(),
                })
            }
        },
    }
}

fn reading(
    now: Duration,
    waiter: Waiter,
    page: Page,
    mut answer: Vec<u8>,
    socket: &mut Socket<'_>,
) -> Option<Phase> {
    let before = answer.len();
    while socket.can_recv() && answer.len() < http::MAX_ANSWER {
        let Ok(()) = socket.recv(|bytes| {
            answer.extend_from_slice(bytes);
            (bytes.len(), ())
        }) else {
            break;
        };
    }
    let closed = !socket.may_recv() || answer.len() >= http::MAX_ANSWER;
    if closed || answer.len() > before {
        match http::progress(&answer, closed) {
            Progress::Done(found) => {
                let result = http::judge(
                    &found,
                    page.expect.as_deref(),
                    now.saturating_sub(waiter.started),
                );
                let _ = waiter.reply.send(result);
                return Some(leave(now, socket));
            }
            Progress::Bad(problem) => {
                waiter.fail(now, problem);
                return Some(leave(now, socket));
            }
            Progress::More => {}
        }
    }
    if now >= waiter.deadline {
        waiter.fail(
            now,
            format!("the answer stopped after {} bytes", answer.len()),
        );
        return Some(leave(now, socket));
    }
    Some(Phase::Reading {
        waiter,
        page,
        answer,
    })
}

fn leave(now: Duration, socket: &mut Socket<'_>) -> Phase {
    socket.close();
    Phase::Leaving {
        until: now + FAREWELL,
    }
}

fn instant(now: Duration) -> Instant {
    Instant::from_micros(i64::try_from(now.as_micros()).unwrap_or(i64::MAX))
}

/// The IP packets between smoltcp and the router.
#[derive(Default)]
struct Wire {
    arrived: VecDeque<Vec<u8>>,
    departing: Vec<Vec<u8>>,
}

struct Arrived(Vec<u8>);
struct Departing<'a>(&'a mut Vec<Vec<u8>>);

impl Device for Wire {
    type RxToken<'a> = Arrived;
    type TxToken<'a> = Departing<'a>;

    fn receive(&mut self, _now: Instant) -> Option<(Arrived, Departing<'_>)> {
        Some((
            Arrived(self.arrived.pop_front()?),
            Departing(&mut self.departing),
        ))
    }

    fn transmit(&mut self, _now: Instant) -> Option<Departing<'_>> {
        Some(Departing(&mut self.departing))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = 1500;
        // Guests leave their checksums to the card; what arrives came through memory, not a wire.
        let mut checksum = ChecksumCapabilities::default();
        checksum.tcp = Checksum::Tx;
        capabilities.checksum = checksum;
        capabilities
    }
}

impl RxToken for Arrived {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl TxToken for Departing<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut packet = vec![0; len];
        let result = f(&mut packet);
        self.0.push(packet);
        result
    }
}
