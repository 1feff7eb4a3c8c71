// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

/// @title What the network certified, taken apart.
/// @notice The digest that workers commit to, and that the hub settles, is keccak256(abi.encode(root, witness, answer)). A
/// callback is handed that preimage, and the hub has compared it with the digest.
library Certified {
    /// @dev root, witness, where the answer begins, its length.
    uint256 private constant HEAD = 128;
    uint256 private constant ANSWER_OFFSET = 96;

    /// @notice `root`: hash of the manifest of all output files. `witness`: a trace of the computation, which makes even
    /// an answer of few possibilities impossible to guess. `answer`: what the app itself gave (`callback-data` of its
    /// computed.json), empty if it gave none.
    struct Result {
        bytes32 root;
        bytes32 witness;
        bytes answer;
    }

    /// @notice The parts of `preimage`; not `ok` for bytes that no worker of ours makes. It never reverts: what reverts in
    /// a callback is lost, and what reverts afterwards can never be settled.
    function unwrap(bytes memory preimage) internal pure returns (bool ok, Result memory result) {
        if (preimage.length < HEAD) return (false, result);
        (bytes32 root, bytes32 witness, uint256 offset, uint256 length) =
            (word(preimage, 0), word(preimage, 32), uint256(word(preimage, 64)), uint256(word(preimage, 96)));
        // One result has one encoding: the answer follows at once, padded to words, and nothing comes after it.
        if (offset != ANSWER_OFFSET || length > preimage.length - HEAD) return (false, result);
        if (preimage.length != HEAD + (length + 31) / 32 * 32) return (false, result);
        (,, bytes memory answer) = abi.decode(preimage, (bytes32, bytes32, bytes));
        return (true, Result(root, witness, answer));
    }

    function word(bytes memory data, uint256 offset) private pure returns (bytes32 value) {
        // The caller has checked that 32 bytes are there.
        assembly ("memory-safe") {
            value := mload(add(add(data, 32), offset))
        }
    }
}
