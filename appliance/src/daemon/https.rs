//! The API and the console over HTTPS: TLS 1.3, with a certificate of the machine's own until it
//! is given another.

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use rustls::ServerConfig;
use rustls::version::{TLS12, TLS13};
use tokio::task::JoinHandle;

use super::certificate::Certificate;

/// A browser says what it wants within this time, or is let go.
const HEADERS: Duration = Duration::from_secs(15);

/// How to serve over HTTPS.
#[derive(Debug, Clone, Default)]
pub struct HttpsOptions {
    /// Where, when wanted.
    pub listen: Option<SocketAddr>,
    /// Names of the machine besides its host name.
    pub names: Vec<String>,
    /// Certificate with its chain, and its key, in PEM; otherwise the machine's own.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// TLS 1.2, too, for clients that cannot do better.
    pub tls12: bool,
}

/// A port that is taken, and what is shown there.
pub struct Https {
    listener: TcpListener,
    address: SocketAddr,
    certificate: Certificate,
    tls12: bool,
}

impl Https {
    /// Takes the port, when one is wanted.
    pub fn bind(options: &HttpsOptions, state_dir: &Path) -> anyhow::Result<Option<Self>> {
        let Some(address) = options.listen else {
            return Ok(None);
        };
        let listener =
            TcpListener::bind(address).with_context(|| format!("failed to listen on {address}"))?;
        listener.set_nonblocking(true)?;
        let certificate = match &options.certificate {
            Some((certificate, key)) => Certificate::read(certificate, key)?,
            None => Certificate::own(state_dir, &options.names)?,
        };
        Ok(Some(Self {
            address: listener.local_addr()?,
            listener,
            certificate,
            tls12: options.tls12,
        }))
    }

    /// The names that a browser may ask for: those of the certificate.
    pub fn names(&self) -> &[String] {
        &self.certificate.names
    }

    /// Where a browser finds it.
    pub fn url(&self) -> String {
        let port = self.address.port();
        match self.address.ip() {
            ip if !ip.is_unspecified() => format!("https://{}", SocketAddr::new(ip, port)),
            _ => format!("https://{}:{port}", host_name()),
        }
    }

    /// What a browser shows of the certificate, to be compared at the first visit.
    pub fn fingerprint(&self) -> String {
        self.certificate.fingerprint()
    }

    /// Begins to answer.
    pub fn serve(self, router: Router) -> anyhow::Result<JoinHandle<()>> {
        let address = self.address;
        let config = RustlsConfig::from_config(Arc::new(self.config()?));
        let server = axum_server::from_tcp(self.listener)?;
        let mut server = server.acceptor(RustlsAcceptor::new(config));
        // Nothing is guessed about the protocol: the guess would wait without end.
        *server.http_builder() = Builder::new(TokioExecutor::new()).http1_only();
        server
            .http_builder()
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADERS);
        tracing::info!(%address, "HTTPS");
        let service = router.into_make_service_with_connect_info::<SocketAddr>();
        Ok(tokio::spawn(async move {
            if let Err(error) = server.serve(service).await {
                tracing::error!(%error, "HTTPS ended");
            }
        }))
    }

    fn config(&self) -> anyhow::Result<ServerConfig> {
        let versions: &[_] = if self.tls12 {
            &[&TLS13, &TLS12]
        } else {
            &[&TLS13]
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .context("failed to set TLS up")?
            .with_no_client_auth()
            .with_single_cert(
                self.certificate.chain.clone(),
                self.certificate.key.clone_key(),
            )
            .context("failed to use the certificate: does the key belong to it?")?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }
}

/// What the machine calls itself.
pub fn host_name() -> String {
    let name = nix::unistd::gethostname().ok();
    let name = name.and_then(|name| name.into_string().ok());
    name.filter(|name| !name.is_empty())
        .unwrap_or_else(|| "localhost".to_owned())
}

/// The addresses of the machine's interfaces.
pub fn addresses() -> Vec<IpAddr> {
    let Ok(interfaces) = nix::ifaddrs::getifaddrs() else {
        return Vec::new();
    };
    let address = |interface: nix::ifaddrs::InterfaceAddress| {
        let address = interface.address?;
        let four = address.as_sockaddr_in().map(|one| IpAddr::V4(one.ip()));
        four.or_else(|| address.as_sockaddr_in6().map(|one| IpAddr::V6(one.ip())))
    };
    interfaces.filter_map(address).collect()
}
