// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IRegistry} from "./IRegistry.sol";

/// @title Base of the assets.
/// @notice An asset is set up once, by its registry, in the transaction that creates it; its owner is whoever holds its
/// token there.
abstract contract RegistryEntry {
    IRegistry public registry;

    modifier onlyOwner() {
        require(owner() == msg.sender, "caller is not the owner");
        _;
    }

    modifier onlyOnce() {
        require(address(registry) == address(0), "already initialized");
        registry = IRegistry(msg.sender);
        _;
    }

    /// @dev The shared code is deployed by the registry and is never an asset itself.
    constructor() {
        registry = IRegistry(msg.sender);
    }

    function owner() public view returns (address) {
        return registry.ownerOf(uint256(uint160(address(this))));
    }
}
