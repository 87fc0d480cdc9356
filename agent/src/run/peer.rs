//! The two agents of an application talk about leases: each dials the other, either way will do.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_rustls::TlsAcceptor;

use super::event::{Event, Way};
use super::link::connect;
use super::session::{Follows, Patience, carry};
use crate::tls::{
    Identity, Receiver, Sender, agent_server_name, belongs_to, dials, listens, split,
};
use crate::wire::{FromPeer, Peer};

const HANDSHAKE: Duration = Duration::from_secs(5);
/// Strangers that may knock at once.
const KNOCKS: usize = 8;

/// What both directions need to know.
#[derive(Clone)]
pub(crate) struct Peers {
    pub(crate) identity: watch::Receiver<Arc<Identity>>,
    pub(crate) peer: watch::Receiver<Option<Peer>>,
    pub(crate) silence: watch::Receiver<Duration>,
    pub(crate) events: mpsc::Sender<Event>,
}

impl Peers {
    /// Dials the other agent, for ever.
    pub(crate) async fn dial(mut self) {
        let mut patience = Patience::up_to(Duration::from_secs(10));
        loop {
            let Some(peer) = self.peer.borrow_and_update().clone() else {
                match self.peer.changed().await {
                    Ok(()) => continue,
                    Err(_) => return,
                }
            };
            let mut changes = self.peer.clone();
            tokio::select! {
                () = self.dial_once(&peer, &mut patience) => {}
                changed = changes.changed() => if changed.is_err() { return },
            }
            let wait = patience.wait().min(*self.silence.borrow() / 2);
            tokio::time::sleep(wait).await;
        }
    }

    async fn dial_once(&self, peer: &Peer, patience: &mut Patience) {
        let identity = self.identity.borrow().clone();
        let (Ok(config), Ok(name)) = (dials(&identity), agent_server_name(&peer.host)) else {
            return;
        };
        match connect(&peer.address, name, config).await {
            Ok(stream) => {
                patience.refresh();
                let (sender, receiver) = split(stream);
                self.talk(Way::Out, sender, receiver).await;
            }
            Err(error) => {
                tracing::debug!(error = %super::log::Chain(&error), "no link to the other agent")
            }
        }
    }

    /// Waits for the other agent, for ever. Whoever else knocks is turned away by TLS, or here.
    pub(crate) async fn listen(self, listener: TcpListener) {
        let knocks = Arc::new(Semaphore::new(KNOCKS));
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let Ok(knock) = knocks.clone().try_acquire_owned() else {
                continue;
            };
            let peers = self.clone();
            tokio::spawn(async move {
                peers.meet(stream).await;
                drop(knock);
            });
        }
    }

    async fn meet(&self, stream: TcpStream) {
        let Some(peer) = self.peer.borrow().clone() else {
            return;
        };
        let identity = self.identity.borrow().clone();
        let Ok(config) = listens(&identity) else {
            return;
        };
        // Without it a lease message may wait for an acknowledgement; nothing worse.
        let _ = stream.set_nodelay(true);
        let handshake = TlsAcceptor::from(config).accept(stream);
        let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, handshake).await else {
            return;
        };
        let shown = stream
            .get_ref()
            .1
            .peer_certificates()
            .and_then(|chain| chain.first());
        if !shown.is_some_and(|shown| belongs_to(shown, &peer.host)) {
            tracing::warn!(expected = %peer.host, "somebody else than the other agent came to its port");
            return;
        }
        let (sender, receiver) = split(stream);
        self.talk(Way::In, sender, receiver).await;
    }

    async fn talk<S: tokio::io::AsyncRead + tokio::io::AsyncWrite>(
        &self,
        way: Way,
        mut sender: Sender<S>,
        mut receiver: Receiver<S>,
    ) {
        let (outbox, mut out) = mpsc::channel(64);
        if self.events.send(Event::PeerUp(way, outbox)).await.is_err() {
            return;
        }
        let silence = *self.silence.borrow();
        let heard = |word| match word {
            FromPeer::Lease(message) => Follows::Tell(Event::PeerHeard(message)),
            FromPeer::Alive => Follows::Nothing,
        };
        let alive = || FromPeer::Alive;
        let events = &self.events;
        carry(
            &mut sender,
            &mut receiver,
            &mut out,
            silence,
            alive,
            events,
            heard,
        )
        .await;
    }
}
