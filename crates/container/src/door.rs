//! Open the container's one way out from the inside, and hand it to the runner: a socket that listens in the container's own network
//! and is served in the worker's.

use std::io::{IoSlice, IoSliceMut};
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    AddressFamily, Backlog, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, SockaddrIn, bind,
    listen, recvmsg, sendmsg, socket, sockopt,
};

use crate::network::PROXY_PORT;
use crate::rootfs::{Refused, refused};

/// Connections that wait to be served.
const WAITING_MAX: i32 = 64;
/// Bytes that the kernel keeps for a connection, each way and on each side: least, at first, most.
const TCP_BYTES: &str = "4096 65536 262144";
/// The byte by which the socket travels.
const TOKEN: [u8; 1] = *b"n";

/// In the helper, who owns the network: listens, and sends the socket to whom it gets its words from.
pub(crate) fn open() -> Result<(), Refused> {
    // What is kept in the kernel is no process's memory. An older kernel has one bound for all networks, which is not ours to change.
    for name in ["tcp_rmem", "tcp_wmem"] {
        let _ = std::fs::write(format!("/proc/sys/net/ipv4/{name}"), TCP_BYTES);
    }
    let flags = SockFlag::SOCK_CLOEXEC;
    let listener = socket(AddressFamily::Inet, SockType::Stream, flags, None).map_err(refused("a socket"))?;
    raise_loopback(&listener).map_err(refused("the loopback of its network"))?;
    let at = SockaddrIn::from(std::net::SocketAddrV4::new(Ipv4Addr::LOCALHOST, PROXY_PORT));
    bind(listener.as_raw_fd(), &at).map_err(refused("the way out of its network"))?;
    let waiting = Backlog::new(WAITING_MAX).map_err(refused("the way out of its network"))?;
    listen(&listener, waiting).map_err(refused("the way out of its network"))?;
    let files = [listener.as_raw_fd()];
    let message = [ControlMessage::ScmRights(&files)];
    let sent = sendmsg::<()>(libc::STDIN_FILENO, &[IoSlice::new(&TOKEN)], &message, MsgFlags::MSG_NOSIGNAL, None);
    sent.map(drop).map_err(refused("to hand over the way out of its network"))
}

/// In the runner: takes what was sent. None when there is nothing.
pub(crate) fn take(from: &UnixStream) -> Option<OwnedFd> {
    let mut space = nix::cmsg_space!(RawFd);
    let mut byte = [0];
    let mut bytes = [IoSliceMut::new(&mut byte)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC | MsgFlags::MSG_DONTWAIT;
    let message = recvmsg::<()>(from.as_raw_fd(), &mut bytes, Some(&mut space), flags).ok()?;
    let files = message.cmsgs().ok()?.find_map(|message| match message {
        ControlMessageOwned::ScmRights(files) => Some(files),
        _ => None,
    })?;
    // SAFETY: the kernel has just made them for this process, and nobody else knows of them.
    let files: Vec<OwnedFd> = files.into_iter().map(|number| unsafe { OwnedFd::from_raw_fd(number) }).collect();
    let listener = files.into_iter().next()?;
    let is_listening = nix::sys::socket::getsockopt(&listener.as_fd(), sockopt::AcceptConn);
    is_listening.is_ok_and(|is| is).then_some(listener)
}

/// Without it not even the address 127.0.0.1 is there.
fn raise_loopback(socket: &OwnedFd) -> nix::Result<()> {
    // SAFETY: all its fields are numbers, and texts of zeros are empty.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = from.cast_signed();
    }
    // The flags that a loopback has are few, and all of them are the kernel's to set but this.
    request.ifr_ifru.ifru_flags = i16::try_from(libc::IFF_UP).unwrap_or(1);
    // SAFETY: the descriptor is open, and the structure is the one that this request takes and outlives the call.
    Errno::result(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) }).map(drop)
}
