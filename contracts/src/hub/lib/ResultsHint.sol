// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

/// @title The usual hint of where a result is, as one word instead of five.
/// @notice A hint is any bytes. The one that pools and workers of this project give names a blob by its content id,
/// `{"storage":"gristmill","location":"/v1/blobs/<64 lower-case hexadecimal digits>"}`; only the id differs, so only the id
/// has to be stored.
library ResultsHint {
    bytes private constant HEAD = '{"storage":"gristmill","location":"/v1/blobs/';
    bytes private constant TAIL = '"}';
    uint256 private constant HEAD_LENGTH = 45;
    uint256 private constant LENGTH = HEAD_LENGTH + 64 + 2;

    // One bit pattern in every group of 4, 8, 16, 32 bytes' worth of digits; the names say how wide the kept fields are.
    uint256 private constant ONES = 0x0101010101010101010101010101010101010101010101010101010101010101;
    uint256 private constant KEEP_4 = ONES * 0x0f;
    uint256 private constant KEEP_8 = 0x00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff;
    uint256 private constant KEEP_16 = 0x0000ffff0000ffff0000ffff0000ffff0000ffff0000ffff0000ffff0000ffff;
    uint256 private constant KEEP_32 = 0x00000000ffffffff00000000ffffffff00000000ffffffff00000000ffffffff;
    uint256 private constant KEEP_64 = 0x0000000000000000ffffffffffffffff0000000000000000ffffffffffffffff;
    uint256 private constant KEEP_128 = type(uint128).max;

    /// @notice The content id of a hint of the usual form, or zero: then the hint has to be stored as it is. What is not zero
    /// is given back by `render` byte for byte.
    function contentOf(bytes calldata hint) internal pure returns (bytes32 content) {
        if (hint.length != LENGTH) return 0;
        uint256 high = _value(uint256(bytes32(hint[HEAD_LENGTH:HEAD_LENGTH + 32])));
        uint256 low = _value(uint256(bytes32(hint[HEAD_LENGTH + 32:HEAD_LENGTH + 64])));
        content = bytes32(high << 128 | low);
        // Instead of a check of each byte: whatever else was there, the usual hint of these digits is another one.
        if (keccak256(render(content)) != keccak256(hint)) return 0;
    }

    /// @notice The usual hint for a content id.
    function render(bytes32 content) internal pure returns (bytes memory) {
        uint256 value = uint256(content);
        return bytes.concat(HEAD, bytes32(_digits(value >> 128)), bytes32(_digits(value & KEEP_128)), TAIL);
    }

    /// @dev 128 bits as 32 hexadecimal digits, one a byte: fields are halved and moved apart until each byte has 4 bits.
    function _digits(uint256 value) private pure returns (uint256 x) {
        unchecked {
            x = (value | value << 64) & KEEP_64;
            x = (x | x << 32) & KEEP_32;
            x = (x | x << 16) & KEEP_16;
            x = (x | x << 8) & KEEP_8;
            x = (x | x << 4) & KEEP_4;
            // "0" is 48; a byte above 9 carries into its fifth bit when 6 is added, and "a" is 39 further on than "9" + 1.
            uint256 letters = ((x + ONES * 6) >> 4) & ONES;
            x += ONES * 48 + letters * 39;
        }
    }

    /// @dev The other way; nonsense for bytes that are not digits.
    function _value(uint256 digits) private pure returns (uint256 x) {
        unchecked {
            // Letters have bit 6: "a" is 0x61, and 1 + 9 is ten.
            x = ((digits & KEEP_4) + ((digits >> 6) & ONES) * 9) & KEEP_4;
            x = (x | x >> 4) & KEEP_8;
            x = (x | x >> 8) & KEEP_16;
            x = (x | x >> 16) & KEEP_32;
            x = (x | x >> 32) & KEEP_64;
            x = (x | x >> 64) & KEEP_128;
        }
    }
}
