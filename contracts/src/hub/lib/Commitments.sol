// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

/// @title What a worker commits to before anybody may know the digest.
library Commitments {
    /// @notice The same for everybody who has the digest: votes are compared by it.
    function resultHash(bytes32 taskid, bytes32 digest) internal pure returns (bytes32) {
        return keccak256(abi.encodePacked(taskid, digest));
    }

    /// @notice The worker's own: nobody can make it for another, nor without the digest.
    function resultSeal(address worker, bytes32 taskid, bytes32 digest) internal pure returns (bytes32) {
        return keccak256(abi.encodePacked(worker, taskid, digest));
    }
}
