//! From a guest's transmit ring to other guests' receive rings.
//!
//! Backpressure: a frame for a guest without receive buffers stays in its sender's ring. The
//! sender is held until the receiver adds buffers, or until the deadline; then the frame is
//! dropped and counted, and nobody waits for that receiver again before it shows life. So a hung
//! guest costs each sender one deadline, once.

use std::time::Duration;

use super::Engine;
use super::port::Blocked;
use crate::forwarding::{Refusal, Verdict};
use crate::frame::{ETHERNET_HEADER, ETHERTYPE_ARP, Offload, destination, ethertype};
use crate::offload::{self, Accepts};
use crate::ring::{Delivery, Taken};
use crate::router::{Ingress, Output, Route};
use crate::stream::Received;

/// How long a full receiver holds a sender.
const DEADLINE: Duration = Duration::from_millis(100);
/// Frames of one port before another has its turn.
const TURN: usize = 64;
const MAX_BACKLOG: usize = 256;
const MAX_BACKLOG_BYTES: usize = 1 << 20;

/// What became of a frame of a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// Its ring entry goes back to the guest.
    Finished,
    /// It stays in the ring.
    Held,
}

impl Engine {
    /// Gives the next port its turn.
    pub(super) fn forward_next(&mut self) {
        let Some(port) = self.ready.pop_front() else {
            return;
        };
        self.ports[port].is_ready = false;
        if self.turn(port) {
            self.make_ready(port);
        }
        self.signal();
    }

    /// Empties a transmit ring for a while; true when there may be more.
    fn turn(&mut self, port: usize) -> bool {
        if self.ports[port].stream.is_some() {
            return self.stream_turn(port);
        }
        let Some(link) = self.ports[port].link.clone() else {
            return false;
        };
        let layout = link.features.layout();
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut batch = link.transmit.batch();
        let (mut again, mut looked_twice) = (true, false);
        batch.silence();
        for _ in 0..TURN {
            match batch.take(layout, &mut buffer) {
                Taken::Frame(head, offload) => {
                    looked_twice = false;
                    if self.take_frame(port, &offload, &mut buffer) == Fate::Held {
                        batch.put_back();
                        again = false;
                        break;
                    }
                    batch.finish(head);
                }
                Taken::Malformed(head) => {
                    self.ports[port].counters.refused += 1;
                    batch.finish(head);
                }
                // A ring that claims to hold frames and yields none must not keep the engine busy.
                Taken::Nothing if looked_twice || !batch.listen() => {
                    again = false;
                    break;
                }
                Taken::Nothing => looked_twice = true,
            }
        }
        drop(batch);
        link.transmit.signal();
        self.buffer = buffer;
        again
    }

    /// The same for a port that speaks frames.
    fn stream_turn(&mut self, port: usize) -> bool {
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut again = true;
        for _ in 0..TURN {
            // Looked up each time: an answer to the frame before may have gone to this very port.
            let received = match &mut self.ports[port].stream {
                Some((stream, _)) => stream.take(&mut buffer),
                None => Received::Nothing,
            };
            match received {
                Received::Frame if buffer.len() < ETHERNET_HEADER => {
                    self.ports[port].counters.refused += 1;
                }
                Received::Frame => {
                    if self.take_frame(port, &Offload::default(), &mut buffer) == Fate::Held {
                        if let Some((stream, _)) = &mut self.ports[port].stream {
                            stream.put_back();
                        }
                        again = false;
                        break;
                    }
                }
                Received::Nothing => {
                    again = false;
                    break;
                }
                Received::Ended => {
                    self.disconnected(port);
                    again = false;
                    break;
                }
            }
        }
        self.buffer = buffer;
        again
    }

    fn take_frame(&mut self, port: usize, offload: &Offload, frame: &mut [u8]) -> Fate {
        let network = self.topology.ports[port].network;
        let verdict = self.forwarding.ingress(port, frame);
        let refused = matches!(
            verdict,
            Verdict::Drop(Refusal::Malformed | Refusal::Spoofed)
        );
        if !refused && ethertype(frame) == Some(ETHERTYPE_ARP) {
            self.router
                .arp(self.now(), network, frame, &mut self.outputs);
        }
        let fate = match verdict {
            Verdict::Port(to) => self.give_to_guest(port, to, offload, frame),
            Verdict::Endpoint => self.give_to_endpoint(port, network, offload, frame),
            Verdict::Flood | Verdict::FloodUnknown => {
                self.flood(network, Some(port), offload, frame);
                Fate::Finished
            }
            Verdict::Drop(_) => Fate::Finished,
        };
        if fate == Fate::Finished {
            let counters = &mut self.ports[port].counters;
            counters.frames_in += 1;
            counters.bytes_in += frame.len() as u64;
            counters.refused += u64::from(refused);
            self.ports[port].blocked = None;
        }
        self.send_outputs();
        fate
    }

    fn give_to_endpoint(
        &mut self,
        port: usize,
        network: usize,
        offload: &Offload,
        frame: &mut [u8],
    ) -> Fate {
        let at = Ingress {
            network,
            port: Some(port),
        };
        let route = self
            .router
            .route(self.now(), at, offload, frame, &mut self.outputs);
        let (Route::Forward(network), Some(to)) = (route, destination(frame)) else {
            return Fate::Finished;
        };
        match self.forwarding.lookup(network, to) {
            Verdict::Port(to) => return self.give_to_guest(port, to, offload, frame),
            Verdict::FloodUnknown => self.flood(network, None, offload, frame),
            Verdict::Flood | Verdict::Endpoint | Verdict::Drop(_) => {}
        }
        Fate::Finished
    }

    /// Delivers, or holds the sender, or gives the receiver up.
    fn give_to_guest(&mut self, from: usize, to: usize, offload: &Offload, frame: &[u8]) -> Fate {
        match self.deliver(to, offload, frame) {
            Delivery::Done => {}
            Delivery::Down => self.ports[to].counters.unplugged += 1,
            Delivery::TooLarge => self.ports[to].counters.dropped += 1,
            Delivery::Full if self.may_wait(from, to) => {
                self.hold(from, to);
                return Fate::Held;
            }
            Delivery::Full => {
                self.ports[to].counters.dropped += 1;
                self.ports[to].stalled = true;
            }
        }
        Fate::Finished
    }

    fn may_wait(&self, from: usize, to: usize) -> bool {
        let late = self.ports[from]
            .blocked
            .is_some_and(|held| held.destination == to && held.deadline <= self.now());
        !late && !self.ports[to].stalled
    }

    fn hold(&mut self, from: usize, to: usize) {
        let now = self.now();
        if self.ports[from]
            .blocked
            .is_none_or(|held| held.destination != to)
        {
            self.ports[from].blocked = Some(Blocked {
                destination: to,
                deadline: now + DEADLINE,
            });
            self.ports[to].counters.waits += 1;
        }
        if !self.ports[to].waiters.contains(&from) {
            self.ports[to].waiters.push(from);
        }
        if self.await_room(to) {
            self.make_ready(from);
        }
    }

    fn flood(&mut self, network: usize, except: Option<usize>, offload: &Offload, frame: &[u8]) {
        for index in 0..self.forwarding.members(network).len() {
            let member = self.forwarding.members(network)[index];
            if Some(member) != except {
                self.enqueue(member, offload, frame);
            }
        }
    }

    /// Sends what the router and the endpoint want to send.
    pub(super) fn send_outputs(&mut self) {
        for output in std::mem::take(&mut self.outputs) {
            match output {
                Output::Local { network, packet } => {
                    self.endpoint.receive(self.now(), network, packet)
                }
                Output::Frame {
                    network,
                    offload,
                    frame,
                } => {
                    if let Some(to) = destination(&frame) {
                        self.send(network, to, &offload, &frame);
                    }
                }
            }
        }
    }

    fn send(&mut self, network: usize, to: crate::mac::MacAddr, offload: &Offload, frame: &[u8]) {
        match self.forwarding.lookup(network, to) {
            Verdict::Port(port) => self.enqueue(port, offload, frame),
            Verdict::Flood | Verdict::FloodUnknown => {
                self.flood(network, None, offload, frame);
            }
            Verdict::Endpoint | Verdict::Drop(_) => {}
        }
    }

    /// Delivers now or, within bounds, later.
    fn enqueue(&mut self, to: usize, offload: &Offload, frame: &[u8]) {
        match self.deliver(to, offload, frame) {
            Delivery::Done => {}
            Delivery::Down => self.ports[to].counters.unplugged += 1,
            Delivery::TooLarge => self.ports[to].counters.dropped += 1,
            Delivery::Full => {
                let state = &mut self.ports[to];
                if state.backlog.len() >= MAX_BACKLOG
                    || state.backlog_bytes + frame.len() > MAX_BACKLOG_BYTES
                {
                    state.counters.dropped += 1;
                    return;
                }
                state.backlog_bytes += frame.len();
                state.backlog.push_back((*offload, frame.to_vec()));
                self.flush_backlog(to);
            }
        }
    }

    /// Delivers what could not be delivered before; what remains waits for the guest's kick.
    pub(super) fn flush_backlog(&mut self, port: usize) {
        let mut asked = false;
        while let Some((offload, frame)) = self.ports[port].backlog.pop_front() {
            match self.put(port, &offload, &frame) {
                Delivery::Full => {
                    self.ports[port].backlog.push_front((offload, frame));
                    if asked || !self.await_room(port) {
                        return;
                    }
                    asked = true;
                    continue;
                }
                Delivery::Done => {}
                Delivery::Down => self.ports[port].counters.unplugged += 1,
                Delivery::TooLarge => self.ports[port].counters.dropped += 1,
            }
            self.ports[port].backlog_bytes -= frame.len();
        }
    }

    /// Delivers behind the backlog.
    fn deliver(&mut self, to: usize, offload: &Offload, frame: &[u8]) -> Delivery {
        if !self.ports[to].backlog.is_empty() {
            self.flush_backlog(to);
            if !self.ports[to].backlog.is_empty() {
                return Delivery::Full;
            }
        }
        self.put(to, offload, frame)
    }

    fn put(&mut self, to: usize, offload: &Offload, frame: &[u8]) -> Delivery {
        let state = &mut self.ports[to];
        let accepts = match (&state.link, &state.stream) {
            (Some(link), _) => link.features.accepts(),
            (None, Some(_)) => Accepts::default(),
            (None, None) => return Delivery::Down,
        };
        let delivery = if accepts.takes(offload) {
            state.deliver(offload, &[frame])
        } else {
            match offload::prepare(offload, frame) {
                Some(frames) => {
                    let frames: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
                    state.deliver(&Offload::default(), &frames)
                }
                None => Delivery::TooLarge,
            }
        };
        if delivery == Delivery::Done {
            state.stalled = false;
            state.touched = true;
            state.counters.frames_out += 1;
            state.counters.bytes_out += frame.len() as u64;
        }
        delivery
    }

    /// Asks to be told when a full port has room; true when it has some already.
    fn await_room(&self, port: usize) -> bool {
        // A stream's next edge comes without asking.
        let link = self.ports[port].link.as_ref();
        link.is_some_and(|link| link.receive.await_buffers())
    }

    /// Interrupts the guests that got something.
    pub(super) fn signal(&mut self) {
        for state in self.ports.iter_mut().filter(|state| state.touched) {
            state.touched = false;
            if let Some(link) = state.link.as_ref() {
                link.receive.signal();
            }
        }
    }
}
