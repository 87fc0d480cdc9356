//! The cpio `newc` format: a bounded streaming reader and a writer.

use std::io::{self, BufRead, Read};

/// Longest path that a cpio entry may have.
const LONGEST_NAME: u32 = 4096;
const HEADER: usize = 110;
const TRAILER: &str = "TRAILER!!!";
const TYPE_MASK: u32 = 0o170_000;

/// What a cpio entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link; its content is the target.
    Symlink,
    /// A device, FIFO or socket.
    Special,
}

/// The head of one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Path without leading `/` or `./`.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Type and permission bits.
    pub mode: u32,
    /// Size of the content.
    pub size: u32,
}

/// Reads one archive up to and including its trailer.
pub struct Reader<'a, R> {
    input: &'a mut R,
    unread: u64,
}

impl<'a, R: BufRead> Reader<'a, R> {
    /// Starts at the six magic bytes of a header.
    pub fn new(input: &'a mut R) -> Self {
        Self { input, unread: 0 }
    }

    /// The next entry, or nothing after the trailer.
    pub fn next_entry(&mut self) -> io::Result<Option<Entry>> {
        self.skip(self.unread)?;
        let mut header = [0u8; HEADER];
        self.input.read_exact(&mut header)?;
        let fields = parse_header(&header)?;
        let name = self.read_name(fields.name_size)?;
        if name == TRAILER {
            self.unread = 0;
            return Ok(None);
        }
        self.unread = u64::from(fields.size) + padding(u64::from(fields.size));
        let name = name.trim_start_matches("./").trim_matches('/').to_owned();
        Ok(Some(Entry {
            name,
            kind: kind_of(fields.mode),
            mode: fields.mode,
            size: fields.size,
        }))
    }

    /// The content of the entry just read.
    pub fn content(&mut self, entry: &Entry) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        (&mut *self.input)
            .take(u64::from(entry.size))
            .read_to_end(&mut content)?;
        if content.len() as u64 != u64::from(entry.size) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.unread = padding(u64::from(entry.size));
        Ok(content)
    }

    fn read_name(&mut self, size: u32) -> io::Result<String> {
        let mut name = vec![0u8; size as usize];
        self.input.read_exact(&mut name)?;
        self.skip(padding(HEADER as u64 + u64::from(size)))?;
        if name.pop() != Some(0) {
            return Err(invalid("a name in the archive is not terminated"));
        }
        String::from_utf8(name).map_err(|_| invalid("a name in the archive is not UTF-8"))
    }

    fn skip(&mut self, bytes: u64) -> io::Result<()> {
        let copied = io::copy(&mut (&mut *self.input).take(bytes), &mut io::sink())?;
        if copied == bytes {
            Ok(())
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    }
}

struct Fields {
    mode: u32,
    size: u32,
    name_size: u32,
}

fn parse_header(header: &[u8; HEADER]) -> io::Result<Fields> {
    if !matches!(&header[..6], b"070701" | b"070702") {
        return Err(invalid("an entry does not begin with 070701"));
    }
    let field = |index: usize| -> io::Result<u32> {
        let start = 6 + index * 8;
        std::str::from_utf8(&header[start..start + 8])
            .ok()
            .and_then(|text| u32::from_str_radix(text, 16).ok())
            .ok_or_else(|| invalid("a header field is not hexadecimal"))
    };
    let name_size = field(11)?;
    if name_size == 0 || name_size > LONGEST_NAME {
        return Err(invalid("a name in the archive is empty or too long"));
    }
    Ok(Fields {
        mode: field(1)?,
        size: field(6)?,
        name_size,
    })
}

fn kind_of(mode: u32) -> Kind {
    match mode & TYPE_MASK {
        0o100_000 => Kind::File,
        0o040_000 => Kind::Directory,
        0o120_000 => Kind::Symlink,
        _ => Kind::Special,
    }
}

fn padding(length: u64) -> u64 {
    (4 - length % 4) % 4
}

fn invalid(message: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

/// Builds one archive in memory. Equal input gives equal bytes.
#[derive(Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
    next_inode: u32,
}

impl Writer {
    /// An empty archive.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a directory.
    pub fn directory(&mut self, path: &str) {
        self.entry(path, 0o040_755, 2, &[]);
    }

    /// Adds a regular file with the given permissions.
    pub fn file(&mut self, path: &str, permissions: u32, content: &[u8]) {
        self.entry(path, 0o100_000 | permissions, 1, content);
    }

    /// Adds a symbolic link.
    pub fn link(&mut self, path: &str, target: &str) {
        self.entry(path, 0o120_777, 1, target.as_bytes());
    }

    /// Ends the archive and gives its bytes, a multiple of four.
    pub fn finish(mut self) -> Vec<u8> {
        self.next_inode = 0;
        self.entry(TRAILER, 0, 1, &[]);
        self.bytes
    }

    fn entry(&mut self, path: &str, mode: u32, links: u32, content: &[u8]) {
        let inode = self.next_inode;
        self.next_inode += 1;
        let name_size = path.len() as u32 + 1;
        let fields = [
            inode,
            mode,
            0,
            0,
            links,
            0,
            content.len() as u32,
            0,
            0,
            0,
            0,
            name_size,
            0,
        ];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes
                .extend_from_slice(format!("{field:08X}").as_bytes());
        }
        self.bytes.extend_from_slice(path.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    fn pad(&mut self) {
        let missing = padding(self.bytes.len() as u64) as usize;
        self.bytes.resize(self.bytes.len() + missing, 0);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let mut writer = Writer::new();
        writer.directory("etc");
        writer.file("etc/odd", 0o644, b"12345");
        let bytes = writer.finish();
        assert_eq!(bytes.len() % 4, 0);
        let mut input = bytes.as_slice();
        let mut reader = Reader::new(&mut input);
        let first = reader.next_entry().unwrap().unwrap();
        assert_eq!((first.name.as_str(), first.kind), ("etc", Kind::Directory));
        let second = reader.next_entry().unwrap().unwrap();
        assert_eq!(reader.content(&second).unwrap(), b"12345");
        assert!(reader.next_entry().unwrap().is_none());
        assert!(input.is_empty());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            for start in [&b""[..], b"070701"] {
                let mut input = [start, &bytes].concat();
                let mut slice = input.as_mut_slice() as &[u8];
                let mut reader = Reader::new(&mut slice);
                while let Ok(Some(entry)) = reader.next_entry() {
                    let _ = reader.content(&entry);
                }
            }
            bytes.clear();
        }
    }
}
