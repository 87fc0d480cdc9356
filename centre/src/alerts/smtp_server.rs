//! A mail server for tests: the SMTP sessions are those of the crate `mailin`, over real sockets.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use mailin::{Action, AuthMechanism, Handler, Response, SessionBuilder, response};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// How the server behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mood {
    /// It takes everything.
    Takes = 0,
    /// It says "later" to everything.
    Later = 1,
    /// It says "never" to mails with `poison` in their subject.
    PoisonNever = 2,
}

#[derive(Debug)]
struct Shared {
    for_user: bool,
    mood: AtomicU8,
    mails: watch::Sender<Vec<String>>,
}

/// A mail server.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
    /// What a client has to trust.
    pub(super) certificate: String,
}

impl Server {
    /// Starts one that knows no users; at a given address, if one was there before.
    pub(super) async fn start(address: Option<SocketAddr>) -> Self {
        Self::start_with(address, false).await
    }

    /// Starts one that takes mails only from its user.
    pub(super) async fn start_for_user() -> Self {
        Self::start_with(None, true).await
    }

    async fn start_with(address: Option<SocketAddr>, for_user: bool) -> Self {
        let address = address.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 0)));
        let listener = TcpListener::bind(address).await.expect("bound");
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(names).expect("a certificate");
        let key = PrivateKeyDer::try_from(signing_key.serialize_der()).expect("a key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .expect("a configuration");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let shared = Arc::new(Shared {
            for_user,
            mood: AtomicU8::new(0),
            mails: watch::Sender::default(),
        });
        let address = listener.local_addr().expect("bound");
        let task = tokio::spawn(accept(listener, shared.clone(), acceptor));
        Self {
            address,
            shared,
            task,
            certificate: cert.pem(),
        }
    }

    pub(super) fn mood(&self, mood: Mood) {
        self.shared.mood.store(mood as u8, Ordering::SeqCst);
    }

    /// Everything that it took.
    pub(super) fn mails(&self) -> Vec<String> {
        self.shared.mails.borrow().clone()
    }

    /// Waits until what it took is enough.
    pub(super) async fn wait(&self, enough: impl FnMut(&Vec<String>) -> bool) -> Vec<String> {
        let mut mails = self.shared.mails.subscribe();
        let waited =
            tokio::time::timeout(std::time::Duration::from_secs(120), mails.wait_for(enough));
        match waited.await {
            Ok(mails) => mails.expect("a server").clone(),
            Err(_) => panic!("not enough within two minutes: {:#?}", self.mails()),
        }
    }

    /// It is gone from one moment to the next; gives its address.
    pub(super) async fn stop(self) -> SocketAddr {
        self.task.abort();
        let _ = self.task.await;
        self.address
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, acceptor: TlsAcceptor) {
    // Aborted with the server: no session outlives it.
    let mut sessions = tokio::task::JoinSet::new();
    while let Ok((stream, peer)) = listener.accept().await {
        sessions.spawn(converse(
            stream,
            peer.ip(),
            shared.clone(),
            acceptor.clone(),
        ));
    }
}

async fn converse(
    stream: TcpStream,
    peer: IpAddr,
    shared: Arc<Shared>,
    acceptor: TlsAcceptor,
) -> io::Result<()> {
    let mut builder = SessionBuilder::new("localhost");
    builder.enable_start_tls();
    if shared.for_user {
        // From then on a session refuses whoever does not log in.
        builder.enable_auth(AuthMechanism::Plain);
    }
    let mail = Receiver {
        shared,
        text: Vec::new(),
    };
    let mut session = builder.build(peer, mail);
    // A TLS record begins with 22, no SMTP client speaks first.
    let mut first = [0];
    let wrapped = tokio::time::timeout(
        std::time::Duration::from_millis(100),
        stream.peek(&mut first),
    );
    let mut stream: BufReader<Box<dyn Stream>> = match wrapped.await {
        Ok(_) => {
            let stream = acceptor.accept(stream).await?;
            session.tls_active();
            BufReader::new(Box::new(stream))
        }
        Err(_) => BufReader::new(Box::new(stream)),
    };
    say(&mut stream, &session.greeting()).await?;
    let mut line = Vec::new();
    loop {
        line.clear();
        if stream.read_until(b'\n', &mut line).await? == 0 {
            return Ok(());
        }
        let response = session.process(&line);
        say(&mut stream, &response).await?;
        // After it has refused a mail the session would take whatever follows for more of it.
        if response.code == response::TRANSACTION_FAILED.code {
            return Ok(());
        }
        match response.action {
            Action::Close => return Ok(()),
            Action::UpgradeTls => {
                let plain = stream.into_inner();
                let secured = acceptor.accept(plain).await?;
                session.tls_active();
                stream = BufReader::new(Box::new(secured));
            }
            Action::Reply | Action::NoReply => {}
        }
    }
}

async fn say(stream: &mut BufReader<Box<dyn Stream>>, response: &Response) -> io::Result<()> {
    stream.get_mut().write_all(&response.buffer()?).await?;
    stream.get_mut().flush().await
}

struct Receiver {
    shared: Arc<Shared>,
    text: Vec<u8>,
}

impl Handler for Receiver {
    fn mail(&mut self, _: IpAddr, _: &str, _: &str) -> Response {
        match self.shared.mood.load(Ordering::SeqCst) {
            1 => response::INTERNAL_ERROR,
            _ => response::OK,
        }
    }

    fn auth_plain(&mut self, _: &str, user: &str, password: &str) -> Response {
        match (user, password) {
            ("lifeboat", "secret") => response::AUTH_OK,
            _ => response::INVALID_CREDENTIALS,
        }
    }

    fn data_start(&mut self, _: &str, _: &str, _: bool, _: &[String]) -> Response {
        self.text.clear();
        response::OK
    }

    fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.text.extend_from_slice(bytes);
        Ok(())
    }

    fn data_end(&mut self) -> Response {
        let text = String::from_utf8_lossy(&self.text).into_owned();
        if self.shared.mood.load(Ordering::SeqCst) == 2 && text.contains("poison") {
            return response::TRANSACTION_FAILED;
        }
        self.shared.mails.send_modify(|mails| mails.push(text));
        response::OK
    }
}
