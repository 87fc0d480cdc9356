//! Frames one after another on a UNIX socket, as QEMU's `-netdev stream` sends them: four bytes
//! of length, the highest first, then the frame. For cards that are not virtio.
//!
//! What comes is bounded before it is believed: a length that no frame has ends the connection.
//! What goes waits in a buffer of one delivery at most; while it waits, the port is full.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;

use crate::frame::MAX_FRAME;
use crate::ring::Delivery;

/// Bytes of a frame's length.
const LENGTH: usize = 4;
/// Room for several frames of usual size, and for the longest.
const INPUT: usize = LENGTH + MAX_FRAME + (32 << 10);

/// The bytes end in something that is no frame; nothing after them can be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a frame of {length} bytes was announced, more than any card sends")]
pub struct Unframed {
    /// The announced length.
    pub length: u32,
}

/// Finds frames in bytes that arrive in pieces.
pub struct Unframer {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
    /// Length of the frame taken last, with its header.
    last: usize,
}

impl Default for Unframer {
    fn default() -> Self {
        Self {
            bytes: vec![0; INPUT].into_boxed_slice(),
            start: 0,
            end: 0,
            last: 0,
        }
    }
}

impl Unframer {
    /// Copies the next whole frame into `frame`; false when more bytes are needed.
    pub fn take(&mut self, frame: &mut Vec<u8>) -> Result<bool, Unframed> {
        let Some((header, rest)) = self.bytes[self.start..self.end].split_first_chunk::<LENGTH>()
        else {
            return Ok(false);
        };
        let length = u32::from_be_bytes(*header);
        let size = usize::try_from(length).unwrap_or(usize::MAX);
        if size > MAX_FRAME {
            return Err(Unframed { length });
        }
        let Some(whole) = rest.get(..size) else {
            return Ok(false);
        };
        frame.clear();
        frame.extend_from_slice(whole);
        self.last = LENGTH + size;
        self.start += self.last;
        Ok(true)
    }

    /// The frame just taken will be taken again.
    pub fn put_back(&mut self) {
        self.start -= std::mem::take(&mut self.last);
    }

    /// Reads once into the free room; the number of bytes, 0 at the end of the stream. To be
    /// called when [`Self::take`] found no whole frame, and so there is room.
    pub fn fill(&mut self, from: &mut impl Read) -> io::Result<usize> {
        self.bytes.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        (self.start, self.last) = (0, 0);
        let count = from.read(&mut self.bytes[self.end..])?;
        self.end += count;
        Ok(count)
    }
}

/// Appends a frame as it goes onto the socket.
pub fn frame_onto(out: &mut Vec<u8>, frame: &[u8]) {
    let length = u32::try_from(frame.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(frame);
}

/// What came out of a stream.
#[derive(Debug, PartialEq, Eq)]
pub enum Received {
    /// A frame, now in the caller's buffer.
    Frame,
    /// Nothing before the socket shows life again.
    Nothing,
    /// The connection is over.
    Ended,
}

/// One connection of QEMU, not blocking.
pub struct Stream {
    socket: UnixStream,
    input: Unframer,
    /// Accepted, but not on the socket yet.
    output: Vec<u8>,
}

impl Stream {
    /// Takes a connection over.
    pub fn new(socket: UnixStream) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket,
            input: Unframer::default(),
            output: Vec::new(),
        })
    }

    /// Another descriptor of the connection, to wait for it.
    pub fn watched(&self) -> io::Result<UnixStream> {
        self.socket.try_clone()
    }

    /// Takes the next frame.
    pub fn take(&mut self, frame: &mut Vec<u8>) -> Received {
        loop {
            match self.input.take(frame) {
                Ok(true) => return Received::Frame,
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(%error, "ending a connection");
                    return Received::Ended;
                }
            }
            match self.input.fill(&mut self.socket) {
                Ok(0) => return Received::Ended,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Received::Nothing;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Received::Ended,
            }
        }
    }

    /// Leaves the frame just taken in the stream.
    pub fn put_back(&mut self) {
        self.input.put_back();
    }

    /// Sends frames, all or none. They are complete: this side of a port has no offloads.
    pub fn deliver(&mut self, frames: &[&[u8]]) -> Delivery {
        match self.flush() {
            Ok(true) => {}
            Ok(false) => return Delivery::Full,
            Err(_) => return Delivery::Down,
        }
        for frame in frames {
            frame_onto(&mut self.output, frame);
        }
        // What does not fit now goes with the next call.
        self.flush().map_or(Delivery::Down, |_| Delivery::Done)
    }

    /// Writes what waits; true when nothing is left.
    fn flush(&mut self) -> io::Result<bool> {
        let mut written = 0;
        let result = loop {
            if written == self.output.len() {
                break Ok(true);
            }
            match self.socket.write(&self.output[written..]) {
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        self.output.drain(..written);
        result
    }

    /// The socket may have room again.
    pub fn has_room(&mut self) {
        // A broken connection shows itself to the reader.
        let _ = self.flush();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn framed(frames: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for frame in frames {
            frame_onto(&mut bytes, frame);
        }
        bytes
    }

    fn frames() -> impl Strategy<Value = Vec<Vec<u8>>> {
        let frame = prop_oneof![
            4 => proptest::collection::vec(any::<u8>(), 0..200),
            1 => (0..=MAX_FRAME).prop_map(|length| vec![7; length]),
        ];
        proptest::collection::vec(frame, 0..8)
    }

    /// Gives at most as many bytes at once as the next of `pieces` says.
    struct Pieces<'a>(&'a [u8], std::iter::Cycle<std::vec::IntoIter<usize>>);

    impl Read for Pieces<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let limit = self.1.next().unwrap_or(1).min(buffer.len());
            let count = self.0.read(&mut buffer[..limit])?;
            Ok(count)
        }
    }

    fn unframe(bytes: &[u8], pieces: Vec<usize>, put_back: &[bool]) -> Vec<Vec<u8>> {
        let mut source = Pieces(bytes, pieces.into_iter().cycle());
        let (mut unframer, mut frame, mut found) = (Unframer::default(), Vec::new(), Vec::new());
        let mut decisions = put_back.iter().cycle();
        loop {
            while unframer.take(&mut frame).unwrap() {
                if *decisions.next().unwrap_or(&false) {
                    let once = frame.clone();
                    unframer.put_back();
                    assert!(unframer.take(&mut frame).unwrap());
                    assert_eq!(frame, once);
                }
                found.push(frame.clone());
            }
            if unframer.fill(&mut source).unwrap() == 0 {
                return found;
            }
        }
    }

    proptest! {
        #[test]
        fn frames_survive_any_cutting(
            frames in frames(),
            pieces in proptest::collection::vec(1usize..70_000, 1..6),
            put_back in proptest::collection::vec(any::<bool>(), 1..4),
        ) {
            prop_assert_eq!(unframe(&framed(&frames), pieces, &put_back), frames);
        }

        #[test]
        fn hostile_bytes_end_or_wait_but_never_panic(bytes: Vec<u8>, piece in 1usize..50) {
            let mut source = Pieces(&bytes, vec![piece].into_iter().cycle());
            let (mut unframer, mut frame) = (Unframer::default(), Vec::new());
            loop {
                match unframer.take(&mut frame) {
                    Ok(true) => prop_assert!(frame.len() <= MAX_FRAME),
                    Ok(false) if unframer.fill(&mut source).unwrap() == 0 => break,
                    Ok(false) => {}
                    Err(error) => {
                        prop_assert!(error.length as usize > MAX_FRAME);
                        break;
                    }
                }
            }
        }
    }

    #[test]
    fn the_longest_frame_passes_and_a_longer_one_does_not() {
        let mut unframer = Unframer::default();
        let mut frame = Vec::new();
        let longest = framed(&[vec![1; MAX_FRAME]]);
        let mut source = &longest[..];
        while unframer.fill(&mut source).unwrap() > 0 {}
        assert_eq!(unframer.take(&mut frame), Ok(true));
        assert_eq!(frame.len(), MAX_FRAME);
        let length = MAX_FRAME as u32 + 1;
        unframer.fill(&mut &length.to_be_bytes()[..]).unwrap();
        assert_eq!(unframer.take(&mut frame), Err(Unframed { length }));
    }

    #[test]
    fn a_full_socket_takes_one_delivery_more_and_then_none_until_it_is_read() {
        let (near, mut far) = UnixStream::pair().unwrap();
        let mut stream = Stream::new(near).unwrap();
        let frame = [5; 1500];
        let mut sent = 0;
        while stream.deliver(&[&frame]) == Delivery::Done {
            sent += 1;
            assert!(sent < 10_000, "a socket without reader never fills");
        }
        assert_eq!(stream.deliver(&[&frame]), Delivery::Full);
        far.set_nonblocking(true).unwrap();
        let mut received = Vec::new();
        while received.len() < sent * 1504 {
            let mut buffer = [0; 65_536];
            match far.read(&mut buffer) {
                Ok(count) => received.extend_from_slice(&buffer[..count]),
                Err(_) => stream.has_room(),
            }
        }
        assert_eq!(received, framed(&vec![frame.to_vec(); sent]));
        assert_eq!(stream.deliver(&[&frame]), Delivery::Done);
        drop(far);
        assert_eq!(stream.deliver(&[&frame]), Delivery::Down);
        assert_eq!(stream.take(&mut Vec::new()), Received::Ended);
    }
}
