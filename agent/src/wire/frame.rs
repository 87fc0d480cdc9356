//! Frames: four bytes of length, big-endian, then so many bytes of JSON.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The most bytes that a frame may carry.
pub const FRAME_LIMIT: usize = 1024 * 1024;
const HEAD: usize = 4;

/// Why a frame is not one.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// Its length is beyond the limit.
    #[error("a frame of {0} bytes is longer than the {FRAME_LIMIT} allowed")]
    TooLong(usize),
    /// It holds something else than expected.
    #[error("a frame of {length} bytes does not hold what belongs there")]
    Content {
        /// Its length.
        length: usize,
        /// What was found.
        #[source]
        source: serde_json::Error,
    },
}

/// A message as a frame.
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, FrameError> {
    let mut frame = vec![0; HEAD];
    serde_json::to_writer(&mut frame, message)
        .map_err(|source| FrameError::Content { length: 0, source })?;
    let length = frame.len() - HEAD;
    match u32::try_from(length) {
        Ok(short) if length <= FRAME_LIMIT => frame[..HEAD].copy_from_slice(&short.to_be_bytes()),
        _ => return Err(FrameError::TooLong(length)),
    }
    Ok(frame)
}

/// Puts frames together from bytes as they arrive. Holds at most one frame and what was just read.
#[derive(Debug, Default)]
pub struct Decoder {
    bytes: Vec<u8>,
}

impl Decoder {
    /// Takes bytes that arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next message, when all of it is there. After an error the connection is worth nothing.
    pub fn take<T: DeserializeOwned>(&mut self) -> Result<Option<T>, FrameError> {
        let Some(head) = self.bytes.first_chunk::<HEAD>() else {
            return Ok(None);
        };
        let length = usize::try_from(u32::from_be_bytes(*head)).unwrap_or(usize::MAX);
        if length > FRAME_LIMIT {
            return Err(FrameError::TooLong(length));
        }
        let Some(body) = self.bytes.get(HEAD..HEAD + length) else {
            return Ok(None);
        };
        let message = serde_json::from_slice(body)
            .map_err(|source| FrameError::Content { length, source })?;
        self.forget(HEAD + length);
        Ok(Some(message))
    }

    fn forget(&mut self, count: usize) {
        self.bytes.drain(..count);
        if self.bytes.is_empty() && self.bytes.capacity() > 64 * 1024 {
            self.bytes = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::{FromAgent, ToAgent};

    #[test]
    fn a_length_beyond_the_limit_is_refused_before_its_bytes_arrive() {
        let mut decoder = Decoder::default();
        decoder.push(&u32::MAX.to_be_bytes());
        let refused = decoder.take::<FromAgent>();
        assert!(
            matches!(refused, Err(FrameError::TooLong(_))),
            "{refused:?}"
        );
    }

    #[test]
    fn what_is_too_long_is_not_sent() {
        let long = "x".repeat(FRAME_LIMIT);
        assert!(matches!(encode(&long), Err(FrameError::TooLong(_))));
        assert!(encode(&&long[2..]).is_ok());
    }

    proptest! {
        /// Cut anywhere, frames come out as they went in.
        #[test]
        fn frames_survive_any_cut(numbers in prop::collection::vec(any::<u64>(), 1..20), cut in 1usize..50) {
            let sent: Vec<_> = numbers.into_iter().map(FromAgent::Ping).collect();
            let bytes: Vec<u8> = sent.iter().flat_map(|one| encode(one).expect("short")).collect();
            let (mut decoder, mut heard) = (Decoder::default(), Vec::new());
            for piece in bytes.chunks(cut) {
                decoder.push(piece);
                while let Some(one) = decoder.take::<FromAgent>().expect("well-formed") {
                    heard.push(one);
                }
            }
            prop_assert_eq!(heard, sent);
        }

        /// Anything may arrive: an answer or an error, never a panic, never unbounded memory.
        #[test]
        fn any_bytes_end_in_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut decoder = Decoder::default();
            decoder.push(&bytes);
            while let Ok(Some(_)) = decoder.take::<ToAgent>() {}
            prop_assert!(decoder.bytes.len() <= bytes.len());
        }
    }
}
