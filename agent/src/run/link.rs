//! The connection to the control centre: dialed, kept, dialed again.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::event::Event;
use super::log::Chain;
use super::resolve;
use super::session::{Follows, Patience, carry};
use crate::tls::{
    ConnectionError, Identity, Receiver, Sender, TlsError, centre_server_name, dials, split,
};
use crate::wire::{FromAgent, Hello, PROTOCOL, Refusal, ToAgent, Welcome};

const CONNECT: Duration = Duration::from_secs(5);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// After an answer that only a human can change.
const HOPELESS_WAIT: Duration = Duration::from_secs(60);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// Not even TCP.
    #[error("failed to reach {address}")]
    Reach {
        /// Where.
        address: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// TLS.
    #[error("failed to agree on TLS with {address}{}", hint(source))]
    Handshake {
        /// Where.
        address: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Certificates.
    #[error("failed to set TLS up")]
    Tls(#[source] TlsError),
    /// It broke.
    #[error("the connection ended")]
    Ended(#[source] ConnectionError),
    /// Turned away.
    #[error("the control centre turned this agent away")]
    Refused(#[source] Refusal),
    /// The other end does not behave.
    #[error("the control centre answered something else than expected")]
    Senseless,
}

/// What an alert of the other end means for the operator.
pub(crate) fn hint(error: &std::io::Error) -> &'static str {
    use rustls::{AlertDescription as Alert, CertificateError, Error};
    let inner = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<Error>());
    match inner {
        Some(Error::AlertReceived(Alert::CertificateExpired)) => {
            ": this host's certificate has expired, join again with a new token"
        }
        Some(Error::AlertReceived(
            Alert::UnknownCA | Alert::DecryptError | Alert::BadCertificate,
        )) => ": this host's certificate comes from another control centre, join this one first",
        Some(Error::InvalidCertificate(
            CertificateError::UnknownIssuer | CertificateError::BadSignature,
        )) => ": the other end is not the control centre that this host joined",
        _ => "",
    }
}

/// A connection after the handshake.
pub(crate) type Stream = TlsStream<TcpStream>;

/// What the link needs to know.
pub(crate) struct Link {
    pub(crate) address: String,
    pub(crate) identity: watch::Receiver<Arc<Identity>>,
    pub(crate) hello: watch::Receiver<Hello>,
    /// How long the control centre may be silent.
    pub(crate) silence: watch::Receiver<Duration>,
    pub(crate) events: mpsc::Sender<Event>,
}

impl Link {
    /// Keeps a connection for ever.
    pub(crate) async fn keep(mut self) {
        let mut patience = Patience::up_to(LONGEST_WAIT);
        let mut last = String::new();
        loop {
            let error = self.once(&mut patience).await;
            let shown = Chain(&error).to_string();
            if shown != last {
                tracing::warn!(error = %shown, "no link to the control centre");
                last = shown;
            }
            let wait = match &error {
                LinkError::Refused(refusal) if !refusal.may_pass() => HOPELESS_WAIT,
                _ => patience.wait().min(*self.silence.borrow()),
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                // A new certificate may change everything.
                changed = self.identity.changed() => if changed.is_err() { return },
            }
        }
    }

    async fn once(&mut self, patience: &mut Patience) -> LinkError {
        let identity = self.identity.borrow_and_update().clone();
        let (mut sender, mut receiver) = match self.connect(&identity).await {
            Ok(ends) => ends,
            Err(error) => return error,
        };
        let welcome = match self.greet(&mut sender, &mut receiver).await {
            Ok(welcome) => welcome,
            Err(error) => return error,
        };
        patience.refresh();
        tracing::info!(address = %self.address, "linked to the control centre");
        let (outbox, mut out) = mpsc::channel(64);
        if self
            .events
            .send(Event::LinkUp(welcome, outbox))
            .await
            .is_err()
        {
            return LinkError::Senseless;
        }
        let error = self.talk(&mut sender, &mut receiver, &mut out).await;
        // The owner is gone only at the very end.
        let _ = self.events.send(Event::LinkDown).await;
        error
    }

    async fn talk(
        &self,
        sender: &mut Sender<Stream>,
        receiver: &mut Receiver<Stream>,
        out: &mut mpsc::Receiver<FromAgent>,
    ) -> LinkError {
        let silence = *self.silence.borrow();
        let mut refused = None;
        let mut pings = 0;
        let alive = || {
            pings += 1;
            FromAgent::Ping(pings)
        };
        let heard = |word| match word {
            ToAgent::Ping(number) => Follows::Answer(FromAgent::Pong(number)),
            ToAgent::Pong(_) => Follows::Nothing,
            ToAgent::Refused(refusal) => {
                refused = Some(refusal);
                Follows::Nothing
            }
            other => Follows::Tell(Event::Heard(Box::new(other))),
        };
        let ended = carry(sender, receiver, out, silence, alive, &self.events, heard).await;
        match refused {
            Some(refusal) => LinkError::Refused(refusal),
            None => LinkError::Ended(ended),
        }
    }

    async fn connect(
        &self,
        identity: &Identity,
    ) -> Result<(Sender<Stream>, Receiver<Stream>), LinkError> {
        let config = dials(identity).map_err(LinkError::Tls)?;
        let name = centre_server_name().map_err(LinkError::Tls)?;
        connect(&self.address, name, config).await.map(split)
    }

    async fn greet(
        &self,
        sender: &mut Sender<Stream>,
        receiver: &mut Receiver<Stream>,
    ) -> Result<Box<Welcome>, LinkError> {
        let hello = FromAgent::Hello(Box::new(self.hello.borrow().clone()));
        sender.send(&hello, CONNECT).await.map_err(first_word)?;
        match receiver.receive(CONNECT * 2).await.map_err(first_word)? {
            ToAgent::Welcome(welcome) if welcome.protocol == PROTOCOL => Ok(welcome),
            ToAgent::Welcome(welcome) => Err(LinkError::Refused(Refusal::Protocol {
                centre: welcome.protocol,
                agent: PROTOCOL,
            })),
            ToAgent::Refused(refusal) => Err(LinkError::Refused(refusal)),
            _ => Err(LinkError::Senseless),
        }
    }
}

/// With TLS 1.3 a certificate is refused after the handshake, at the first word.
fn first_word(error: ConnectionError) -> LinkError {
    match error {
        ConnectionError::Broken(source) => LinkError::Handshake {
            address: "the control centre".to_owned(),
            source,
        },
        other => LinkError::Ended(other),
    }
}

/// Dials, bounded in time.
pub(crate) async fn connect(
    address: &str,
    name: rustls::pki_types::ServerName<'static>,
    config: Arc<rustls::ClientConfig>,
) -> Result<Stream, LinkError> {
    let reach = |source| LinkError::Reach {
        address: address.to_owned(),
        source,
    };
    let slow = || std::io::Error::from(std::io::ErrorKind::TimedOut);
    let stream = tokio::time::timeout(CONNECT, resolve::dial(address))
        .await
        .map_err(|_| reach(slow()))?
        .map_err(reach)?;
    // Lease messages are small and must not wait for one another.
    stream.set_nodelay(true).map_err(reach)?;
    let handshake = |source| LinkError::Handshake {
        address: address.to_owned(),
        source,
    };
    tokio::time::timeout(CONNECT, TlsConnector::from(config).connect(name, stream))
        .await
        .map_err(|_| handshake(slow()))?
        .map_err(handshake)
}
