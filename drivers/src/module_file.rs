//! Kernel module files: unpacking, and what a module says it needs.

use std::io::{self, BufRead, Read};

/// No module unpacks to more than this.
const LARGEST: u64 = 64 << 20;

/// Unpacks a module by the ending of its name.
pub fn unpack(path: &str, packed: impl BufRead) -> io::Result<Vec<u8>> {
    let mut unpacked = Vec::new();
    if path.ends_with(".xz") {
        xz2::bufread::XzDecoder::new(packed)
            .take(LARGEST)
            .read_to_end(&mut unpacked)?;
    } else if path.ends_with(".gz") {
        flate2::bufread::GzDecoder::new(packed)
            .take(LARGEST)
            .read_to_end(&mut unpacked)?;
    } else if path.ends_with(".zst") {
        zstd::stream::read::Decoder::with_buffer(packed)?
            .take(LARGEST)
            .read_to_end(&mut unpacked)?;
    } else {
        packed.take(LARGEST).read_to_end(&mut unpacked)?;
    }
    Ok(unpacked)
}

/// The `depends=` line of a module's `.modinfo`: a kernel package that was only
/// unpacked has no `modules.dep`.
pub fn needs(module: &[u8]) -> Vec<String> {
    let key = b"\0depends=";
    let Some(start) = module.windows(key.len()).position(|window| window == key) else {
        return Vec::new();
    };
    let rest = &module[start + key.len()..];
    let end = rest
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(rest.len())
        .min(4096);
    String::from_utf8_lossy(&rest[..end])
        .split(',')
        .filter(|name| !name.is_empty())
        .map(|name| name.replace('-', "_"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_are_read_from_the_module_itself() {
        let module = b"\x7fELF..\0license=GPL\0depends=virtio,virtio-ring\0retpoline=Y\0";
        assert_eq!(needs(module), ["virtio", "virtio_ring"]);
        assert!(needs(b"\0depends=\0").is_empty());
        assert!(needs(b"").is_empty());
    }
}
