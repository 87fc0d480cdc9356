//! A conversation in lines with a server, bounded in length; its time is bounded by the check.

use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio_rustls::TlsConnector;

use crate::profile::{Access, Filled, Tls};
#[cfg(feature = "run")]
use crate::run::resolve::connect;

/// The longest line, and the longest page.
const LINE: u64 = 8 * 1024;
const PAGE: u64 = 256 * 1024;

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A conversation.
pub(super) struct Dialogue {
    stream: BufReader<Box<dyn Stream>>,
}

/// The control centre has the C library of its own host; an agent must not.
#[cfg(not(feature = "run"))]
async fn connect(host: &str, port: u16) -> std::io::Result<tokio::net::TcpStream> {
    tokio::net::TcpStream::connect((host, port)).await
}

impl Dialogue {
    pub(super) async fn open(access: &Access, values: &Filled) -> Result<Self, String> {
        let fill = |text: &String| values.text(text).map_err(|error| error.to_string());
        let (host, port) = (fill(&access.host)?, fill(&access.port)?);
        let port: u16 = port
            .parse()
            .map_err(|_| format!("`{port}` is not a port"))?;
        let tcp = connect(&host, port).await;
        let tcp = tcp.map_err(|error| format!("{host} port {port}: {error}"))?;
        let stream: Box<dyn Stream> = match access.tls {
            Tls::None => Box::new(tcp),
            Tls::Wrapped => {
                let trust = access
                    .trust
                    .as_ref()
                    .ok_or("with TLS the check has to say whom to `trust`")?;
                let config = trusting(&fill(trust)?)?;
                let name = ServerName::try_from(host.clone())
                    .map_err(|_| format!("`{host}` is no name"))?;
                let wrapped = TlsConnector::from(config).connect(name, tcp).await;
                Box::new(wrapped.map_err(|error| format!("TLS with {host}: {error}"))?)
            }
        };
        Ok(Self {
            stream: BufReader::with_capacity(2048, stream),
        })
    }

    pub(super) async fn line(&mut self) -> Result<String, String> {
        let mut line = Vec::new();
        let mut bounded = (&mut self.stream).take(LINE);
        let read = bounded.read_until(b'\n', &mut line).await;
        match read {
            Ok(0) => Err("the server closed the connection".to_owned()),
            Ok(_) => Ok(String::from_utf8_lossy(&line).trim_end().to_owned()),
            Err(error) => Err(format!("reading: {error}")),
        }
    }

    pub(super) async fn say(&mut self, line: &str) -> Result<(), String> {
        let write = async {
            self.stream.get_mut().write_all(line.as_bytes()).await?;
            self.stream.get_mut().write_all(b"\r\n").await?;
            self.stream.get_mut().flush().await
        };
        write.await.map_err(|error| format!("writing: {error}"))
    }

    /// Everything up to the end, as far as it is kept.
    pub(super) async fn rest(mut self) -> Result<Vec<u8>, String> {
        let mut page = Vec::new();
        let read = (&mut self.stream).take(PAGE).read_to_end(&mut page).await;
        read.map_err(|error| format!("reading: {error}"))?;
        Ok(page)
    }
}

fn trusting(file: &str) -> Result<Arc<rustls::ClientConfig>, String> {
    let certificates = rustls::pki_types::CertificateDer::pem_file_iter(file)
        .map_err(|error| format!("{file}: {error}"))?;
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(certificates.flatten());
    let config = rustls::ClientConfig::builder_with_provider(crate::tls::provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(Arc::new(
        config.with_root_certificates(roots).with_no_client_auth(),
    ))
}
