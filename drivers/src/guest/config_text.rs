//! Configuration files as text, so that an edit changes nothing but what it means to.

use std::io;

use super::apply::LARGEST_REPLACED;
use super::root::Root;

/// A configuration file that can be written back byte for byte.
#[derive(Debug, Default)]
pub struct ConfigText {
    /// Its text; where the file is no UTF-8, one character for each byte.
    pub text: String,
    single_bytes: bool,
}

impl ConfigText {
    /// Reads a file; nothing when there is none.
    pub fn read(root: &Root, path: &str) -> io::Result<Option<Self>> {
        let content = root.read(path, LARGEST_REPLACED)?;
        Ok(content.map(|content| match String::from_utf8(content) {
            Ok(text) => Self {
                text,
                single_bytes: false,
            },
            Err(error) => Self {
                text: error.as_bytes().iter().copied().map(char::from).collect(),
                single_bytes: true,
            },
        }))
    }

    /// The bytes of an edited text of this file.
    pub fn encode(&self, text: &str) -> Vec<u8> {
        if !self.single_bytes {
            return text.as_bytes().to_vec();
        }
        // Replacements are ASCII: every other character came from one byte.
        text.chars()
            .map(|letter| u8::try_from(u32::from(letter)).unwrap_or(b'?'))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_any_encoding_are_written_back_as_they_were() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::open(directory.path()).unwrap();
        for content in [&b"plain"[..], b"\xc3\xa4", b"\xe4 \xff\n\0x", b""] {
            root.write("file", content).unwrap();
            let file = ConfigText::read(&root, "file").unwrap().unwrap();
            assert_eq!(file.encode(&file.text), content);
        }
        assert!(ConfigText::read(&root, "absent").unwrap().is_none());
        std::fs::File::create(directory.path().join("file"))
            .unwrap()
            .set_len(1 << 30)
            .unwrap();
        assert!(ConfigText::read(&root, "file").is_err());
    }
}
