//! A port's side towards QEMU: one listening socket, one connection at a time, for ever.
//!
//! Threads: one for each port (accepts, relays); while connected, two of the vhost-user crate (its
//! request loop, and a worker that only says that a ring starts). None of them touches a frame:
//! they tell the engine.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use std::{io, thread};

use vhost::vhost_user::Listener;
use vhost::vhost_user::message::{VhostUserProtocolFeatures, VhostUserVirtioFeatures};
use vhost_user_backend::{VhostUserBackend, VhostUserDaemon};
use virtio_bindings::virtio_config::VIRTIO_F_VERSION_1;
use virtio_bindings::virtio_net::{
    VIRTIO_NET_F_CSUM, VIRTIO_NET_F_GUEST_CSUM, VIRTIO_NET_F_GUEST_ECN, VIRTIO_NET_F_GUEST_TSO4,
    VIRTIO_NET_F_GUEST_TSO6, VIRTIO_NET_F_HOST_ECN, VIRTIO_NET_F_HOST_TSO4, VIRTIO_NET_F_HOST_TSO6,
    VIRTIO_NET_F_MRG_RXBUF,
};
use virtio_bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};
use vm_memory::GuestMemoryMmap;
use vmm_sys_util::epoll::EventSet;
use vmm_sys_util::event::{
    EventConsumer, EventFlag, EventNotifier, new_event_consumer_and_notifier,
};

use crate::engine::{Command, EngineHandle};
use crate::offload::Accepts;
use crate::relay::{self, Closed};
use crate::ring::{Layout, MAX_RING, Memory, Ring};

const OFFERED: [u32; 12] = [
    VIRTIO_F_VERSION_1,
    VIRTIO_RING_F_EVENT_IDX,
    VIRTIO_RING_F_INDIRECT_DESC,
    VIRTIO_NET_F_MRG_RXBUF,
    VIRTIO_NET_F_CSUM,
    VIRTIO_NET_F_GUEST_CSUM,
    VIRTIO_NET_F_GUEST_TSO4,
    VIRTIO_NET_F_GUEST_TSO6,
    VIRTIO_NET_F_GUEST_ECN,
    VIRTIO_NET_F_HOST_TSO4,
    VIRTIO_NET_F_HOST_TSO6,
    VIRTIO_NET_F_HOST_ECN,
];

/// The features a guest acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Features(pub u64);

impl Features {
    fn has(self, bit: u32) -> bool {
        self.0 & (1 << bit) != 0
    }

    /// How its frames lie in the rings.
    #[must_use]
    pub fn layout(self) -> Layout {
        let merge = self.has(VIRTIO_NET_F_MRG_RXBUF);
        Layout {
            header: if merge || self.has(VIRTIO_F_VERSION_1) {
                12
            } else {
                10
            },
            merge,
        }
    }

    /// Which frames it takes without help.
    #[must_use]
    pub fn accepts(self) -> Accepts {
        Accepts {
            checksum: self.has(VIRTIO_NET_F_GUEST_CSUM),
            tcp4: self.has(VIRTIO_NET_F_GUEST_TSO4),
            tcp6: self.has(VIRTIO_NET_F_GUEST_TSO6),
            ecn: self.has(VIRTIO_NET_F_GUEST_ECN),
        }
    }
}

/// A guest's rings, as the engine gets them.
#[derive(Clone)]
pub struct Link {
    /// Towards the guest.
    pub receive: Ring,
    /// From the guest.
    pub transmit: Ring,
    /// What the guest acknowledged.
    pub features: Features,
}

struct Backend {
    port: usize,
    features: AtomicU64,
    engine: EngineHandle,
}

impl VhostUserBackend for Backend {
    type Bitmap = ();
    type Vring = Ring;

    fn num_queues(&self) -> usize {
        2
    }

    fn max_queue_size(&self) -> usize {
        MAX_RING
    }

    fn features(&self) -> u64 {
        OFFERED.iter().fold(
            VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits(),
            |all, bit| all | 1 << bit,
        )
    }

    fn acked_features(&self, features: u64) {
        self.features.store(features, Ordering::Release);
    }

    fn protocol_features(&self) -> VhostUserProtocolFeatures {
        VhostUserProtocolFeatures::REPLY_ACK
            | VhostUserProtocolFeatures::MQ
            | VhostUserProtocolFeatures::CONFIGURE_MEM_SLOTS
    }

    fn set_event_idx(&self, _enabled: bool) {}

    fn update_memory(&self, _memory: Memory) -> io::Result<()> {
        Ok(())
    }

    fn exit_event(&self, _thread: usize) -> Option<(EventConsumer, EventNotifier)> {
        new_event_consumer_and_notifier(EventFlag::NONBLOCK | EventFlag::CLOEXEC).ok()
    }

    fn stop_vring(&self, index: u32) -> io::Result<()> {
        self.engine.ask(|done| Command::RingStopped {
            port: self.port,
            ring: index as usize,
            done,
        });
        Ok(())
    }

    fn handle_event(
        &self,
        event: u16,
        _set: EventSet,
        rings: &[Ring],
        _thread: usize,
    ) -> io::Result<()> {
        if let [receive, transmit] = rings {
            let features = Features(self.features.load(Ordering::Acquire));
            let link = Link {
                receive: receive.clone(),
                transmit: transmit.clone(),
                features,
            };
            self.engine.tell(Command::RingStarted {
                port: self.port,
                ring: usize::from(event),
                link,
            });
        }
        Ok(())
    }
}

/// Serves a port on a thread of its own until the process ends.
pub fn spawn(
    port: usize,
    id: String,
    listener: UnixListener,
    engine: EngineHandle,
) -> io::Result<()> {
    let serve = move || {
        for connection in 0u64.. {
            let (stream, _) = match listener.accept() {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Descriptors may be short for a moment; QEMU tries again too.
                    tracing::error!(port = id, %error, "failed to accept a connection");
                    thread::sleep(PAUSE);
                    continue;
                }
            };
            tracing::info!(port = id, connection, "QEMU connected");
            let result = serve_connection(port, &id, connection, &stream, &engine);
            engine.ask(|done| Command::Disconnected { port, done });
            match result {
                Ok(()) => tracing::info!(port = id, connection, "QEMU disconnected"),
                Err(error) => tracing::warn!(
                    port = id,
                    connection,
                    error = &*error,
                    "the vhost-user connection broke"
                ),
            }
        }
    };
    thread::Builder::new()
        .name(format!("port-{port}"))
        .spawn(serve)
        .map(drop)
}

/// After a failure to accept, before the next attempt.
pub(crate) const PAUSE: Duration = Duration::from_secs(1);

type ConnectionError = Box<dyn std::error::Error + Send + Sync>;

fn serve_connection(
    port: usize,
    id: &str,
    connection: u64,
    front: &UnixStream,
    engine: &EngineHandle,
) -> Result<(), ConnectionError> {
    let memory = Memory::new(GuestMemoryMmap::new());
    let backend = Arc::new(Backend {
        port,
        features: AtomicU64::new(0),
        engine: engine.clone(),
    });
    let (mut listener, back) = inner_connection(port, connection)?;
    let mut daemon =
        VhostUserDaemon::new(id.to_owned(), backend, memory).map_err(|error| error.to_string())?;
    daemon
        .start(&mut listener)
        .map_err(|error| error.to_string())?;
    engine.tell(Command::Connected { port });
    let relayed = relay::run(front, &back);
    drop(back);
    // After a refused message the crate's error is the one that explains.
    if !matches!(relayed, Ok(Closed::Back)) {
        daemon.request_shutdown();
    }
    daemon.wait().map_err(|error| error.to_string())?;
    relayed?;
    Ok(())
}

/// The crate only takes a listener, so the relay's second leg is a connection to a socket without
/// a file, in the namespace of this process.
fn inner_connection(port: usize, connection: u64) -> io::Result<(Listener, UnixStream)> {
    let name = format!("lifeboat-switch-{}-{port}-{connection}", std::process::id());
    let address = SocketAddr::from_abstract_name(name)?;
    let listener = UnixListener::bind_addr(&address)?;
    let stream = UnixStream::connect_addr(&address)?;
    Ok((Listener::from(listener), stream))
}
