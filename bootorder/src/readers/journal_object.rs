//! Data objects of a journal file: the few fields that matter, decompressed within bounds.

use std::io::Read;

use super::journal::u64_at;

/// No value is kept longer than this.
pub(super) const MAX_FIELD: usize = 1024;
/// A compressed object larger than this is not worth its memory.
const MAX_COMPRESSED: u64 = 1 << 20;
/// LZ4 blocks cannot be read in part.
const MAX_LZ4: u64 = 256 << 10;
const DATA: u8 = 1;
const XZ: u8 = 1;
const LZ4: u8 = 2;
const ZSTD: u8 = 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FieldName {
    Message,
    Identifier,
    Command,
    LoggerUnit,
    Unit,
    ObjectUnit,
}

impl FieldName {
    pub const COUNT: usize = 6;

    fn parse(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"MESSAGE" => Self::Message,
            b"SYSLOG_IDENTIFIER" => Self::Identifier,
            b"_COMM" => Self::Command,
            b"_SYSTEMD_UNIT" => Self::LoggerUnit,
            b"UNIT" => Self::Unit,
            b"OBJECT_SYSTEMD_UNIT" => Self::ObjectUnit,
            _ => return None,
        })
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Field {
    pub name: FieldName,
    pub value: String,
}

/// Parses the data object whose first bytes are given; `whole` fetches more of it when needed.
pub(super) fn parse_field(
    bytes: &[u8],
    compact: bool,
    whole: impl FnOnce(usize) -> Option<Vec<u8>>,
) -> Option<Field> {
    let (kind, flags, size) = (*bytes.first()?, *bytes.get(1)?, u64_at(bytes, 8));
    let start = if compact { 72 } else { 64 };
    if kind != DATA || size < start as u64 {
        return None;
    }
    if flags & (XZ | LZ4 | ZSTD) == 0 {
        let end = usize::try_from(size).ok()?.min(bytes.len());
        return split(bytes.get(start..end)?);
    }
    if size > MAX_COMPRESSED {
        return None;
    }
    let size = size as usize;
    let fetched;
    let payload = match bytes.get(start..size) {
        Some(payload) => payload,
        None => {
            fetched = whole(size)?;
            fetched.get(start..)?
        }
    };
    split(&decompress(flags, payload)?)
}

/// Whether reading the object means decompressing it.
pub(super) fn is_compressed(bytes: &[u8]) -> bool {
    bytes
        .get(1)
        .is_some_and(|flags| flags & (XZ | LZ4 | ZSTD) != 0)
}

fn decompress(flags: u8, payload: &[u8]) -> Option<Vec<u8>> {
    if flags & ZSTD != 0 {
        let mut decoder = zstd::stream::read::Decoder::new(payload).ok()?;
        decoder.window_log_max(23).ok()?;
        return Some(beginning(decoder));
    }
    if flags & XZ != 0 {
        let stream = xz2::stream::Stream::new_stream_decoder(32 << 20, 0).ok()?;
        return Some(beginning(xz2::read::XzDecoder::new_stream(payload, stream)));
    }
    let length = u64_at(payload, 0);
    if length > MAX_LZ4 {
        return None;
    }
    lz4_flex::block::decompress(payload.get(8..)?, length as usize).ok()
}

fn beginning(decoder: impl Read) -> Vec<u8> {
    let mut out = Vec::new();
    // What was decompressed before an error is still worth reading.
    let _ = decoder.take(MAX_FIELD as u64).read_to_end(&mut out);
    out
}

fn split(data: &[u8]) -> Option<Field> {
    let equals = data.iter().take(64).position(|byte| *byte == b'=')?;
    let name = FieldName::parse(&data[..equals])?;
    let value = &data[equals + 1..];
    let value = String::from_utf8_lossy(&value[..value.len().min(MAX_FIELD)]).into_owned();
    Some(Field { name, value })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(flags: u8, compact: bool, payload: &[u8]) -> Vec<u8> {
        let start = if compact { 72 } else { 64 };
        let mut bytes = vec![0; start];
        bytes[0] = DATA;
        bytes[1] = flags;
        bytes[8..16].copy_from_slice(&((start + payload.len()) as u64).to_le_bytes());
        bytes.extend_from_slice(payload);
        bytes
    }

    fn check(flags: u8, payload: &[u8], expected: &str) {
        for compact in [false, true] {
            let field = parse_field(&object(flags, compact, payload), compact, |_| None);
            assert_eq!(
                field.map(|f| f.value).as_deref(),
                Some(expected),
                "{flags} {compact}"
            );
        }
    }

    #[test]
    fn every_compression_of_systemd_is_read() {
        let text = format!("MESSAGE={}", "connection refused ".repeat(40));
        let value = &text[8..];
        check(0, text.as_bytes(), value);
        check(ZSTD, &zstd::encode_all(text.as_bytes(), 3).unwrap(), value);
        let mut lz4 = (text.len() as u64).to_le_bytes().to_vec();
        lz4.extend(lz4_flex::block::compress(text.as_bytes()));
        check(LZ4, &lz4, value);
        let mut xz = Vec::new();
        xz2::read::XzEncoder::new(text.as_bytes(), 3)
            .read_to_end(&mut xz)
            .unwrap();
        check(XZ, &xz, value);
    }

    #[test]
    fn a_decompression_bomb_stays_small() {
        let bomb = zstd::encode_all(std::io::repeat(b'=').take(1 << 26), 3).unwrap();
        assert_eq!(
            parse_field(&object(ZSTD, false, &bomb), false, |_| None),
            None
        );
        let mut lz4 = u64::MAX.to_le_bytes().to_vec();
        lz4.push(0);
        assert_eq!(
            parse_field(&object(LZ4, false, &lz4), false, |_| None),
            None
        );
    }

    proptest::proptest! {
        #[test]
        fn hostile_objects_never_panic(bytes: Vec<u8>, compact: bool) {
            let _ = parse_field(&bytes, compact, |_| None);
        }

        #[test]
        fn hostile_payloads_never_panic(flags in 0_u8..8, payload: Vec<u8>) {
            let _ = parse_field(&object(flags, false, &payload), false, |_| None);
        }
    }
}
