//! Meets connections: first contacts join here, known agents are led on.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::authority::{Ca, CaError, KeyHash};
use super::{Redeemed, Register};
use crate::tls::{
    ConnectionError, Receiver, Sender, TlsError, certificate, host_of, provider, roots, split,
};
use crate::wire::{FromAgent, Hello, Join, PROTOCOL, Refusal, ToAgent, sha256};

/// How long a guest may take to say who it is.
const PATIENCE: Duration = Duration::from_secs(10);
const OWN_LIFE: Duration = Duration::from_secs(90 * 24 * 3600);

/// Why somebody was not let in.
#[derive(Debug, thiserror::Error)]
pub enum ReceptionError {
    /// TLS failed: a foreign or expired certificate, or no TLS at all.
    #[error("failed to set TLS up with who came")]
    Handshake(#[source] std::io::Error),
    /// Handshake or first word took too long.
    #[error("who came did not say who it is within {} s", PATIENCE.as_secs())]
    Slow,
    /// The connection broke.
    #[error("the connection ended before who came was known")]
    Connection(#[source] ConnectionError),
    /// It was turned away, and told why.
    #[error("turned away")]
    Refused(#[source] Refusal),
    /// The CA could not do its part.
    #[error("failed to certify who came")]
    Ca(#[source] CaError),
    /// The register could not be asked.
    #[error("failed to look up who came")]
    Register(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// TLS could not be set up here.
    #[error("failed to set the reception up")]
    Tls(#[source] TlsError),
}

/// An agent with a good certificate.
#[derive(Debug)]
pub struct Guest {
    /// The host's name.
    pub host: String,
    /// The key of its certificate.
    pub key: KeyHash,
    /// What it said first.
    pub hello: Hello,
    /// To speak to it. The first word is [`ToAgent::Welcome`] or [`ToAgent::Refused`].
    pub sender: Sender<TlsStream<TcpStream>>,
    /// To hear it.
    pub receiver: Receiver<TlsStream<TcpStream>>,
}

/// Who came.
#[derive(Debug)]
pub enum Arrival {
    /// A new agent, which was certified and left; it comes back with its certificate.
    Joined {
        /// The host's name.
        host: String,
    },
    /// A known one.
    Agent(Box<Guest>),
}

/// Meets connections.
#[derive(Debug)]
pub struct Reception<R> {
    ca: Ca,
    register: R,
    tls: Arc<ServerConfig>,
}

impl<R: Register> Reception<R> {
    /// Opens. Its own certificate lasts for 90 days, so it is opened anew more often than that.
    pub fn open(ca: Ca, register: R, now: SystemTime) -> Result<Self, ReceptionError> {
        let tls = server(&ca, now)?;
        Ok(Self { ca, register, tls })
    }

    /// The CA.
    pub fn ca(&self) -> &Ca {
        &self.ca
    }

    /// The register.
    pub fn register(&self) -> &R {
        &self.register
    }

    /// Meets one connection, up to its first word.
    pub async fn meet(&self, stream: TcpStream) -> Result<Arrival, ReceptionError> {
        let handshake = TlsAcceptor::from(self.tls.clone()).accept(stream);
        let stream = tokio::time::timeout(PATIENCE, handshake)
            .await
            .map_err(|_| ReceptionError::Slow)?
            .map_err(ReceptionError::Handshake)?;
        let shown = stream.get_ref().1.peer_certificates();
        let shown = shown
            .and_then(|chain| chain.first())
            .map(|one| one.clone().into_owned());
        let (mut sender, mut receiver) = split(stream);
        let first = receiver.receive(PATIENCE).await;
        let first: FromAgent = first.map_err(ReceptionError::Connection)?;
        let verdict = match (shown, first) {
            (None, FromAgent::Join(join)) => self.join(&join).await,
            (Some(shown), FromAgent::Hello(hello)) => match self.known(&shown, &hello).await {
                Ok((host, key)) => {
                    return Ok(Arrival::Agent(Box::new(Guest {
                        host,
                        key,
                        hello: *hello,
                        sender,
                        receiver,
                    })));
                }
                Err(refused) => Err(refused),
            },
            (Some(_), _) => Err(senseless("with a certificate the first word is hello")),
            (None, _) => Err(senseless("without a certificate the first word is join")),
        };
        self.answer(verdict, &mut sender).await
    }

    /// A new certificate for a guest: for the same key, so that nobody else can take its place.
    pub async fn renew(
        &self,
        host: &str,
        key: KeyHash,
        request: &str,
    ) -> Result<ToAgent, ReceptionError> {
        let asked = Ca::requested_key(request).map_err(|_| senseless("not a signing request"));
        let verdict = match asked {
            Ok(asked) if asked == key => self.current(host, key).await,
            Ok(_) => Err(senseless("a certificate is renewed for the same key only")),
            Err(refused) => Err(refused),
        };
        match verdict {
            Ok(()) => self
                .ca
                .certify(host, request, SystemTime::now())
                .map(ToAgent::Renewed)
                .map_err(ReceptionError::Ca),
            Err(ReceptionError::Refused(refusal)) => Ok(ToAgent::Refused(refusal)),
            Err(other) => Err(other),
        }
    }

    async fn answer(
        &self,
        verdict: Result<crate::wire::Certified, ReceptionError>,
        sender: &mut Sender<TlsStream<TcpStream>>,
    ) -> Result<Arrival, ReceptionError> {
        let (word, result) = match verdict {
            Ok(certified) => {
                let host = certified.host.clone();
                (ToAgent::Joined(certified), Ok(Arrival::Joined { host }))
            }
            Err(ReceptionError::Refused(refusal)) => {
                let word = ToAgent::Refused(refusal.clone());
                (word, Err(ReceptionError::Refused(refusal)))
            }
            Err(other) => return Err(other),
        };
        let sent = sender.send(&word, PATIENCE).await;
        sender.close().await;
        sent.map_err(ReceptionError::Connection)?;
        result
    }

    async fn join(&self, join: &Join) -> Result<crate::wire::Certified, ReceptionError> {
        same_protocol(join.protocol)?;
        let key = Ca::requested_key(&join.request)
            .map_err(|_| senseless("a join without a signing request"))?;
        let now = SystemTime::now();
        let redeemed = self.register.redeem(join.secret.hash(), key, now).await;
        let refusal = match redeemed.map_err(register)? {
            Redeemed::Host(host) => {
                return self
                    .ca
                    .certify(&host, &join.request, now)
                    .map_err(ReceptionError::Ca);
            }
            Redeemed::Unknown => Refusal::TokenUnknown,
            Redeemed::Expired => Refusal::TokenExpired,
            Redeemed::Used => Refusal::TokenUsed,
        };
        Err(ReceptionError::Refused(refusal))
    }

    async fn known(
        &self,
        shown: &CertificateDer<'_>,
        hello: &Hello,
    ) -> Result<(String, KeyHash), ReceptionError> {
        same_protocol(hello.protocol)?;
        let (host, key) = who(shown).ok_or_else(|| senseless("a certificate without a host"))?;
        self.current(&host, key).await?;
        Ok((host, key))
    }

    /// Whether this key is the host's present one.
    async fn current(&self, host: &str, key: KeyHash) -> Result<(), ReceptionError> {
        let host = host.to_owned();
        let refusal = match self.register.key_of(&host).await.map_err(register)? {
            Some(current) if current == key => return Ok(()),
            Some(_) => Refusal::Replaced { host },
            None => Refusal::HostUnknown { host },
        };
        Err(ReceptionError::Refused(refusal))
    }
}

fn senseless(what: &str) -> ReceptionError {
    let what = what.to_owned();
    ReceptionError::Refused(Refusal::Senseless { what })
}

fn register(source: impl std::error::Error + Send + Sync + 'static) -> ReceptionError {
    ReceptionError::Register(Box::new(source))
}

fn same_protocol(agent: u32) -> Result<(), ReceptionError> {
    match agent {
        PROTOCOL => Ok(()),
        agent => Err(ReceptionError::Refused(Refusal::Protocol {
            centre: PROTOCOL,
            agent,
        })),
    }
}

/// Host and key of a certificate that the handshake verified.
fn who(shown: &CertificateDer<'_>) -> Option<(String, KeyHash)> {
    let (_, parsed) = X509Certificate::from_der(shown).ok()?;
    let names = parsed.subject_alternative_name().ok()??;
    let host = names
        .value
        .general_names
        .iter()
        .find_map(|name| match name {
            GeneralName::DNSName(name) => host_of(name),
            _ => None,
        })?;
    Some((host.to_owned(), sha256(parsed.public_key().raw)))
}

/// Who has no certificate may come in too, to join; whoever shows one must show a good one.
fn server(ca: &Ca, now: SystemTime) -> Result<Arc<ServerConfig>, ReceptionError> {
    let own = ca.own(now, OWN_LIFE).map_err(ReceptionError::Ca)?;
    let roots = Arc::new(roots(ca.certificate()).map_err(ReceptionError::Tls)?);
    let setup = |source| ReceptionError::Tls(TlsError::Setup(source));
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider())
        .allow_unauthenticated()
        .build()
        .map_err(|source| ReceptionError::Tls(TlsError::Verifier(source)))?;
    let chain = [own.certificate.as_str(), ca.certificate()]
        .into_iter()
        .map(|pem| certificate(pem, "control centre's certificate"))
        .collect::<Result<Vec<_>, _>>()
        .map_err(ReceptionError::Tls)?;
    let what = "control centre's key";
    let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes())
        .map_err(|source| ReceptionError::Tls(TlsError::Pem { what, source }))?;
    let config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(setup)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(setup)?;
    Ok(Arc::new(config))
}
