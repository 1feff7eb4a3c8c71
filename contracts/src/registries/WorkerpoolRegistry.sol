// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Registry} from "./Registry.sol";
import {Workerpool} from "./Workerpool.sol";

/// @title The register of pools.
contract WorkerpoolRegistry is Registry {
    constructor() Registry(address(new Workerpool()), "Gristmill Workerpools", "GRISTPOOL") {}

    /// @notice Creates a pool for `owner`; its address is also the token id of the `Transfer` event.
    function createWorkerpool(address owner, string calldata description) external returns (Workerpool) {
        return Workerpool(_create(owner, abi.encodeCall(Workerpool.initialize, (description))));
    }

    /// @notice The address `createWorkerpool` gives these arguments.
    function predictWorkerpool(address owner, string calldata description) external view returns (Workerpool) {
        return Workerpool(_predict(owner, abi.encodeCall(Workerpool.initialize, (description))));
    }
}
