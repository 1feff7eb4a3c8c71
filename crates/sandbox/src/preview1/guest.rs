//! Read and write the guest's linear memory; every address is checked.

use super::errno::Errno;

/// Buffers that one scatter or gather call may name.
const BUFFERS_MAX: u32 = 1024;
/// Bytes that one call moves; the rest is for the next call, as Linux does.
const TRANSFER_BYTES_MAX: usize = 0x7fff_f000;

/// `length` bytes at `address`.
pub(crate) fn bytes(memory: &[u8], address: u32, length: u32) -> Result<&[u8], Errno> {
    let start = address as usize;
    memory.get(start..start.saturating_add(length as usize)).ok_or(Errno::FAULT)
}

/// `length` bytes at `address`, to be written.
pub(crate) fn bytes_mut(memory: &mut [u8], address: u32, length: u32) -> Result<&mut [u8], Errno> {
    let start = address as usize;
    memory.get_mut(start..start.saturating_add(length as usize)).ok_or(Errno::FAULT)
}

/// Writes `value` at `address`.
pub(crate) fn put(memory: &mut [u8], address: u32, value: &[u8]) -> Result<(), Errno> {
    let start = address as usize;
    let target = memory.get_mut(start..start.saturating_add(value.len())).ok_or(Errno::FAULT)?;
    target.copy_from_slice(value);
    Ok(())
}

pub(crate) fn put_u32(memory: &mut [u8], address: u32, value: u32) -> Result<(), Errno> {
    put(memory, address, &value.to_le_bytes())
}

pub(crate) fn put_u64(memory: &mut [u8], address: u32, value: u64) -> Result<(), Errno> {
    put(memory, address, &value.to_le_bytes())
}

/// The address `offset` bytes after `address`.
pub(crate) fn at(address: u32, offset: u32) -> Result<u32, Errno> {
    address.checked_add(offset).ok_or(Errno::FAULT)
}

/// The little-endian number at `address`.
pub(crate) fn number<const N: usize>(memory: &[u8], address: u32) -> Result<[u8; N], Errno> {
    bytes(memory, address, N as u32)?.try_into().map_err(|_| Errno::FAULT)
}

/// The buffers of a scatter or gather call: address and length of each, all of them inside the memory, cut at
/// [`TRANSFER_BYTES_MAX`] in sum.
pub(crate) fn buffers(memory: &[u8], address: u32, count: u32) -> Result<Vec<(u32, u32)>, Errno> {
    if count > BUFFERS_MAX {
        return Err(Errno::INVAL);
    }
    let mut left = TRANSFER_BYTES_MAX;
    let mut found = Vec::with_capacity(count as usize);
    for index in 0..count {
        let here = at(address, index * 8)?;
        let start = u32::from_le_bytes(number(memory, here)?);
        let length = u32::from_le_bytes(number(memory, at(here, 4)?)?);
        bytes(memory, start, length)?;
        let length = length.min(u32::try_from(left).unwrap_or(u32::MAX));
        left -= length as usize;
        found.push((start, length));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_outside_the_memory_is_touched() {
        let mut memory = vec![0u8; 16];
        assert_eq!(bytes(&memory, 8, 8).map(<[u8]>::len), Ok(8));
        for (address, length) in [(8, 9), (17, 0), (u32::MAX, 1), (u32::MAX, u32::MAX), (0, 17)] {
            assert_eq!(bytes(&memory, address, length), Err(Errno::FAULT), "{address} {length}");
        }
        assert_eq!(put_u64(&mut memory, 9, 1), Err(Errno::FAULT));
        assert_eq!(put_u32(&mut memory, 12, 7), Ok(()));
        assert_eq!(memory[12..], [7, 0, 0, 0]);
    }

    #[test]
    fn buffers_outside_the_memory_are_refused_before_any_byte_moves() {
        let mut memory = vec![0u8; 64];
        put_u32(&mut memory, 0, 32).unwrap();
        put_u32(&mut memory, 4, 32).unwrap();
        assert_eq!(buffers(&memory, 0, 1), Ok(vec![(32, 32)]));
        put_u32(&mut memory, 4, 33).unwrap();
        assert_eq!(buffers(&memory, 0, 1), Err(Errno::FAULT));
        assert_eq!(buffers(&memory, 60, 1), Err(Errno::FAULT));
        assert_eq!(buffers(&memory, u32::MAX - 3, 2), Err(Errno::FAULT));
        assert_eq!(buffers(&memory, 0, BUFFERS_MAX + 1), Err(Errno::INVAL));
    }
}
