//! The legacy LZ4 container, the only one the kernel unpacks.

use std::io::{self, BufRead, Read};

/// First four bytes of a legacy LZ4 stream.
pub const MAGIC: [u8; 4] = [0x02, 0x21, 0x4c, 0x18];
/// Each block unpacks to at most this much.
const BLOCK: usize = 8 << 20;

/// Unpacks concatenated legacy streams until the input ends.
///
/// Unlike other formats nothing else may follow, because old kernels take
/// whatever comes after a stream for the size of another block.
pub struct Decoder<R> {
    input: R,
    block: Vec<u8>,
    position: usize,
}

impl<R: BufRead> Decoder<R> {
    /// Starts at the magic bytes.
    pub fn new(input: R) -> Self {
        Self {
            input,
            block: Vec::new(),
            position: 0,
        }
    }

    fn next_block(&mut self) -> io::Result<bool> {
        loop {
            let mut word = [0u8; 4];
            if !read_word(&mut self.input, &mut word)? {
                return Ok(false);
            }
            let size = u32::from_le_bytes(word) as usize;
            if word == MAGIC || size == 0 {
                continue;
            }
            if size > lz4_flex::block::get_maximum_output_size(BLOCK) {
                return Err(invalid("an LZ4 block is too large"));
            }
            let mut packed = Vec::new();
            (&mut self.input)
                .take(size as u64)
                .read_to_end(&mut packed)?;
            self.block = lz4_flex::block::decompress(&packed, BLOCK)
                .map_err(|_| invalid("an LZ4 block is damaged"))?;
            self.position = 0;
            return Ok(true);
        }
    }
}

impl<R: BufRead> Read for Decoder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.position == self.block.len() {
            if !self.next_block()? {
                return Ok(0);
            }
        }
        let count = buffer.len().min(self.block.len() - self.position);
        buffer[..count].copy_from_slice(&self.block[self.position..self.position + count]);
        self.position += count;
        Ok(count)
    }
}

/// Packs `content` as one legacy stream, without any padding after it.
pub fn encode(content: &[u8]) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    for block in content.chunks(BLOCK) {
        let packed = lz4_flex::block::compress(block);
        out.extend_from_slice(&(packed.len() as u32).to_le_bytes());
        out.extend_from_slice(&packed);
    }
    out
}

fn read_word(input: &mut impl Read, word: &mut [u8; 4]) -> io::Result<bool> {
    let mut filled = 0;
    while filled < word.len() {
        match input.read(&mut word[filled..])? {
            0 => return Ok(false),
            count => filled += count,
        }
    }
    Ok(true)
}

fn invalid(message: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn concatenated_streams_unpack_in_order(
            first in proptest::collection::vec(any::<u8>(), 1..4000),
            second in proptest::collection::vec(any::<u8>(), 1..4000),
        ) {
            let packed = [encode(&first), encode(&second)].concat();
            let mut unpacked = Vec::new();
            Decoder::new(packed.as_slice()).read_to_end(&mut unpacked).unwrap();
            prop_assert_eq!(unpacked, [first, second].concat());
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let packed = [MAGIC.as_slice(), &bytes].concat();
            let _ = io::copy(&mut Decoder::new(packed.as_slice()), &mut io::sink());
        }
    }
}
