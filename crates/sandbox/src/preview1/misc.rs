//! Serve the functions of preview1 that are not about files: arguments, clocks, polling, randomness, signals, sockets.

use super::errno::Errno;
use super::world::{EPOCH_NS, TICK_NS};
use super::{BYTE_FUEL, Host, Memory, RANDOM_BYTE_FUEL, guest};
use crate::stop::{Fail, Stop};

/// Clocks: 0 wall, 1 monotonic, 2 and 3 CPU time.
const CLOCK_REALTIME: u32 = 0;
const CLOCKS: u32 = 4;
/// Subscriptions that one `poll_oneoff` may carry.
const SUBSCRIPTIONS_MAX: u32 = 1024;
const SUBSCRIPTION_BYTES: u32 = 48;
const EVENT_BYTES: u32 = 32;
/// A signal that ends a program makes it exit with this plus the signal's number, as shells report it.
const SIGNAL_EXIT_BASE: i32 = 128;
/// The highest signal number of preview1.
const SIGNAL_MAX: u32 = 30;

type Done = Result<(), Fail>;

pub(super) fn args_get(memory: Memory<'_>, host: &mut Host, list: u32, text: u32) -> Done {
    host.charge(BYTE_FUEL * bytes_of(&host.world.args))?;
    Ok(put_texts(memory, &host.world.args, list, text)?)
}

pub(super) fn args_sizes_get(memory: Memory<'_>, host: &mut Host, count: u32, bytes: u32) -> Done {
    Ok(put_sizes(memory, &host.world.args, count, bytes)?)
}

pub(super) fn environ_get(memory: Memory<'_>, host: &mut Host, list: u32, text: u32) -> Done {
    host.charge(BYTE_FUEL * bytes_of(&host.world.env))?;
    Ok(put_texts(memory, &host.world.env, list, text)?)
}

pub(super) fn environ_sizes_get(memory: Memory<'_>, host: &mut Host, count: u32, bytes: u32) -> Done {
    Ok(put_sizes(memory, &host.world.env, count, bytes)?)
}

fn bytes_of(texts: &[Vec<u8>]) -> u64 {
    texts.iter().map(|text| text.len() as u64 + 1).sum()
}

fn put_sizes(memory: Memory<'_>, texts: &[Vec<u8>], count: u32, bytes: u32) -> Result<(), Errno> {
    guest::put_u32(memory, count, u32::try_from(texts.len()).map_err(|_| Errno::OVERFLOW)?)?;
    guest::put_u32(memory, bytes, u32::try_from(bytes_of(texts)).map_err(|_| Errno::OVERFLOW)?)
}

fn put_texts(memory: Memory<'_>, texts: &[Vec<u8>], mut list: u32, mut text: u32) -> Result<(), Errno> {
    for value in texts {
        guest::put_u32(memory, list, text)?;
        guest::put(memory, text, value)?;
        let end = guest::at(text, u32::try_from(value.len()).map_err(|_| Errno::OVERFLOW)?)?;
        guest::put(memory, end, &[0])?;
        list = guest::at(list, 4)?;
        text = guest::at(end, 1)?;
    }
    Ok(())
}

pub(super) fn clock_res_get(memory: Memory<'_>, _: &mut Host, clock: u32, out: u32) -> Done {
    if clock >= CLOCKS {
        return Err(Errno::INVAL.into());
    }
    Ok(guest::put_u64(memory, out, TICK_NS)?)
}

pub(super) fn clock_time_get(memory: Memory<'_>, host: &mut Host, clock: u32, _precision: u64, out: u32) -> Done {
    if clock >= CLOCKS {
        return Err(Errno::INVAL.into());
    }
    let elapsed = host.world.elapsed_ns();
    Ok(guest::put_u64(memory, out, clock_base(clock).saturating_add(elapsed))?)
}

fn clock_base(clock: u32) -> u64 {
    if clock == CLOCK_REALTIME { EPOCH_NS } else { 0 }
}

/// What a subscription waits for.
enum Awaited {
    /// Virtual time since the run began, in nanoseconds.
    Time(u64),
    /// A descriptor; with the bytes that can be read, or the reason it cannot be polled.
    Descriptor { kind: u8, outcome: Result<u64, Errno> },
}

/// Returns at once: what is ready is ready, and if nothing is, the virtual clock jumps to the nearest deadline.
pub(super) fn poll_oneoff(
    memory: Memory<'_>,
    host: &mut Host,
    subscriptions: u32,
    events: u32,
    count: u32,
    out: u32,
) -> Done {
    if count == 0 || count > SUBSCRIPTIONS_MAX {
        return Err(Errno::INVAL.into());
    }
    host.charge(BYTE_FUEL * u64::from(count) * u64::from(SUBSCRIPTION_BYTES))?;
    let now = host.world.elapsed_ns();
    let mut awaited = Vec::with_capacity(count as usize);
    for index in 0..count {
        let here = guest::at(subscriptions, index * SUBSCRIPTION_BYTES)?;
        let bytes = guest::number::<48>(memory, here)?;
        awaited.push((u64_at(&bytes, 0), read_subscription(&bytes, host, now)?));
    }
    let nearest = awaited.iter().filter_map(|(_, awaited)| match awaited {
        Awaited::Time(deadline) => Some(*deadline),
        Awaited::Descriptor { .. } => None,
    });
    if let Some(nearest) = nearest.min()
        && !awaited.iter().any(|(_, awaited)| matches!(awaited, Awaited::Descriptor { .. }))
    {
        host.world.sleep_until(nearest);
    }
    let now = host.world.elapsed_ns();
    let mut written = 0;
    for (user_data, awaited) in awaited {
        let (kind, outcome) = match awaited {
            Awaited::Time(deadline) if deadline > now => continue,
            Awaited::Time(_) => (0, Ok(0)),
            Awaited::Descriptor { kind, outcome } => (kind, outcome),
        };
        let mut event = [0; EVENT_BYTES as usize];
        event[0..8].copy_from_slice(&user_data.to_le_bytes());
        event[8..10].copy_from_slice(&outcome.err().map_or(0, |errno| errno.0).to_le_bytes());
        event[10] = kind;
        event[16..24].copy_from_slice(&outcome.unwrap_or(0).to_le_bytes());
        guest::put(memory, guest::at(events, written * EVENT_BYTES)?, &event)?;
        written += 1;
    }
    Ok(guest::put_u32(memory, out, written)?)
}

fn read_subscription(bytes: &[u8; 48], host: &Host, now: u64) -> Result<Awaited, Errno> {
    match bytes[8] {
        0 => {
            let clock = u32_at(bytes, 16);
            let timeout = u64_at(bytes, 24);
            let absolute = bytes[40] & 1 != 0;
            if clock >= CLOCKS {
                return Err(Errno::INVAL);
            }
            let deadline =
                if absolute { timeout.saturating_sub(clock_base(clock)) } else { now.saturating_add(timeout) };
            Ok(Awaited::Time(deadline))
        }
        kind @ (1 | 2) => {
            let fd = u32_at(bytes, 16);
            let outcome = host.fs.descriptor(fd).map(|descriptor| match descriptor.body {
                crate::vfs::Body::Input { .. } | crate::vfs::Body::Output { .. } if kind == 1 => {
                    let size = host.fs.stat_descriptor(fd).map_or(0, |stat| stat.size);
                    size.saturating_sub(host.fs.tell(fd).unwrap_or(0))
                }
                _ => 0,
            });
            Ok(Awaited::Descriptor { kind, outcome })
        }
        _ => Err(Errno::INVAL),
    }
}

fn u32_at(bytes: &[u8; 48], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8; 48], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

/// A raised signal ends the program: there are no handlers on this side, and libc has called its own before.
pub(super) fn proc_raise(_: Memory<'_>, _: &mut Host, signal: u32) -> Done {
    match signal {
        0 => Ok(()),
        1..=SIGNAL_MAX => Err(Stop::Exit(SIGNAL_EXIT_BASE + signal.cast_signed()).into()),
        _ => Err(Errno::INVAL.into()),
    }
}

pub(super) fn sched_yield(_: Memory<'_>, _: &mut Host) -> Done {
    Ok(())
}

pub(super) fn random_get(memory: Memory<'_>, host: &mut Host, buffer: u32, length: u32) -> Done {
    let target = guest::bytes_mut(memory, buffer, length)?;
    host.charge(RANDOM_BYTE_FUEL * u64::from(length))?;
    host.world.fill_random(target);
    Ok(())
}

pub(super) fn sock_accept(_: Memory<'_>, host: &mut Host, fd: u32, _: u32, _: u32) -> Done {
    no_socket(host, fd)
}

#[expect(clippy::too_many_arguments, reason = "the signature is preview1's")]
pub(super) fn sock_recv(_: Memory<'_>, host: &mut Host, fd: u32, _: u32, _: u32, _: u32, _: u32, _: u32) -> Done {
    no_socket(host, fd)
}

pub(super) fn sock_send(_: Memory<'_>, host: &mut Host, fd: u32, _: u32, _: u32, _: u32, _: u32) -> Done {
    no_socket(host, fd)
}

pub(super) fn sock_shutdown(_: Memory<'_>, host: &mut Host, fd: u32, _: u32) -> Done {
    no_socket(host, fd)
}

fn no_socket(host: &Host, fd: u32) -> Done {
    host.fs.descriptor(fd)?;
    Err(Errno::NOTSUP.into())
}
