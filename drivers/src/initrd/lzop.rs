//! The container of lzop, which kernels unpack as "lzo".

use std::io::{self, BufRead, Read};

/// First bytes of an lzop file.
pub const MAGIC: [u8; 9] = [0x89, b'L', b'Z', b'O', 0, b'\r', b'\n', 0x1a, b'\n'];
/// Kernels take no larger block.
const BLOCK: usize = 256 << 10;
/// From this version on the header has more fields.
const NEWER: u16 = 0x0940;
const HAS_FILTER: u32 = 0x800;
/// Checksums of unpacked and of packed blocks: Adler-32 or CRC-32 each.
const UNPACKED_SUMS: [u32; 2] = [0x1, 0x100];
const PACKED_SUMS: [u32; 2] = [0x2, 0x200];

/// Unpacks one file; what follows it is left in the input.
pub struct Decoder<R> {
    input: R,
    flags: Option<u32>,
    ended: bool,
    block: Vec<u8>,
    position: usize,
}

impl<R: BufRead> Decoder<R> {
    /// Starts at the magic bytes.
    pub fn new(input: R) -> Self {
        Self {
            input,
            flags: None,
            ended: false,
            block: Vec::new(),
            position: 0,
        }
    }

    fn next_block(&mut self) -> io::Result<()> {
        let flags = match self.flags {
            Some(flags) => flags,
            None => *self.flags.insert(header(&mut self.input)?),
        };
        self.position = 0;
        self.block.clear();
        let unpacked = number(&mut self.input)? as usize;
        if unpacked == 0 {
            self.ended = true;
            return Ok(());
        }
        let packed = number(&mut self.input)? as usize;
        if unpacked > BLOCK || packed > unpacked {
            return Err(invalid("an lzo block is too large"));
        }
        skip_sums(&mut self.input, flags, UNPACKED_SUMS)?;
        if packed < unpacked {
            skip_sums(&mut self.input, flags, PACKED_SUMS)?;
        }
        let mut content = vec![0; packed];
        self.input.read_exact(&mut content)?;
        self.block = if packed == unpacked {
            content
        } else {
            unpack(&content, unpacked)?
        };
        Ok(())
    }
}

impl<R: BufRead> Read for Decoder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.position == self.block.len() {
            if self.ended {
                return Ok(0);
            }
            self.next_block()?;
        }
        let count = buffer.len().min(self.block.len() - self.position);
        buffer[..count].copy_from_slice(&self.block[self.position..self.position + count]);
        self.position += count;
        Ok(count)
    }
}

fn unpack(packed: &[u8], size: usize) -> io::Result<Vec<u8>> {
    let mut unpacked = vec![0; size];
    match lzokay::decompress::decompress(packed, &mut unpacked) {
        Ok(count) if count == size => Ok(unpacked),
        _ => Err(invalid("an lzo block is damaged")),
    }
}

/// Reads the header and gives its flags.
fn header(input: &mut impl Read) -> io::Result<u32> {
    let mut magic = [0; MAGIC.len()];
    input.read_exact(&mut magic)?;
    let version = u16::from_be_bytes(bytes(input)?);
    let newer = version >= NEWER;
    // Library version; then the version needed, the method and the level.
    skip(input, if newer { 2 + 2 + 1 + 1 } else { 2 + 1 })?;
    let flags = number(input)?;
    let filter = if flags & HAS_FILTER == 0 { 0 } else { 4 };
    // Filter, mode and time.
    skip(input, filter + 4 + if newer { 8 } else { 4 })?;
    let [name] = bytes(input)?;
    // The name and the header's checksum.
    skip(input, u64::from(name) + 4)?;
    Ok(flags)
}

fn skip_sums(input: &mut impl Read, flags: u32, sums: [u32; 2]) -> io::Result<()> {
    let count = sums.into_iter().filter(|sum| flags & sum != 0).count();
    skip(input, 4 * count as u64)
}

fn skip(input: &mut impl Read, count: u64) -> io::Result<()> {
    if io::copy(&mut input.take(count), &mut io::sink())? == count {
        Ok(())
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

fn bytes<const N: usize>(input: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    input.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn number(input: &mut impl Read) -> io::Result<u32> {
    Ok(u32::from_be_bytes(bytes(input)?))
}

fn invalid(message: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

/// Packs like `lzop` does.
#[cfg(test)]
pub(super) fn encode(content: &[u8]) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.extend([0x10, 0x40, 0x20, 0xa0, 0x09, 0x40, 3, 9]);
    out.extend(1u32.to_be_bytes());
    out.extend([0; 12]);
    out.extend([4, b'n', b'a', b'm', b'e', 0, 0, 0, 0]);
    for block in content.chunks(BLOCK) {
        let packed = lzokay::compress::compress(block).unwrap();
        let packed = if packed.len() < block.len() {
            packed
        } else {
            block.to_vec()
        };
        out.extend((block.len() as u32).to_be_bytes());
        out.extend((packed.len() as u32).to_be_bytes());
        out.extend([0; 4]);
        out.extend(packed);
    }
    out.extend([0; 4]);
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_follows_a_file_is_left(
            content in proptest::collection::vec(any::<u8>(), 0..2000),
            repeated in 1..200usize,
            rest in proptest::collection::vec(any::<u8>(), 0..20),
        ) {
            let content = content.repeat(repeated);
            let packed = [encode(&content), rest.clone()].concat();
            let mut input = packed.as_slice();
            let mut unpacked = Vec::new();
            Decoder::new(&mut input).read_to_end(&mut unpacked).unwrap();
            prop_assert_eq!(unpacked, content);
            prop_assert_eq!(input, rest);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let packed = [MAGIC.as_slice(), &bytes].concat();
            let _ = io::copy(&mut Decoder::new(packed.as_slice()), &mut io::sink());
        }
    }
}
