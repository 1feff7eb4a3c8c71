//! Move bytes through open descriptors.

use super::output::OutputId;
use super::{Body, Descriptor, Vfs};
use crate::preview1::errno::Errno;
use crate::stop::Fail;

/// From where a seek counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whence {
    Start,
    Current,
    End,
}

impl Vfs {
    /// Reads at the descriptor's position, or at `at` without moving it. 0 bytes mean the end.
    pub(crate) fn read(&mut self, fd: u32, at: Option<u64>, buffer: &mut [u8]) -> Result<usize, Fail> {
        let descriptor = self.descriptor(fd)?;
        if matches!(descriptor.body, Body::Directory(_)) {
            return Err(Errno::ISDIR.into());
        }
        if !descriptor.readable {
            return Err(Errno::BADF.into());
        }
        let read = match descriptor.body {
            Body::Input { id, position } => self.input.read_at(id, at.unwrap_or(position), buffer)?,
            Body::Output { id, position } => self.output.read_at(id, at.unwrap_or(position), buffer)?,
            _ if at.is_some() => return Err(Errno::SPIPE.into()),
            _ => 0,
        };
        if at.is_none() {
            self.advance(fd, read as u64)?;
        }
        Ok(read)
    }

    /// Writes all of `bytes` at the descriptor's position (at the end when it appends), or at `at` without moving it.
    pub(crate) fn write(&mut self, fd: u32, at: Option<u64>, bytes: &[u8]) -> Result<(), Fail> {
        let descriptor = self.descriptor(fd)?;
        if !descriptor.writable || matches!(descriptor.body, Body::Directory(_)) {
            return Err(Errno::BADF.into());
        }
        match descriptor.body {
            Body::Output { id, position } => {
                let end = self.output.size(id);
                let start = if descriptor.append { end } else { at.unwrap_or(position) };
                self.output.write_at(id, start, bytes)?;
                if at.is_none() {
                    self.move_to(fd, start + bytes.len() as u64)?;
                }
                Ok(())
            }
            _ if at.is_some() => Err(Errno::SPIPE.into()),
            Body::Stdout => self.output.write_stdout(bytes),
            Body::Stderr => {
                self.write_stderr(bytes);
                Ok(())
            }
            _ => Err(Errno::BADF.into()),
        }
    }

    /// Moves the descriptor's position and says where it is.
    pub(crate) fn seek(&mut self, fd: u32, offset: i64, whence: Whence) -> Result<u64, Errno> {
        let (position, size) = self.position_and_size(fd)?;
        let from = match whence {
            Whence::Start => 0,
            Whence::Current => position,
            Whence::End => size,
        };
        let to = from.checked_add_signed(offset).filter(|to| i64::try_from(*to).is_ok()).ok_or(Errno::INVAL)?;
        self.move_to(fd, to)?;
        Ok(to)
    }

    /// Where the descriptor's position is.
    pub(crate) fn tell(&self, fd: u32) -> Result<u64, Errno> {
        self.position_and_size(fd).map(|(position, _)| position)
    }

    /// Cuts or stretches the file behind `fd`.
    pub(crate) fn set_size(&mut self, fd: u32, size: u64) -> Result<(), Fail> {
        let id = self.writable_output(fd)?;
        self.output.resize(id, size)
    }

    /// Makes the file behind `fd` at least `offset + bytes` long.
    pub(crate) fn allocate(&mut self, fd: u32, offset: u64, bytes: u64) -> Result<(), Fail> {
        let id = self.writable_output(fd)?;
        if bytes == 0 {
            return Err(Errno::INVAL.into());
        }
        let end = offset.checked_add(bytes).filter(|end| i64::try_from(*end).is_ok()).ok_or(Errno::FBIG)?;
        if end > self.output.size(id) {
            self.output.resize(id, end)?;
        }
        Ok(())
    }

    fn writable_output(&self, fd: u32) -> Result<OutputId, Errno> {
        match self.descriptor(fd)? {
            Descriptor { body: Body::Output { id, .. }, writable: true, .. } => Ok(*id),
            Descriptor { body: Body::Directory(_), .. } => Err(Errno::ISDIR),
            _ => Err(Errno::INVAL),
        }
    }

    fn position_and_size(&self, fd: u32) -> Result<(u64, u64), Errno> {
        match self.descriptor(fd)?.body {
            Body::Input { id, position } => Ok((position, self.input.size(id))),
            Body::Output { id, position } => Ok((position, self.output.size(id))),
            Body::Directory(_) => Err(Errno::BADF),
            _ => Err(Errno::SPIPE),
        }
    }

    fn advance(&mut self, fd: u32, by: u64) -> Result<(), Errno> {
        match &mut self.descriptor_mut(fd)?.body {
            Body::Input { position, .. } | Body::Output { position, .. } => *position = position.saturating_add(by),
            _ => {}
        }
        Ok(())
    }

    fn move_to(&mut self, fd: u32, to: u64) -> Result<(), Errno> {
        if let Body::Input { position, .. } | Body::Output { position, .. } = &mut self.descriptor_mut(fd)?.body {
            *position = to;
        }
        Ok(())
    }
}
