//! The two virtio rings of a port, as the forwarding engine uses them.
//!
//! [`Ring`] plugs into the vhost-user crate as its vring type, for one reason: the crate would
//! hand kicks to a worker thread of its own for each port, and the engine wants all kicks in its
//! one epoll. So the ring keeps the real kick descriptor for the engine and shows the crate a
//! silent one.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU16, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::sys::eventfd::{EfdFlags, EventFd};
use vhost_user_backend::{VringMutex, VringState, VringStateGuard, VringStateMutGuard, VringT};
use virtio_queue::{
    DescriptorChain, Error as QueueError, Queue, QueueOwnedT, QueueT, Reader, Writer,
};
use vm_memory::{
    Address, Bytes, GuestAddress, GuestAddressSpace, GuestMemoryAtomic, GuestMemoryLoadGuard,
    GuestMemoryMmap,
};

use crate::frame::{MAX_FRAME, OFFLOAD_HEADER, Offload};

/// A guest's memory, replaced as a whole when QEMU changes its map.
pub type Memory = GuestMemoryAtomic<GuestMemoryMmap>;
type Snapshot = GuestMemoryLoadGuard<GuestMemoryMmap>;
type Chain = DescriptorChain<Snapshot>;
type State = VringState<Memory>;

/// The guest's wish for no interrupts, where event indices are not negotiated.
const NO_INTERRUPT: u16 = 1;

/// Largest ring offered to guests.
pub const MAX_RING: usize = 1024;

/// How frames lie in the rings of one guest, from its negotiated features.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Length of the offload header: 12, or 10 for the oldest drivers.
    pub header: usize,
    /// Whether a frame may span several receive buffers.
    pub merge: bool,
}

/// One virtio ring.
#[derive(Clone)]
pub struct Ring {
    state: VringMutex<Memory>,
    memory: Memory,
    kick: Arc<Mutex<Option<File>>>,
    /// The used index at which the guest was last considered for an interrupt.
    signalled: Arc<AtomicU16>,
}

/// What came out of a transmit ring.
#[derive(Debug, PartialEq, Eq)]
pub enum Taken {
    /// A frame, now in the caller's buffer; give the ring entry back with [`Batch::finish`].
    Frame(u16, Offload),
    /// An entry that holds no frame.
    Malformed(u16),
    /// Nothing (more).
    Nothing,
}

/// What became of frames for a receive ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// The guest has them all.
    Done,
    /// Not enough buffers: none was delivered.
    Full,
    /// The guest's buffers can never hold this frame.
    TooLarge,
    /// The ring is not in use.
    Down,
}

impl Ring {
    /// A copy of the descriptor that the guest kicks, for the engine's epoll.
    pub fn kick(&self) -> io::Result<Option<File>> {
        lock(&self.kick).as_ref().map(File::try_clone).transpose()
    }

    /// Starts taking frames out of a transmit ring.
    #[must_use]
    pub fn batch(&self) -> Batch<'_> {
        Batch {
            state: self.state.get_mut(),
            memory: self.memory.memory(),
        }
    }

    /// Puts frames into a receive ring, all or none.
    pub fn deliver(&self, layout: Layout, offload: &Offload, frames: &[&[u8]]) -> Delivery {
        let mut state = self.state.get_mut();
        if !usable(&state) {
            return Delivery::Down;
        }
        let memory = self.memory.memory();
        let start = state.get_queue().next_avail();
        let mut used = Vec::new();
        for frame in frames {
            let placed = place(&mut state, &memory, layout, offload, frame, &mut used);
            if placed != Delivery::Done {
                state.get_queue_mut().set_next_avail(start);
                return placed;
            }
        }
        match publish(state.get_queue_mut(), &memory, &used) {
            Some(()) => Delivery::Done,
            // The used ring is not in the guest's memory: its driver is beyond help.
            None => Delivery::Down,
        }
    }

    /// Asks the guest to kick when it adds a buffer; true when there are new ones already.
    pub fn await_buffers(&self) -> bool {
        let mut state = self.state.get_mut();
        if !usable(&state) {
            return false;
        }
        let memory = self.memory.memory();
        let queue = state.get_queue_mut();
        let Ok(seen) = queue.avail_idx(&*memory, Ordering::Acquire) else {
            return false;
        };
        // A frame may need more buffers than there are, so the question is about the next one
        // added, not about the next one unused.
        let next = queue.next_avail();
        queue.set_next_avail(seen.0);
        let more = queue.enable_notification(&*memory).unwrap_or(false);
        queue.set_next_avail(next);
        more
    }

    /// Interrupts the guest if it wants to know about what was delivered since the last call.
    pub fn signal(&self) {
        let state = self.state.get_ref();
        if !usable(&state) {
            return;
        }
        let now = state.get_queue().next_used();
        let before = self.signalled.swap(now, Ordering::Relaxed);
        if wants_interrupt(state.get_queue(), &self.memory.memory(), before, now) {
            // A guest that is going away needs no interrupt.
            let _ = state.signal_used_queue();
        }
    }

    /// Whether the guest's driver is using the ring.
    #[must_use]
    pub fn is_up(&self) -> bool {
        usable(&self.state.get_ref())
    }
}

/// Hands used entries to the guest, all at once: a driver that saw the first buffer of a merged
/// frame without the others would drop the frame. (The crate's `add_used` shows them one by one.)
fn publish(queue: &mut Queue, memory: &Snapshot, used: &[(u16, u32)]) -> Option<()> {
    let (ring, size, first) = (
        GuestAddress(queue.used_ring()),
        queue.size(),
        queue.next_used(),
    );
    let mut next = first;
    for (head, length) in used {
        let at = ring.checked_add(4 + u64::from(next % size) * 8)?;
        let entry = u64::from(*head) | u64::from(*length) << 32;
        memory.write_obj(entry.to_le(), at).ok()?;
        next = next.wrapping_add(1);
    }
    memory
        .store(next.to_le(), ring.checked_add(2)?, Ordering::Release)
        .ok()?;
    queue.set_next_used(next);
    Some(())
}

/// Whether the guest asked to be interrupted somewhere between two used indices.
fn wants_interrupt(queue: &Queue, memory: &Snapshot, before: u16, now: u16) -> bool {
    fence(Ordering::SeqCst);
    let available = GuestAddress(queue.avail_ring());
    let read = |offset: u64| {
        let at = available.checked_add(offset)?;
        memory
            .load::<u16>(at, Ordering::Relaxed)
            .ok()
            .map(u16::from_le)
    };
    if queue.event_idx_enabled() {
        let event = read(4 + u64::from(queue.size()) * 2);
        let since_event = event.map(|event| now.wrapping_sub(event).wrapping_sub(1));
        return since_event.is_none_or(|since| since < now.wrapping_sub(before));
    }
    before != now && read(0).is_none_or(|flags| flags & NO_INTERRUPT == 0)
}

fn usable(state: &State) -> bool {
    state.is_enabled() && state.get_queue().ready() && state.get_queue().size() > 0
}

/// Exclusive use of a transmit ring for a while.
pub struct Batch<'a> {
    state: MutexGuard<'a, State>,
    memory: Snapshot,
}

impl Batch<'_> {
    /// Takes the next frame into `buffer`.
    pub fn take(&mut self, layout: Layout, buffer: &mut Vec<u8>) -> Taken {
        if !usable(&self.state) {
            return Taken::Nothing;
        }
        let Some(chain) = self
            .state
            .get_queue_mut()
            .pop_descriptor_chain(self.memory.clone())
        else {
            return Taken::Nothing;
        };
        let head = chain.head_index();
        match read_frame(&self.memory, chain, layout, buffer) {
            Some(offload) => Taken::Frame(head, offload),
            None => Taken::Malformed(head),
        }
    }

    /// Leaves the frame just taken in the ring.
    pub fn put_back(&mut self) {
        self.state.get_queue_mut().go_to_previous_position();
    }

    /// Gives the entry of a frame back to the guest.
    pub fn finish(&mut self, head: u16) {
        // An index outside the ring: the guest broke its own ring and loses the entry.
        let _ = self.state.get_queue_mut().add_used(&*self.memory, head, 0);
    }

    /// Asks for no kicks while the ring is being emptied anyway.
    pub fn silence(&mut self) {
        let _ = self
            .state
            .get_queue_mut()
            .disable_notification(&*self.memory);
    }

    /// Asks for kicks again; true when frames arrived meanwhile.
    pub fn listen(&mut self) -> bool {
        usable(&self.state)
            && self
                .state
                .get_queue_mut()
                .enable_notification(&*self.memory)
                .unwrap_or(false)
    }
}

fn read_frame(
    memory: &Snapshot,
    chain: Chain,
    layout: Layout,
    buffer: &mut Vec<u8>,
) -> Option<Offload> {
    let mut reader: Reader<'_, ()> = chain.reader(memory).ok()?;
    let length = reader.available_bytes().checked_sub(layout.header)?;
    if !(crate::frame::ETHERNET_HEADER..=MAX_FRAME).contains(&length) {
        return None;
    }
    let mut header = [0; OFFLOAD_HEADER];
    reader.read_exact(&mut header[..layout.header]).ok()?;
    buffer.resize(length, 0);
    reader.read_exact(buffer).ok()?;
    Offload::parse(&header, length)
}

/// Writes one frame into as many buffers as it needs and appends them to `used`.
fn place(
    state: &mut State,
    memory: &Snapshot,
    layout: Layout,
    offload: &Offload,
    frame: &[u8],
    used: &mut Vec<(u16, u32)>,
) -> Delivery {
    let needed = layout.header + frame.len();
    let mut writers: Vec<(u16, Writer<'_, ()>)> = Vec::new();
    let mut capacity = 0;
    while capacity < needed {
        let Some(chain) = state.get_queue_mut().pop_descriptor_chain(memory.clone()) else {
            return Delivery::Full;
        };
        let head = chain.head_index();
        let Ok(writer) = chain.writer(memory) else {
            used.push((head, 0));
            continue;
        };
        let room = writer.available_bytes();
        if room < layout.header || (!layout.merge && room < needed) {
            return Delivery::TooLarge;
        }
        capacity = capacity.saturating_add(room);
        writers.push((head, writer));
    }
    let buffers = u16::try_from(writers.len()).unwrap_or(u16::MAX);
    let header = offload.bytes(buffers);
    write_out(&header[..layout.header], frame, writers, used);
    Delivery::Done
}

fn write_out(
    header: &[u8],
    frame: &[u8],
    writers: Vec<(u16, Writer<'_, ()>)>,
    used: &mut Vec<(u16, u32)>,
) {
    let mut rest = frame;
    for (index, (head, mut writer)) in writers.into_iter().enumerate() {
        // Capacity was checked; a write into mapped guest memory has no other way to fail.
        if index == 0 {
            let _ = writer.write_all(header);
        }
        let (now, later) = rest.split_at(rest.len().min(writer.available_bytes()));
        let _ = writer.write_all(now);
        rest = later;
        used.push((
            head,
            u32::try_from(writer.bytes_written()).unwrap_or(u32::MAX),
        ));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'a> VringStateGuard<'a, Memory> for Ring {
    type G = <VringMutex<Memory> as VringStateGuard<'a, Memory>>::G;
}

impl<'a> VringStateMutGuard<'a, Memory> for Ring {
    type G = <VringMutex<Memory> as VringStateMutGuard<'a, Memory>>::G;
}

impl VringT<Memory> for Ring {
    fn new(memory: Memory, max_queue_size: u16) -> Result<Self, QueueError> {
        let state = VringMutex::new(memory.clone(), max_queue_size)?;
        Ok(Self {
            state,
            memory,
            kick: Arc::default(),
            signalled: Arc::default(),
        })
    }

    fn get_ref(&self) -> <Self as VringStateGuard<'_, Memory>>::G {
        self.state.get_ref()
    }

    fn get_mut(&self) -> <Self as VringStateMutGuard<'_, Memory>>::G {
        self.state.get_mut()
    }

    fn add_used(&self, index: u16, length: u32) -> Result<(), QueueError> {
        self.state.add_used(index, length)
    }

    fn signal_used_queue(&self) -> io::Result<()> {
        self.state.signal_used_queue()
    }

    fn enable_notification(&self) -> Result<bool, QueueError> {
        self.state.enable_notification()
    }

    fn disable_notification(&self) -> Result<(), QueueError> {
        self.state.disable_notification()
    }

    fn needs_notification(&self) -> Result<bool, QueueError> {
        self.state.needs_notification()
    }

    fn set_enabled(&self, enabled: bool) {
        self.state.set_enabled(enabled);
    }

    fn set_queue_info(
        &self,
        descriptors: u64,
        available: u64,
        used: u64,
    ) -> Result<(), QueueError> {
        self.state.set_queue_info(descriptors, available, used)
    }

    fn queue_next_avail(&self) -> u16 {
        self.state.queue_next_avail()
    }

    fn set_queue_next_avail(&self, base: u16) {
        self.state.set_queue_next_avail(base);
    }

    fn set_queue_next_used(&self, index: u16) {
        self.signalled.store(index, Ordering::Relaxed);
        self.state.set_queue_next_used(index);
    }

    fn queue_used_idx(&self) -> Result<u16, QueueError> {
        self.state.queue_used_idx()
    }

    fn set_queue_size(&self, size: u16) {
        self.state.set_queue_size(size);
    }

    fn set_queue_event_idx(&self, enabled: bool) {
        self.state.set_queue_event_idx(enabled);
    }

    fn set_queue_ready(&self, ready: bool) {
        self.state.set_queue_ready(ready);
    }

    fn set_kick(&self, kick: Option<File>) {
        let silent = kick.as_ref().and_then(|_| silent_kick());
        *lock(&self.kick) = kick;
        self.state.set_kick(silent);
    }

    fn read_kick(&self) -> io::Result<bool> {
        match self.state.read_kick() {
            // The kick was exchanged between the crate's epoll and this read: nothing to read.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                Ok(self.state.get_ref().is_enabled())
            }
            other => other,
        }
    }

    fn set_call(&self, call: Option<File>) {
        self.state.set_call(call);
    }

    fn set_err(&self, err: Option<File>) {
        self.state.set_err(err);
    }
}

fn silent_kick() -> Option<File> {
    let event = EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC).ok()?;
    Some(File::from(OwnedFd::from(event)))
}
