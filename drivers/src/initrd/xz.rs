//! One xz or LZMA stream that may be followed by something else.

use std::io::{self, BufRead, Read};

use xz2::stream::{Action, Status, Stream};

/// Leaves the reader right behind the stream; the readers of `xz2` take what
/// follows for damage.
pub struct Decoder<R> {
    input: R,
    stream: Stream,
    ended: bool,
}

impl<R: BufRead> Decoder<R> {
    /// Starts at the stream's magic.
    pub fn new(input: R, stream: Stream) -> Self {
        Self {
            input,
            stream,
            ended: false,
        }
    }
}

impl<R: BufRead> Read for Decoder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while !self.ended && !buffer.is_empty() {
            let available = self.input.fill_buf()?;
            let at_end = available.is_empty();
            let (read_before, written_before) = (self.stream.total_in(), self.stream.total_out());
            let action = if at_end { Action::Finish } else { Action::Run };
            let status = self.stream.process(available, buffer, action);
            let consumed = (self.stream.total_in() - read_before) as usize;
            let written = (self.stream.total_out() - written_before) as usize;
            self.input.consume(consumed);
            self.ended = status? == Status::StreamEnd;
            if written > 0 {
                return Ok(written);
            }
            if !self.ended && (at_end || consumed == 0) {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(0)
    }
}
