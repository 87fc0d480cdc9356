//! Formats that QEMU serves: one `qemu-io` process answers reads through its pipes.
//!
//! It runs inside the walls of the confined child and gets the image as an inherited descriptor.
//! Its driver is named, so nothing is sniffed.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::AsRawFd;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde::Deserialize;

use super::{Disk, within};
use crate::error::{Refusal, RefusalKind};
use crate::format::Format;
use crate::printable::printable_bytes;

const QEMU_IMG: &str = "qemu-img";
const QEMU_IO: &str = "qemu-io";
const LONGEST_LINE: u64 = 4096;
const LONGEST_INFO: u64 = 1 << 20;
const CHUNK: usize = 64 * 1024;

/// A disk behind `qemu-io`.
pub(crate) struct QemuIoDisk {
    size: u64,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
    process: Child,
}

/// The part of `qemu-img info` that matters.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Info {
    virtual_size: u64,
    backing_filename: Option<String>,
    encrypted: Option<bool>,
    #[serde(default)]
    children: Vec<InfoChild>,
}

#[derive(Debug, Deserialize)]
struct InfoChild {
    name: String,
}

impl QemuIoDisk {
    /// `layers`, nearest first, must survive `exec`.
    pub(crate) fn open(layers: &[(Format, &File)]) -> Result<Self, Refusal> {
        let graph = block_graph(layers);
        // `qemu-img info` opens no backing files, not even named ones.
        let top = block_graph(layers.get(..1).unwrap_or_default());
        let info = info(&top)?;
        only_named(&info, layers.len() > 1)?;
        let mut process = tool(QEMU_IO)
            .args(["-r", "--image-opts", &graph])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| cannot_run(QEMU_IO, &error))?;
        let (Some(commands), Some(answers)) = (process.stdin.take(), process.stdout.take()) else {
            return Err(Refusal::damaged("`qemu-io` has no pipes"));
        };
        Ok(Self {
            size: info.virtual_size,
            commands,
            answers: BufReader::new(answers),
            process,
        })
    }

    fn read_chunk(&mut self, offset: u64, chunk: &mut [u8]) -> io::Result<()> {
        let length = chunk.len();
        writeln!(self.commands, "read -v {offset} {length}")?;
        self.commands.flush()?;
        let mut filled = 0;
        loop {
            let line = self.line()?;
            let line = line.trim_start_matches("qemu-io> ");
            if line.starts_with("read failed") || line.starts_with("Parsing error") {
                return Err(io::Error::other(printable_bytes(line.as_bytes())));
            }
            if line.starts_with("read ") {
                break;
            }
            filled += hex_line(line, chunk.get_mut(filled..).unwrap_or_default());
        }
        if filled < length {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
        Ok(())
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        let mut bounded = (&mut self.answers).take(LONGEST_LINE);
        if bounded.read_until(b'\n', &mut line)? == 0 {
            return Err(io::Error::other("`qemu-io` ended"));
        }
        Ok(String::from_utf8_lossy(&line).into_owned())
    }
}

impl Disk for QemuIoDisk {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        within(self.size, offset, buffer.len())?;
        let mut at = offset;
        for chunk in buffer.chunks_mut(CHUNK) {
            self.read_chunk(at, chunk)?;
            at += chunk.len() as u64;
        }
        Ok(())
    }
}

impl Drop for QemuIoDisk {
    fn drop(&mut self) {
        // It only reads; nothing is lost by ending it hard.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// QEMU reads with up to 64 threads. Each would reserve an arena of its own for `malloc`, and all
/// together more address space than the reader may have.
fn tool(name: &str) -> Command {
    let mut command = Command::new(name);
    command.env("LC_ALL", "C").env("MALLOC_ARENA_MAX", "1");
    command
}

/// The block graph, every node named: nothing in an image can add one.
fn block_graph(layers: &[(Format, &File)]) -> String {
    let mut options = Vec::new();
    for (depth, (format, file)) in layers.iter().enumerate() {
        let at = "backing.".repeat(depth);
        options.push(format!(
            "{at}driver={},{at}read-only=on,{at}file.driver=file,{at}file.read-only=on,\
             {at}file.locking=off,{at}file.filename=/proc/self/fd/{}",
            format.qemu_driver(),
            file.as_raw_fd()
        ));
    }
    options.join(",")
}

fn info(graph: &str) -> Result<Info, Refusal> {
    let mut process = tool(QEMU_IMG)
        .args(["info", "--output=json", "--image-opts", graph])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| cannot_run(QEMU_IMG, &error))?;
    let answer = process.stdout.take().map(bounded).unwrap_or_default();
    let complaint = process.stderr.take().map(bounded).unwrap_or_default();
    let _ = process.kill();
    let status = process.wait();
    if !status.is_ok_and(|status| status.success()) && answer.is_empty() {
        return Err(translate(&complaint));
    }
    serde_json::from_slice(&answer)
        .map_err(|error| Refusal::damaged(format!("`qemu-img info` gave no answer ({error})")))
}

fn bounded(pipe: impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    // What was read before a failure is still worth showing.
    let _ = pipe.take(LONGEST_INFO).read_to_end(&mut bytes);
    bytes
}

fn only_named(info: &Info, backing_named: bool) -> Result<(), Refusal> {
    if let Some(name) = &info.backing_filename
        && !backing_named
    {
        return Err(crate::structure::refuse_reference(
            name.as_bytes(),
            "backing file",
        ));
    }
    if info.encrypted == Some(true) {
        return Err(Refusal::new(
            RefusalKind::Encrypted,
            "it is encrypted by its container",
            "decrypt a copy and give that",
        ));
    }
    let named =
        |child: &&InfoChild| child.name == "file" || (backing_named && child.name == "backing");
    match info.children.iter().find(|child| !named(child)) {
        None => Ok(()),
        Some(child) => Err(Refusal::new(
            RefusalKind::SplitOverFiles,
            format!(
                "it needs the further file `{}`",
                printable_bytes(child.name.as_bytes())
            ),
            "join it into one file with `qemu-img convert -O qcow2`",
        )),
    }
}

/// QEMU's words for what it refuses, in ours.
fn translate(complaint: &[u8]) -> Refusal {
    let text = String::from_utf8_lossy(complaint);
    let last = text.lines().last().unwrap_or_default();
    let words = last.rsplit("': ").next().unwrap_or(last);
    let found = format!(
        "QEMU cannot open it ({})",
        printable_bytes(words.as_bytes())
    );
    if text.contains("log that needs to be replayed") {
        return Refusal::new(
            RefusalKind::Damaged,
            "it was in use when it was copied: its log must be replayed first",
            "replay a copy with `qemu-img check -r all` and give that",
        );
    }
    if text.contains("temporarily unavailable") || text.contains("Cannot allocate memory") {
        return Refusal::new(
            RefusalKind::NotReadable,
            "QEMU's tools got too little memory or too few threads to read it",
            "try again when this host is less busy",
        );
    }
    if text.contains("truncated") || text.contains("end of file") {
        return Refusal::truncated(found);
    }
    Refusal::damaged(found)
}

fn cannot_run(tool: &str, error: &io::Error) -> Refusal {
    Refusal::new(
        RefusalKind::NotReadable,
        format!("`{tool}` cannot be started to read it ({error})"),
        "install QEMU's tools (package qemu-utils)",
    )
}

/// Decodes one line of the hex dump; gives the number of bytes in it.
fn hex_line(line: &str, target: &mut [u8]) -> usize {
    let Some((offset, rest)) = line.split_once(":  ") else {
        return 0;
    };
    if offset.is_empty() || !offset.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return 0;
    }
    let numbers = rest
        .split(' ')
        .take(16)
        .map_while(|pair| (pair.len() == 2).then(|| u8::from_str_radix(pair, 16).ok())?);
    let mut count = 0;
    for (place, byte) in target.iter_mut().zip(numbers) {
        *place = byte;
        count += 1;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn dump_lines_are_decoded() {
        let mut target = [0; 32];
        let line = "00000200:  eb 63 90 10 8e d0 bc 00 b0 b8 00 00 8e d8 8e c0  .c..............\n";
        assert_eq!(hex_line(line, &mut target), 16);
        assert_eq!(&target[..4], &[0xeb, 0x63, 0x90, 0x10]);
        assert_eq!(hex_line("00000000:  41 42  AB", &mut target), 2);
        assert_eq!(hex_line("32 bytes, 1 ops; 00.00 sec", &mut target), 0);
    }

    #[track_caller]
    fn check(complaint: &str, kind: RefusalKind, words: &str) {
        let refusal = translate(complaint.as_bytes());
        assert_eq!(refusal.kind, kind);
        assert!(refusal.found.contains(words), "{}", refusal.found);
    }

    #[test]
    fn complaints_of_qemu_are_translated() {
        let log = "qemu-img: Could not open 'driver=vhdx': VHDX image file '/proc/self/fd/3' opened \
                   read-only, but contains a log that needs to be replayed\nTo replay the log, run:\n\
                   qemu-img check -r all '/proc/self/fd/3'\n";
        check(log, RefusalKind::Damaged, "its log must be replayed");
        let cut = "qemu-img: Could not open 'x': VHDX BAT entry 3 offset points after end of \
                   file. Image has probably been truncated.\n";
        check(cut, RefusalKind::Truncated, "after end of file");
        check(
            "qemu-img: Could not open 'x': Invalid argument\n",
            RefusalKind::Damaged,
            "Invalid",
        );
        check("", RefusalKind::Damaged, "QEMU");
    }

    proptest! {
        #[test]
        fn any_line_is_survived(line in ".{0,200}") {
            let mut target = [0; 16];
            prop_assert!(hex_line(&line, &mut target) <= 16);
        }
    }
}
