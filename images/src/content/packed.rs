//! Raw disks that are compressed as one stream: gzip, xz, zstd, bzip2.
//!
//! A stream may consist of several members, one after the other. Between two members a decoder has
//! no memory, so that an interrupted conversion can start there again; inside a member everything
//! before has to be decoded again.

use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};

use crate::confine::Part;
use crate::conversion::MemberStart;
use crate::error::{Refusal, RefusalKind};
use crate::format::Container;

const INPUT: usize = 256 * 1024;
/// Memory that an xz stream may ask for. `xz -9` asks for 65 MiB.
const XZ_MEMORY: u64 = 384 << 20;
/// Largest window of zstd, as a power of two: what `zstd` itself takes without `--long=31`.
const ZSTD_WINDOW: u32 = 27;

/// The packed file, with the number of bytes taken from it.
struct Input {
    file: BufReader<std::fs::File>,
    taken: u64,
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.taken += count as u64;
        Ok(count)
    }
}

impl BufRead for Input {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.file.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.file.consume(amount);
        self.taken += amount as u64;
    }
}

/// One stream of an xz file. The reader of the crate goes on beyond the end of a stream.
struct XzStream {
    input: Input,
    stream: xz2::stream::Stream,
    ended: bool,
}

impl XzStream {
    fn new(input: Input) -> io::Result<Self> {
        let stream = xz2::stream::Stream::new_stream_decoder(XZ_MEMORY, 0)?;
        Ok(Self {
            input,
            stream,
            ended: false,
        })
    }
}

impl Read for XzStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while !self.ended {
            let input = self.input.fill_buf()?;
            if input.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let (before_in, before_out) = (self.stream.total_in(), self.stream.total_out());
            let status = self
                .stream
                .process(input, buffer, xz2::stream::Action::Run)?;
            let taken = self.stream.total_in() - before_in;
            let given = self.stream.total_out() - before_out;
            self.input.consume(taken as usize);
            self.ended = status == xz2::stream::Status::StreamEnd;
            if given > 0 || buffer.is_empty() {
                return Ok(given as usize);
            }
            if status == xz2::stream::Status::MemNeeded {
                return Err(io::Error::other("more memory is needed"));
            }
        }
        Ok(0)
    }
}

enum Member {
    Gzip(Box<flate2::bufread::GzDecoder<Input>>),
    Xz(Box<XzStream>),
    Zstd(Box<zstd::stream::read::Decoder<'static, Input>>),
    Bzip2(Box<bzip2::bufread::BzDecoder<Input>>),
}

/// The disk in a packed file, from a member on.
pub(crate) struct Unpacker {
    container: Container,
    length: u64,
    /// `None` at the end, and while the next member is opened.
    member: Option<Member>,
    start: MemberStart,
    position: u64,
}

impl Unpacker {
    pub(crate) fn open(
        container: Container,
        part: &Part,
        start: MemberStart,
    ) -> Result<Self, Refusal> {
        let mut file = part.copy()?;
        file.seek(SeekFrom::Start(start.packed))
            .map_err(|error| crate::structure::unreadable("the packed disk", &error))?;
        let input = Input {
            file: BufReader::with_capacity(INPUT, file),
            taken: start.packed,
        };
        let mut unpacker = Self {
            container,
            length: part.length,
            member: None,
            start,
            position: start.unpacked,
        };
        unpacker.member = unpacker
            .decoder(input)
            .map_err(|error| unpacker.broken(&error))?;
        Ok(unpacker)
    }

    /// Where the member begins that is being read.
    pub(crate) fn member_start(&self) -> MemberStart {
        self.start
    }

    /// Bytes of the packed file that are read.
    pub(crate) fn taken(&self) -> u64 {
        self.member
            .as_ref()
            .map_or(self.length, |member| member.input().taken)
    }

    /// Fills `buffer`, or what is left of the disk.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Refusal> {
        let mut filled = 0;
        while filled < buffer.len() {
            let Some(member) = &mut self.member else {
                break;
            };
            match member.read(&mut buffer[filled..]) {
                Ok(0) => self.next_member().map_err(|error| self.broken(&error))?,
                Ok(count) => {
                    filled += count;
                    self.position += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.broken(&error)),
            }
        }
        Ok(filled)
    }

    fn next_member(&mut self) -> io::Result<()> {
        let Some(finished) = self.member.take() else {
            return Ok(());
        };
        let mut input = finished.into_input();
        skip_padding(&mut input)?;
        self.start = MemberStart {
            packed: input.taken,
            unpacked: self.position,
        };
        if !input.fill_buf()?.is_empty() {
            self.member = self.decoder(input)?;
        }
        Ok(())
    }

    fn decoder(&self, input: Input) -> io::Result<Option<Member>> {
        Ok(Some(match self.container {
            Container::Gzip => Member::Gzip(Box::new(flate2::bufread::GzDecoder::new(input))),
            Container::Bzip2 => Member::Bzip2(Box::new(bzip2::bufread::BzDecoder::new(input))),
            Container::Xz => Member::Xz(Box::new(XzStream::new(input)?)),
            Container::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(input)?.single_frame();
                decoder.window_log_max(ZSTD_WINDOW)?;
                Member::Zstd(Box::new(decoder))
            }
            other => return Err(io::Error::other(format!("{other} is not packed"))),
        }))
    }

    fn broken(&self, error: &io::Error) -> Refusal {
        let text = crate::printable::printable(&error.to_string());
        if error.kind() == io::ErrorKind::UnexpectedEof || text.contains("unexpected end") {
            return Refusal::truncated(format!(
                "what is packed in it breaks off after {} bytes of the disk",
                self.position
            ));
        }
        if text.contains("memory") || text.contains("Memory") {
            return Refusal::new(
                RefusalKind::TooLarge,
                format!("unpacking it takes more memory than is allowed ({text})"),
                "pack it again with an ordinary level, for example `-6`",
            );
        }
        Refusal::damaged(format!(
            "what is packed in it is broken after {} bytes of the disk ({text})",
            self.position
        ))
    }
}

/// Zeros may follow a member; `dd` and tapes leave them.
fn skip_padding(input: &mut Input) -> io::Result<()> {
    loop {
        let buffer = input.fill_buf()?;
        let zeros = buffer.iter().take_while(|byte| **byte == 0).count();
        if zeros == 0 {
            return Ok(());
        }
        input.consume(zeros);
    }
}

impl Member {
    fn input(&self) -> &Input {
        match self {
            Self::Gzip(decoder) => decoder.get_ref(),
            Self::Xz(decoder) => &decoder.input,
            Self::Zstd(decoder) => decoder.get_ref(),
            Self::Bzip2(decoder) => decoder.get_ref(),
        }
    }

    fn into_input(self) -> Input {
        match self {
            Self::Gzip(decoder) => decoder.into_inner(),
            Self::Xz(decoder) => decoder.input,
            Self::Zstd(decoder) => decoder.finish(),
            Self::Bzip2(decoder) => decoder.into_inner(),
        }
    }
}

impl Read for Member {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Gzip(decoder) => decoder.read(buffer),
            Self::Xz(decoder) => decoder.read(buffer),
            Self::Zstd(decoder) => decoder.read(buffer),
            Self::Bzip2(decoder) => decoder.read(buffer),
        }
    }
}
