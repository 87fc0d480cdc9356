//! Proof that nothing of a session reaches the host's network.
//!
//! The daemon watches every interface of the host's namespace while the switch throws frames with
//! a token at everything it can reach. That the watch would have seen one is shown by a frame with
//! the same token that the daemon itself sends over loopback.

use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, setsockopt, socket, sockopt,
};
use serde::{Deserialize, Serialize};

use crate::client::{ClientError, SwitchClient};

/// What the control frame carries behind the token.
const CONTROL: &str = "/control";
const RECEIVE_BUFFER: usize = 16 << 20;
/// How often the watching thread looks whether it should end.
const LOOK: u16 = 50;
/// How long the control frame may take over loopback.
const CONTROL_WAIT: Duration = Duration::from_secs(5);

/// The evidence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IsolationReport {
    /// Interfaces in the switch's namespace other than loopback.
    pub host_interfaces: u64,
    /// Frames with the token that the switch sent.
    pub canaries_sent: u64,
    /// Frames with the token that were seen on a host interface.
    pub canaries_escaped: u64,
    /// Whether the watch saw the control frame, and so would have seen a canary.
    pub control_seen: bool,
}

impl IsolationReport {
    /// Whether the evidence is complete and shows isolation.
    #[must_use]
    pub fn is_proven(&self) -> bool {
        self.control_seen
            && self.canaries_sent > 0
            && self.canaries_escaped == 0
            && self.host_interfaces == 0
    }
}

/// Why the proof could not be made.
#[derive(Debug, thiserror::Error)]
pub enum IsolationError {
    /// The host's interfaces could not be watched.
    #[error("failed to watch the host's interfaces (needs CAP_NET_RAW)")]
    Watch(#[source] io::Error),
    /// The control frame could not be sent.
    #[error("failed to send the control frame over loopback")]
    Control(#[source] io::Error),
    /// The token is too short to be told from chance.
    #[error("the token `{0}` is too short: expected at least 16 bytes")]
    Token(String),
    /// The switch did not answer.
    #[error("failed to ask the switch for canaries")]
    Switch(#[source] ClientError),
}

#[derive(Debug, Default)]
struct Seen {
    canaries: AtomicU64,
    controls: AtomicU64,
    stop: AtomicBool,
}

/// Watches all interfaces of the host's namespace for frames with a token.
#[derive(Debug)]
pub struct CanaryWatcher {
    token: String,
    seen: Arc<Seen>,
    thread: Option<JoinHandle<()>>,
    sent: u64,
    interfaces: u64,
    control_seen: bool,
}

impl CanaryWatcher {
    /// Starts watching. The token must be unlikely to appear by chance: a random one.
    pub fn start(token: &str) -> Result<Self, IsolationError> {
        if token.len() < 16 {
            return Err(IsolationError::Token(token.to_owned()));
        }
        let socket = open().map_err(|error| IsolationError::Watch(error.into()))?;
        let seen = Arc::new(Seen::default());
        let (shared, needle) = (seen.clone(), token.to_owned());
        let watch = move || watch(&socket, needle.as_bytes(), &shared);
        let thread = thread::Builder::new()
            .name("canary-watch".into())
            .spawn(watch)
            .map_err(IsolationError::Watch)?;
        let token = token.to_owned();
        Ok(Self {
            token,
            seen,
            thread: Some(thread),
            sent: 0,
            interfaces: 0,
            control_seen: false,
        })
    }

    /// Lets the switch send canaries, and notes what it says about its interfaces. May be repeated.
    pub async fn challenge(&mut self, switch: &SwitchClient) -> Result<u64, IsolationError> {
        let sent = switch
            .canary(&self.token)
            .await
            .map_err(IsolationError::Switch)?;
        let status = switch.status().await.map_err(IsolationError::Switch)?;
        self.note(sent, status.host_interfaces.len() as u64);
        Ok(sent)
    }

    fn note(&mut self, sent: u64, interfaces: u64) {
        self.sent += sent;
        self.interfaces = self.interfaces.max(interfaces);
    }

    /// Sends the token over loopback with a mark, and waits until the watch has seen it. Blocks for
    /// up to five seconds.
    pub fn positive_control(&mut self) -> Result<bool, IsolationError> {
        let before = self.seen.controls.load(Ordering::Acquire);
        let send = || {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
            socket.send_to(
                format!("{}{CONTROL}", self.token).as_bytes(),
                (Ipv4Addr::LOCALHOST, 9),
            )
        };
        send().map_err(IsolationError::Control)?;
        let deadline = Instant::now() + CONTROL_WAIT;
        while self.seen.controls.load(Ordering::Acquire) == before && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(2));
        }
        self.control_seen = self.seen.controls.load(Ordering::Acquire) > before;
        Ok(self.control_seen)
    }

    /// Canaries seen so far on any interface of the host.
    #[must_use]
    pub fn escaped(&self) -> u64 {
        self.seen.canaries.load(Ordering::Acquire)
    }

    /// Ends the watch. Call [`Self::positive_control`] last: what it sees proves that everything
    /// sent before has been looked at.
    #[must_use]
    pub fn finish(mut self) -> IsolationReport {
        self.end();
        self.so_far()
    }

    /// What was seen so far; the proof is complete after [`Self::positive_control`] only.
    #[must_use]
    pub fn so_far(&self) -> IsolationReport {
        IsolationReport {
            host_interfaces: self.interfaces,
            canaries_sent: self.sent,
            canaries_escaped: self.escaped(),
            control_seen: self.control_seen,
        }
    }

    fn end(&mut self) {
        self.seen.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            // A watch that panicked has seen no control frame either.
            let _ = thread.join();
        }
    }
}

impl Drop for CanaryWatcher {
    fn drop(&mut self) {
        self.end();
    }
}

fn open() -> nix::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(
        AddressFamily::Packet,
        SockType::Raw,
        flags,
        SockProtocol::EthAll,
    )?;
    // Beyond the host's limit where allowed; the default otherwise.
    if setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER).is_err() {
        setsockopt(&socket, sockopt::RcvBuf, &RECEIVE_BUFFER)?;
    }
    Ok(socket)
}

fn watch(socket: &OwnedFd, token: &[u8], seen: &Seen) {
    let mut frame = vec![0; 1 << 16];
    loop {
        match recv(socket.as_raw_fd(), &mut frame, MsgFlags::empty()) {
            Ok(length) => look(&frame[..length], token, seen),
            // Ends only when nothing is left to look at.
            Err(Errno::EAGAIN) if seen.stop.load(Ordering::Acquire) => return,
            Err(Errno::EAGAIN) => {
                let mut sockets = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
                // Interrupted or timed out: look again either way.
                let _ = poll(&mut sockets, PollTimeout::from(LOOK));
            }
            Err(Errno::EINTR | Errno::ENETDOWN | Errno::ENOBUFS) => {}
            Err(_) => return,
        }
    }
}

fn look(frame: &[u8], token: &[u8], seen: &Seen) {
    let mut rest = frame;
    let mut found = None;
    while let Some(at) = position(rest, token) {
        rest = &rest[at + token.len()..];
        let is_control = rest.starts_with(CONTROL.as_bytes());
        found = Some(found.unwrap_or(true) && is_control);
    }
    match found {
        Some(true) => seen.controls.fetch_add(1, Ordering::AcqRel),
        Some(false) => seen.canaries.fetch_add(1, Ordering::AcqRel),
        None => 0,
    };
}

fn position(bytes: &[u8], token: &[u8]) -> Option<usize> {
    let first = *token.first()?;
    let mut from = 0;
    while let Some(step) = bytes.get(from..)?.iter().position(|byte| *byte == first) {
        let at = from + step;
        if bytes[at..].starts_with(token) {
            return Some(at);
        }
        from = at + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "lifeboat-canary-0123456789abcdef";

    #[test]
    fn canaries_and_controls_are_told_apart() {
        let seen = Seen::default();
        look(
            format!("xx{TOKEN}{CONTROL}").as_bytes(),
            TOKEN.as_bytes(),
            &seen,
        );
        look(TOKEN.as_bytes(), TOKEN.as_bytes(), &seen);
        look(
            format!("{TOKEN}{CONTROL}{TOKEN}").as_bytes(),
            TOKEN.as_bytes(),
            &seen,
        );
        look(b"something else", TOKEN.as_bytes(), &seen);
        assert_eq!(
            (seen.canaries.into_inner(), seen.controls.into_inner()),
            (2, 1)
        );
    }

    #[test]
    fn a_report_without_control_proves_nothing() {
        let mut report = IsolationReport {
            host_interfaces: 0,
            canaries_sent: 9,
            canaries_escaped: 0,
            control_seen: true,
        };
        assert!(report.is_proven());
        report.control_seen = false;
        assert!(!report.is_proven());
    }

    proptest::proptest! {
        #[test]
        fn search_finds_what_windows_find(bytes in proptest::collection::vec(0u8..3, 0..60), token in proptest::collection::vec(0u8..3, 1..4)) {
            let expected = bytes.windows(token.len()).position(|window| window == token);
            proptest::prop_assert_eq!(position(&bytes, &token), expected);
        }
    }
}
