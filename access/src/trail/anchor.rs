//! What holds the trail from outside of the database: its key, and how far it reached.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::Written;
use crate::error::AccessError;
use crate::secret::{Hash, hex, random};

pub(super) struct Anchor {
    key: [u8; 32],
    head_file: PathBuf,
}

impl Anchor {
    /// The anchor of a database; its key is made at first use.
    pub fn open(database: &Path) -> Result<Self, AccessError> {
        let key_file = database.with_extension("key");
        let key = match std::fs::read_to_string(&key_file) {
            Ok(text) => {
                from_hex(text.trim()).ok_or(AccessError::Value("key of the audit trail"))?
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let key = random::<32>()?;
                write(&key_file, &format!("{}\n", hex(&key)))?;
                key
            }
            Err(source) => {
                return Err(AccessError::File {
                    what: "read the key of the audit trail",
                    path: key_file,
                    source,
                });
            }
        };
        Ok(Self {
            key,
            head_file: database.with_extension("head"),
        })
    }

    /// How far the trail reached, as noted outside of the database.
    pub fn head(&self) -> Option<(i64, Hash)> {
        let text = std::fs::read_to_string(&self.head_file).ok()?;
        let (seq, hash) = text.trim().split_once(' ')?;
        Some((seq.parse().ok()?, from_hex(hash)?))
    }

    /// Whether nothing was noted yet.
    pub fn is_new(&self) -> bool {
        !self.head_file.exists()
    }

    pub fn keep(&self, seq: i64, hash: &Hash) -> Result<(), AccessError> {
        write(&self.head_file, &format!("{seq} {}\n", hex(hash)))
    }

    /// The hash of an entry after the one with hash `before`. Each word goes in with its length:
    /// no two entries give the same bytes.
    pub fn hash(&self, before: &Hash, written: &Written) -> Hash {
        let entry = &written.entry;
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(before);
        for number in [written.seq, written.at, entry.of.unwrap_or(-1)] {
            hasher.update(&number.to_le_bytes());
        }
        let words = [
            entry.kind.word(),
            &entry.who,
            &entry.role,
            &entry.address,
            &entry.what,
            &entry.text,
        ];
        for word in words {
            hasher.update(&(word.len() as u64).to_le_bytes());
            hasher.update(word.as_bytes());
        }
        *hasher.finalize().as_bytes()
    }
}

/// Replaces a file that only its owner may read; it is the old one or the new one, never a part.
fn write(path: &Path, content: &str) -> Result<(), AccessError> {
    let failed = |source| AccessError::File {
        what: "write",
        path: path.to_owned(),
        source,
    };
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".part");
    let temporary = PathBuf::from(temporary);
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)
        .map_err(failed)?;
    file.write_all(content.as_bytes()).map_err(failed)?;
    file.sync_data().map_err(failed)?;
    std::fs::rename(&temporary, path).map_err(failed)
}

pub(super) fn from_hex(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    if digits.len() != 64 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let pair = std::str::from_utf8(pair).ok()?;
        *byte = u8::from_str_radix(pair, 16).ok()?;
    }
    Some(bytes)
}
