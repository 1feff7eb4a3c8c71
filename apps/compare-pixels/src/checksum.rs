//! The checksums of PNG chunks and of zlib streams.

/// Bytes that may be added before the sums of Adler-32 could overflow 32 bits.
const ADLER_BYTES: usize = 5552;
const ADLER_MODULUS: u32 = 65_521;

/// Made by the compiler: a hostile file has millions of chunks, too many to make it for each.
const CRC_TABLE: [u32; 256] = crc_table();

const fn crc_table() -> [u32; 256] {
    let mut table = [0u32; 256];
    let mut place = 0;
    while place < 256 * 8 {
        let entry = if place % 8 == 0 { place as u32 / 8 } else { table[place / 8] };
        table[place / 8] = if entry & 1 == 1 { (entry >> 1) ^ 0xedb8_8320 } else { entry >> 1 };
        place += 1;
    }
    table
}

/// The CRC-32 of PNG chunks.
pub fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, &byte| (crc >> 8) ^ CRC_TABLE[((crc ^ u32::from(byte)) & 0xff) as usize])
}

/// The Adler-32 of zlib streams (RFC 1950).
pub fn adler32(bytes: &[u8]) -> u32 {
    let (mut low, mut high) = (1u32, 0u32);
    for piece in bytes.chunks(ADLER_BYTES) {
        for &byte in piece {
            low += u32::from(byte);
            high += low;
        }
        low %= ADLER_MODULUS;
        high %= ADLER_MODULUS;
    }
    high << 16 | low
}
