//! Carry messages and open descriptors between parent and child, over one Unix socket.
//!
//! A message is two lengths (4 bytes each, little-endian), the number of descriptors that come with it (1 byte, 0 or 1), JSON of the
//! first length, and as many plain bytes as the second says: the files that go with it, which as JSON would be four times as long.
//! Descriptors travel in the order of their messages. Only the parent sends any: the child has none of its own to give.

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recv, recvmsg, sendmsg};
use serde::Serialize;
use serde::de::DeserializeOwned;

const HEAD_BYTES: usize = 9;
/// Bytes asked of the socket at a time.
const READ_BYTES: usize = 64 * 1024;
/// Descriptors that one read can bring: a read ends with the first message part that carries any.
const DESCRIPTORS_MAX: usize = 4;

/// One end of the socket, with what was read and not yet taken, and what is still to be written.
pub(crate) struct Channel {
    socket: UnixStream,
    /// Bytes of the largest message that is taken from the other side.
    message_bytes_max: usize,
    incoming: Vec<u8>,
    /// Where in `incoming` the next message begins.
    taken: usize,
    descriptors: VecDeque<OwnedFd>,
    outgoing: VecDeque<Part>,
}

/// A message that has arrived.
pub(crate) struct Letter<T> {
    pub(crate) message: T,
    /// The plain bytes that came with it.
    pub(crate) bytes: Vec<u8>,
    pub(crate) descriptor: Option<OwnedFd>,
}

/// Bytes to be written, after the descriptor that goes with the first of them.
struct Part {
    bytes: Vec<u8>,
    written: usize,
    descriptor: Option<OwnedFd>,
}

/// Whether a call may sleep until the socket is ready.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    Yes,
    No,
}

impl Wait {
    fn flags(self) -> MsgFlags {
        match self {
            Self::Yes => MsgFlags::empty(),
            Self::No => MsgFlags::MSG_DONTWAIT,
        }
    }
}

impl Channel {
    /// Over this socket; takes no message of more than so many bytes.
    pub(crate) fn new(socket: UnixStream, message_bytes_max: usize) -> Self {
        Self {
            socket,
            message_bytes_max,
            incoming: Vec::new(),
            taken: 0,
            descriptors: VecDeque::new(),
            outgoing: VecDeque::new(),
        }
    }

    /// Puts a message at the end of what is to be written.
    pub(crate) fn queue(
        &mut self,
        message: &impl Serialize,
        bytes: &[u8],
        descriptor: Option<OwnedFd>,
    ) -> io::Result<()> {
        if descriptor.is_some() || self.outgoing.back().is_none_or(|part| part.written > 0) {
            self.outgoing.push_back(Part { bytes: Vec::new(), written: 0, descriptor: None });
        }
        let Some(part) = self.outgoing.back_mut() else { return Ok(()) };
        let start = part.bytes.len();
        part.bytes.extend_from_slice(&[0; HEAD_BYTES - 1]);
        part.bytes.push(u8::from(descriptor.is_some()));
        part.descriptor = descriptor.or(part.descriptor.take());
        serde_json::to_writer(&mut part.bytes, message)?;
        let lengths = [part.bytes.len() - start - HEAD_BYTES, bytes.len()];
        part.bytes.extend_from_slice(bytes);
        for (length, at) in lengths.into_iter().zip([start, start + 4]) {
            let length = u32::try_from(length)
                .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "a message of more than 4 GiB"))?;
            part.bytes[at..at + 4].copy_from_slice(&length.to_le_bytes());
        }
        Ok(())
    }

    /// True when something is still to be written.
    pub(crate) fn has_outgoing(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Writes what is queued, as far as the socket takes it; with [`Wait::Yes`], all of it.
    pub(crate) fn flush(&mut self, wait: Wait) -> io::Result<()> {
        while let Some(part) = self.outgoing.front_mut() {
            let raw: Vec<RawFd> = part.descriptor.iter().map(AsRawFd::as_raw_fd).collect();
            let control = [ControlMessage::ScmRights(&raw)];
            let control = if raw.is_empty() { &[][..] } else { &control[..] };
            let bytes = [IoSlice::new(&part.bytes[part.written..])];
            let flags = wait.flags() | MsgFlags::MSG_NOSIGNAL;
            match sendmsg::<()>(self.socket.as_raw_fd(), &bytes, control, flags, None) {
                Ok(written) => {
                    part.descriptor = None;
                    part.written += written;
                    if part.written == part.bytes.len() {
                        self.outgoing.pop_front();
                    }
                }
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Reads once, descriptors included. False at the end of the stream.
    pub(crate) fn read_with_descriptors(&mut self) -> io::Result<bool> {
        let mut buffer = vec![0; READ_BYTES];
        let mut control = nix::cmsg_space!([RawFd; DESCRIPTORS_MAX]);
        loop {
            let mut bytes = [IoSliceMut::new(&mut buffer)];
            let flags = MsgFlags::MSG_CMSG_CLOEXEC;
            let got = match recvmsg::<()>(self.socket.as_raw_fd(), &mut bytes, Some(&mut control), flags) {
                Ok(got) => got,
                Err(Errno::EINTR) => continue,
                Err(error) => return Err(error.into()),
            };
            for message in got.cmsgs()? {
                if let ControlMessageOwned::ScmRights(raw) = message {
                    // SAFETY: the kernel has just made these descriptors for this process; nothing else knows them.
                    self.descriptors.extend(raw.into_iter().map(|raw| unsafe { OwnedFd::from_raw_fd(raw) }));
                }
            }
            let read = got.bytes;
            self.keep(&buffer[..read]);
            return Ok(read > 0);
        }
    }

    /// Reads once without waiting; descriptors, which nobody expects, are dropped by the kernel. False at the end of the
    /// stream.
    pub(crate) fn read(&mut self) -> io::Result<bool> {
        let mut buffer = [0; READ_BYTES];
        loop {
            return match recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
                Ok(read) => {
                    self.keep(&buffer[..read]);
                    Ok(read > 0)
                }
                Err(Errno::EINTR) => continue,
                Err(Errno::EAGAIN) => Ok(true),
                Err(error) => Err(error.into()),
            };
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        if self.taken == self.incoming.len() {
            self.incoming.clear();
            self.taken = 0;
        }
        self.incoming.extend_from_slice(bytes);
    }

    /// The next message, when all of it has been read; an error when the other side sends none.
    pub(crate) fn take<T: DeserializeOwned>(&mut self) -> io::Result<Option<Letter<T>>> {
        let waiting = &self.incoming[self.taken..];
        let Some((head, body)) = waiting.split_first_chunk::<HEAD_BYTES>() else { return Ok(None) };
        let text = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let plain = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
        let malformed = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what);
        let length = text.saturating_add(plain);
        if length > self.message_bytes_max || head[8] > 1 {
            return Err(malformed("a message that is too long or malformed"));
        }
        let Some((text, plain)) = body.get(..length).and_then(|body| body.split_at_checked(text)) else {
            return Ok(None);
        };
        let (message, bytes) = (serde_json::from_slice(text)?, plain.to_vec());
        let descriptor = match head[8] {
            0 => None,
            _ => Some(self.descriptors.pop_front().ok_or_else(|| malformed("a descriptor is missing"))?),
        };
        self.taken += HEAD_BYTES + length;
        // What was taken goes away before it outweighs what waits.
        if self.taken > READ_BYTES.max(self.incoming.len() / 2) {
            self.incoming.drain(..self.taken);
            self.taken = 0;
        }
        Ok(Some(Letter { message, bytes, descriptor }))
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read, Seek, Write};

    use super::*;

    fn pair() -> (Channel, Channel) {
        let (left, right) = UnixStream::pair().unwrap();
        (Channel::new(left, 1 << 20), Channel::new(right, 1 << 20))
    }

    #[test]
    fn messages_and_descriptors_arrive_whole_and_in_order() {
        let (mut left, mut right) = pair();
        let mut files = vec![];
        for number in 0..20u32 {
            let mut file = tempfile::tempfile().unwrap();
            write!(file, "file {number}").unwrap();
            file.rewind().unwrap();
            left.queue(&format!("{number}{}", "x".repeat(9000 * number as usize)), &[], None).unwrap();
            let plain = vec![number as u8; 7000 * number as usize];
            left.queue(&number, &plain, Some(file.try_clone().unwrap().into())).unwrap();
            files.push(file);
        }
        let writer = std::thread::spawn(move || left.flush(Wait::Yes).map(|()| left));
        for number in 0..20u32 {
            let text: String = next(&mut right).message;
            assert_eq!(text, format!("{number}{}", "x".repeat(9000 * number as usize)));
            let Letter { message: same, bytes: plain, descriptor } = next::<u32>(&mut right);
            assert_eq!(plain, vec![number as u8; 7000 * number as usize]);
            let mut bytes = String::new();
            File::from(descriptor.unwrap()).read_to_string(&mut bytes).unwrap();
            assert_eq!((same, bytes), (number, format!("file {number}")));
        }
        drop(writer.join().unwrap().unwrap());
        assert!(!right.read_with_descriptors().unwrap(), "the end");
    }

    fn next<T: DeserializeOwned>(channel: &mut Channel) -> Letter<T> {
        loop {
            if let Some(letter) = channel.take().unwrap() {
                return letter;
            }
            assert!(channel.read_with_descriptors().unwrap());
        }
    }

    #[test]
    fn nonsense_is_an_error_and_neither_a_panic_nor_an_endless_buffer() {
        for bytes in [
            &[0xff, 0xff, 0xff, 0x7f, 0, 0, 0, 0, 0][..],
            &[1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0],
            &[1, 0, 0, 0, 0, 0, 0, 0, 9, b'1'],
            &[1, 0, 0, 0, 0, 0, 0, 0, 1, b'1'],
            &[2, 0, 0, 0, 0, 0, 0, 0, 0, b'{', b'x'],
        ] {
            let (left, mut right) = pair();
            (&left.socket).write_all(bytes).unwrap();
            assert!(right.read().unwrap());
            assert!(right.take::<u32>().is_err(), "{bytes:?}");
        }
    }
}
