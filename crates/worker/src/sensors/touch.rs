//! Whether somebody uses the machine.
//!
//! Best are the input devices themselves, for who may read them (group `input`): a key or a mouse is seen within a look. Otherwise the
//! terminals: the kernel notes when one was last read, to within 8 seconds. Where a graphical session runs, terminals say nothing of
//! who sits there, so then nothing is known; better so than a guess that keeps somebody's machine busy.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use nix::libc;

use super::{Roots, entries, text_of};

/// How often devices that came or went are looked for, in milliseconds.
const SEARCH_EVERY_MS: u64 = 10_000;
/// An event as the kernel hands it out on 64 bits: time (16 bytes), type, code (2 each), value (4).
const EVENT_BYTES: usize = 24;
const TYPE_AT: usize = 16;
/// A key or button.
const EV_KEY: u16 = 1;
/// A mouse has moved. Absolute positions do not count: sensors of acceleration send them without end, and a touchpad sends a key too.
const EV_REL: u16 = 2;
/// Reads of one device in one look.
const READS_MAX: usize = 16;
/// In the list of Unix sockets: a display server listens.
const DISPLAYS: [&str; 2] = ["/tmp/.X11-unix/X", "/wayland-"];

#[derive(Debug)]
pub(super) struct Watch {
    proc: PathBuf,
    dev: PathBuf,
    searched_ms: Option<u64>,
    devices: Vec<(PathBuf, File)>,
    terminals: Vec<PathBuf>,
    touched_ms: u64,
}

impl Watch {
    pub(super) fn new(roots: &Roots) -> Self {
        let (proc, dev) = (roots.proc.clone(), roots.dev.clone());
        Self { proc, dev, searched_ms: None, devices: Vec::new(), terminals: Vec::new(), touched_ms: 0 }
    }

    /// Milliseconds since somebody was seen, or since this was first asked; `None` where nothing can be known.
    pub(super) fn untouched_ms(&mut self, now_ms: u64) -> Option<u64> {
        if self.searched_ms.is_none_or(|at_ms| now_ms.saturating_sub(at_ms) >= SEARCH_EVERY_MS) {
            if self.searched_ms.is_none() {
                // Who was there before nobody looked may be there still.
                self.touched_ms = now_ms;
            }
            self.search();
            self.searched_ms = Some(now_ms);
        }
        let mut touched = false;
        self.devices.retain_mut(|(_, device)| match drain(device) {
            Ok(seen) => {
                touched |= seen;
                true
            }
            // Unplugged.
            Err(_) => false,
        });
        if touched {
            self.touched_ms = now_ms;
        }
        if !self.devices.is_empty() {
            return Some(now_ms.saturating_sub(self.touched_ms));
        }
        self.terminals.iter().filter_map(|path| idle_ms(path)).min()
    }

    fn search(&mut self) {
        for path in entries(&self.dev.join("input"), "event") {
            if self.devices.iter().any(|(known, _)| *known == path) {
                continue;
            }
            if let Ok(device) = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(&path) {
                self.devices.push((path, device));
            }
        }
        let unix = text_of(&self.proc.join("net/unix")).unwrap_or_default();
        let has_display = DISPLAYS.iter().any(|display| unix.contains(display));
        self.terminals = if self.devices.is_empty() && !has_display { terminals(&self.dev) } else { Vec::new() };
    }
}

/// Reads what waits; true if a key or a mouse was among it.
fn drain(device: &mut File) -> std::io::Result<bool> {
    let mut touched = false;
    let mut buffer = [0; EVENT_BYTES * 64];
    for _ in 0..READS_MAX {
        let count = match device.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        touched |= buffer[..count].chunks_exact(EVENT_BYTES).any(|event| {
            let kind = u16::from_ne_bytes([event[TYPE_AT], event[TYPE_AT + 1]]);
            matches!(kind, EV_KEY | EV_REL)
        });
    }
    Ok(touched)
}

/// Consoles, serial lines and pseudo-terminals.
fn terminals(dev: &Path) -> Vec<PathBuf> {
    let is_line = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        // `tty` itself is whichever terminal the asking process has; `ptmx` is not one.
        name != "tty" && name != "ptmx"
    };
    let consoles = entries(dev, "tty").into_iter();
    consoles.chain(entries(&dev.join("pts"), "")).filter(is_line).collect()
}

/// How long ago somebody typed there, by the wall clock. A time in the future is now.
fn idle_ms(path: &Path) -> Option<u64> {
    let metadata = std::fs::metadata(path).ok()?;
    if metadata.file_type().is_dir() || metadata.file_type().is_block_device() {
        return None;
    }
    let read = metadata.accessed().ok()?;
    Some(SystemTime::now().duration_since(read).map_or(0, |time| time.as_millis() as u64))
}
