//! The manifest: lines such as `SHA256(disk1.vmdk)= 0123...`.

use super::{Algorithm, Digest, is_plain_file_name};
use crate::error::{Refusal, RefusalKind};
use crate::printable::printable;

/// Longer manifests are refused.
pub(crate) const LONGEST: u64 = 1 << 20;

/// Reads a manifest.
pub(crate) fn parse(text: &[u8]) -> Result<Vec<Digest>, Refusal> {
    let text = String::from_utf8_lossy(text);
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.map(line).collect()
}

fn line(line: &str) -> Result<Digest, Refusal> {
    parts(line).ok_or_else(|| {
        Refusal::new(
            RefusalKind::Damaged,
            format!(
                "its manifest has a line that says nothing: `{}`",
                printable(line)
            ),
            "export the machine again, or remove the manifest (`.mf`)",
        )
    })
}

fn parts(line: &str) -> Option<Digest> {
    let (head, hex) = line.rsplit_once('=')?;
    let (algorithm, file) = head.trim().strip_suffix(')')?.split_once('(')?;
    let (algorithm, digits) = match algorithm.trim().to_ascii_uppercase().as_str() {
        "SHA1" => (Algorithm::Sha1, 40),
        "SHA256" => (Algorithm::Sha256, 64),
        "SHA512" => (Algorithm::Sha512, 128),
        _ => return None,
    };
    let hex = hex.trim().to_ascii_lowercase();
    let is_hash = hex.len() == digits && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
    let file = file.to_owned();
    (is_hash && is_plain_file_name(&file)).then_some(Digest {
        file,
        algorithm,
        hex,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines_are_read_or_refused() {
        let hash = "A".repeat(64);
        let one = format!(
            "\nSHA256(a (1).vmdk)= {hash}\r\nSHA1(b.ovf) = {}\n",
            "0".repeat(40)
        );
        let found = parse(one.as_bytes()).unwrap();
        assert_eq!(
            (found[0].file.as_str(), found[0].algorithm),
            ("a (1).vmdk", Algorithm::Sha256)
        );
        assert_eq!((found[0].hex.as_str(), found.len()), (&*"a".repeat(64), 2));
        for wrong in [
            "nonsense".to_owned(),
            format!("MD5(a)= {}", "0".repeat(32)),
            format!("SHA256(../a)= {hash}"),
            format!("SHA256(/etc/shadow)= {hash}"),
            format!("SHA1(a)= {hash}"),
            format!("SHA256(a)= {}", "z".repeat(64)),
        ] {
            assert!(parse(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            for digest in parse(&bytes).unwrap_or_default() {
                prop_assert!(is_plain_file_name(&digest.file));
            }
        }
    }
}
