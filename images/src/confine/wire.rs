//! How files and question reach the child: over a socket, so that the child opens nothing by name.

use std::fs::File;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
    sendmsg, socketpair,
};

/// The kernel takes 253 descriptors in one message.
const AT_ONCE: usize = 200;
/// Stands for the descriptors that come with it: a message without bytes is none.
const MARK: u8 = b'#';

/// The two ends: ours, and the child's standard input.
pub(super) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let (family, kind) = (AddressFamily::UNIX, SocketType::STREAM);
    Ok(socketpair(family, kind, SocketFlags::CLOEXEC, None)?)
}

/// Sends everything and closes our end.
pub(super) fn send(ours: OwnedFd, files: &[&File], question: &str) -> io::Result<()> {
    let descriptors: Vec<BorrowedFd<'_>> = files.iter().map(|file| file.as_fd()).collect();
    for some in descriptors.chunks(AT_ONCE) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(AT_ONCE))];
        let mut rights = SendAncillaryBuffer::new(&mut space);
        if !rights.push(SendAncillaryMessage::ScmRights(some)) {
            return Err(io::Error::other("too many descriptors for one message"));
        }
        sendmsg(
            &ours,
            &[IoSlice::new(&[MARK])],
            &mut rights,
            SendFlags::NOSIGNAL,
        )?;
    }
    let mut rest = question.as_bytes();
    while !rest.is_empty() {
        let sent = rustix::net::send(&ours, rest, SendFlags::NOSIGNAL)?;
        rest = &rest[sent..];
    }
    Ok(())
}

#[cfg(feature = "reader")]
pub(crate) use receiving::Part;
#[cfg(feature = "reader")]
pub(super) use receiving::receive;

#[cfg(feature = "reader")]
mod receiving {
    use std::fs::File;
    use std::io::{self, IoSliceMut};
    use std::mem::MaybeUninit;
    use std::os::fd::{AsFd, OwnedFd};

    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

    use super::{AT_ONCE, MARK};
    use crate::error::Refusal;
    use crate::structure::{Source, unreadable};

    const LONGEST_QUESTION: usize = 4 << 20;

    /// One file of an image.
    pub(crate) struct Part {
        pub file: File,
        pub length: u64,
        pub name: String,
    }

    impl Part {
        /// For reading with bounds.
        pub(crate) fn source(&self) -> Source<'_> {
            Source {
                file: &self.file,
                length: self.length,
            }
        }

        /// Another descriptor of it.
        pub(crate) fn copy(&self) -> Result<File, Refusal> {
            let copy = self.file.try_clone();
            copy.map_err(|error| unreadable("its descriptor", &error))
        }
    }

    /// Reads until the parent has closed its end. The descriptors survive `exec`, for QEMU's
    /// programs.
    pub(in crate::confine) fn receive(socket: impl AsFd) -> io::Result<(Vec<OwnedFd>, String)> {
        let mut files = Vec::new();
        let mut bytes = Vec::new();
        let mut buffer = vec![0; 64 * 1024];
        while bytes.len() <= LONGEST_QUESTION {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(AT_ONCE))];
            let mut rights = RecvAncillaryBuffer::new(&mut space);
            let mut slices = [IoSliceMut::new(&mut buffer)];
            let message = recvmsg(&socket, &mut slices, &mut rights, RecvFlags::empty())?;
            for came in rights.drain() {
                if let RecvAncillaryMessage::ScmRights(descriptors) = came {
                    files.extend(descriptors);
                }
            }
            if message.bytes == 0 {
                let marks = bytes.iter().take_while(|byte| **byte == MARK).count();
                let text = String::from_utf8_lossy(&bytes[marks..]).into_owned();
                return Ok((files, text));
            }
            bytes.extend_from_slice(&buffer[..message.bytes]);
        }
        Err(io::Error::other("the question is too long"))
    }
}
