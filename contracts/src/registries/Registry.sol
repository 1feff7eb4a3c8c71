// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {ERC721} from "@openzeppelin/contracts/token/ERC721/ERC721.sol";
import {ERC721Enumerable} from "@openzeppelin/contracts/token/ERC721/extensions/ERC721Enumerable.sol";
import {IERC165} from "@openzeppelin/contracts/utils/introspection/IERC165.sol";
import {Clones} from "@openzeppelin/contracts/proxy/Clones.sol";
import {Address} from "@openzeppelin/contracts/utils/Address.sol";
import {IRegistry} from "./IRegistry.sol";

/// @title Base of the three registries.
/// @notice An asset is a minimal proxy of `master` at a CREATE2 address: the salt is keccak256 of its initialiser's
/// calldata and its first owner, so the address is known before, and the same asset cannot be created twice. Who holds
/// the token owns the asset. There is no administrator.
abstract contract Registry is IRegistry, ERC721Enumerable {
    address public immutable master;

    constructor(address master_, string memory name_, string memory symbol_) ERC721(name_, symbol_) {
        master = master_;
    }

    function isRegistered(address entry) external view returns (bool) {
        return _ownerOf(_tokenId(entry)) != address(0);
    }

    function supportsInterface(bytes4 interfaceId) public view override(ERC721Enumerable, IERC165) returns (bool) {
        return super.supportsInterface(interfaceId);
    }

    function _create(address owner, bytes memory initializer) internal returns (address entry) {
        entry = _predict(owner, initializer);
        if (entry.code.length != 0) revert AlreadyCreated(entry);
        Clones.cloneDeterministic(master, _salt(owner, initializer));
        Address.functionCall(entry, initializer);
        _mint(owner, _tokenId(entry));
    }

    function _predict(address owner, bytes memory initializer) internal view returns (address) {
        return Clones.predictDeterministicAddress(master, _salt(owner, initializer));
    }

    function _salt(address owner, bytes memory initializer) private pure returns (bytes32) {
        return keccak256(abi.encodePacked(initializer, owner));
    }

    function _tokenId(address entry) private pure returns (uint256) {
        return uint256(uint160(entry));
    }
}
