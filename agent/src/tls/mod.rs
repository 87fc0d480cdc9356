//! TLS 1.3 with the appliance's own CA.
//!
//! Names in certificates say what somebody is: `centre.lifeboat.internal`, or a host below
//! `agent.lifeboat.internal`. They are never looked up.

mod connection;
mod pin;

use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use serde::{Deserialize, Serialize};

use crate::wire::{Certified, UnixMillis};

pub use connection::{ConnectionError, Receiver, Sender, split};

/// The control centre's name in its certificate.
pub const CENTRE: &str = "centre.lifeboat.internal";
const AGENTS: &str = "agent.lifeboat.internal";

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A certificate or key is damaged.
    #[error("failed to read the {what}: it is damaged, join again")]
    Pem {
        /// Which.
        what: &'static str,
        /// How.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// They do not fit together.
    #[error("failed to set TLS up with this certificate and key")]
    Setup(#[source] rustls::Error),
    /// The CA's certificate cannot verify anybody.
    #[error("failed to verify others with the CA's certificate")]
    Verifier(#[source] rustls::server::VerifierBuilderError),
    /// Not a name of a host.
    #[error("`{0}` is not a name for a host: use 1 to 63 of a-z, 0-9 and -")]
    HostName(String),
}

/// Who an agent is, and how it knows the others.
#[derive(Clone, Serialize, Deserialize)]
pub struct Identity {
    /// Certificate, CA and times.
    pub certified: Certified,
    /// The private key (PEM). Never leaves the host.
    pub key: String,
}

impl Identity {
    /// When a new certificate is asked for: half of its life is over.
    pub fn renewal(&self) -> UnixMillis {
        let life = self.certified.expires.saturating_sub(self.certified.issued);
        self.certified.issued + life / 2
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Identity({})", self.certified.host)
    }
}

/// The name of a host's agent in its certificate.
pub fn agent_name(host: &str) -> Result<String, TlsError> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let good = (1..=63).contains(&host.len())
        && host.bytes().all(plain)
        && !host.starts_with('-')
        && !host.ends_with('-');
    match good {
        true => Ok(format!("{host}.{AGENTS}")),
        false => Err(TlsError::HostName(host.to_owned())),
    }
}

/// The host whose agent carries this name.
#[cfg(feature = "centre")]
pub(crate) fn host_of(name: &str) -> Option<&str> {
    name.strip_suffix(AGENTS)?.strip_suffix('.')
}

/// The control centre, as a name to connect to.
pub fn centre_server_name() -> Result<ServerName<'static>, TlsError> {
    server_name(CENTRE)
}

/// The agent of a host, as a name to connect to.
pub fn agent_server_name(host: &str) -> Result<ServerName<'static>, TlsError> {
    server_name(&agent_name(host)?)
}

fn server_name(name: &str) -> Result<ServerName<'static>, TlsError> {
    ServerName::try_from(name.to_owned()).map_err(|_| TlsError::HostName(name.to_owned()))
}

/// For the first contact: believes in the CA with this SHA-256 only, shows no certificate.
pub fn first_contact(ca: [u8; 32]) -> Result<Arc<ClientConfig>, TlsError> {
    let config = client()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(pin::Pinned::new(ca, provider())))
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// For an agent that dials with its certificate.
pub fn dials(identity: &Identity) -> Result<Arc<ClientConfig>, TlsError> {
    let (chain, key) = own(identity)?;
    let config = client()?
        .with_root_certificates(roots(&identity.certified.ca)?)
        .with_client_auth_cert(chain, key)
        .map_err(TlsError::Setup)?;
    Ok(Arc::new(config))
}

/// For an agent that listens for the other one.
pub fn listens(identity: &Identity) -> Result<Arc<ServerConfig>, TlsError> {
    let (chain, key) = own(identity)?;
    let roots = Arc::new(roots(&identity.certified.ca)?);
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider())
        .build()
        .map_err(TlsError::Verifier)?;
    let config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(TlsError::Setup)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(TlsError::Setup)?;
    Ok(Arc::new(config))
}

/// Whether a certificate that was verified already belongs to the agent of `host`.
pub fn belongs_to(certificate: &CertificateDer<'_>, host: &str) -> bool {
    let Ok(name) = agent_server_name(host) else {
        return false;
    };
    rustls::server::ParsedCertificate::try_from(certificate)
        .and_then(|parsed| rustls::client::verify_server_name(&parsed, &name))
        .is_ok()
}

pub(crate) fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

pub(crate) fn roots(ca: &str) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    roots
        .add(certificate(ca, "CA's certificate")?)
        .map_err(TlsError::Setup)?;
    Ok(roots)
}

pub(crate) fn certificate(
    pem: &str,
    what: &'static str,
) -> Result<CertificateDer<'static>, TlsError> {
    CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|source| TlsError::Pem { what, source })
}

fn own(
    identity: &Identity,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
    let chain = vec![certificate(
        &identity.certified.certificate,
        "agent's certificate",
    )?];
    let what = "agent's key";
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes())
        .map_err(|source| TlsError::Pem { what, source })?;
    Ok((chain, key))
}

fn client() -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, TlsError> {
    ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(TlsError::Setup)
}
