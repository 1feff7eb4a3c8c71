// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {DiamondStorage} from "./DiamondStorage.sol";
import {HubStorage} from "./HubStorage.sol";

/// @title The hub's two namespaces as variables, so that the compiler says how it lays them out. Never deployed.
/// @notice `layout.json` keeps what it says; `build.mjs` lets a new version only append to it.
contract StorageLayout {
    HubStorage.State private hub;
    DiamondStorage.State private diamond;
}
