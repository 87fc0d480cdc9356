//! Between QEMU and the vhost-user crates: early ring enables.
//!
//! QEMU 10 sends `SET_VRING_ENABLE` for a network card before `SET_FEATURES`. The specification
//! has no word against it, but the crates close the connection, because the protocol-features bit
//! is not acknowledged yet. The relay acknowledges such early enables itself and replays them
//! behind `SET_FEATURES`. Everything else passes unchanged, file descriptors included.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

const HEADER: usize = 12;
/// The largest message body of the protocol that the crates accept.
const MAX_BODY: usize = 4096;
/// The largest number of descriptors in one message.
const MAX_DESCRIPTORS: usize = 32;

const SET_FEATURES: u32 = 2;
const SET_VRING_ENABLE: u32 = 18;
const VERSION: u32 = 1;
const REPLY: u32 = 4;
const NEED_REPLY: u32 = 8;

/// A message of the front end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    request: u32,
    flags: u32,
    body: Vec<u8>,
}

impl Message {
    fn bytes(&self) -> Vec<u8> {
        let size = u32::try_from(self.body.len()).unwrap_or_default();
        let mut bytes = Vec::with_capacity(HEADER + self.body.len());
        for word in [self.request, self.flags, size] {
            bytes.extend_from_slice(&word.to_ne_bytes());
        }
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

/// What to do with a message of the front end.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Pass it on, and these behind it.
    Pass(Vec<Message>),
    /// Keep it; answer the front end with this, if anything.
    Keep(Option<Message>),
}

/// Remembers early enables until features are set.
#[derive(Debug, Default)]
pub struct EarlyEnables {
    features_set: bool,
    kept: Vec<Message>,
}

impl EarlyEnables {
    /// Decides about one message of the front end.
    pub fn see(&mut self, message: &Message) -> Step {
        match message.request {
            SET_FEATURES => {
                self.features_set = true;
                Step::Pass(std::mem::take(&mut self.kept))
            }
            SET_VRING_ENABLE if !self.features_set => {
                // A front end that repeats itself without end must not fill memory.
                if self.kept.len() < 64 {
                    self.kept.push(Message {
                        flags: message.flags & !NEED_REPLY,
                        ..message.clone()
                    });
                }
                let wanted = message.flags & NEED_REPLY != 0;
                Step::Keep(wanted.then(|| acknowledgement(message)))
            }
            _ => Step::Pass(Vec::new()),
        }
    }
}

fn acknowledgement(message: &Message) -> Message {
    Message {
        request: message.request,
        flags: VERSION | REPLY,
        body: vec![0; 8],
    }
}

/// Which side closed first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closed {
    /// QEMU went away.
    Front,
    /// The vhost-user crate refused a message.
    Back,
}

/// Relays until either side closes.
pub fn run(front: &UnixStream, back: &UnixStream) -> io::Result<Closed> {
    let mut early = EarlyEnables::default();
    let mut replies = [0; HEADER + MAX_BODY];
    loop {
        let (from_front, from_back) = wait(front, back)?;
        if from_back {
            let length = (&*back).read(&mut replies)?;
            if length == 0 {
                return Ok(Closed::Back);
            }
            (&*front).write_all(&replies[..length])?;
        }
        if from_front && !forward(front, back, &mut early)? {
            return Ok(Closed::Front);
        }
    }
}

fn wait(front: &UnixStream, back: &UnixStream) -> io::Result<(bool, bool)> {
    let mut sides = [
        PollFd::new(front.as_fd(), PollFlags::POLLIN),
        PollFd::new(back.as_fd(), PollFlags::POLLIN),
    ];
    match poll(&mut sides, PollTimeout::NONE) {
        Err(nix::Error::EINTR) => Ok((false, false)),
        Err(error) => Err(error.into()),
        Ok(_) => Ok((
            sides[0].any().unwrap_or(true),
            sides[1].any().unwrap_or(true),
        )),
    }
}

/// Handles one message of the front end; false when it has closed.
fn forward(front: &UnixStream, back: &UnixStream, early: &mut EarlyEnables) -> io::Result<bool> {
    let Some((message, descriptors)) = receive(front)? else {
        return Ok(false);
    };
    match early.see(&message) {
        Step::Pass(behind) => {
            send(back, &message, &descriptors)?;
            for message in behind {
                send(back, &message, &[])?;
            }
        }
        Step::Keep(Some(answer)) => (&*front).write_all(&answer.bytes())?,
        Step::Keep(None) => {}
    }
    Ok(true)
}

fn receive(stream: &UnixStream) -> io::Result<Option<(Message, Vec<OwnedFd>)>> {
    let mut header = [0; HEADER];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC;
    let received = loop {
        match recvmsg(
            stream,
            &mut [IoSliceMut::new(&mut header)],
            &mut control,
            flags,
        ) {
            Err(rustix::io::Errno::INTR) => {}
            other => break other?.bytes,
        }
    };
    if received == 0 {
        return Ok(None);
    }
    let descriptors = control.drain().flat_map(|message| match message {
        RecvAncillaryMessage::ScmRights(rights) => rights.collect::<Vec<_>>(),
        _ => Vec::new(),
    });
    let descriptors = descriptors.collect();
    let mut stream = stream;
    stream.read_exact(&mut header[received..])?;
    let word = |at: usize| {
        u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
    };
    let size = word(8) as usize;
    if size > MAX_BODY {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "vhost-user message is too large",
        ));
    }
    let mut body = vec![0; size];
    stream.read_exact(&mut body)?;
    Ok(Some((
        Message {
            request: word(0),
            flags: word(4),
            body,
        },
        descriptors,
    )))
}

fn send(stream: &UnixStream, message: &Message, descriptors: &[OwnedFd]) -> io::Result<()> {
    let bytes = message.bytes();
    let borrowed: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !borrowed.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&borrowed)) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "too many descriptors in a vhost-user message",
        ));
    }
    let sent = sendmsg(
        stream,
        &[IoSlice::new(&bytes)],
        &mut control,
        SendFlags::NOSIGNAL,
    )?;
    let mut stream = stream;
    stream.write_all(&bytes[sent..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    fn message(request: u32, flags: u32, body: &[u8]) -> Message {
        Message {
            request,
            flags,
            body: body.to_vec(),
        }
    }

    #[test]
    fn early_enables_are_answered_and_replayed() {
        let mut early = EarlyEnables::default();
        let enable = message(
            SET_VRING_ENABLE,
            VERSION | NEED_REPLY,
            &[0, 0, 0, 0, 1, 0, 0, 0],
        );
        assert!(matches!(early.see(&enable), Step::Keep(Some(_))));
        assert_eq!(early.see(&message(5, VERSION, &[])), Step::Pass(vec![]));
        let replayed = Message {
            flags: VERSION,
            ..enable.clone()
        };
        assert_eq!(
            early.see(&message(SET_FEATURES, VERSION, &[0; 8])),
            Step::Pass(vec![replayed])
        );
        assert_eq!(early.see(&enable), Step::Pass(vec![]));
    }

    #[test]
    fn messages_pass_with_their_descriptors() {
        let (front, relay_front) = UnixStream::pair().unwrap();
        let (relay_back, back) = UnixStream::pair().unwrap();
        let relay = std::thread::spawn(move || run(&relay_front, &relay_back));
        let file: OwnedFd = File::open("/dev/null").unwrap().into();
        let sent = message(12, VERSION, &[1; 8]);
        send(&front, &sent, &[file]).unwrap();
        let (received, descriptors) = receive(&back).unwrap().unwrap();
        assert_eq!((received, descriptors.len()), (sent, 1));
        (&back).write_all(b"answer").unwrap();
        let mut answer = [0; 6];
        (&front).read_exact(&mut answer).unwrap();
        drop(front);
        assert_eq!(relay.join().unwrap().unwrap(), Closed::Front);
    }

    proptest::proptest! {
        #[test]
        fn hostile_front_ends_are_survived(bytes: Vec<u8>) {
            let (mut front, relay_front) = UnixStream::pair().unwrap();
            let (relay_back, back) = UnixStream::pair().unwrap();
            front.write_all(&bytes).unwrap();
            drop(front);
            let _ = run(&relay_front, &relay_back);
            drop(back);
        }
    }
}
