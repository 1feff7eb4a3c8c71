// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";
import {IERC1271} from "@openzeppelin/contracts/interfaces/IERC1271.sol";

/// @notice Identity contract with groups (ERC-734): the part the hub asks.
interface IERC734 {
    function keyHasPurpose(bytes32 key, uint256 purpose) external view returns (bool exists);
}

/// @title Who said what: signatures of accounts and of contracts, and membership of groups.
/// @notice Foreign code is only asked by a static call with bounded gas and one word of answer: it can neither re-enter
/// nor fill memory.
library Signatures {
    /// @notice Purpose that makes an address a member of an ERC-734 group.
    uint256 internal constant GROUPMEMBER_PURPOSE = 4;
    /// @notice Gas a foreign contract may use to answer.
    uint256 internal constant QUERY_GAS = 1_000_000;

    /// @notice Whether `account` signed `hash`: 65 bytes (r, s, v) or 64 bytes (EIP-2098) with a low s, or, for a
    /// contract, whatever its ERC-1271 check accepts. Reverts "invalid-signature-format" on another length for a plain
    /// account. The zero address never signed anything.
    function isValid(address account, bytes32 hash, bytes calldata signature) internal view returns (bool) {
        bool known = signature.length == 65 || signature.length == 64;
        // An account with delegated code (EIP-7702) still has its key, so the key is asked first.
        if (known && account != address(0) && _recover(hash, signature) == account) return true;
        if (account.code.length == 0) {
            require(known, "invalid-signature-format");
            return false;
        }
        return uint256(_query(account, abi.encodeCall(IERC1271.isValidSignature, (hash, signature))))
            == uint256(bytes32(IERC1271.isValidSignature.selector));
    }

    /// @notice As `isValid`, for a message signed the way wallets sign text (EIP-191).
    function isValidMessage(address account, bytes32 message, bytes calldata signature) internal view returns (bool) {
        return isValid(account, MessageHashUtils.toEthSignedMessageHash(message), signature);
    }

    /// @notice Whether a restriction of an order lets `account` through.
    function isAuthorized(address restriction, address account) internal view returns (bool) {
        if (restriction == address(0) || restriction == account) return true;
        if (restriction.code.length == 0) return false;
        bytes32 key = bytes32(uint256(uint160(account)));
        return uint256(_query(restriction, abi.encodeCall(IERC734.keyHasPurpose, (key, GROUPMEMBER_PURPOSE)))) == 1;
    }

    function _recover(bytes32 hash, bytes calldata signature) private pure returns (address signer) {
        if (signature.length == 65) {
            (signer,,) = ECDSA.tryRecoverCalldata(hash, signature);
        } else {
            (signer,,) = ECDSA.tryRecover(hash, bytes32(signature[:32]), bytes32(signature[32:]));
        }
    }

    /// @dev The first word of the answer, or zero if the call failed or answered less than a word.
    function _query(address target, bytes memory data) private view returns (bytes32 answer) {
        assembly ("memory-safe") {
            mstore(0x00, 0)
            let ok := staticcall(QUERY_GAS, target, add(data, 0x20), mload(data), 0x00, 0x20)
            if and(ok, gt(returndatasize(), 0x1f)) { answer := mload(0x00) }
        }
    }
}
