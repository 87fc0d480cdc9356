//! The engine against drivers that live in this test's memory.

mod stream;

use std::net::Ipv4Addr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use proptest::prelude::*;
use vhost_user_backend::VringT;
use virtio_bindings::virtio_net::{
    VIRTIO_NET_F_GUEST_CSUM, VIRTIO_NET_F_GUEST_TSO4, VIRTIO_NET_F_MRG_RXBUF,
};
use vm_memory::{Bytes, GuestAddress, GuestAddressSpace, GuestMemoryMmap};

use super::*;
use crate::config::{NetworkConfig, PortConfig, PortKind, SwitchConfig};
use crate::frame::{
    PROTOCOL_TCP, PartialChecksum, SegmentKind, Segmentation, fold, pseudo_header4, sum,
};
use crate::ring::{Memory, Ring};
use crate::vhost_port::Features;

const RING: u16 = 64;
const BUFFER: u64 = 2048;
const WRITABLE: u16 = 2;
const ALL_OFFLOADS: u64 =
    1 << VIRTIO_NET_F_MRG_RXBUF | 1 << VIRTIO_NET_F_GUEST_CSUM | 1 << VIRTIO_NET_F_GUEST_TSO4;
const VERSION_1: u64 = 1 << 32;
const SECONDS: Duration = Duration::from_secs(10);

fn card(index: usize) -> MacAddr {
    MacAddr([0x52, 0x54, 0, 0, 0, index as u8])
}

fn topology() -> Topology {
    let ports = (0..3).map(|index| PortConfig {
        id: format!("p{index}"),
        machine: format!("m{index}"),
        network: "lan".into(),
        mac: card(index),
        address: Some(Ipv4Addr::new(10, 0, 0, 10 + index as u8)),
        socket: format!("p{index}").into(),
        kind: PortKind::default(),
    });
    let lan = NetworkConfig {
        name: "lan".into(),
        cidr: "10.0.0.0/24".parse().unwrap(),
        gateway: "10.0.0.1".parse().ok(),
    };
    let config = SwitchConfig {
        session: "test".into(),
        control_socket: "control".into(),
        networks: vec![lan],
        ports: ports.collect(),
        run_as: None,
        socket_owner: None,
        log: None,
    };
    config.validate().unwrap()
}

/// The driver's side of one ring with event indices.
struct Queue {
    base: u64,
    buffers: u64,
    ring: Ring,
    kick: EventFd,
    added: u16,
    seen: u16,
}

/// A guest without a machine.
struct Driver {
    memory: GuestMemoryMmap,
    receive: Queue,
    transmit: Queue,
    features: Features,
}

impl Queue {
    fn new(memory: &Memory, base: u64) -> Self {
        let ring = Ring::new(memory.clone(), RING).unwrap();
        ring.set_queue_size(RING);
        ring.set_queue_info(base, base + 0x1000, base + 0x2000)
            .unwrap();
        ring.set_queue_event_idx(true);
        let kick = EventFd::from_flags(EfdFlags::EFD_NONBLOCK).unwrap();
        let copy: OwnedFd = kick.as_fd().try_clone_to_owned().unwrap();
        ring.set_kick(Some(File::from(copy)));
        ring.set_queue_ready(true);
        ring.set_enabled(true);
        Self {
            base,
            buffers: base + 0x10_0000,
            ring,
            kick,
            added: 0,
            seen: 0,
        }
    }

    fn buffer(&self, slot: u16) -> u64 {
        self.buffers + u64::from(slot) * 0x1_1000
    }

    /// Makes a buffer available, and kicks when the switch wants to know.
    fn add(&mut self, memory: &GuestMemoryMmap, length: u32, flags: u16) {
        let slot = self.added % RING;
        let descriptor = self.base + u64::from(slot) * 16;
        memory
            .write_obj(self.buffer(slot), GuestAddress(descriptor))
            .unwrap();
        memory
            .write_obj(length, GuestAddress(descriptor + 8))
            .unwrap();
        memory
            .write_obj(u32::from(flags), GuestAddress(descriptor + 12))
            .unwrap();
        memory
            .write_obj(
                slot,
                GuestAddress(self.base + 0x1000 + 4 + u64::from(slot) * 2),
            )
            .unwrap();
        let old = self.added;
        self.added = self.added.wrapping_add(1);
        memory
            .write_obj(self.added, GuestAddress(self.base + 0x1000 + 2))
            .unwrap();
        std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
        let event: u16 = memory
            .read_obj(GuestAddress(self.base + 0x2000 + 4 + u64::from(RING) * 8))
            .unwrap();
        if event == old {
            self.kick.write(1).unwrap();
        }
    }

    fn used(&self, memory: &GuestMemoryMmap) -> u16 {
        memory
            .read_obj(GuestAddress(self.base + 0x2000 + 2))
            .unwrap()
    }

    fn take_used(&mut self, memory: &GuestMemoryMmap) -> Option<(u16, usize)> {
        if self.seen == self.used(memory) {
            return None;
        }
        let at = self.base + 0x2000 + 4 + u64::from(self.seen % RING) * 8;
        self.seen = self.seen.wrapping_add(1);
        let slot: u32 = memory.read_obj(GuestAddress(at)).unwrap();
        let length: u32 = memory.read_obj(GuestAddress(at + 4)).unwrap();
        Some((slot as u16, length as usize))
    }
}

impl Driver {
    fn new(features: u64) -> Self {
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 32 << 20)]).unwrap();
        let shared = Memory::new(memory);
        let (receive, transmit) = (Queue::new(&shared, 0), Queue::new(&shared, 16 << 20));
        let memory = (*shared.memory()).clone();
        Self {
            memory,
            receive,
            transmit,
            features: Features(features | VERSION_1),
        }
    }

    fn plug(&self, engine: &EngineHandle, port: usize) {
        let link = Link {
            receive: self.receive.ring.clone(),
            transmit: self.transmit.ring.clone(),
            features: self.features,
        };
        engine.tell(Command::Connected { port });
        for ring in 0..2 {
            engine.tell(Command::RingStarted {
                port,
                ring,
                link: link.clone(),
            });
        }
    }

    fn offer(&mut self, buffers: u16) {
        for _ in 0..buffers {
            self.receive.add(&self.memory, BUFFER as u32, WRITABLE);
        }
    }

    fn send(&mut self, offload: Offload, frame: &[u8]) {
        let at = self.transmit.buffer(self.transmit.added % RING);
        self.memory
            .write_slice(&offload.bytes(0), GuestAddress(at))
            .unwrap();
        self.memory
            .write_slice(frame, GuestAddress(at + 12))
            .unwrap();
        self.transmit.add(&self.memory, 12 + frame.len() as u32, 0);
    }

    /// The next frame that arrived, put together from its buffers.
    fn receive(&mut self) -> Option<(Offload, Vec<u8>)> {
        let mut whole = Vec::new();
        let mut wanted = 1;
        while wanted > 0 {
            let (slot, length) = self.receive.take_used(&self.memory)?;
            let mut bytes = vec![0; length];
            self.memory
                .read_slice(&mut bytes, GuestAddress(self.receive.buffer(slot)))
                .unwrap();
            if whole.is_empty() {
                wanted = u16::from_le_bytes([bytes[10], bytes[11]]);
            }
            whole.extend_from_slice(&bytes);
            wanted -= 1;
        }
        let header = whole.first_chunk().unwrap();
        Some((
            Offload::parse(header, whole.len() - 12).unwrap(),
            whole.split_off(12),
        ))
    }

    fn sent(&self) -> u16 {
        self.transmit.used(&self.memory)
    }
}

struct Bench {
    engine: EngineHandle,
    thread: Option<std::thread::JoinHandle<io::Result<()>>>,
}

impl Bench {
    fn start() -> Self {
        let (engine, handle) = Engine::new("test", topology(), None).unwrap();
        Self {
            engine: handle,
            thread: Some(std::thread::spawn(|| engine.run())),
        }
    }

    fn status(&self) -> SwitchStatus {
        self.engine
            .ask(Command::Status)
            .expect("the engine answers")
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.engine.tell(Command::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < SECONDS, "waited in vain until {what}");
        std::thread::yield_now();
    }
}

fn frame(to: usize, from: usize, number: u8) -> Vec<u8> {
    ethernet(card(to), card(from), 0x88b5, &[number; 100])
}

#[test]
fn frames_arrive_in_order_and_floods_reach_everybody() {
    let bench = Bench::start();
    let mut drivers = [Driver::new(ALL_OFFLOADS), Driver::new(0), Driver::new(0)];
    for (port, driver) in drivers.iter_mut().enumerate() {
        driver.offer(RING);
        driver.plug(&bench.engine, port);
    }
    for number in 0..20 {
        drivers[0].send(Offload::default(), &frame(1, 0, number));
    }
    for number in 0..20 {
        until("a frame arrives", || {
            drivers[1].receive.seen != drivers[1].receive.used(&drivers[1].memory)
        });
        assert_eq!(drivers[1].receive().unwrap().1, frame(1, 0, number));
    }
    drivers[0].send(
        Offload::default(),
        &ethernet(MacAddr::BROADCAST, card(0), 0x88b5, &[1; 50]),
    );
    until("everybody is reached", || drivers[1].receive().is_some());
    until("everybody is reached", || drivers[2].receive().is_some());
    assert!(drivers[0].receive().is_none());
    assert_eq!(bench.status().ports[0].counters.frames_in, 21);
}

#[test]
fn a_full_receiver_holds_its_sender_without_loss() {
    let bench = Bench::start();
    let (mut sender, mut receiver) = (Driver::new(ALL_OFFLOADS), Driver::new(ALL_OFFLOADS));
    receiver.offer(4);
    receiver.plug(&bench.engine, 1);
    sender.plug(&bench.engine, 0);
    let mut arrived = 0u8;
    for number in 0..40 {
        sender.send(Offload::default(), &frame(1, 0, number));
    }
    until("the sender is held", || {
        bench.status().ports[1].counters.waits > 0
    });
    // One buffer at a time, each faster than the deadline: the slowest way to get everything.
    while arrived < 40 {
        until("a frame arrives", || {
            receiver.receive.seen != receiver.receive.used(&receiver.memory)
        });
        assert_eq!(receiver.receive().unwrap().1, frame(1, 0, arrived));
        arrived += 1;
        receiver.offer(1);
    }
    let status = bench.status();
    assert_eq!(
        (status.dropped, status.ports[1].counters.frames_out),
        (0, 40)
    );
}

#[test]
fn a_frame_that_needs_several_buffers_waits_for_the_last_one() {
    let bench = Bench::start();
    let (mut sender, mut receiver) = (Driver::new(ALL_OFFLOADS), Driver::new(ALL_OFFLOADS));
    receiver.offer(2);
    receiver.plug(&bench.engine, 1);
    sender.plug(&bench.engine, 0);
    let large = ethernet(card(1), card(0), 0x88b5, &vec![7; 9000]);
    sender.send(Offload::default(), &large);
    until("the sender is held", || {
        bench.status().ports[1].counters.waits > 0
    });
    assert!(receiver.receive().is_none());
    receiver.offer(3);
    until("the frame arrives", || {
        receiver.receive.used(&receiver.memory) >= 5
    });
    assert_eq!(receiver.receive().unwrap().1, large);
}

#[test]
fn a_hung_receiver_costs_one_deadline() {
    let bench = Bench::start();
    let mut drivers = [Driver::new(0), Driver::new(0), Driver::new(0)];
    drivers[2].offer(RING);
    for (port, driver) in drivers.iter().enumerate() {
        driver.plug(&bench.engine, port);
    }
    let start = Instant::now();
    for number in 0..30 {
        drivers[0].send(Offload::default(), &frame(1, 0, number));
    }
    drivers[0].send(Offload::default(), &frame(2, 0, 99));
    until("the other one is served", || drivers[2].receive().is_some());
    assert!(
        start.elapsed() < Duration::from_secs(2),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(bench.status().ports[1].counters.dropped, 30);
    drivers[1].offer(8);
    until("it is forgiven", || {
        drivers[0].send(Offload::default(), &frame(1, 0, 1));
        let sent = drivers[0].transmit.added;
        until("the frame is taken", || drivers[0].sent() == sent);
        drivers[1].receive().is_some()
    });
}

#[test]
fn the_buffers_of_a_merged_frame_appear_together() {
    let bench = Bench::start();
    let (mut sender, mut receiver) = (Driver::new(ALL_OFFLOADS), Driver::new(ALL_OFFLOADS));
    receiver.plug(&bench.engine, 1);
    sender.plug(&bench.engine, 0);
    let large = ethernet(card(1), card(0), 0x88b5, &vec![7; 62_000]);
    for round in 1..=1000u16 {
        receiver.offer(31);
        sender.send(Offload::default(), &large);
        let before = receiver.receive.seen;
        let shown = loop {
            let used = receiver.receive.used(&receiver.memory);
            if used != before {
                break used.wrapping_sub(before);
            }
        };
        assert_eq!(shown, 31, "round {round}");
        assert_eq!(receiver.receive().unwrap().1.len(), large.len());
        until("the sender's entry is free", || sender.sent() == round);
    }
}

fn large_segment(payload: usize) -> (Offload, Vec<u8>) {
    let (from, to) = (Ipv4Addr::new(10, 0, 0, 10), Ipv4Addr::new(10, 0, 0, 11));
    let mut tcp = vec![0; 20 + payload];
    tcp[12] = 5 << 4;
    tcp[13] = 0x10;
    let pseudo = !fold(pseudo_header4(from, to, PROTOCOL_TCP, tcp.len()));
    tcp[16..18].copy_from_slice(&pseudo.to_be_bytes());
    let offload = Offload {
        checksum: Some(PartialChecksum {
            start: 34,
            offset: 16,
        }),
        segmentation: Some(Segmentation {
            kind: SegmentKind::Tcp4,
            ecn: false,
            size: 1448,
        }),
        header_length: 54,
    };
    (
        offload,
        ethernet(
            card(1),
            card(0),
            ETHERTYPE_IPV4,
            &ipv4(from, to, PROTOCOL_TCP, &tcp),
        ),
    )
}

#[test]
fn large_segments_pass_or_are_cut_as_the_receiver_wants() {
    for (features, frames) in [(ALL_OFFLOADS, 1), (1 << VIRTIO_NET_F_MRG_RXBUF, 7), (0, 7)] {
        let bench = Bench::start();
        let (mut sender, mut receiver) = (Driver::new(ALL_OFFLOADS), Driver::new(features));
        receiver.offer(RING);
        receiver.plug(&bench.engine, 1);
        sender.plug(&bench.engine, 0);
        let (offload, segment) = large_segment(7 * 1448);
        sender.send(offload, &segment);
        until("it is sent", || sender.sent() == 1);
        let mut arrived = Vec::new();
        until("all pieces arrive", || {
            arrived.extend(receiver.receive());
            arrived.len() == frames
        });
        let cut = arrived
            .iter()
            .all(|(offload, frame)| offload.is_complete() && frame.len() == 54 + 1448);
        assert!(frames == 1 || cut);
        if frames > 1 {
            let tcp = &arrived[3].1[34..];
            let pseudo = pseudo_header4(
                Ipv4Addr::new(10, 0, 0, 10),
                Ipv4Addr::new(10, 0, 0, 11),
                PROTOCOL_TCP,
                tcp.len(),
            );
            assert_eq!(fold(pseudo + sum(tcp)), 0);
        }
    }
}

#[test]
fn a_guest_that_goes_away_releases_whoever_waits() {
    let bench = Bench::start();
    let (mut sender, receiver) = (Driver::new(0), Driver::new(0));
    receiver.plug(&bench.engine, 1);
    sender.plug(&bench.engine, 0);
    sender.send(Offload::default(), &frame(1, 0, 1));
    until("the sender is held", || {
        bench.status().ports[1].counters.waits > 0
    });
    receiver.receive.ring.set_queue_ready(false);
    bench
        .engine
        .ask(|done| Command::Disconnected { port: 1, done })
        .unwrap();
    until("the sender goes on", || sender.sent() == 1);
    assert!(!bench.status().ports[1].connected);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever a driver writes into its rings, the engine neither panics nor stops serving others.
    #[test]
    fn hostile_rings_harm_nobody_else(
        words in proptest::collection::vec((0u64..0x2300, any::<u64>()), 0..200), index: u16, event: u16,
    ) {
        let bench = Bench::start();
        let mut drivers = [Driver::new(ALL_OFFLOADS), Driver::new(0), Driver::new(0)];
        drivers[2].offer(8);
        for (port, driver) in drivers.iter().enumerate() {
            driver.plug(&bench.engine, port);
        }
        for base in [drivers[0].receive.base, drivers[0].transmit.base] {
            for (at, value) in &words {
                drivers[0].memory.write_obj(*value, GuestAddress(base + at / 8 * 8)).unwrap();
            }
            drivers[0].memory.write_obj(index % 128, GuestAddress(base + 0x1002)).unwrap();
            drivers[0].memory.write_obj(event, GuestAddress(base + 0x1000 + 4 + 128)).unwrap();
        }
        drivers[0].transmit.kick.write(1).unwrap();
        drivers[0].receive.kick.write(1).unwrap();
        drivers[1].send(Offload::default(), &frame(0, 1, 5));
        drivers[1].send(Offload::default(), &frame(2, 1, 5));
        until("others are served", || drivers[2].receive().is_some_and(|(_, found)| found == frame(2, 1, 5)));
        prop_assert_eq!(bench.status().ports.len(), 3);
    }
}
