// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {App} from "./App.sol";
import {Registry} from "./Registry.sol";

/// @title The register of applications.
contract AppRegistry is Registry {
    constructor() Registry(address(new App()), "Gristmill Apps", "GRISTAPP") {}

    /// @notice Creates an app for `owner`; its address is also the token id of the `Transfer` event.
    function createApp(
        address owner,
        string calldata name,
        string calldata kind,
        bytes calldata multiaddr,
        bytes32 checksum,
        bytes calldata mrenclave
    ) external returns (App) {
        return App(_create(owner, abi.encodeCall(App.initialize, (name, kind, multiaddr, checksum, mrenclave))));
    }

    /// @notice The address `createApp` gives these arguments.
    function predictApp(
        address owner,
        string calldata name,
        string calldata kind,
        bytes calldata multiaddr,
        bytes32 checksum,
        bytes calldata mrenclave
    ) external view returns (App) {
        return App(_predict(owner, abi.encodeCall(App.initialize, (name, kind, multiaddr, checksum, mrenclave))));
    }
}
